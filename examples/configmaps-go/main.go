// Command configmaps-go publishes each ConfigMap with the label manifests.weir.dev/publish=true as an ExternalArtifact: a Flux source
// controller without volume, archives and file server of its own. README.md says which line stands for which rule of the contract.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"weir.dev/examples/configmaps-go/weir"
)

// The client of the contract is not committed: this makes it of the .proto files, with the tools that go.mod names.
//go:generate go tool buf generate

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(); err != nil {
		ctrl.Log.Error(err, "cannot go on")
		os.Exit(1)
	}
}

func run() error {
	server := flag.String("artifact-server", "unix:///run/weir/s/artifact.sock", "unix:///<path> or http://<host>:<port>")
	namespace := flag.String("namespace", "", "the only namespace to look at; empty: all")
	interval := flag.Duration("interval", 10*time.Minute, "how often to look without being told to; consumers may use an old file for as long")
	health := flag.String("health-addr", ":9440", "where /healthz is")
	flag.Parse()
	// Watches say when to look; what is there is read from the API server. So nobody's data fills the memory, and nothing read is old.
	fresh := &client.CacheOptions{DisableFor: []client.Object{&corev1.ConfigMap{}, &sourcev1.ExternalArtifact{}}}
	options := ctrl.Options{HealthProbeBindAddress: *health, Metrics: metricsserver.Options{BindAddress: "0"}, Client: client.Options{Cache: fresh}}
	if *namespace != "" {
		options.Cache.DefaultNamespaces = map[string]cache.Config{*namespace: {}}
	}
	utilruntime.Must(sourcev1.AddToScheme(scheme.Scheme))
	store, err := dial(*server)
	mgr, other := ctrl.NewManager(ctrl.GetConfigOrDie(), options)
	if err := errors.Join(err, other); err != nil {
		return err
	}
	r := &reconciler{client.WithFieldOwner(mgr.GetClient(), name), mgr.GetEventRecorder(name), store, *namespace, *interval}
	ours := predicate.NewPredicateFuncs(func(o client.Object) bool { return wanted(o) || controllerutil.ContainsFinalizer(o, finalizer) })
	err = ctrl.NewControllerManagedBy(mgr).Named(name).
		For(&corev1.ConfigMap{}, builder.OnlyMetadata, builder.WithPredicates(ours)).
		Owns(&sourcev1.ExternalArtifact{}, builder.OnlyMetadata). // An edit or a deletion by others is undone.
		WatchesRawSource(source.Func(r.follow)).
		Complete(r)
	if err := errors.Join(err, mgr.AddHealthzCheck("ping", healthz.Ping)); err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

func dial(server string) (weir.ArtifactStorageClient, error) {
	patience := backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}
	// Without TLS only for the socket of a pod and for loopback; over a network, credentials.NewTLS with a certificate on both sides.
	conn, err := grpc.NewClient(strings.TrimPrefix(server, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: patience, MinConnectTimeout: patience.MaxDelay}))
	return weir.NewArtifactStorageClient(conn), err
}

// follow hears what happens to our files behind our back, over restarts of the server. It gives hints: a missed one costs an interval.
func (r *reconciler) follow(ctx context.Context, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
	go wait.JitterUntilWithContext(ctx, func(ctx context.Context) {
		if err := r.watch(ctx, queue); ctx.Err() == nil {
			ctrl.Log.Info("the artifact server is away; trying again", "error", err.Error())
		}
	}, time.Second, 0.5, true)
	return nil
}

func (r *reconciler) watch(ctx context.Context, queue workqueue.TypedRateLimitingInterface[ctrl.Request]) error {
	stream, err := r.store.Watch(ctx, &weir.WatchRequest{Controller: name}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for {
		heard, err := stream.Recv()
		if err != nil {
			return err
		}
		switch heard.Type {
		case weir.EventType_EVENT_TYPE_STORED, weir.EventType_EVENT_TYPE_REMOVED: // Our own doing.
			continue
		case weir.EventType_EVENT_TYPE_STARTED: // Perhaps a new server, on an empty volume. It serves only while somebody wants that.
			if _, err := r.store.SetServing(ctx, &weir.SetServingRequest{Caller: owner("controller"), On: true}); err != nil {
				return err
			}
		} // Else files were lost or changed, or events missed. To look at all costs little.
		all := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMapList"}}
		if err := r.List(ctx, all, client.InNamespace(r.namespace), client.MatchingLabels{label: "true"}); err != nil {
			return err
		}
		for _, cm := range all.Items {
			queue.Add(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&cm)})
		}
	}
}
