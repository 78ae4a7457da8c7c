//! One look at a directory after the other, and what changed in between.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tenure_settings::{MANIFEST_BYTES_MAX, Manifest, PluginIdentity};
use tracing::warn;

use super::entry::{self, Entry, File};
use crate::{
    Annotations, Artifact, Origin, SourceError, SourceEvent, SourceLimits, artifact::HandedOut, digest::sha256_hex,
    unpack::unpack,
};

/// A file that has not changed for so long is taken to be written to its end.
pub(super) const SETTLED_AFTER: Duration = Duration::from_millis(250);
/// How often the first list waits for files still being written before it counts as complete.
const FIRST_SCANS_MAX: u32 = 20;

/// What one scan found.
pub(super) struct Scanned {
    pub(super) events: Vec<SourceEvent>,
    /// No file was still changing.
    pub(super) is_settled: bool,
    pub(super) is_unreadable: bool,
}

struct Known {
    entry: Entry,
    /// Since when the files have looked like this, by our own count.
    since: Instant,
    /// Whether this state was read already.
    is_judged: bool,
    handed_out: Option<HandedOut>,
}

/// Remembers what it saw, so that each scan tells only what is new.
pub(super) struct Scanner {
    path: PathBuf,
    limits: SourceLimits,
    known: BTreeMap<PluginIdentity, Known>,
    last_failure: Option<String>,
    misnamed: Vec<String>,
    is_synced: bool,
    scans: u32,
}

impl Scanner {
    pub(super) fn new(path: PathBuf, limits: SourceLimits) -> Self {
        Self {
            path,
            limits,
            known: BTreeMap::new(),
            last_failure: None,
            misnamed: Vec::new(),
            is_synced: false,
            scans: 0,
        }
    }

    pub(super) fn scan(&mut self) -> Scanned {
        let mut events = Vec::new();
        let entries = match entry::entries(&self.path) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(&error),
        };
        self.last_failure = None;
        let entries = self.identified(entries);
        self.known.retain(|identity, known| {
            let stays = entries.contains_key(identity);
            if !stays && known.handed_out.is_some() {
                events.push(SourceEvent::Gone(identity.clone()));
            }
            stays
        });
        let mut is_settled = true;
        for (identity, entry) in entries {
            is_settled &= self.look_at(identity, entry, &mut events);
        }
        self.scans = self.scans.saturating_add(1);
        if !self.is_synced && (is_settled || self.scans >= FIRST_SCANS_MAX) {
            self.is_synced = true;
            events.push(SourceEvent::Synced);
        }
        Scanned { events, is_settled, is_unreadable: false }
    }

    /// What was handed out stays: a directory that is away for a moment must not stop every plugin.
    fn unreadable(&mut self, error: &io::Error) -> Scanned {
        let message = format!("the plugin directory {} cannot be read: {error}", self.path.display());
        let is_new = self.last_failure.as_ref() != Some(&message);
        self.last_failure = Some(message.clone());
        let events = if is_new { vec![SourceEvent::Failing(message)] } else { Vec::new() };
        Scanned { events, is_settled: true, is_unreadable: true }
    }

    fn identified(&mut self, entries: BTreeMap<String, Entry>) -> BTreeMap<PluginIdentity, Entry> {
        let mut misnamed = Vec::new();
        let mut identified = BTreeMap::new();
        for (stem, entry) in entries {
            match PluginIdentity::directory(&stem) {
                Ok(identity) => drop(identified.insert(identity, entry)),
                Err(error) => {
                    if !self.misnamed.contains(&stem) {
                        warn!(directory = %self.path.display(), %error, "a file is passed over");
                    }
                    misnamed.push(stem);
                }
            }
        }
        self.misnamed = misnamed;
        identified
    }

    /// Says whether the entry is settled.
    fn look_at(&mut self, identity: PluginIdentity, entry: Entry, events: &mut Vec<SourceEvent>) -> bool {
        let now = Instant::now();
        let known = self.known.entry(identity.clone()).or_insert_with(|| Known {
            entry: entry.clone(),
            since: now,
            is_judged: false,
            handed_out: None,
        });
        if known.entry != entry {
            (known.entry, known.since, known.is_judged) = (entry, now, false);
        }
        if known.is_judged {
            return true;
        }
        if now.duration_since(known.since) < SETTLED_AFTER && !known.entry.files().all(is_old) {
            return false;
        }
        let judged = judge(&identity, &known.entry, self.limits);
        if known.entry.files().any(|file| File::look(file.path.clone()).as_ref() != Some(file)) {
            return false; // it changed under our eyes
        }
        known.is_judged = true;
        let origin = Origin::Directory { path: known.entry.manifest_path.clone() };
        let (state, event) = match judged {
            Ok((artifact, manifest)) => {
                let digest = artifact.digest.clone();
                let (annotations, signature) = (artifact.annotations, artifact.signature.clone());
                (
                    HandedOut::Artifact { digest, signature, manifest, annotations, uid: String::new() },
                    SourceEvent::Present(artifact),
                )
            }
            Err(error) => (HandedOut::Refusal(error.full()), SourceEvent::Refused { identity, origin, error }),
        };
        if known.handed_out.as_ref() != Some(&state) {
            known.handed_out = Some(state);
            events.push(event);
        }
        true
    }
}

/// Written long enough ago, by the file's own time; what lies there when the host starts needs no wait.
fn is_old(file: &File) -> bool {
    let age = file.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age >= 8 * SETTLED_AFTER) // file systems with times in whole seconds
}

/// The artifact and its manifest's text.
fn judge(identity: &PluginIdentity, entry: &Entry, limits: SourceLimits) -> Result<(Artifact, String), SourceError> {
    let (manifest_file, encoding, wasm_file) = entry.pair()?;
    Manifest::check_size(manifest_file.bytes, &manifest_file.path.display().to_string())?;
    let text = read_text(manifest_file)?;
    let manifest = Manifest::parse(&text, &manifest_file.path.display().to_string())?;
    if !manifest.chunks.is_empty() {
        let found = vec![wasm_file.path.display().to_string(), "[[chunk]] in its manifest".to_owned()];
        return Err(SourceError::SeveralWasm { found });
    }
    let stored = read(wasm_file, limits.artifact_bytes_max)?;
    let wasm: Bytes =
        unpack(stored.into(), encoding, &wasm_file.path.display().to_string(), limits.artifact_bytes_max)?;
    let artifact = Artifact {
        identity: identity.clone(),
        digest: sha256_hex(&wasm),
        wasm,
        signature: entry.signature.as_ref().map(read_text).transpose()?,
        manifest: Arc::new(manifest),
        annotations: Annotations::default(),
        origin: Origin::Directory { path: manifest_file.path.clone() },
    };
    Ok((artifact, text))
}

fn read_text(file: &File) -> Result<String, SourceError> {
    String::from_utf8(read(file, MANIFEST_BYTES_MAX)?)
        .map_err(|_| SourceError::Unreadable { path: file.path.clone(), message: "it is not UTF-8 text".to_owned() })
}

fn read(file: &File, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
    let opened = fs::File::open(&file.path).map_err(|error| SourceError::unreadable(&file.path, &error))?;
    let mut bytes = Vec::new();
    let mut bounded = opened.take(bytes_max.saturating_add(1));
    bounded.read_to_end(&mut bytes).map_err(|error| SourceError::unreadable(&file.path, &error))?;
    if bytes.len() as u64 > bytes_max {
        return Err(SourceError::TooLarge { max: bytes_max });
    }
    Ok(bytes)
}
