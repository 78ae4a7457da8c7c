//! What a manifest says, and what is said about one that is wrong.

use expect_test::{Expect, expect};

use super::*;
use crate::PluginIdentity;

/// As docs/plugins.md shows it.
const WHOLE: &str = r#"
name = "label-propagator"
run-on = "leader"
[[watch]]
api-version = "v1"
kind = "ConfigMap"
label-selector = "tenure.dev/propagate=true"
finalizer = true
[[watch]]
api-version = "v1"
kind = "Namespace"
enqueue = [{ by = "namespace", api-version = "v1", kind = "ConfigMap" }]
[[watch]]
api-version = "example.com/v1"
kind = "Part"
[[watch.enqueue]]
by = "labelled-with-name"
label = "example.com/part"
api-version = "v1"
kind = "ConfigMap"
[[schedule]]
every = "10m"
[[schedule]]
cron = "30 3 * * MON-FRI"
time-zone = "Europe/Berlin"
[[permission]]
api-groups = [""]
resources = ["configmaps"]
verbs = ["get", "list", "watch", "patch"]
namespaces = ["team-*"]
resource-names = []
[limits]
memory = "32Mi"
reconcile-timeout = "5s"
concurrency = 4
requests-per-second = 20
[settings]
prefix = "copied-"
since = 2026-01-01
ratio = 0.5
nested = { list = [1, true] }
[[chunk]]
name = "label-propagator-9f86d081884c7d65-0"
sha256 = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
"#;

/// What is said about each.
fn check_errors(manifests: &[&str], expected: &Expect) {
    let error = |toml: &&str| format!("{}\n", Manifest::parse(toml, "tenure-plugins/x").unwrap_err());
    expected.assert_eq(&manifests.iter().map(error).collect::<String>());
}

/// A manifest that is well but for `more`.
fn with(more: &str) -> String {
    format!("name = \"x\"\n[[schedule]]\nevery = \"1h\"\n{more}\n")
}

#[test]
fn a_whole_manifest_is_understood() {
    let manifest = Manifest::parse(WHOLE, "tenure-plugins/x").unwrap();
    expect![[r#"
        Manifest {
            name: "label-propagator",
            run_on: Leader,
            watches: [
                Watch {
                    api_version: "v1",
                    kind: "ConfigMap",
                    namespace: None,
                    label_selector: Some(
                        "tenure.dev/propagate=true",
                    ),
                    field_selector: None,
                    finalizer: true,
                    enqueue: [],
                },
                Watch {
                    api_version: "v1",
                    kind: "Namespace",
                    namespace: None,
                    label_selector: None,
                    field_selector: None,
                    finalizer: false,
                    enqueue: [
                        Enqueue {
                            api_version: "v1",
                            kind: "ConfigMap",
                            by: Namespace,
                        },
                    ],
                },
                Watch {
                    api_version: "example.com/v1",
                    kind: "Part",
                    namespace: None,
                    label_selector: None,
                    field_selector: None,
                    finalizer: false,
                    enqueue: [
                        Enqueue {
                            api_version: "v1",
                            kind: "ConfigMap",
                            by: LabelledWithName(
                                "example.com/part",
                            ),
                        },
                    ],
                },
            ],
            schedules: [
                Every(
                    600s,
                ),
                Cron {
                    expression: "30 3 * * MON-FRI",
                    time_zone: "Europe/Berlin",
                    catch_up: 300s,
                },
            ],
            permissions: [
                Rule {
                    api_groups: [
                        "",
                    ],
                    resources: [
                        "configmaps",
                    ],
                    verbs: [
                        "get",
                        "list",
                        "watch",
                        "patch",
                    ],
                    namespaces: [
                        "team-*",
                    ],
                    resource_names: [],
                },
            ],
            limits: RequestedLimits {
                memory_bytes_max: Some(
                    33554432,
                ),
                table_elements_max: None,
                reconcile_timeout: Some(
                    5s,
                ),
                concurrency_max: Some(
                    4,
                ),
                cpu_millis_max: None,
                requests_per_second: Some(
                    20,
                ),
                request_bytes_max: None,
                response_bytes_max: None,
                log_lines_per_second: None,
            },
            settings: Object {
                "nested": Object {
                    "list": Array [
                        Number(1),
                        Bool(true),
                    ],
                },
                "prefix": String("copied-"),
                "ratio": Number(0.5),
                "since": String("2026-01-01"),
            },
            chunks: [
                Chunk {
                    name: "label-propagator-9f86d081884c7d65-0",
                    sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                },
            ],
        }
    "#]]
    .assert_debug_eq(&manifest);
    expect![[r#"{"nested":{"list":[1,true]},"prefix":"copied-","ratio":0.5,"since":"2026-01-01"}"#]]
        .assert_eq(&manifest.settings.to_string());
}

#[test]
fn a_small_manifest_asks_for_nothing_it_does_not_name() {
    let manifest = Manifest::parse(&with(""), "x.toml").unwrap();
    assert_eq!(manifest.run_on, RunOn::Leader);
    assert_eq!((manifest.permissions, manifest.limits), (vec![], RequestedLimits::default()));
    assert_eq!(manifest.settings, serde_json::json!({}));
}

#[test]
fn a_manifest_that_cannot_be_used_says_where_and_why() {
    check_errors(
        &[
            "",
            &with("[[watch]]\napi-version = \"v1\"\nknd = \"Pod\""),
            &with("[[watch]]\napi-version = \"v1\""),
            &with("[[watch]]\napi-version = \"apps/v1/x\"\nkind = \"Deployment\""),
            &with("[[watch]]\napi-version = \"v1\"\nkind = \"config map\""),
            &with("[[watch]]\napi-version = \"v1\"\nkind = \"Pod\"\nnamespace = \"team-*\""),
            &with("[[schedule]]\nevery = \"10ms\""),
            &with("[[schedule]]\ntime-zone = \"UTC\""),
            &with("[[schedule]]\nevery = \"10m\"\ncron = \"0 * * * *\""),
            &with("[[schedule]]\nevery = \"10m\"\ncatch-up = \"1h\""),
            &with("[limits]\nmemory = 0"),
            &with("[limits]\ninstances = 3"),
            &with("[settings]\nratio = nan"),
            &with("[[chunk]]\nname = \"a\"\nsha256 = \"beef\""),
            &with("[[permission]]\napi-groups = [\"\"]\nresources = [\"pods/exec\"]\nverbs = [\"create\"]"),
            "name = \"a\\nb\"\nschedule = [{ every = \"1h\" }]\n",
            "name = \"x\"\nrun-on = \"some\"\nschedule = [{ every = \"1h\" }]\n",
        ],
        &expect![[r#"
            tenure-plugins/x:1:1: cannot be read: missing field `name`
            tenure-plugins/x:6:1: unknown key `watch.knd`; did you mean `kind`?
            tenure-plugins/x:4:1: `watch.1` cannot be read: missing field `kind`
            tenure-plugins/x:4:1: `watch.api-version` "apps/v1/x" is none; write "v1" or "apps/v1"
            tenure-plugins/x:4:1: `watch.kind` "config map" is none; write it as in manifests, such as "ConfigMap"
            tenure-plugins/x:4:1: `watch.namespace` "team-*" is no namespace; write one name, or leave the key out for all that are granted
            tenure-plugins/x:5:9: `schedule.every` 10ms is too short; the shortest is 1s, and objects that change are watched
            tenure-plugins/x:4:1: `schedule` needs `every` or `cron`
            tenure-plugins/x:4:1: `schedule` has both `every` and `cron`; make it two
            tenure-plugins/x:6:12: `schedule.catch-up` belongs to `cron`; leave it out beside `every`
            tenure-plugins/x:5:10: `limits.memory` must be more than 0; leave the key out for the default
            tenure-plugins/x:5:1: unknown key `limits.instances`; known here: memory, table-elements, reconcile-timeout, concurrency, cpu, requests-per-second, request-bytes, response-bytes, log-lines-per-second
            tenure-plugins/x:4:1: `settings` has a number that JSON cannot write; nan and inf are none there
            tenure-plugins/x:4:1: `chunk.sha256` "beef" is no SHA-256; write 64 hex characters
            tenure-plugins/x:4:1: `permission` is not valid: "pods/exec" in `resources` can never be granted: exec reaches into nodes, containers or credentials
            tenure-plugins/x:1:8: `name` must be a name for people: 1 to 253 bytes, on one line
            tenure-plugins/x:2:10: `run-on` cannot be read: unknown variant `some`, expected `leader` or `all`
        "#]],
    );
}

#[test]
fn a_mapping_that_cannot_be_followed_says_where_and_why() {
    let mapping = |enqueue: &str| {
        let watches =
            "[[watch]]\napi-version = \"v1\"\nkind = \"ConfigMap\"\n[[watch]]\napi-version = \"v1\"\nkind = \"Secret\"";
        with(&format!("{watches}\nenqueue = [{{ {enqueue} }}]"))
    };
    check_errors(
        &[
            &mapping("by = \"owner\", api-version = \"v1\", kind = \"Secret\""),
            &mapping("by = \"owner\", api-version = \"v2\", kind = \"ConfigMap\""),
            &mapping("by = \"owner\", api-version = \"v1\", kind = \"ConfigMap\", label = \"a\""),
            &mapping("by = \"same-label\", api-version = \"v1\", kind = \"ConfigMap\""),
            &mapping("by = \"same-label\", api-version = \"v1\", kind = \"ConfigMap\", label = \"a b\""),
            &mapping("by = \"name\", api-version = \"v1\", kind = \"ConfigMap\""),
            &mapping("by = \"owner\", api-version = \"v1\", knd = \"ConfigMap\""),
        ],
        &expect![[r#"
            tenure-plugins/x:10:12: `watch.enqueue` names v1 Secret, which no [[watch]] without `enqueue` is for; add one, which also selects the objects that count
            tenure-plugins/x:10:12: `watch.enqueue` names v2 ConfigMap, which no [[watch]] without `enqueue` is for; add one, which also selects the objects that count
            tenure-plugins/x:10:12: `watch.enqueue.label` says nothing here: `by` goes by no label; leave it out
            tenure-plugins/x:10:12: `watch.enqueue` needs `label`, the key of the label that `by` is about
            tenure-plugins/x:10:12: `watch.enqueue.label` "a b" is no key of a label; write one such as "app.kubernetes.io/part-of"
            tenure-plugins/x:10:19: `watch.2.enqueue.1.by` cannot be read: unknown variant `name`, expected one of `controller`, `owner`, `namespace`, `named-by-label`, `labelled-with-name`, `same-label`
            tenure-plugins/x:10:48: unknown key `watch.enqueue.knd`; did you mean `kind`?
        "#]],
    );
}

#[test]
fn what_this_version_cannot_do_is_refused_by_name() {
    check_errors(
        &[
            "name = \"x\"\noci = \"registry/x@sha256:1\"\n",
            "name = \"x\"\nservice-account = \"x\"\n",
            "name = \"x\"\nfence = \"object\"\n",
        ],
        &expect![[r#"
            tenure-plugins/x:2:1: `oci` is not supported by this version; put the Wasm into the ConfigMap, its chunks or the plugin directory
            tenure-plugins/x:2:1: `service-account` is not supported by this version; it can only ever stand in the host's [[grant]]
            tenure-plugins/x:2:1: `fence` is not supported by this version; it can only ever stand in the host's [[grant]]
        "#]],
    );
}

#[test]
fn a_manifest_of_ten_megabytes_is_refused_unread() {
    // It is no TOML either: that is not looked at.
    let text = "[".repeat(10 << 20);
    check_errors(
        &[&text],
        &expect![[r#"
            tenure-plugins/x:1:1: the manifest has 10485760 bytes, and at most 262144 are read; what is long belongs into an object that the plugin reads
        "#]],
    );
}

/// 80 levels of brackets are what the parser takes, and 80 dots in a key: 13 kB of text make 6000 levels of both. On the
/// stack of a thread that blocks for the host.
#[test]
fn a_manifest_that_nests_without_end_is_refused() {
    let key = vec!["a"; 79].join(".");
    let inline = |levels: usize| format!("{}1{}", format!("{{ {key} = ").repeat(levels), " }".repeat(levels));
    let manifests = [
        with(&format!("[settings]\nb = {}", inline(78))),
        with(&format!("[settings]\nb = {}{}", "[".repeat(100_000), "]".repeat(100_000))),
        with(&format!("[settings]\n{} = 1", vec!["a"; 100_000].join("."))),
        with(&format!("[settings.{}]", vec!["a"; 100_000].join("."))),
    ];
    let reading = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || manifests.map(|manifest| Manifest::parse(&manifest, "x").expect_err("too deep").to_string()));
    for error in reading.expect("a thread").join().expect("no panic") {
        assert!(error.contains("nests more than 32 levels deep"), "{error}");
    }
}

#[test]
fn a_name_that_could_move_a_cursor_or_leave_a_path_is_refused_where_it_becomes_one() {
    for name in ["a\\nb", "a\\u001b[2J", "\\u009b", "a\\tb"] {
        let error = Manifest::parse(&format!("name = \"{name}\"\nschedule = [{{ every = \"1h\" }}]"), "x");
        assert!(error.expect_err("refused").to_string().contains("on one line"), "{name}");
    }
    for name in ["../x", "..", "a/../../b", "a\nb", "a\u{1b}[2J", "a%2fb", ""] {
        assert!(PluginIdentity::config_map("tenure-plugins", name).is_err(), "{name:?}");
        assert!(PluginIdentity::config_map(name, "x").is_err(), "{name:?}");
        assert!(PluginIdentity::directory(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_manifest_cannot_make_the_host_work_without_bounds() {
    check_errors(
        &[&with(&"[[schedule]]\nevery = \"1h\"\n".repeat(20))],
        &expect![[r#"
        tenure-plugins/x:1:1: `schedule` stands there 21 times, and at most 16 are allowed; split the plugin
    "#]],
    );
}
