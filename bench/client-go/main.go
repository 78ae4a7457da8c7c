// Command client-go does the measured work with client-go alone: leaderelection, informers, a workqueue and its workers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"tenure.dev/bench/work"
)

var errLost = errors.New("leadership was lost")

func main() {
	s, err := work.Parse("client-go", os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "client-go:", err)
		os.Exit(1)
	}
}

func run(s work.Settings) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	client, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		return fmt.Errorf("cannot make a client: %w", err)
	}
	// As client-go's own example makes it: without a timeout of its own for each request. controller-runtime sets one.
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: s.LeaseNamespace, Name: s.Lease},
		Client:     client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: s.Identity},
	}
	controller, err := newController(client, s)
	if err != nil {
		return fmt.Errorf("cannot make the controller: %w", err)
	}
	if s.Warm {
		controller.startCaches(ctx)
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   s.LeaseDuration,
		RenewDeadline:   s.RenewDeadline,
		RetryPeriod:     s.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            s.Lease,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: controller.run,
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("client-go refuses these settings: %w", err)
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return errLost // as operators do, and their kubelet starts them again
	}
	return nil
}
