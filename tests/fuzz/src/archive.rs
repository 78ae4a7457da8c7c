//! A plugin as it lies in a ConfigMap: compressed bytes that lie, objects that are none.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tenure_plugin_source::{ConfigMapFeed, FeedEvent, PLUGIN_LABEL, SourceEvent, SourceLimits, config_maps};

/// So little that whoever holds more has not kept to it.
const ARTIFACT_BYTES_MAX: u64 = 64 << 10;
/// The three spellings, by the first byte; any other makes the input the whole object.
const KEYS: [&str; 3] = ["plugin.wasm", "plugin.wasm.gz", "plugin.wasm.zst"];

struct Once(Vec<u8>);

impl ConfigMapFeed for Once {
    fn events(&self) -> BoxStream<'static, FeedEvent> {
        stream::iter([FeedEvent::Applied(self.0.clone().into()), FeedEvent::Synced]).boxed()
    }
}

/// Takes the input for a stored artifact, or for a whole ConfigMap.
///
/// # Panics
/// When an artifact comes out that is larger than allowed, or is not what its digest says.
pub fn archive(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let object = match KEYS.get(usize::from(*first)) {
        Some(key) => json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "fuzzed", "namespace": "plugins", "uid": "1", "labels": {PLUGIN_LABEL: "true"}},
            "data": {"plugin.toml": "name = \"fuzzed\""},
            "binaryData": {*key: STANDARD.encode(rest)},
        })
        .to_string()
        .into_bytes(),
        None => rest.to_vec(),
    };
    let limits = SourceLimits { artifact_bytes_max: ARTIFACT_BYTES_MAX };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let events: Vec<SourceEvent> = runtime.block_on(config_maps(Arc::new(Once(object)), limits).collect().boxed());
    for event in events {
        if let SourceEvent::Present(artifact) = event {
            assert!(artifact.wasm.len() as u64 <= ARTIFACT_BYTES_MAX, "{} bytes", artifact.wasm.len());
            let digest: String = Sha256::digest(&artifact.wasm).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(artifact.digest, digest);
        }
    }
}
