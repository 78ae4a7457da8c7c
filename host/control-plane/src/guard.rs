//! One program, and the shell that stands guard over it: when this process ends, however it ends, so does the program.
//!
//! Owns processes. Knows no flag of any program.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// `$1` is a folder to remove after an orphan's end, or empty; the rest is the command. The pipe on standard input is held by
/// our parent and never written to: its end is our parent's end. `read` is the shell's own, so nothing stays
/// behind. The watch is told to go when the program has ended, and does not listen once it is the one who ended it.
const GUARD: &str = r#"
folder=$1
shift
exec 3<&0
"$@" 3<&- </dev/null >&2 &
program=$!
(
    read -r _ <&3
    trap '' TERM
    kill -KILL "$program"
    [ -n "$folder" ] || exit
    # Other programs on their way out may still write there.
    for _ in 1 2 3 4 5; do
        rm -rf "$folder" && break
        sleep 1
    done
) 2>/dev/null &
watch=$!
echo "$program"
exec >&-
wait "$program"
status=$?
kill -TERM "$watch" 2>/dev/null
exit "$status"
"#;

/// A program under guard. Dropped: killed.
#[derive(Debug)]
pub(crate) struct Guarded {
    guard: Child,
    program: Pid,
    /// What its end of the pipe stands for is this process.
    _lifeline: std::process::ChildStdin,
    log: PathBuf,
}

impl Guarded {
    /// Starts a program whose output is appended to `log`. `orphan_folder` is removed when this process ends before it.
    pub(crate) fn start(
        program: &Path,
        arguments: &[OsString],
        log: &Path,
        orphan_folder: Option<&Path>,
    ) -> io::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(orphan_folder.unwrap_or(Path::new("")))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            // A group of its own: Ctrl-C reaches this process, which then stops the programs in order.
            .process_group(0)
            .spawn()?;
        let missing = || io::Error::other("the guard has no pipes");
        let lifeline = guard.stdin.take().ok_or_else(missing)?;
        let mut line = String::new();
        BufReader::new(guard.stdout.take().ok_or_else(missing)?).read_line(&mut line)?;
        let program = line.trim().parse().ok().and_then(Pid::from_raw);
        let program = program.ok_or_else(|| io::Error::other(format!("the guard printed {line:?} for a pid")))?;
        Ok(Self { guard, program, _lifeline: lifeline, log: log.to_owned() })
    }

    /// Sends a signal to the program. One that has ended gets none.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // Until the guard has ended the program is at most a zombie, so the pid is still its own.
        if self.ended().ok().flatten().is_none() {
            let _ = kill_process(self.program, signal);
        }
    }

    /// Whether and how the program has ended.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.guard.try_wait()
    }

    /// The program's pid.
    pub(crate) fn pid(&self) -> Pid {
        self.program
    }

    /// The last lines it said, for an error.
    pub(crate) fn last_words(&self) -> String {
        const LINES_MAX: usize = 12; // enough for a stack of causes, short enough to read
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // Ends at once: its program is gone.
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn start(script: &str, folder: &Path) -> Guarded {
        let arguments = ["-c".into(), script.into()];
        Guarded::start(Path::new("sh"), &arguments, &folder.join("log"), None).unwrap()
    }

    fn until(what: &str, mut condition: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn the_end_and_the_words_of_a_program_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let mut program = start("echo broken >&2; exit 3", folder.path());
        until("its end", || program.ended().unwrap().is_some());
        assert_eq!(program.ended().unwrap().unwrap().code(), Some(3));
        assert_eq!(program.last_words(), "broken");
    }

    #[test]
    fn a_dropped_program_is_gone_even_when_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let mut program = start("exec sleep 3600", folder.path());
        let pid = program.pid();
        program.signal(Signal::STOP);
        drop(program);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }

    /// The lifeline closes as it would when this process were killed: the guard cannot tell the two apart.
    #[test]
    fn an_orphan_is_killed_and_its_folder_removed() {
        let folder = tempfile::tempdir().unwrap();
        let orphaned = folder.path().join("orphaned");
        std::fs::create_dir(&orphaned).unwrap();
        let arguments = ["-c".into(), "trap '' TERM INT HUP; while :; do sleep 3600 & wait; done".into()];
        let log = folder.path().join("log");
        let mut program = Guarded::start(Path::new("sh"), &arguments, &log, Some(&orphaned)).unwrap();
        // In place of the true lifeline, which closes with this.
        let idle = Command::new("true").stdin(Stdio::piped()).spawn().unwrap().stdin.take().unwrap();
        drop(std::mem::replace(&mut program._lifeline, idle));
        until("the orphan's end", || program.ended().unwrap().is_some());
        until("its folder's end", || !orphaned.exists());
    }
}
