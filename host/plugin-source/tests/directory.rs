//! A directory as a source: real files, real signs from the system.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use tenure_plugin_source::{SourceEvent, SourceLimits, directory};

const MANIFEST: &str = "name = \"greeter\"\n\n[[watch]]\napi-version = \"v1\"\nkind = \"ConfigMap\"\n";
const LIMITS: SourceLimits = SourceLimits { artifact_bytes_max: 1024 * 1024 };
/// Only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

struct Source(BoxStream<'static, SourceEvent>);

impl Source {
    fn open(path: &Path) -> Self {
        Self(directory(path.to_owned(), LIMITS).boxed())
    }

    async fn next(&mut self) -> SourceEvent {
        tokio::time::timeout(PATIENCE, self.0.next()).await.expect("an event in time").expect("the stream goes on")
    }

    async fn told(&mut self) -> String {
        match self.next().await {
            SourceEvent::Present(artifact) => {
                format!("present {} {:?}", artifact.identity, String::from_utf8_lossy(&artifact.wasm))
            }
            SourceEvent::Refused { identity, error, .. } => format!("refused {identity}: {}", error.full()),
            SourceEvent::Gone(identity) => format!("gone {identity}"),
            SourceEvent::Synced => "synced".to_owned(),
            SourceEvent::Failing(message) => format!("failing: {message}"),
        }
    }
}

fn put(directory: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(directory.join(name), bytes).expect("a file");
}

#[tokio::test]
async fn pairs_and_folders_are_found_changed_and_taken_away_without_a_restart() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path();
    put(path, "flat.toml", MANIFEST);
    put(path, "flat.wasm.zst", zstd::encode_all(&b"\0asm1"[..], 3).expect("zstd"));
    fs::create_dir(path.join("folder")).expect("a folder");
    put(path, "folder/plugin.toml", MANIFEST);
    put(path, "folder/plugin.wasm", b"\0asm2");
    put(path, "README.md", "not a plugin");
    put(path, ".hidden.wasm", b"\0asm");

    let mut source = Source::open(path);
    assert_eq!(source.told().await, r#"present directory/flat "\0asm1""#);
    assert_eq!(source.told().await, r#"present directory/folder "\0asm2""#);
    assert_eq!(source.told().await, "synced");

    put(path, "folder/plugin.wasm", b"\0asm3 and longer");
    assert_eq!(source.told().await, r#"present directory/folder "\0asm3 and longer""#);
    fs::remove_file(path.join("flat.toml")).expect("removed");
    fs::remove_file(path.join("flat.wasm.zst")).expect("removed");
    assert_eq!(source.told().await, "gone directory/flat");
    put(path, "late.toml", MANIFEST);
    put(path, "late.wasm", b"\0asm4");
    assert_eq!(source.told().await, r#"present directory/late "\0asm4""#);
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_taken_when_it_is_whole() {
    let place = tempfile::tempdir().expect("a directory");
    let mut source = Source::open(place.path());
    assert_eq!(source.told().await, "synced");
    put(place.path(), "slow.toml", MANIFEST);
    let mut file = OpenOptions::new().create(true).append(true).open(place.path().join("slow.wasm")).expect("a file");
    file.write_all(b"\0asm").expect("half");
    let writing = tokio::spawn(async move {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            file.write_all(b"+").expect("more");
        }
    });
    let mut told = source.told().await;
    writing.await.expect("written");
    // On a machine so busy that the writer pauses for longer than files take to settle, the halves are told as well.
    while !told.ends_with("++++++++++\"") {
        assert!(told.starts_with("present directory/slow"), "{told}");
        told = source.told().await;
    }
}

#[tokio::test]
async fn half_a_plugin_and_an_oversized_one_are_refused_with_what_to_do() {
    let place = tempfile::tempdir().expect("a directory");
    put(place.path(), "a.wasm", b"\0asm");
    put(place.path(), "b.toml", MANIFEST);
    put(place.path(), "c.toml", MANIFEST);
    put(place.path(), "c.wasm", vec![0; 1024 * 1024 + 1]);
    put(place.path(), "d.toml", MANIFEST);
    put(place.path(), "d.wasm", b"\0asm");
    put(place.path(), "d.wasm.gz", b"\0asm");
    let mut source = Source::open(place.path());
    let mut told = Vec::new();
    while told.last().is_none_or(|line| line != "synced") {
        told.push(source.told().await.replace(&format!("{}/", place.path().display()), ""));
    }
    assert_eq!(
        told,
        [
            "refused directory/a: a.wasm is there, but not a.toml",
            "refused directory/b: b.toml is there, but not b.wasm, .wasm.gz or .wasm.zst",
            "refused directory/c: the Wasm is larger than 1048576 bytes; make it smaller or raise limits.artifact-bytes",
            "refused directory/d: there is more than one Wasm: d.wasm, d.wasm.gz; keep one",
            "synced",
        ]
    );
    put(place.path(), "a.toml", MANIFEST);
    assert_eq!(source.told().await, r#"present directory/a "\0asm""#);
}

#[tokio::test]
async fn a_manifest_of_ten_megabytes_is_refused_as_one() {
    let place = tempfile::tempdir().expect("a directory");
    put(place.path(), "a.toml", format!("{MANIFEST}# {}", "x".repeat(10 << 20)));
    put(place.path(), "a.wasm", b"\0asm");
    let mut source = Source::open(place.path());
    let told = source.told().await;
    assert!(told.starts_with("refused directory/a: plugin.toml is refused: "), "{told}");
    assert!(told.contains("the manifest has 10485"), "{told}");
}

/// None of these can be a plugin, and each would be somebody else's path, line or finalizer.
#[tokio::test]
async fn files_whose_names_could_be_paths_or_commands_are_passed_over() {
    let place = tempfile::tempdir().expect("a directory");
    for name in ["..a", "a\n", "\u{1b}[2J", "a%2fb", "A b"] {
        put(place.path(), &format!("{name}.toml"), MANIFEST);
        put(place.path(), &format!("{name}.wasm"), b"\0asm");
    }
    put(place.path(), "good.toml", MANIFEST);
    put(place.path(), "good.wasm", b"\0asm");
    let mut source = Source::open(place.path());
    assert_eq!(source.told().await, r#"present directory/good "\0asm""#);
    assert_eq!(source.told().await, "synced");
}

#[tokio::test]
async fn touching_a_file_is_no_event() {
    let place = tempfile::tempdir().expect("a directory");
    put(place.path(), "a.toml", MANIFEST);
    put(place.path(), "a.wasm", b"\0asm");
    let mut source = Source::open(place.path());
    assert_eq!(source.told().await, r#"present directory/a "\0asm""#);
    assert_eq!(source.told().await, "synced");
    put(place.path(), "a.wasm", b"\0asm");
    put(place.path(), "b.toml", MANIFEST);
    put(place.path(), "b.wasm", b"\0asm");
    assert_eq!(source.told().await, r#"present directory/b "\0asm""#);
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_not_there_yet_is_told_once_and_taken_when_it_comes() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("plugins");
    let mut source = Source::open(&path);
    assert!(source.told().await.starts_with("failing: the plugin directory"));
    fs::create_dir(&path).expect("a directory");
    assert_eq!(source.told().await, "synced");
}

#[cfg(unix)]
#[tokio::test]
async fn a_mounted_volume_that_swaps_its_links_is_followed() {
    use std::os::unix::fs::symlink;
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path();
    for (version, wasm) in [("..1", b"\0asm1"), ("..2", b"\0asm2")] {
        fs::create_dir(path.join(version)).expect("a version");
        put(path, &format!("{version}/a.toml"), MANIFEST);
        put(path, &format!("{version}/a.wasm"), wasm);
    }
    symlink("..1", path.join("..data")).expect("a link");
    symlink("..data/a.toml", path.join("a.toml")).expect("a link");
    symlink("..data/a.wasm", path.join("a.wasm")).expect("a link");
    let mut source = Source::open(path);
    assert_eq!(source.told().await, r#"present directory/a "\0asm1""#);
    assert_eq!(source.told().await, "synced");
    symlink("..2", path.join("..data_tmp")).expect("a link");
    fs::rename(path.join("..data_tmp"), path.join("..data")).expect("swapped");
    assert_eq!(source.told().await, r#"present directory/a "\0asm2""#);
}
