// Command elector competes for a Lease as source-watcher does: with client-go,
// the retry period of controller-runtime, and release on stop.
//
//	elector KUBECONFIG NAMESPACE LEASE IDENTITY LEASE-DURATION RENEW-DEADLINE
//
// It prints one line for each thing that happens: the time, and "leading",
// "stopping" (from here on it does no work) or "lost". SIGTERM ends it well. A
// Lease that is lost ends it with code 1, as it ends source-watcher.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// What controller-runtime has in effect, whatever source-watcher is told.
const retryPeriod = 2 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "elector:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("usage: elector KUBECONFIG NAMESPACE LEASE IDENTITY LEASE-DURATION RENEW-DEADLINE")
	}
	lease, err := time.ParseDuration(args[4])
	if err != nil {
		return err
	}
	renew, err := time.ParseDuration(args[5])
	if err != nil {
		return err
	}
	access, err := clientcmd.BuildConfigFromFlags("", args[0])
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var told atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		told.Store(true)
		say("stopping")
		cancel()
	}()
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: args[1], Name: args[2]},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: args[3]},
	}
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   lease,
		RenewDeadline:   renew,
		RetryPeriod:     retryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { say("leading") },
			OnStoppedLeading: func() {},
		},
	})
	if told.Load() {
		return nil
	}
	say("lost")
	return fmt.Errorf("leader election lost")
}

func say(what string) {
	fmt.Println(time.Now().UTC().Format(time.RFC3339Nano), what)
}
