//! ConfigMaps as a source, through the port: what counts as a change, as whole, as refused, as gone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use expect_test::expect;
use futures::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use serde_json::{Value, json};
use tenure_plugin_source::{
    Artifact, Compression, ConfigMapFeed, FeedEvent, PackOptions, SourceEvent, SourceLimits, config_maps, pack,
};
use tokio::sync::mpsc;

const MANIFEST: &str = "name = \"greeter\"\n\n[[watch]]\napi-version = \"v1\"\nkind = \"ConfigMap\"\n";
const LIMITS: SourceLimits = SourceLimits { artifact_bytes_max: 4 * 1024 * 1024 };

struct Feed(Mutex<Option<mpsc::UnboundedReceiver<FeedEvent>>>);

impl ConfigMapFeed for Feed {
    fn events(&self) -> BoxStream<'static, FeedEvent> {
        let receiver = self.0.lock().expect("no panic").take().expect("one reader");
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) }).boxed()
    }
}

struct Source {
    feed: mpsc::UnboundedSender<FeedEvent>,
    events: BoxStream<'static, SourceEvent>,
    mark: u32,
}

impl Source {
    fn new() -> Self {
        let (feed, receiver) = mpsc::unbounded_channel();
        let events = config_maps(Arc::new(Feed(Mutex::new(Some(receiver)))), LIMITS).boxed();
        Self { feed, events, mark: 0 }
    }

    fn send(&self, event: FeedEvent) {
        self.feed.send(event).expect("the stream reads");
    }

    fn apply(&self, object: &Value) {
        self.send(FeedEvent::Applied(object.to_string().into()));
    }

    fn delete(&self, name: &str) {
        self.send(FeedEvent::Deleted { namespace: "plugins".to_owned(), name: name.to_owned() });
    }

    /// Everything that follows from what was sent so far.
    async fn events(&mut self) -> Vec<SourceEvent> {
        self.mark += 1;
        let mark = format!("mark {}", self.mark);
        self.send(FeedEvent::Failing(mark.clone()));
        let mut events = Vec::new();
        loop {
            match self.events.next().await.expect("the stream goes on") {
                SourceEvent::Failing(message) if message == mark => return events,
                event => events.push(event),
            }
        }
    }

    async fn told(&mut self) -> Vec<String> {
        self.events().await.iter().map(tell).collect()
    }
}

fn tell(event: &SourceEvent) -> String {
    match event {
        SourceEvent::Present(Artifact { identity, digest, annotations, wasm, .. }) => {
            let mut line = format!("present {identity} {} {} bytes", &digest[..8], wasm.len());
            if annotations.suspend {
                line.push_str(" suspended");
            }
            if annotations.dry_run {
                line.push_str(" dry-run");
            }
            line
        }
        SourceEvent::Refused { identity, error, .. } => format!("refused {identity}: {}", error.full()),
        SourceEvent::Gone(identity) => format!("gone {identity}"),
        SourceEvent::Synced => "synced".to_owned(),
        SourceEvent::Failing(message) => format!("failing: {message}"),
    }
}

fn packed(manifest: &str, wasm: &[u8]) -> Vec<Value> {
    let options = PackOptions {
        namespace: "plugins".to_owned(),
        name: "greeter".to_owned(),
        compression: Compression::Zstd,
        signature: None,
    };
    pack(manifest, wasm, options).expect("packs")
}

fn small(content: &str) -> Value {
    let mut objects = packed(MANIFEST, format!("\0asm{content}").as_bytes());
    assert_eq!(objects.len(), 1);
    objects.remove(0)
}

/// Wasm that does not compress, so that it takes several chunks.
fn large(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut wasm = b"\0asm".to_vec();
    while wasm.len() < 600 * 1024 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        wasm.extend_from_slice(&state.to_be_bytes()[..4]);
    }
    wasm
}

#[tokio::test]
async fn an_artifact_comes_once_and_again_when_bytes_manifest_or_switches_change() {
    let mut source = Source::new();
    source.apply(&small("one"));
    source.send(FeedEvent::Synced);
    expect![[r#"["present plugins/greeter c59040f2 7 bytes", "synced"]"#]]
        .assert_eq(&format!("{:?}", source.told().await));

    source.apply(&small("one"));
    assert!(source.told().await.is_empty(), "the same again is no event");

    let mut relabelled = small("one");
    relabelled["metadata"]["labels"]["team"] = "web".into();
    source.apply(&relabelled);
    assert!(source.told().await.is_empty(), "a foreign label is no event");

    source.apply(&small("two"));
    assert_eq!(source.told().await.len(), 1);

    let mut suspended = small("two");
    suspended["metadata"]["annotations"] = json!({ "tenure.dev/suspend": "true", "tenure.dev/dry-run": "false" });
    source.apply(&suspended);
    expect!["present plugins/greeter 7d069443 7 bytes suspended"].assert_eq(&source.told().await.join("\n"));

    let mut renamed = suspended.clone();
    renamed["data"]["plugin.toml"] = format!("{MANIFEST}\n[settings]\nx = 1\n").into();
    source.apply(&renamed);
    assert_eq!(source.told().await.len(), 1);
}

#[tokio::test]
async fn a_hundred_edits_in_a_row_end_with_the_last() {
    let mut source = Source::new();
    for edit in 0..100 {
        source.apply(&small(&format!("edit {edit}")));
    }
    let events = source.events().await;
    let Some(SourceEvent::Present(last)) = events.last() else { panic!("present at the end: {events:?}") };
    assert_eq!(&last.wasm[..], b"\0asmedit 99");
}

#[tokio::test]
async fn deletion_and_loss_of_the_label_both_take_a_plugin_away() {
    let mut source = Source::new();
    source.apply(&small("one"));
    source.delete("greeter");
    source.apply(&small("one"));
    let mut unlabelled = small("one");
    unlabelled["metadata"]["labels"] = json!({ "tenure.dev/plugin": "false" });
    source.apply(&unlabelled);
    source.delete("greeter");
    let told: Vec<String> = source.told().await.into_iter().map(|line| line[..7].to_owned()).collect();
    assert_eq!(told, ["present", "gone pl", "present", "gone pl"]);
}

#[tokio::test]
async fn a_snapshot_takes_away_what_is_not_in_it() {
    let mut source = Source::new();
    source.apply(&small("one"));
    let mut other = small("two");
    other["metadata"]["name"] = "other".into();
    source.send(FeedEvent::Snapshot(vec![other.to_string().into()]));
    let told = source.told().await;
    assert_eq!(told.len(), 3);
    assert!(told[1] == "gone plugins/greeter" && told[2].starts_with("present plugins/other"), "{told:?}");
}

#[tokio::test]
async fn chunks_in_any_order_make_the_same_artifact_and_nothing_changes_before_the_last() {
    let wasm = large(1);
    let mut objects = packed(MANIFEST, &wasm);
    assert!(objects.len() > 3, "several chunks and a head");
    objects.reverse();
    let mut source = Source::new();
    let last = objects.pop().expect("a chunk");
    objects.iter().for_each(|object| source.apply(object));
    assert!(source.told().await.is_empty(), "one chunk is missing");
    source.apply(&last);
    let events = source.events().await;
    let [SourceEvent::Present(artifact)] = &events[..] else { panic!("one artifact: {events:?}") };
    assert_eq!(artifact.wasm, wasm);
    assert_eq!(artifact.manifest.name, "greeter");
}

#[tokio::test]
async fn an_update_in_chunks_swaps_at_its_last_object_only() {
    let mut source = Source::new();
    packed(MANIFEST, &large(1)).iter().for_each(|object| source.apply(object));
    assert_eq!(source.told().await.len(), 1);
    let update = packed(MANIFEST, &large(2));
    let (head, chunks) = update.split_last().expect("objects");
    chunks.iter().for_each(|chunk| source.apply(chunk));
    assert!(source.told().await.is_empty());
    source.apply(head);
    let events = source.events().await;
    assert!(matches!(&events[..], [SourceEvent::Present(artifact)] if artifact.wasm == large(2)), "{events:?}");
    source.delete(chunks[0]["metadata"]["name"].as_str().expect("a name"));
    assert!(source.told().await.is_empty(), "a lost chunk does not end what runs");
}

#[tokio::test(start_paused = true)]
async fn a_chunk_with_other_bytes_is_a_missing_one_and_is_named_after_a_while() {
    let mut objects = packed(MANIFEST, &large(1));
    let forged = objects[1]["binaryData"].clone();
    objects[0]["binaryData"] = forged;
    let mut source = Source::new();
    objects.iter().for_each(|object| source.apply(object));
    assert!(source.told().await.is_empty());
    let event =
        tokio::time::timeout(Duration::from_secs(60), source.events.next()).await.expect("told").expect("goes on");
    let told = tell(&event);
    let name = objects[0]["metadata"]["name"].as_str().expect("a name");
    assert!(told.starts_with("refused plugins/greeter: waits for 1 of its chunks") && told.contains(name), "{told}");
    source.apply(&packed(MANIFEST, &large(1))[0]);
    assert!(source.told().await[0].starts_with("present"));
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_once_with_the_reason() {
    let broken = |change: fn(&mut Value)| {
        let mut object = small("one");
        change(&mut object);
        object
    };
    let cases: BTreeMap<&str, Value> = BTreeMap::from([
        ("no manifest", broken(|object| object["data"] = json!({}))),
        ("no wasm", broken(|object| object["binaryData"] = json!({}))),
        ("two wasm", broken(|object| object["binaryData"]["plugin.wasm"] = "AGFzbQ==".into())),
        ("not base64", broken(|object| object["binaryData"]["plugin.wasm.zst"] = "%".into())),
        ("not zstd", broken(|object| object["binaryData"]["plugin.wasm.zst"] = "AGFzbQ==".into())),
        (
            "a path",
            broken(|object| {
                let text = format!("{MANIFEST}\n[[chunk]]\nname = \"../x\"\nsha256 = \"{}\"\n", "0".repeat(64));
                object["data"]["plugin.toml"] = text.into();
                object["binaryData"] = Value::Null;
            }),
        ),
    ]);
    let mut told = String::new();
    for (case, object) in cases {
        let mut source = Source::new();
        let object = object.to_string().replace("\"binaryData\":null,", "");
        source.send(FeedEvent::Applied(object.clone().into()));
        source.send(FeedEvent::Applied(object.into()));
        let lines = source.told().await;
        assert_eq!(lines.len(), 1, "{case}: {lines:?}");
        assert!(lines[0].starts_with("refused plugins/greeter: "), "{case}: {lines:?}");
        told.push_str(&format!("{case}: {}\n", lines[0].trim_start_matches("refused plugins/greeter: ")));
    }
    expect![[r#"
        a path: plugin.toml is refused: ConfigMap plugins/greeter:7:1: `chunk.name` "../x" is no ConfigMap's name
        no manifest: data has no "plugin.toml"; `tenure plugin pack` makes a ConfigMap that has one
        no wasm: there is no Wasm: binaryData needs "plugin.wasm", "plugin.wasm.gz" or "plugin.wasm.zst", or plugin.toml a [[chunk]] list
        not base64: plugin.wasm.zst does not decompress: Invalid symbol 37, offset 0.
        not zstd: plugin.wasm.zst does not decompress: Unknown frame descriptor
        two wasm: there is more than one Wasm: plugin.wasm, plugin.wasm.zst; keep one
    "#]].assert_eq(&told);
}

#[tokio::test]
async fn a_bomb_is_refused_and_the_next_good_version_is_taken() {
    let mut source = Source::new();
    let mut bomb = vec![0; 32 * 1024 * 1024];
    bomb[..4].copy_from_slice(b"\0asm");
    packed(MANIFEST, &bomb).iter().for_each(|object| source.apply(object));
    assert!(source.told().await[0].contains("larger than 4194304 bytes"));
    source.apply(&small("one"));
    assert!(source.told().await[0].starts_with("present"));
}

/// Neither a chunk too many nor the sum of them gets past the limit of one artifact.
#[tokio::test]
async fn a_bomb_in_chunks_is_refused() {
    let mut source = Source::new();
    let mut bomb = large(7);
    bomb.resize(64 * 1024 * 1024, 0);
    let objects = packed(MANIFEST, &bomb);
    assert!(objects.len() > 1, "its beginning does not compress");
    objects.iter().for_each(|object| source.apply(object));
    let told = source.told().await;
    assert!(told.last().is_some_and(|line| line.contains("larger than 4194304 bytes")), "{told:?}");
}

#[tokio::test]
async fn a_manifest_of_ten_megabytes_is_refused_and_the_next_good_one_is_taken() {
    let mut source = Source::new();
    let mut object = small("one");
    object["data"]["plugin.toml"] = format!("{MANIFEST}# {}", "x".repeat(10 << 20)).into();
    source.apply(&object);
    assert!(source.told().await[0].contains("the manifest has 10485"));
    source.apply(&small("one"));
    assert!(source.told().await[0].starts_with("present"));
}

#[tokio::test]
async fn an_artifact_that_was_refused_in_between_comes_again() {
    let mut source = Source::new();
    source.apply(&small("one"));
    let mut broken = small("one");
    broken["data"]["plugin.toml"] = "name = ".into();
    source.apply(&broken);
    source.apply(&small("one"));
    let told: Vec<String> = source.told().await.into_iter().map(|line| line[..7].to_owned()).collect();
    assert_eq!(told, ["present", "refused", "present"]);
}

#[tokio::test]
async fn the_stream_ends_with_its_feed() {
    let Source { feed, mut events, .. } = Source::new();
    assert!(events.next().now_or_never().is_none());
    drop(feed);
    assert!(events.next().await.is_none());
}
