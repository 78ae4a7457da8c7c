package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// writer is the workload: a counter and who counts, in one ConfigMap. Its writes carry no precondition, so that the API
// server refuses none for being late.
type writer struct {
	client    kubernetes.Interface
	configMap objectName
	identity  string
	every     time.Duration
	report    *report
	counter   int
}

func newWriter(config *rest.Config, s settings, report *report) (*writer, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // paced by --write-every
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of %s: %w", config.Host, err)
	}
	return &writer{client: client, configMap: s.writeConfigMap, identity: s.identity, every: s.writeEvery, report: report}, nil
}

// run writes until the context ends, which is how client-go tells that leadership did.
func (w *writer) run(ctx context.Context) {
	if !w.configMap.isGiven() {
		return
	}
	ticks := time.NewTicker(w.every)
	defer ticks.Stop()
	for ctx.Err() == nil {
		w.counter++
		err := w.write(ctx)
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "cannot write", "configMap", w.configMap.String())
		}
		w.report.wrote(err)
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
	}
}

func (w *writer) write(ctx context.Context) error {
	data := map[string]string{"counter": strconv.Itoa(w.counter), "identity": w.identity}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return err
	}
	configMaps := w.client.CoreV1().ConfigMaps(w.configMap.namespace)
	_, err = configMaps.Patch(ctx, w.configMap.name, types.MergePatchType, patch, metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: w.configMap.name}, Data: data}
	_, err = configMaps.Create(ctx, configMap, metav1.CreateOptions{})
	return err
}
