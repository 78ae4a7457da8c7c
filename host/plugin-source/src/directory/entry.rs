//! Which files in a directory make a plugin, and what state they are in. Reads names and stamps, no contents.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{SourceError, unpack::Encoding};

/// A directory of this many entries holds something else than plugins.
const ENTRIES_MAX: usize = 4096;

/// The files of one plugin, as far as they are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manifest: Option<File>,
    pub(super) wasm: Vec<(Encoding, File)>,
    pub(super) signature: Option<File>,
    /// Where the manifest is, or should be.
    pub(super) manifest_path: PathBuf,
}

/// A file and what tells its states apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) modified: Option<SystemTime>,
    pub(super) bytes: u64,
    /// Times are only as fine as the kernel's tick: a file swapped for another of the same size within one differs here.
    inode: (u64, u64),
}

impl File {
    /// None when it is gone, or no file. Symbolic links are followed: that is how kubelet swaps a mounted volume.
    pub(super) fn look(path: PathBuf) -> Option<Self> {
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let inode = (metadata.dev(), metadata.ino());
        Some(Self { path, modified: metadata.modified().ok(), bytes: metadata.len(), inode })
    }
}

impl Entry {
    /// Both halves, or which is missing.
    pub(super) fn pair(&self) -> Result<(&File, Encoding, &File), SourceError> {
        match (&self.manifest, self.wasm.as_slice()) {
            (Some(manifest), [(encoding, wasm)]) => Ok((manifest, *encoding, wasm)),
            (Some(manifest), []) => {
                let stem = manifest.path.file_stem().unwrap_or_default().to_string_lossy();
                Err(SourceError::Unpaired {
                    present: manifest.path.clone(),
                    absent: format!("{stem}.wasm, .wasm.gz or .wasm.zst"),
                })
            }
            (None, [(_, wasm), ..]) => Err(SourceError::Unpaired {
                present: wasm.path.clone(),
                absent: self.manifest_path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            }),
            (_, several) => Err(SourceError::SeveralWasm {
                found: several.iter().map(|(_, file)| file.path.display().to_string()).collect(),
            }),
        }
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &File> {
        self.manifest.iter().chain(self.wasm.iter().map(|(_, file)| file)).chain(&self.signature)
    }

    fn folder(path: &Path) -> Self {
        let manifest_path = path.join("plugin.toml");
        let wasm =
            Encoding::ALL.into_iter().filter_map(|encoding| Some((encoding, File::look(path.join(encoding.key()))?)));
        let wasm = wasm.collect();
        Self { manifest: File::look(manifest_path.clone()), wasm, signature: None, manifest_path }
    }

    fn is_empty(&self) -> bool {
        self.manifest.is_none() && self.wasm.is_empty()
    }
}

/// All plugins in the directory by stem.
pub(super) fn entries(directory: &Path) -> io::Result<BTreeMap<String, Entry>> {
    let mut found: BTreeMap<String, Entry> = BTreeMap::new();
    for (count, listed) in fs::read_dir(directory)?.enumerate() {
        if count >= ENTRIES_MAX {
            return Err(io::Error::other(format!("more than {ENTRIES_MAX} entries: this is no plugin directory")));
        }
        let path = listed?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            let folder = Entry::folder(&path);
            if !folder.is_empty() {
                merge(found.entry(name.to_owned()).or_default(), folder);
            }
            continue;
        }
        let manifest = name.strip_suffix(".toml").map(|stem| (stem, None));
        let wasm = || {
            Encoding::ALL.into_iter().find_map(|encoding| Some((name.strip_suffix(encoding.ending())?, Some(encoding))))
        };
        let Some((stem, encoding)) = manifest.or_else(wasm) else { continue };
        let manifest_path = directory.join(format!("{stem}.toml"));
        let Some(file) = File::look(path.clone()) else { continue };
        let entry = match encoding {
            Some(encoding) => Entry { wasm: vec![(encoding, file)], manifest_path, ..Entry::default() },
            None => Entry { manifest: Some(file), manifest_path, ..Entry::default() },
        };
        merge(found.entry(stem.to_owned()).or_default(), entry);
    }
    for entry in found.values_mut() {
        entry.wasm.sort_by(|(_, one), (_, other)| one.path.cmp(&other.path));
        entry.signature = File::look(entry.manifest_path.with_extension("wasm.minisig"));
    }
    Ok(found)
}

fn merge(entry: &mut Entry, part: Entry) {
    if part.manifest.is_some() || entry.manifest.is_none() {
        entry.manifest_path = part.manifest_path;
    }
    entry.manifest = entry.manifest.take().or(part.manifest);
    entry.wasm.extend(part.wasm);
}
