//! Compiled code on disk, by the digest of the plugin and the fingerprint of the engine. Machine code is only loaded if it
//! lies in a directory and a file that are ours alone, and if every byte of it is sealed; anything else is as good as absent
//! and is compiled anew. Knows files, not Wasm.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, mkdir, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// The directory made inside the one that was given: a mounted volume often belongs to somebody else.
const DIRECTORY: &str = "tenure-code";
/// First bytes of each file; the number changes with the layout.
const MAGIC: &[u8; 16] = b"tenure code 1\n\n\n";
const SEAL_BYTES: usize = 32;
/// Files kept; the oldest go first. A cluster runs a few dozen plugins, in a few versions.
const FILES_MAX: usize = 256;
/// Code read back at most; larger is compiled each time.
const CODE_BYTES_MAX: u64 = 512 << 20;

/// Why compiled code is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodeCacheError {
    /// The directory or a file in it could not be used.
    #[error("cannot {doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Somebody else could have put code there.
    #[error(
        "{path} is not ours alone (owner {owner}, mode {mode:03o}; it must be owned by {expected_owner} with mode 700): remove it"
    )]
    NotOurs { path: PathBuf, owner: u32, mode: u32, expected_owner: u32 },
}

/// An open cache. All access goes through the directory that was checked when it was opened.
#[derive(Debug)]
pub(crate) struct CodeCache {
    path: PathBuf,
    directory: OwnedFd,
    engine: EngineFingerprint,
}

/// Which engine, with which settings, on which kind of processor made the code.
#[derive(Debug, Clone)]
pub(crate) struct EngineFingerprint([u8; 32]);

impl EngineFingerprint {
    /// Of anything that hashes, for us wasmtime's compatibility hash.
    pub(crate) fn of(engine: &impl Hash) -> Self {
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.hash(&mut hasher);
        Self(hasher.0.finalize().into())
    }
}

/// Unlike the standard library's, its result is the same in the next release.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        digest[..8].iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }
}

impl CodeCache {
    /// Opens, and makes if need be, the cache inside `parent`.
    pub(crate) fn open(parent: &Path, engine: EngineFingerprint) -> Result<Self, CodeCacheError> {
        let path = parent.join(DIRECTORY);
        let failed = |doing| {
            let path = path.clone();
            move |source: std::io::Error| CodeCacheError::Io { doing, path, source }
        };
        std::fs::create_dir_all(parent).map_err(failed("make the directory above"))?;
        match mkdir(&path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("make the directory")(error.into())),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = open(&path, flags, Mode::empty()).map_err(|error| failed("open")(error.into()))?;
        let stat = fstat(&directory).map_err(|error| failed("look at")(error.into()))?;
        let expected_owner = rustix::process::geteuid().as_raw();
        if stat.st_uid != expected_owner || stat.st_mode & 0o077 != 0 {
            return Err(CodeCacheError::NotOurs {
                path,
                owner: stat.st_uid,
                mode: stat.st_mode & 0o777,
                expected_owner,
            });
        }
        Ok(Self { path, directory, engine })
    }

    /// The code kept for a plugin, exactly as it was put there; `None` if there is none that can be trusted.
    pub(crate) fn get(&self, digest: &str) -> Option<Vec<u8>> {
        let name = self.name(digest);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.directory, &name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %name, %error, "cannot open compiled code: compiling anew");
                return None;
            }
        };
        match self.read(digest, file) {
            Ok(code) => Some(code),
            Err(reason) => {
                tracing::warn!(path = %self.path.display(), %name, reason, "compiled code is not trusted: compiling anew");
                None
            }
        }
    }

    /// Keeps code. Readers see the whole file or none.
    pub(crate) fn put(&self, digest: &str, code: &[u8]) -> Result<(), CodeCacheError> {
        static PARTIAL: AtomicU64 = AtomicU64::new(0);
        let name = self.name(digest);
        let partial = format!("{name}.{}.{}", std::process::id(), PARTIAL.fetch_add(1, Ordering::Relaxed));
        let failed = |doing| {
            let path = self.path.join(&name);
            move |source: std::io::Error| CodeCacheError::Io { doing, path, source }
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, &partial, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed("make")(error.into()))?;
        let written = self.write(digest, code, file).and_then(|()| {
            renameat(&self.directory, &partial, &self.directory, &name)?;
            Ok(())
        });
        if let Err(error) = written {
            if let Err(error) = unlinkat(&self.directory, &partial, AtFlags::empty()) {
                tracing::debug!(partial, %error, "half a file stays; pruning takes it later");
            }
            return Err(failed("write")(error));
        }
        self.prune().map_err(failed("remove the oldest files beside"))
    }

    fn name(&self, digest: &str) -> String {
        let engine: String = self.engine.0[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{digest}.{engine}")
    }

    fn read(&self, digest: &str, file: OwnedFd) -> Result<Vec<u8>, &'static str> {
        let stat = fstat(&file).map_err(|_| "cannot look at it")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err("not a regular file");
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            return Err("not ours alone: it must be owned by this user with mode 600");
        }
        let mut file = File::from(file).take(CODE_BYTES_MAX);
        let mut head = [0; MAGIC.len() + SEAL_BYTES];
        file.read_exact(&mut head).map_err(|_| "too short")?;
        let (magic, seal) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err("of another layout");
        }
        let mut code = Vec::new();
        file.read_to_end(&mut code).map_err(|_| "cannot read it")?;
        // Exactly the bytes that were checked are loaded: they are in our memory, nobody swaps them in between.
        if seal != self.seal(digest, &code) { Err("damaged, or made for another plugin or engine") } else { Ok(code) }
    }

    fn write(&self, digest: &str, code: &[u8], file: OwnedFd) -> std::io::Result<()> {
        let mut file = File::from(file);
        file.write_all(MAGIC)?;
        file.write_all(&self.seal(digest, code))?;
        file.write_all(code)
    }

    /// Binds the code to what it was made from and what made it. It finds damage and mix-ups; against people stand the owner
    /// and the mode, since whoever passes those can also replace the program.
    fn seal(&self, digest: &str, code: &[u8]) -> [u8; SEAL_BYTES] {
        let seal =
            Sha256::new().chain_update(MAGIC).chain_update(self.engine.0).chain_update(digest).chain_update(code);
        seal.finalize().into()
    }

    fn prune(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in Dir::read_from(self.directory.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_owned();
            match statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                    files.push(((stat.st_mtime, stat.st_mtime_nsec), name));
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(FILES_MAX);
        for (_, name) in &files[..surplus] {
            match unlinkat(&self.directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {} // another replica with the same directory was faster
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn cache(parent: &Path) -> CodeCache {
        CodeCache::open(parent, EngineFingerprint::of(&"engine")).expect("a cache")
    }

    fn only_file(parent: &Path) -> PathBuf {
        let mut files = std::fs::read_dir(parent.join(DIRECTORY)).expect("a directory");
        files.next().expect("one file").expect("readable").path()
    }

    #[test]
    fn what_was_put_comes_back() {
        let parent = tempfile::tempdir().expect("a directory");
        let cache = cache(parent.path());
        assert_eq!(cache.get("d1"), None);
        cache.put("d1", b"code").expect("put");
        assert_eq!(cache.get("d1").as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.get("d2"), None);
    }

    #[test]
    fn another_engine_does_not_see_it() {
        let parent = tempfile::tempdir().expect("a directory");
        cache(parent.path()).put("d1", b"code").expect("put");
        let other = CodeCache::open(parent.path(), EngineFingerprint::of(&"newer engine")).expect("a cache");
        assert_eq!(other.get("d1"), None);
    }

    #[test]
    fn a_single_changed_byte_anywhere_is_found() {
        let parent = tempfile::tempdir().expect("a directory");
        let cache = cache(parent.path());
        cache.put("d1", b"code").expect("put");
        let file = only_file(parent.path());
        let good = std::fs::read(&file).expect("readable");
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(&file, &bad).expect("writable");
            assert_eq!(cache.get("d1"), None, "byte {place}");
        }
        std::fs::write(&file, &good[..good.len() - 1]).expect("writable");
        assert_eq!(cache.get("d1"), None, "shortened");
        std::fs::write(&file, &good).expect("writable");
        assert!(cache.get("d1").is_some());
    }

    #[test]
    fn code_renamed_to_another_plugin_is_not_taken() {
        let parent = tempfile::tempdir().expect("a directory");
        let cache = cache(parent.path());
        cache.put("d1", b"code").expect("put");
        std::fs::rename(only_file(parent.path()), parent.path().join(DIRECTORY).join(cache.name("d2")))
            .expect("renamed");
        assert_eq!(cache.get("d2"), None);
    }

    #[test]
    fn a_file_others_could_have_written_is_not_taken() {
        let parent = tempfile::tempdir().expect("a directory");
        let cache = cache(parent.path());
        cache.put("d1", b"code").expect("put");
        let file = only_file(parent.path());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o620)).expect("chmod");
        assert_eq!(cache.get("d1"), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        assert!(cache.get("d1").is_some());
        let elsewhere = parent.path().join("elsewhere");
        std::fs::rename(&file, &elsewhere).expect("renamed");
        std::os::unix::fs::symlink(&elsewhere, &file).expect("linked");
        assert_eq!(cache.get("d1"), None, "a link could lead to a place that is not ours");
    }

    #[test]
    fn a_directory_others_could_have_written_is_refused_with_what_to_do() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join(DIRECTORY);
        std::fs::create_dir(&path).expect("made");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o770)).expect("chmod");
        let refusal =
            CodeCache::open(parent.path(), EngineFingerprint::of(&"engine")).expect_err("refused").to_string();
        assert!(refusal.contains("is not ours alone") && refusal.contains("mode 770"), "{refusal}");
    }

    #[test]
    fn the_oldest_files_go_when_there_are_too_many() {
        let parent = tempfile::tempdir().expect("a directory");
        let cache = cache(parent.path());
        for number in 0..FILES_MAX {
            cache.put(&format!("d{number}"), b"code").expect("put");
            let file = File::open(parent.path().join(DIRECTORY).join(cache.name(&format!("d{number}")))).expect("open");
            let age = std::time::Duration::from_secs((FILES_MAX - number) as u64);
            file.set_modified(std::time::SystemTime::now() - age).expect("aged");
        }
        cache.put("newest", b"code").expect("put");
        assert!(cache.get("newest").is_some());
        assert_eq!(cache.get("d0"), None);
        assert!(cache.get("d1").is_some());
    }
}
