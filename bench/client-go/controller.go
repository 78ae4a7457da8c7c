package main

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"

	"tenure.dev/bench/work"
)

// controller is the usual one: informers fill a queue, workers empty it while leading.
type controller struct {
	client     kubernetes.Interface
	settings   work.Settings
	factories  []informers.SharedInformerFactory
	synced     []cache.InformerSynced
	configMaps corelisters.ConfigMapNamespaceLister
	namespaces corelisters.NamespaceLister
	queue      workqueue.TypedRateLimitingInterface[string]
}

func newController(client kubernetes.Interface, s work.Settings) (*controller, error) {
	slim := informers.WithTransform(withoutManagedFields)
	ofNamespace := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(s.Namespace), slim)
	ofCluster := informers.NewSharedInformerFactoryWithOptions(client, 0, slim)
	configMaps, namespaces := ofNamespace.Core().V1().ConfigMaps(), ofCluster.Core().V1().Namespaces()
	c := &controller{
		client:     client,
		settings:   s,
		factories:  []informers.SharedInformerFactory{ofNamespace, ofCluster},
		configMaps: configMaps.Lister().ConfigMaps(s.Namespace),
		namespaces: namespaces.Lister(),
		queue:      workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	for informer, changed := range map[cache.SharedIndexInformer]func(any){
		configMaps.Informer(): c.configMapChanged,
		namespaces.Informer(): c.namespaceChanged,
	} {
		handler, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    changed,
			UpdateFunc: func(_, now any) { changed(now) },
		})
		if err != nil {
			return nil, err
		}
		c.synced = append(c.synced, handler.HasSynced)
	}
	return c, nil
}

func withoutManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

func (c *controller) configMapChanged(object any) {
	configMap := object.(*corev1.ConfigMap)
	if c.settings.Work == work.Labels || configMap.Name == work.BeatObject {
		c.queue.Add(configMap.Name)
	}
}

func (c *controller) namespaceChanged(object any) {
	if c.settings.Work != work.Labels || object.(*corev1.Namespace).Name != c.settings.Namespace {
		return
	}
	all, err := c.configMaps.List(labels.Everything())
	if err != nil {
		klog.ErrorS(err, "cannot list ConfigMaps")
	}
	for _, configMap := range all {
		c.queue.Add(configMap.Name)
	}
}

func (c *controller) startCaches(ctx context.Context) {
	for _, factory := range c.factories {
		factory.StartWithContext(ctx)
	}
}

// run works while leading: client-go calls it once and ends its context.
func (c *controller) run(ctx context.Context) {
	c.startCaches(ctx) // those that run already are left alone
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	var workers sync.WaitGroup
	for range work.Workers {
		workers.Go(func() {
			for c.workOne(ctx) {
			}
		})
	}
	<-ctx.Done()
	c.queue.ShutDown()
	workers.Wait()
}

func (c *controller) workOne(ctx context.Context) bool {
	name, down := c.queue.Get()
	if down {
		return false
	}
	defer c.queue.Done(name)
	again, err := c.reconcile(ctx, name)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			klog.ErrorS(err, "cannot reconcile", "configMap", name)
		}
		c.queue.AddRateLimited(name)
	case again > 0:
		c.queue.Forget(name)
		c.queue.AddAfter(name, again)
	default:
		c.queue.Forget(name)
	}
	return true
}

func (c *controller) reconcile(ctx context.Context, name string) (time.Duration, error) {
	if c.settings.Work == work.Beat {
		return time.Millisecond, work.BeatFor(ctx, c.settings, func(ctx context.Context, body []byte) error {
			configMaps := c.client.CoreV1().ConfigMaps(c.settings.Namespace)
			_, err := configMaps.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{})
			return err
		})
	}
	return 0, c.propagate(ctx, name)
}

func (c *controller) propagate(ctx context.Context, name string) error {
	object, err := c.configMaps.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	namespace, err := c.namespaces.Get(c.settings.Namespace)
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	apply := work.Step(namespace, object)
	if apply == nil {
		return nil
	}
	configMaps := c.client.CoreV1().ConfigMaps(c.settings.Namespace)
	_, err = configMaps.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: work.FieldManager})
	if apierrors.IsConflict(err) {
		return nil // changed hands: its next change will be handled
	}
	return err
}
