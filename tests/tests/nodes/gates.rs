//! What the gates of all replicas have let through, from the logs of their containers: read as they grow, because a log goes with
//! its Pod.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use tenure_tests::GateWrite;

use super::cluster::{NODES, machine};

const LOOK: Duration = Duration::from_millis(100);

static SEEN: Mutex<Seen> = Mutex::new(Seen { passes: 0, writes: Vec::new() });

#[derive(Debug)]
struct Seen {
    /// How often all logs were read to their ends.
    passes: u64,
    writes: Vec<GateWrite>,
}

fn seen() -> MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to read, and goes on as long as this process lives.
pub(crate) fn follow() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        std::thread::spawn(|| {
            // By inode: a log that is rotated away is read to its end, under whatever name.
            let mut logs: BTreeMap<u64, Log> = BTreeMap::new();
            loop {
                for path in NODES.into_iter().flat_map(container_logs) {
                    if let Ok(file) = File::open(&path)
                        && let Ok(of_file) = file.metadata()
                    {
                        logs.entry(of_file.ino()).or_insert_with(|| Log { file, rest: Vec::new() });
                    }
                }
                let writes: Vec<GateWrite> = logs.values_mut().flat_map(Log::read).collect();
                let mut seen = seen();
                seen.writes.extend(writes);
                seen.passes += 1;
                drop(seen);
                std::thread::sleep(LOOK);
            }
        });
    });
}

/// All of them, once everything logged before this call is read.
pub(crate) async fn writes() -> Vec<GateWrite> {
    follow();
    // One pass may be under way.
    let enough = seen().passes + 2;
    tenure_tests::until("the containers' logs to be read", || async { seen().passes >= enough }).await;
    seen().writes.clone()
}

struct Log {
    file: File,
    /// The beginning of a line that is still being written.
    rest: Vec<u8>,
}

impl Log {
    fn read(&mut self) -> Vec<GateWrite> {
        // What cannot be read now is read at the next pass.
        drop(self.file.read_to_end(&mut self.rest));
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        String::from_utf8_lossy(&lines).lines().filter_map(in_line).collect()
    }
}

/// A line as kubelet's runtime writes it: time, stream, a letter, and what the program said.
fn in_line(line: &str) -> Option<GateWrite> {
    let said = line.splitn(4, ' ').nth(3).filter(|said| said.contains("tenure::gate"))?;
    GateWrite::in_line(&serde_json::from_str(said).ok()?)
}

/// `/var/log/pods/<namespace>_<pod>_<uid>/<container>/<n>.log` of a node.
fn container_logs(node: &str) -> Vec<PathBuf> {
    let mut found = vec![machine(node).join("var/log/pods")];
    for _ in 0..3 {
        found = found.iter().flat_map(|folder| entries(folder)).collect();
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    // A Pod may go while it is looked at.
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
