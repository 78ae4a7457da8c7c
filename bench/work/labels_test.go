package work

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func configMap(labels, annotations map[string]string) *corev1.ConfigMap {
	meta := metav1.ObjectMeta{Name: "a", Namespace: "shop", UID: "1", Labels: labels, Annotations: annotations}
	return &corev1.ConfigMap{ObjectMeta: meta}
}

func TestStepAppliesWhatThePluginApplies(t *testing.T) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": "red", "other": "x"}}}
	note := map[string]string{copiedAnnotation: `{"labels":["team"],"annotations":[]}`}
	for name, test := range map[string]struct {
		object *corev1.ConfigMap
		want   string
	}{
		"a bare object gets label and note": {configMap(nil, nil),
			`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"shop","uid":"1","labels":{"team":"red"},` +
				`"annotations":{"label-propagator.tenure.dev/copied":"{\"labels\":[\"team\"],\"annotations\":[]}"}}}`},
		"a whole one is left alone":                  {configMap(map[string]string{"team": "red"}, note), "null"},
		"somebody else's value counts":               {configMap(map[string]string{"team": "blue"}, nil), "null"},
		"its own older value is replaced":            {configMap(map[string]string{"team": "blue"}, note), `"red"`},
		"a label there already still needs its note": {configMap(map[string]string{"team": "red"}, nil), `"red"`},
	} {
		t.Run(name, func(t *testing.T) {
			step := Step(namespace, test.object)
			got, err := json.Marshal(step)
			if err != nil {
				t.Fatal(err)
			}
			if test.want == `"red"` {
				if step == nil || step.Labels["team"] != "red" {
					t.Fatalf("got %s", got)
				}
			} else if string(got) != test.want {
				t.Fatalf("got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestStepTakesBackWhatItCopied(t *testing.T) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	object := configMap(map[string]string{"team": "red"}, map[string]string{copiedAnnotation: `{"labels":["team"],"annotations":[]}`})
	step := Step(namespace, object)
	if step == nil || len(step.Labels) > 0 || len(step.Annotations) > 0 {
		t.Fatalf("got %+v", step)
	}
}
