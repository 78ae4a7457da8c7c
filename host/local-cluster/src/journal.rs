//! Objects on disk: one file of JSON lines, appended at each commit and rewritten when most of it is history.
//!
//! Survives the death of the process at any point (a torn last line is dropped on the next start); a power cut may lose the last
//! writes, since nothing waits for the disk. Knows lines and files, not what an object means.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::object::{Key, Object};

const FILE_NAME: &str = "objects.jsonl";
const LOCK_NAME: &str = "lock";
/// Below this size rewriting saves nothing worth the pause.
const COMPACT_BYTES_MIN: u64 = 16 << 20;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory, or a file in it, cannot be made, read or written.
    #[error("cannot use the data directory file {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error("the data directory {} is in use by another process; end that one or name another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A line that is not the last one cannot be read.
    #[error("{} line {line}: {source}; restore the file from a copy, or move it away to start empty", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// A line as it is read back. The first line of a file carries a version only.
#[derive(Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u64,
    #[serde(default)]
    pub(crate) collection: String,
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) object: Option<Value>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    file: File,
    bytes: u64,
    compact_at_bytes: u64,
    /// Held as long as the journal is: a second process is refused.
    _lock: File,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    move |source| OpenError::Io { path: path.to_owned(), source }
}

impl Journal {
    /// Opens or makes the journal in `directory` and hands each of its records to `restore`, oldest first.
    pub(crate) fn open(directory: &Path, mut restore: impl FnMut(Record)) -> Result<Self, OpenError> {
        std::fs::create_dir_all(directory).map_err(io_error(directory))?;
        let lock = lock(directory)?;
        let path = directory.join(FILE_NAME);
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(io_error(&path))?;
        let bytes = replay(&path, &file, &mut restore)?;
        file.set_len(bytes).map_err(io_error(&path))?;
        let compact_at_bytes = (bytes * 2).max(COMPACT_BYTES_MIN);
        Ok(Self { directory: directory.to_owned(), file, bytes, compact_at_bytes, _lock: lock })
    }

    /// Writes one change: `object` as committed, or `None` for a deletion.
    pub(crate) fn append(
        &mut self,
        collection: &str,
        key: &Key,
        version: u64,
        object: Option<&Object>,
    ) -> io::Result<()> {
        let line = line(collection, key, version, object);
        if let Err(error) = self.file.write_all(&line) {
            // A half-written line would make the next one unreadable.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    pub(crate) fn is_due_for_compaction(&self) -> bool {
        self.bytes > self.compact_at_bytes
    }

    /// Replaces the file by one that holds `objects` and nothing else. On failure the old file stays in use.
    pub(crate) fn compact<'a>(
        &mut self,
        version: u64,
        objects: impl Iterator<Item = (&'a str, &'a Object)>,
    ) -> io::Result<()> {
        let path = self.directory.join(FILE_NAME);
        let new_path = self.directory.join(format!("{FILE_NAME}.new"));
        let mut writer = BufWriter::new(File::create(&new_path)?);
        writeln!(writer, "{{\"version\":{version}}}")?;
        for (collection, object) in objects {
            writer.write_all(&line(collection, &object.key, object.version, Some(object)))?;
        }
        let written = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        written.sync_all()?;
        std::fs::rename(&new_path, &path)?;
        self.file = OpenOptions::new().append(true).open(&path)?;
        self.bytes = self.file.metadata()?.len();
        self.compact_at_bytes = (self.bytes * 2).max(COMPACT_BYTES_MIN);
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_NAME);
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// One record as a line. The object's own bytes are copied in: they are JSON already.
fn line(collection: &str, key: &Key, version: u64, object: Option<&Object>) -> Vec<u8> {
    let head = json!({
        "version": version, "collection": collection, "namespace": key.namespace, "name": key.name,
    });
    let mut line = head.to_string().into_bytes();
    if let Some(object) = object {
        line.pop();
        line.extend_from_slice(b",\"object\":");
        line.extend_from_slice(&object.bytes);
        line.push(b'}');
    }
    line.push(b'\n');
    line
}

/// Reads the records and returns how many bytes of the file are sound.
fn replay(path: &Path, file: &File, restore: &mut impl FnMut(Record)) -> Result<u64, OpenError> {
    let mut reader = BufReader::new(file);
    let (mut sound_bytes, mut line_number, mut line) = (0_u64, 0, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(io_error(path))?;
        if read == 0 || line.last() != Some(&b'\n') {
            // The end, or the line the process died in.
            return Ok(sound_bytes);
        }
        line_number += 1;
        let record = serde_json::from_slice(&line).map_err(|source| OpenError::Corrupt {
            path: path.to_owned(),
            line: line_number,
            source,
        })?;
        restore(record);
        sound_bytes += read as u64;
    }
}
