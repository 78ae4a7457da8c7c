// The contract's transcript in Go: calls every function of the host, meets its errors, and writes down what came back. Its
// siblings in other languages say the same, word for word.

package export_wit_world

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	. "go.bytecodealliance.org/pkg/wit/types"

	read "wit_component/tenure_plugin_kubernetes_read"
	write "wit_component/tenure_plugin_kubernetes_write"
	"wit_component/tenure_plugin_leadership"
	log "wit_component/tenure_plugin_log"
	reconcile "wit_component/tenure_plugin_reconcile_types"
	"wit_component/tenure_plugin_settings"
	. "wit_component/tenure_plugin_types"
)

// More than the host takes in one call.
const tooManyBytes = 4 << 20

var configMap = Kind{ApiVersion: "v1", Kind: "ConfigMap"}

type fields = map[string]any

// Of an object, what is read here.
type object struct {
	Metadata struct{ Name, Uid, ResourceVersion string }
	Data     map[string]string
}

// Reconcile does to a ConfigMap what that one's `data.does` says.
func Reconcile(request reconcile.Request) Result[reconcile.Outcome, Error] {
	own, cause := request.Object, request.Cause.Tag()
	if cause == reconcile.Cause_Scheduled {
		for _, pair := range request.Extra {
			if pair.F0 == "due" {
				log.Emit(log.Level_Info, "scheduled", []Tuple2[string, string]{pair})
			}
		}
		return comeAgain(1 << 40)
	}
	does := parsed(request.Body.SomeOr("{}")).Data["does"]
	switch {
	case cause == reconcile.Cause_Deleted:
		return tell(own, "deleted "+does)
	case does == "transcript":
		return tell(own, transcript(request)...)
	case cause == reconcile.Cause_Retried && (does == "fail" || does == "again"):
		return tell(own, fmt.Sprint("retried ", request.Cause.Retried()))
	case does == "fail":
		failed := Error{Reason: "GuestError", Message: "told to", RetryAfterMs: Some[uint32](1)}
		return Err[reconcile.Outcome](failed)
	case does == "again":
		return comeAgain(1)
	case does == "wait":
		if told := tell(own, "waiting"); told.IsErr() {
			return told
		}
		for !tenure_plugin_leadership.Wait(60_000) {
		}
		return tell(own, fmt.Sprint("cancelled ", tenure_plugin_leadership.Cancelled()))
	case does == "meet":
		if met := read.Get(own, read.GetOptions{Live: true}); met.IsErr() {
			return Err[reconcile.Outcome](met.Err())
		}
	}
	return Ok[reconcile.Outcome, Error](reconcile.Outcome{})
}

func comeAgain(ms uint64) Result[reconcile.Outcome, Error] {
	return Ok[reconcile.Outcome, Error](reconcile.Outcome{RequeueAfterMs: Some(ms)})
}

func transcript(request reconcile.Request) []string {
	var settings struct{ Greeting string }
	must(json.Unmarshal([]byte(tenure_plugin_settings.Get()), &settings))
	fmt.Println("printed by go")
	log.Emit(log.Level_Warn, "called", []Tuple2[string, string]{{"language", "go"}, {"text", "ä→😀"}})
	cause := "another"
	if request.Cause.Tag() == reconcile.Cause_Changed {
		cause = "changed"
	}
	lines := []string{
		"cause " + cause,
		"settings " + settings.Greeting,
		fmt.Sprint("term ", tenure_plugin_leadership.Term()),
		fmt.Sprint("cancelled ", tenure_plugin_leadership.Cancelled()),
		fmt.Sprint("wait ", tenure_plugin_leadership.Wait(1)),
		fmt.Sprint("clock ", clockGoes()),
		fmt.Sprint("random ", rand.Text() != rand.Text()),
	}
	return append(append(lines, reads(request.Object)...), writes(request.Object)...)
}

func reads(own ObjectRef) []string {
	namespace := own.Namespace
	get := func(kind, name string, options read.GetOptions) string {
		reference := ObjectRef{Kind: Kind{ApiVersion: "v1", Kind: kind}, Namespace: namespace, Name: name}
		return came(read.Get(reference, options))
	}
	cached, live := read.GetOptions{}, read.GetOptions{Live: true}
	metadata := parsed(read.Get(own, read.GetOptions{Live: true, MetadataOnly: true}).Ok())
	parts := Some("part-of=" + namespace.Some() + "." + own.Name)
	byField := Some("metadata.name=" + own.Name + "-part-1")
	return []string{
		fmt.Sprint("get ", parsed(read.Get(own, cached).Ok()).Metadata.Name == own.Name),
		fmt.Sprint("get metadata ", metadata.Metadata.Uid != "" && metadata.Data == nil),
		"get missing " + get("ConfigMap", "missing", live),
		"get not granted " + get("Secret", "any", cached),
		"get subresource " + get("ConfigMap", own.Name, read.GetOptions{Subresource: Some("status")}),
		"get unknown kind " + get("Nonsense", "any", cached),
		listed("cached", read.ListOptions{Namespace: namespace, LabelSelector: parts}),
		listed("live", read.ListOptions{Namespace: namespace, LabelSelector: parts, Live: true, MetadataOnly: true}),
		listed("by field", read.ListOptions{Namespace: namespace, FieldSelector: byField}),
		listed("everywhere", read.ListOptions{LabelSelector: parts}),
	}
}

func writes(own ObjectRef) []string {
	named := func(name string) ObjectRef { return ObjectRef{Kind: configMap, Namespace: own.Namespace, Name: name} }
	made, part := named(own.Name+"-made"), named(own.Name+"-part-0")
	create := func(body fields, options write.WriteOptions) string {
		return came(write.Create(made, text(body), options))
	}
	plain := write.WriteOptions{}
	lines := []string{
		"create dry " + create(fields{}, write.WriteOptions{DryRun: true}),
		"create strict " + create(fields{"nonsense": 1}, write.WriteOptions{FieldValidation: Some("Strict")}),
	}
	stored := parsed(write.Create(made, text(fields{"data": fields{"a": "ä→😀"}}), plain).Ok())
	lines = append(lines, fmt.Sprint("create ", stored.Data["a"] == "ä→😀"), "create again "+create(fields{}, plain))

	prefix := made.Name + "-"
	generated := parsed(write.Create(named(prefix), "{}", plain).Ok())
	whole := exactly(generated)
	whole.Propagation, whole.GracePeriodSeconds = Some(write.Propagation_Background), Some[uint32](0)
	isGenerated := strings.HasPrefix(generated.Metadata.Name, prefix) && generated.Metadata.Name != prefix
	lines = append(lines,
		fmt.Sprint("generated ", isGenerated),
		"delete "+came(write.Delete(named(generated.Metadata.Name), whole)),
	)

	version := fields{"resourceVersion": stored.Metadata.ResourceVersion}
	replacement := text(fields{"metadata": version, "data": fields{"a": "2"}})
	removal := `[{"op": "remove", "path": "/data/b"}]`
	ours := `{"data": {"value": "ours"}}`
	return append(lines,
		"replace "+came(write.Replace(made, replacement, plain)),
		"replace stale "+came(write.Replace(made, replacement, plain)),
		"patch merge "+came(write.Patch(made, write.PatchType_Merge, `{"data": {"b": "3"}}`, plain)),
		"patch json "+came(write.Patch(made, write.PatchType_Json, removal, plain)),
		"patch json again "+came(write.Patch(made, write.PatchType_Json, removal, plain)),
		"apply "+came(write.Apply(part, ours, false, plain)),
		"apply forced "+came(write.Apply(part, ours, true, plain)),
		"apply other name "+came(write.Apply(named("missing"), `{"metadata": {"name": "other"}}`, true, plain)),
		"too large "+came(write.Create(made, strings.Repeat("x", tooManyBytes), plain)),
		"event "+came(write.RecordEvent(own, write.EventType_Warning, "Called", "in go: ä→😀")),
		"delete changed "+came(write.Delete(made, exactly(stored))),
		"delete "+came(write.Delete(made, write.DeleteOptions{})),
		"delete again "+came(write.Delete(made, write.DeleteOptions{})),
	)
}

// Deletes the object that was read, and no later state of it.
func exactly(read object) write.DeleteOptions {
	return write.DeleteOptions{Uid: Some(read.Metadata.Uid), ResourceVersion: Some(read.Metadata.ResourceVersion)}
}

// How many objects there are, page by page.
func listed(what string, options read.ListOptions) string {
	options.Limit = Some[uint32](2)
	for count := 0; ; {
		page := read.List(configMap, options).Ok()
		count += len(page.Items)
		options.ContinueToken = page.ContinueToken
		if page.ContinueToken.IsNone() {
			return fmt.Sprint("list ", what, " ", count)
		}
	}
}

// What a call came to: `ok`, or the error's reason, with the code in the API server's Status where it has one.
func came[T any](result Result[T, Error]) string {
	if !result.IsErr() {
		return "ok"
	}
	failed := result.Err()
	if failed.Status.IsNone() {
		return failed.Reason + " -"
	}
	var status struct{ Code int }
	must(json.Unmarshal([]byte(failed.Status.Some()), &status))
	return fmt.Sprint(failed.Reason, " ", status.Code)
}

// Writes the lines where the test reads them.
func tell(own ObjectRef, lines ...string) Result[reconcile.Outcome, Error] {
	target := ObjectRef{Kind: configMap, Namespace: own.Namespace, Name: own.Name + "-told"}
	body := text(fields{"data": fields{"lines": strings.Join(lines, "\n")}})
	if told := write.Apply(target, body, false, write.WriteOptions{}); told.IsErr() {
		return Err[reconcile.Outcome](told.Err())
	}
	return Ok[reconcile.Outcome, Error](reconcile.Outcome{})
}

// Both clocks: one that knows the year, and one that does not go back.
func clockGoes() bool {
	before := time.Now()
	return before.Year() >= 2020 && time.Since(before) >= 0
}

func parsed(body string) object {
	var it object
	must(json.Unmarshal([]byte(body), &it))
	return it
}

func text(body fields) string {
	encoded, err := json.Marshal(body)
	must(err)
	return string(encoded)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
