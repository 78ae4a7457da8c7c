package work

import (
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"
)

// FieldManager owns what Step applies.
const FieldManager = "label-propagator"

// copiedAnnotation says what was copied to an object, as plugins/label-propagator writes it.
const copiedAnnotation = "label-propagator.tenure.dev/copied"

// keysToCopy is what plugins/label-propagator/plugin.toml names.
var keysToCopy = []string{"team", "cost-center"}

type copied struct {
	Labels      []string `json:"labels"`
	Annotations []string `json:"annotations"`
}

// Step is what must be applied to a ConfigMap so that it bears its Namespace's labels; nil where it does already. The rules
// are the plugin's, with its shipped settings: a label that somebody else gave another value is left alone.
func Step(namespace *corev1.Namespace, object *corev1.ConfigMap) *applycorev1.ConfigMapApplyConfiguration {
	if namespace.DeletionTimestamp != nil || object.DeletionTimestamp != nil {
		return nil
	}
	var before copied
	text, wasCopied := object.Annotations[copiedAnnotation]
	if wasCopied && json.Unmarshal([]byte(text), &before) != nil {
		before = copied{}
	}
	wanted := map[string]string{}
	for _, key := range keysToCopy {
		value, given := namespace.Labels[key]
		present, taken := object.Labels[key]
		if given && (!taken || present == value || slices.Contains(before.Labels, key)) {
			wanted[key] = value
		}
	}
	keys := slices.Sorted(maps.Keys(wanted))
	isWhole := !wasCopied
	if len(wanted) > 0 {
		isWhole = wasCopied && slices.Equal(before.Labels, keys)
		for key, value := range wanted {
			isWhole = isWhole && object.Labels[key] == value
		}
	}
	if isWhole {
		return nil
	}
	metadata := applymetav1.ObjectMetaApplyConfiguration{UID: new(types.UID)}
	*metadata.UID = object.UID // keeps apply from making an object that is gone
	apply := applycorev1.ConfigMap(object.Name, object.Namespace)
	metadata.Name, metadata.Namespace = apply.Name, apply.Namespace
	apply.ObjectMetaApplyConfiguration = &metadata
	if len(wanted) > 0 {
		note, err := json.Marshal(copied{Labels: keys, Annotations: []string{}})
		if err != nil {
			panic(err) // a struct of strings
		}
		apply.WithLabels(wanted).WithAnnotations(map[string]string{copiedAnnotation: string(note)})
	}
	return apply
}
