// Command controller-runtime does the measured work as a controller-runtime manager with leader election and one reconciler.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/manager/signals"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"tenure.dev/bench/work"
)

func main() {
	s, err := work.Parse("controller-runtime", os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(signals.SetupSignalHandler(), s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "controller-runtime:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s work.Settings) error {
	log.SetLogger(klog.Background())
	// The manager makes the lock's name from the host's and a random part; the measurement has to know it.
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, s.LeaseNamespace, s.Lease,
		resourcelock.ResourceLockConfig{Identity: s.Identity}, s.Config, s.RenewDeadline)
	if err != nil {
		return fmt.Errorf("cannot make a lock: %w", err)
	}
	m, err := manager.New(s.Config, manager.Options{
		LeaderElection:                      true,
		LeaderElectionID:                    s.Lease,
		LeaderElectionNamespace:             s.LeaseNamespace,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       &s.LeaseDuration,
		RenewDeadline:                       &s.RenewDeadline,
		RetryPeriod:                         &s.RetryPeriod,
		Metrics:                             metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:              "0",
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject:         map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{s.Namespace: {}}}},
		},
	})
	if err != nil {
		return fmt.Errorf("cannot make a manager: %w", err)
	}
	if err := add(m, s); err != nil {
		return fmt.Errorf("cannot add the controller: %w", err)
	}
	return m.Start(ctx)
}

func add(m manager.Manager, s work.Settings) error {
	c := m.GetClient()
	options := controller.Options{MaxConcurrentReconciles: work.Workers, EnableWarmup: &s.Warm}
	b := builder.ControllerManagedBy(m).For(&corev1.ConfigMap{}).WithOptions(options)
	if s.Work == work.Beat {
		isBeat := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == work.BeatObject })
		return b.WithEventFilter(isBeat).Complete(beat(c, s))
	}
	inNamespace := func(ctx context.Context, namespace client.Object) []reconcile.Request {
		var all corev1.ConfigMapList
		if err := c.List(ctx, &all, client.InNamespace(namespace.GetName()), client.UnsafeDisableDeepCopy); err != nil {
			log.FromContext(ctx).Error(err, "cannot list ConfigMaps", "namespace", namespace.GetName())
			return nil
		}
		requests := make([]reconcile.Request, 0, len(all.Items))
		for i := range all.Items {
			name := types.NamespacedName{Namespace: all.Items[i].Namespace, Name: all.Items[i].Name}
			requests = append(requests, reconcile.Request{NamespacedName: name})
		}
		return requests
	}
	isOurs := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == s.Namespace })
	return b.Watches(&corev1.Namespace{}, handler.EnqueueRequestsFromMapFunc(inNamespace), builder.WithPredicates(isOurs)).
		Complete(labels(c))
}

func labels(c client.Client) reconcile.Func {
	return func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		var object corev1.ConfigMap
		if err := c.Get(ctx, request.NamespacedName, &object); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		var namespace corev1.Namespace
		if err := c.Get(ctx, types.NamespacedName{Name: request.Namespace}, &namespace); err != nil {
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		apply := work.Step(&namespace, &object)
		if apply == nil {
			return reconcile.Result{}, nil
		}
		err := c.Apply(ctx, apply, client.FieldOwner(work.FieldManager))
		if apierrors.IsConflict(err) {
			return reconcile.Result{}, nil // changed hands: its next change will be handled
		}
		return reconcile.Result{}, err
	}
}

func beat(c client.Client, s work.Settings) reconcile.Func {
	return func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
		err := work.BeatFor(ctx, s, func(ctx context.Context, body []byte) error {
			object := corev1.ConfigMap{}
			object.Namespace, object.Name = request.Namespace, request.Name
			return c.Patch(ctx, &object, client.RawPatch(types.MergePatchType, body))
		})
		return reconcile.Result{RequeueAfter: time.Millisecond}, err
	}
}
