//! The contract's transcript in Rust: calls every function of the host, meets its errors, and writes down what came back.
//! Its siblings in other languages say the same, word for word; `tests/src/scenes/languages.rs` has what they must say.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Value, json};
use tenure_plugin::{
    Cause, Cluster, DeleteOptions, Error, EventType, GetOptions, Kind, ListOptions, Metadata, ObjectRef, Outcome,
    PatchType, Propagation, Reconciler, Request, Result, WriteOptions, info, warn,
};

/// More than the host takes in one call.
const TOO_MANY_BYTES: usize = 4 << 20;

/// The manifest's `[settings]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    greeting: String,
}

/// The plugin. What it does to a ConfigMap is what that one's `data.does` says.
#[derive(Debug)]
pub struct Contract {
    settings: Settings,
}

tenure_plugin::reconciler!(Contract);

impl Reconciler for Contract {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self { settings })
    }

    fn reconcile(&mut self, request: Request, cluster: &Cluster) -> Result<Outcome> {
        let own = &request.object;
        if request.cause == Cause::Scheduled {
            info!(due = request.due().unwrap_or_default(); "scheduled");
            return Ok(Outcome::requeue_after(Duration::from_millis(1 << 40)));
        }
        let body: Value = request.body()?.unwrap_or_default();
        let does = body["data"]["does"].as_str().unwrap_or_default();
        let lines = match (request.cause, does) {
            (Cause::Deleted, _) => vec![format!("deleted {does}")],
            (_, "transcript") => self.transcript(&request, cluster)?,
            (Cause::Retried(failures), "fail" | "again") => vec![format!("retried {failures}")],
            (_, "fail") => return Err(Error::guest("told to").with_retry_after(Duration::from_millis(1))),
            (_, "again") => return Ok(Outcome::requeue_after(Duration::from_millis(1))),
            (_, "wait") => {
                tell(cluster, own, &["waiting".to_owned()])?;
                while !cluster.wait(Duration::from_secs(60)) {}
                vec![format!("cancelled {}", cluster.cancelled())]
            }
            (_, "meet") => {
                return cluster.get_with::<Value>(own, &GetOptions::live()).map(|_| Outcome::done());
            }
            _ => return Ok(Outcome::done()),
        };
        tell(cluster, own, &lines)?;
        Ok(Outcome::done())
    }
}

impl Contract {
    #[expect(clippy::print_stdout, reason = "standard output is one of the things that are tried")]
    fn transcript(&self, request: &Request, cluster: &Cluster) -> Result<Vec<String>> {
        println!("printed by rust");
        warn!(language = "rust", text = "ä→😀"; "called");
        let mut lines = vec![
            format!("cause {}", if request.cause == Cause::Changed { "changed" } else { "another" }),
            format!("settings {}", self.settings.greeting),
            format!("term {}", cluster.term()),
            format!("cancelled {}", cluster.cancelled()),
            format!("wait {}", cluster.wait(Duration::from_millis(1))),
            format!("clock {}", clock_goes()),
            format!("random {}", drawn() != drawn()),
        ];
        reads(cluster, &request.object, &mut lines)?;
        writes(cluster, &request.object, &mut lines)?;
        Ok(lines)
    }
}

fn reads(cluster: &Cluster, own: &ObjectRef, lines: &mut Vec<String>) -> Result<()> {
    let namespace = own.namespace.clone().unwrap_or_default();
    let named = |name: &str| ObjectRef::config_map(&namespace, name);
    let of_kind = |kind: &str| Kind::new("v1", kind).named(&namespace, "any");
    let get = |object: &ObjectRef, options: &GetOptions| came(cluster.get_with::<Value>(object, options));
    let cached = GetOptions::default();
    let status = GetOptions { subresource: Some("status".to_owned()), ..GetOptions::default() };
    let found: Value = cluster.get(own)?;
    let metadata: Value = cluster.get_with(own, &GetOptions::live().metadata_only())?;
    lines.extend([
        format!("get {}", found["metadata"]["name"] == own.name.as_str()),
        format!("get metadata {}", metadata["metadata"]["uid"].is_string() && metadata.get("data").is_none()),
        format!("get missing {}", get(&named("missing"), &GetOptions::live())),
        format!("get not granted {}", get(&of_kind("Secret"), &cached)),
        format!("get subresource {}", get(own, &status)),
        format!("get unknown kind {}", get(&of_kind("Nonsense"), &cached)),
    ]);
    let parts = format!("part-of={namespace}.{}", own.name);
    let in_pages = |options: ListOptions| ListOptions { page_size: Some(2), ..options };
    let here = || in_pages(ListOptions::in_namespace(&namespace));
    let by_field = ListOptions { field_selector: Some(format!("metadata.name={}-part-1", own.name)), ..here() };
    for (what, options) in [
        ("cached", here().labelled(&parts)),
        ("live", here().labelled(&parts).live().metadata_only()),
        ("by field", by_field),
        ("everywhere", in_pages(ListOptions::everywhere()).labelled(&parts)),
    ] {
        let found: Vec<Value> = cluster.list(&Kind::config_map(), options).collect::<Result<_>>()?;
        lines.push(format!("list {what} {}", found.len()));
    }
    Ok(())
}

fn writes(cluster: &Cluster, own: &ObjectRef, lines: &mut Vec<String>) -> Result<()> {
    let namespace = own.namespace.clone().unwrap_or_default();
    let named = |name: String| ObjectRef::config_map(&namespace, name);
    let (made, missing) = (named(format!("{}-made", own.name)), named("missing".to_owned()));
    let part = named(format!("{}-part-0", own.name));
    let metadata_of = |object: &Value| serde_json::from_value::<Metadata>(object["metadata"].clone());
    let (plain, dry) = (WriteOptions::default(), WriteOptions { dry_run: true, ..WriteOptions::default() });
    let strict = WriteOptions { field_validation: Some("Strict".to_owned()), ..WriteOptions::default() };
    let create = |options: &WriteOptions, body: Value| came(cluster.create_with::<Value>(&made, &body, options));
    lines.extend([
        format!("create dry {}", create(&dry, json!({}))),
        format!("create strict {}", create(&strict, json!({"nonsense": 1}))),
    ]);
    let stored: Value = cluster.create(&made, &json!({"data": {"a": "ä→😀"}}))?;
    let first = metadata_of(&stored)?;
    lines.extend([
        format!("create {}", stored["data"]["a"] == "ä→😀"),
        format!("create again {}", create(&plain, json!({}))),
    ]);
    let generated: Value = cluster.create(&named(format!("{}-", made.name)), &json!({}))?;
    let generated = metadata_of(&generated)?;
    let whole = DeleteOptions {
        propagation: Some(Propagation::Background),
        grace_period_seconds: Some(0),
        ..DeleteOptions::exactly(&generated)
    };
    let prefix = format!("{}-", made.name);
    lines.push(format!("generated {}", generated.name.starts_with(&prefix) && generated.name != prefix));
    lines.push(format!("delete {}", came(cluster.delete(&named(generated.name.clone()), &whole))));
    let replacement = json!({"metadata": {"resourceVersion": first.resource_version}, "data": {"a": "2"}});
    let replace = || came(cluster.replace::<Value>(&made, &replacement));
    lines.extend([format!("replace {}", replace()), format!("replace stale {}", replace())]);
    let patch = |kind: PatchType, body: Value| came(cluster.patch_with::<Value>(&made, kind, &body, &plain));
    let removal = json!([{"op": "remove", "path": "/data/b"}]);
    lines.extend([
        format!("patch merge {}", patch(PatchType::Merge, json!({"data": {"b": "3"}}))),
        format!("patch json {}", patch(PatchType::Json, removal.clone())),
        format!("patch json again {}", patch(PatchType::Json, removal)),
    ]);
    let value = json!({"data": {"value": "ours"}});
    let apply =
        |object: &ObjectRef, body: &Value, force| came(cluster.apply_with::<Value>(object, body, force, &plain));
    lines.extend([
        format!("apply {}", apply(&part, &value, false)),
        format!("apply forced {}", apply(&part, &value, true)),
        format!("apply other name {}", apply(&missing, &json!({"metadata": {"name": "other"}}), true)),
        format!("too large {}", create(&plain, json!({"data": {"a": "x".repeat(TOO_MANY_BYTES)}}))),
        format!("event {}", came(cluster.record_event(own, EventType::Warning, "Called", "in rust: ä→😀"))),
    ]);
    let exactly = DeleteOptions::exactly(&first);
    let whatever = DeleteOptions::default();
    let delete = |options: &DeleteOptions| came(cluster.delete(&made, options));
    lines.extend([
        format!("delete changed {}", delete(&exactly)),
        format!("delete {}", delete(&whatever)),
        format!("delete again {}", delete(&whatever)),
    ]);
    Ok(())
}

/// What a call came to: `ok`, or the error's reason, with the code in the API server's Status where it has one.
fn came<T>(result: Result<T>) -> String {
    let Err(error) = result else { return "ok".to_owned() };
    let status: Value = error.status().and_then(|status| serde_json::from_str(status).ok()).unwrap_or_default();
    let code = status["code"].as_u64().map_or_else(|| "-".to_owned(), |code| code.to_string());
    format!("{} {code}", error.reason().as_str())
}

/// Writes the lines where the test reads them.
fn tell(cluster: &Cluster, own: &ObjectRef, lines: &[String]) -> Result<()> {
    let target = ObjectRef::config_map(own.namespace.clone().unwrap_or_default(), format!("{}-told", own.name));
    cluster.apply::<Value>(&target, &json!({"data": {"lines": lines.join("\n")}})).map(drop)
}

/// Both clocks: one that knows the year, and one that does not go back.
fn clock_goes() -> bool {
    const YEAR_2020: Duration = Duration::from_secs(1_577_836_800);
    let before = Instant::now();
    UNIX_EPOCH.elapsed().is_ok_and(|since| since > YEAR_2020) && Instant::now() >= before
}

/// The standard library's own randomness.
fn drawn() -> u64 {
    RandomState::new().build_hasher().finish()
}
