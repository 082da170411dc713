package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"google.golang.org/protobuf/types/known/durationpb"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"weir.dev/examples/configmaps-go/weir"
)

const (
	name      = "configmaps-go"              // First half of every owner: two controllers at one server must not share it.
	label     = "manifests.weir.dev/publish" // The keys of a ConfigMap with it are the files of an artifact of the same name.
	finalizer = "manifests.weir.dev/files"   // Keeps a ConfigMap until its files are gone: the server knows no Kubernetes.
)

type reconciler struct {
	client.Client
	events    events.EventRecorder
	store     weir.ArtifactStorageClient
	namespace string
	interval  time.Duration
}

func wanted(o client.Object) bool {
	return o.GetLabels()[label] == "true" && o.GetDeletionTimestamp().IsZero()
}

// Reconcile remembers nothing: it makes the artifact what it should be, whatever was before. One name is never worked on twice at once, and
// each call to the server is atomic, so there is nothing to Lock here.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // Somebody else may hold a lock; the server waits until our deadline.
	defer cancel()
	cm := &corev1.ConfigMap{}
	if err := r.Get(ctx, request.NamespacedName, cm); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	act, again := r.publish, ctrl.Result{RequeueAfter: r.interval}
	if !wanted(cm) {
		act, again = r.remove, ctrl.Result{}
	}
	if err := act(ctx, cm); err != nil {
		r.events.Eventf(cm, nil, corev1.EventTypeWarning, "ArtifactFailed", "Reconcile", "%v", err)
		return ctrl.Result{}, err // Tried again, later each time, and at once when the server is back: see watch.
	}
	return again, nil
}

func (r *reconciler) publish(ctx context.Context, cm *corev1.ConfigMap) error {
	// Before the first file, else a ConfigMap that is deleted in between leaves one. A lock, as the patch sends others' finalizers, too.
	if before := cm.DeepCopy(); controllerutil.AddFinalizer(cm, finalizer) {
		if err := r.Patch(ctx, cm, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return err
		}
	}
	// The object comes before the file, too: that takes the name, and without status.artifact consumers wait.
	ea := &sourcev1.ExternalArtifact{ObjectMeta: metav1.ObjectMeta{Namespace: cm.Namespace, Name: cm.Name}}
	_, err := controllerutil.CreateOrPatch(ctx, r.Client, ea, func() error {
		if ea.UID != "" && !metav1.IsControlledBy(ea, cm) {
			return fmt.Errorf("ExternalArtifact %s/%s is somebody else's: delete it, or give the ConfigMap another name", ea.Namespace, ea.Name)
		}
		ea.Spec.SourceRef = &meta.NamespacedObjectKindReference{APIVersion: "v1", Kind: "ConfigMap", Namespace: cm.Namespace, Name: cm.Name}
		return controllerutil.SetControllerReference(cm, ea, r.Scheme())
	})
	if err != nil {
		return err
	}
	// Sent each time: what the server has it neither stores nor dates anew, and what it lost it has again.
	artifact, err := r.archive(ctx, cm)
	if err != nil {
		// Ready is never said of bytes that may be gone, also when the deadline is over. What was published stays: perhaps they are not.
		return errors.Join(err, r.report(context.WithoutCancel(ctx), ea, ea.Status.Artifact, metav1.ConditionFalse, "StorageOperationFailed", err.Error()))
	}
	if err := r.report(ctx, ea, artifact, metav1.ConditionTrue, meta.SucceededReason, "Artifact is ready"); err != nil {
		return err
	}
	// The server keeps what it is configured to. Only we know what is published; consumers may need the file before for a while.
	published := []*weir.Collectable{{Artifact: ref(cm), CurrentPath: artifact.Path}}
	_, err = r.store.GarbageCollect(ctx, &weir.GarbageCollectRequest{Caller: owner(cm.UID), Artifacts: published, Grace: durationpb.New(r.interval)})
	return err
}

// report sends what differs from the status that was read. When nothing does, nothing is written and no consumer wakes.
func (r *reconciler) report(ctx context.Context, ea *sourcev1.ExternalArtifact, artifact *meta.Artifact, ready metav1.ConditionStatus, reason, message string) error {
	before := ea.DeepCopy()
	ea.Status.Artifact = artifact
	condition := metav1.Condition{Type: meta.ReadyCondition, Status: ready, Reason: reason, Message: message, ObservedGeneration: ea.Generation}
	apimeta.SetStatusCondition(&ea.Status.Conditions, condition)
	return r.Status().Patch(ctx, ea, client.MergeFrom(before))
}

// remove takes away what publish made: the object first, so that nobody is sent to a file that is gone.
func (r *reconciler) remove(ctx context.Context, cm *corev1.ConfigMap) error {
	before := cm.DeepCopy()
	if !controllerutil.RemoveFinalizer(cm, finalizer) {
		return nil
	}
	ea := &sourcev1.ExternalArtifact{}
	err := r.Get(ctx, client.ObjectKeyFromObject(cm), ea)
	if err == nil && metav1.IsControlledBy(ea, cm) {
		err = r.Delete(ctx, ea, client.Preconditions{UID: &ea.UID})
	}
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	if _, err := r.store.RemoveAll(ctx, &weir.RemoveAllRequest{Caller: owner(cm.UID), Artifact: ref(cm)}); err != nil {
		return err
	}
	return r.Patch(ctx, cm, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// owner is who answers for files. It has a UID, so that an object of the same name that comes later is another owner.
func owner(uid types.UID) *weir.Caller { return &weir.Caller{Owner: name + "/" + string(uid)} }
func ref(o client.Object) *weir.ArtifactRef {
	return &weir.ArtifactRef{Kind: "ExternalArtifact", Namespace: o.GetNamespace(), Name: o.GetName()}
}

// archive streams the files as a tar, of which the server makes the artifact. Equal files give equal bytes, in whatever order they come.
func (r *reconciler) archive(ctx context.Context, cm *corev1.ConfigMap) (*meta.Artifact, error) {
	contents := maps.Collect(maps.All(cm.BinaryData)) // A copy, with the keys of data besides: none is in both.
	for file, text := range cm.Data {
		contents[file] = []byte(text)
	}
	if len(contents) == 0 { // An empty artifact would have Flux delete all that it applied: rather a mistake than a wish.
		return nil, fmt.Errorf("ConfigMap %s/%s has no keys: add one, or delete it", cm.Namespace, cm.Name)
	}
	packed := &bytes.Buffer{} // A ConfigMap has 1 MiB at most. What is larger is better sent while it is read.
	files := tar.NewWriter(packed)
	for file, content := range contents {
		err := files.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(content))})
		if _, more := files.Write(content); err != nil || more != nil {
			return nil, errors.Join(err, more)
		}
	}
	stream, err := r.store.Archive(ctx) // A call that ends early, as by our deadline, leaves nothing behind.
	if err = errors.Join(files.Close(), err); err != nil {
		return nil, err
	}
	// Every key counts: no ignore rules. Unset, they are those of Flux for git repositories.
	header := &weir.ArchiveHeader{Caller: owner(cm.UID), Artifact: ref(cm), Ignore: &weir.IgnoreRules{Builtin: weir.BuiltinRules_BUILTIN_RULES_NONE}}
	err = stream.Send(&weir.ArchiveRequest{Message: &weir.ArchiveRequest_Header{Header: header}})
	for chunk := range slices.Chunk(packed.Bytes(), 256<<10) { // 64 KiB to 1 MiB serve best, 4 MiB is the limit.
		if err == nil {
			err = stream.Send(&weir.ArchiveRequest{Message: &weir.ArchiveRequest_Chunk{Chunk: chunk}})
		}
	}
	if err != nil && !errors.Is(err, io.EOF) { // io.EOF: the server gave up, and its answer says why.
		return nil, err
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		return nil, err
	}
	a := answer.Artifact // Published field by field as the server says it; the URL, too, is its business.
	return &meta.Artifact{Path: a.Path, URL: a.Url, Revision: a.Revision, Digest: a.Digest, Size: &a.Size, LastUpdateTime: metav1.NewTime(a.LastUpdateTime.AsTime())}, nil
}
