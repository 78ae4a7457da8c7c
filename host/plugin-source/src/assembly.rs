//! Heads and chunks as they come and go, and which plugins they make. Pure: the stream around it brings events and time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tenure_settings::{Chunk, Manifest, PluginIdentity};
use tracing::warn;

use crate::{
    Artifact, FeedEvent, SourceError, SourceEvent, SourceLimits,
    artifact::HandedOut,
    config_map::{ConfigMap, MANIFEST_KEY, Role, SIGNATURE_KEY},
    digest::sha256_hex,
    unpack::{Encoding, unpack},
};

/// 256 chunks hold 44 MiB: far above any artifact, far below what would trouble the cache.
pub(crate) const CHUNKS_MAX: usize = 256;
/// How long chunks may be on their way before it is worth telling: `kubectl apply` sends one object after the other.
pub(crate) const CHUNKS_LATE_AFTER: Duration = Duration::from_secs(10);

/// Namespace and name.
type Key = (String, String);

/// A ConfigMap that is a head or a chunk, as it came. The JSON is shared with whoever sent it; parts are decoded when a
/// plugin is put together, and dropped again.
struct Held {
    json: Bytes,
    role: Role,
}

/// Everything known of the plugin namespaces.
pub(crate) struct Assembly {
    limits: SourceLimits,
    held: BTreeMap<Key, Held>,
    /// Which heads list a chunk, whether or not it is there.
    listed_by: HashMap<Key, BTreeSet<Key>>,
    handed_out: BTreeMap<Key, HandedOut>,
    /// Heads whose chunks are not all there, and which are missing.
    waiting: BTreeMap<Key, Vec<String>>,
}

/// What a head comes to.
enum Verdict {
    Whole(Box<Artifact>, HandedOut),
    Waiting(Vec<String>),
    Refused(SourceError),
}

impl Assembly {
    pub(crate) fn new(limits: SourceLimits) -> Self {
        Self {
            limits,
            held: BTreeMap::new(),
            listed_by: HashMap::new(),
            handed_out: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    pub(crate) fn handle(&mut self, event: FeedEvent) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        match event {
            FeedEvent::Applied(json) => self.applied(json, &mut events),
            FeedEvent::Deleted { namespace, name } => self.gone(&(namespace, name), &mut events),
            FeedEvent::Snapshot(objects) => self.snapshot(objects, &mut events),
            FeedEvent::Synced => events.push(SourceEvent::Synced),
            FeedEvent::Failing(message) => events.push(SourceEvent::Failing(message)),
        }
        events
    }

    /// Whether some head still waits for chunks.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The wait has been long: says for which chunks, once for each state of things.
    pub(crate) fn handle_late_chunks(&mut self) -> Vec<SourceEvent> {
        let mut events = Vec::new();
        for (head, missing) in std::mem::take(&mut self.waiting) {
            let Some(config_map) = self.held.get(&head).and_then(|held| ConfigMap::parse(&held.json).ok()) else {
                continue;
            };
            self.refuse(&head, &config_map, SourceError::ChunksMissing { missing }, &mut events);
        }
        events
    }

    fn applied(&mut self, json: Bytes, events: &mut Vec<SourceEvent>) {
        let config_map = match ConfigMap::parse(&json) {
            Ok(config_map) => config_map,
            Err(error) => return warn!(%error, "the feed sent something that is no ConfigMap"),
        };
        let key = (config_map.metadata.namespace.clone(), config_map.metadata.name.clone());
        let role = config_map.role();
        if role != Role::Head {
            self.forget_head(&key, events);
        }
        match role {
            Role::Neither => drop(self.held.remove(&key)),
            _ => drop(self.held.insert(key.clone(), Held { json, role })),
        }
        if role == Role::Head {
            self.judge(&key, &config_map, events);
        }
        // It may have been, or have become, a chunk of somebody's.
        self.judge_heads_listing(&key, events);
    }

    fn gone(&mut self, key: &Key, events: &mut Vec<SourceEvent>) {
        self.held.remove(key);
        self.forget_head(key, events);
        self.judge_heads_listing(key, events);
    }

    fn snapshot(&mut self, objects: Vec<Bytes>, events: &mut Vec<SourceEvent>) {
        let present: BTreeSet<Key> = objects
            .iter()
            .filter_map(|json| ConfigMap::parse(json).ok())
            .map(|config_map| (config_map.metadata.namespace, config_map.metadata.name))
            .collect();
        let absent: Vec<Key> = self.held.keys().filter(|key| !present.contains(*key)).cloned().collect();
        for key in absent {
            self.gone(&key, events);
        }
        for json in objects {
            self.applied(json, events);
        }
    }

    fn forget_head(&mut self, key: &Key, events: &mut Vec<SourceEvent>) {
        self.waiting.remove(key);
        self.unlist(key);
        if self.handed_out.remove(key).is_some()
            && let Ok(identity) = PluginIdentity::config_map(&key.0, &key.1)
        {
            events.push(SourceEvent::Gone(identity));
        }
    }

    fn unlist(&mut self, head: &Key) {
        self.listed_by.retain(|_, heads| {
            heads.remove(head);
            !heads.is_empty()
        });
    }

    fn judge_heads_listing(&mut self, chunk: &Key, events: &mut Vec<SourceEvent>) {
        for head in self.listed_by.get(chunk).cloned().unwrap_or_default() {
            if let Some(config_map) = self.held.get(&head).and_then(|held| ConfigMap::parse(&held.json).ok()) {
                self.judge(&head, &config_map, events);
            }
        }
    }

    fn judge(&mut self, head: &Key, config_map: &ConfigMap, events: &mut Vec<SourceEvent>) {
        self.waiting.remove(head);
        match self.verdict(head, config_map) {
            Verdict::Whole(artifact, state) => {
                if self.handed_out.get(head) != Some(&state) {
                    self.handed_out.insert(head.clone(), state);
                    events.push(SourceEvent::Present(*artifact));
                }
            }
            Verdict::Waiting(missing) => drop(self.waiting.insert(head.clone(), missing)),
            Verdict::Refused(error) => self.refuse(head, config_map, error, events),
        }
    }

    fn refuse(&mut self, head: &Key, config_map: &ConfigMap, error: SourceError, events: &mut Vec<SourceEvent>) {
        let state = HandedOut::Refusal(error.full());
        if self.handed_out.get(head) == Some(&state) {
            return;
        }
        match PluginIdentity::config_map(&head.0, &head.1) {
            Ok(identity) => {
                self.handed_out.insert(head.clone(), state);
                events.push(SourceEvent::Refused { identity, origin: config_map.origin(), error });
            }
            // Only a namespace that must not hold plugins has no identity: nobody's status can show it.
            Err(reason) => {
                warn!(namespace = head.0, name = head.1, %reason, "a ConfigMap asks to be a plugin and cannot")
            }
        }
    }

    fn verdict(&mut self, head: &Key, config_map: &ConfigMap) -> Verdict {
        let manifest = match self.read_manifest(head, config_map) {
            Ok(manifest) => manifest,
            Err(error) => return Verdict::Refused(error),
        };
        let stored = match self.collect(head, config_map, &manifest) {
            Ok(Collected::All { encoding, bytes }) => {
                unpack(bytes, encoding, encoding.key(), self.limits.artifact_bytes_max)
            }
            Ok(Collected::Missing(missing)) => return Verdict::Waiting(missing),
            Err(error) => Err(error),
        };
        let identity = PluginIdentity::config_map(&head.0, &head.1).map_err(SourceError::Identity);
        let (wasm, identity) = match (stored, identity) {
            (Ok(wasm), Ok(identity)) => (wasm, identity),
            (Err(error), _) | (_, Err(error)) => return Verdict::Refused(error),
        };
        let artifact = Artifact {
            identity,
            digest: sha256_hex(&wasm),
            wasm,
            signature: config_map.data.get(SIGNATURE_KEY).cloned(),
            manifest,
            annotations: config_map.annotations(),
            origin: config_map.origin(),
        };
        let state = HandedOut::Artifact {
            digest: artifact.digest.clone(),
            signature: artifact.signature.clone(),
            manifest: config_map.data[MANIFEST_KEY].clone(),
            annotations: artifact.annotations,
            uid: config_map.uid().to_owned(),
        };
        Verdict::Whole(Box::new(artifact), state)
    }

    /// The manifest, and from now on its chunks bring the head back here.
    fn read_manifest(&mut self, head: &Key, config_map: &ConfigMap) -> Result<Arc<Manifest>, SourceError> {
        self.unlist(head);
        let toml = config_map.data.get(MANIFEST_KEY).ok_or(SourceError::NoManifest)?;
        let manifest = Manifest::parse(toml, &config_map.origin().to_string())?;
        if manifest.chunks.len() > CHUNKS_MAX {
            return Err(SourceError::TooManyChunks { count: manifest.chunks.len(), max: CHUNKS_MAX });
        }
        for chunk in &manifest.chunks {
            let key = (head.0.clone(), chunk.name.clone());
            self.listed_by.entry(key).or_default().insert(head.clone());
        }
        Ok(Arc::new(manifest))
    }

    fn collect(&self, head: &Key, config_map: &ConfigMap, manifest: &Manifest) -> Result<Collected, SourceError> {
        match (config_map.stored_wasm()?, manifest.chunks.is_empty()) {
            (Some((encoding, bytes)), true) => Ok(Collected::All { encoding, bytes }),
            (None, true) => Err(SourceError::NoWasm),
            (Some((encoding, _)), false) => Err(SourceError::SeveralWasm {
                found: vec![encoding.key().to_owned(), "[[chunk]] in plugin.toml".to_owned()],
            }),
            (None, false) => self.collect_chunks(&head.0, &manifest.chunks),
        }
    }

    fn collect_chunks(&self, namespace: &str, chunks: &[Chunk]) -> Result<Collected, SourceError> {
        let mut parts = Vec::with_capacity(chunks.len());
        let mut missing = Vec::new();
        for chunk in chunks {
            match self.chunk(namespace, chunk)? {
                Some(part) => parts.push(part),
                None => missing.push(chunk.name.clone()),
            }
        }
        if !missing.is_empty() {
            return Ok(Collected::Missing(missing));
        }
        let first = parts.first().map_or(Encoding::Plain, |(encoding, _)| *encoding);
        if let Some((other, _)) = parts.iter().find(|(encoding, _)| *encoding != first) {
            return Err(SourceError::ChunksMixed { first: first.key().to_owned(), other: other.key().to_owned() });
        }
        let total: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        if total as u64 > self.limits.artifact_bytes_max {
            return Err(SourceError::TooLarge { max: self.limits.artifact_bytes_max });
        }
        let mut joined = BytesMut::with_capacity(total);
        parts.iter().for_each(|(_, bytes)| joined.extend_from_slice(bytes));
        Ok(Collected::All { encoding: first, bytes: joined.freeze() })
    }

    /// A listed chunk. One with another content counts as missing: the listed one may still be on its way.
    fn chunk(&self, namespace: &str, chunk: &Chunk) -> Result<Option<(Encoding, Bytes)>, SourceError> {
        let key = (namespace.to_owned(), chunk.name.clone());
        let Some(held) = self.held.get(&key).filter(|held| held.role == Role::Chunk) else { return Ok(None) };
        let Ok(config_map) = ConfigMap::parse(&held.json) else { return Ok(None) };
        Ok(config_map.stored_wasm()?.filter(|(_, bytes)| sha256_hex(bytes) == chunk.sha256))
    }
}

enum Collected {
    All { encoding: Encoding, bytes: Bytes },
    Missing(Vec<String>),
}
