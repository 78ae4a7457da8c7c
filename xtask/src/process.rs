//! Running other programs, each with a limit. What is still running at its limit, or when this command is interrupted, is
//! ended with everything it started.

use std::ffi::OsStr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

/// Where this program is, as it was when it started: a build that it runs may put another file there, which is the same program.
pub(crate) static OWN_PROGRAM: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::current_exe().unwrap_or_else(|_| "xtask".into()));

/// How often a running program is looked at: what this command adds to the time of a step.
const LOOK: Duration = Duration::from_millis(20);

/// How long a program asked to end may take before it is killed.
const END_LIMIT: Duration = Duration::from_secs(5);

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on Ctrl-C and SIGTERM end what runs in order, instead of leaving it behind.
pub(crate) fn notice_signals() -> anyhow::Result<()> {
    let interrupted = Arc::clone(INTERRUPTED.get_or_init(Arc::default));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot watch for signals")?;
    }
    Ok(())
}

/// Whether Ctrl-C or SIGTERM came.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// A program in a process group of its own, so that all it starts can be ended with it. Dropped: killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    ended: bool,
}

impl Running {
    /// Starts it, without an input.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", shown(command)))?;
        Ok(Self { child, ended: false })
    }

    /// The process, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether and how it has ended.
    pub(crate) fn try_wait(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.child.try_wait().context("cannot learn whether a child has ended")?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Waits for its end, at most so long.
    pub(crate) fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            if interrupted() {
                bail!("interrupted");
            }
            if begun.elapsed() > limit {
                bail!("still running after {}: ended", seconds(limit));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Asks it to end (SIGINT, as Ctrl-C would) and waits at most so long. Afterwards its whole group is gone either way.
    pub(crate) fn interrupt(mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let _ = kill_process(self.pid(), Signal::INT);
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
        bail!("did not end within {} of being asked to: killed", seconds(limit))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = self.pid();
        if !self.ended {
            let _ = kill_process_group(group, Signal::TERM);
            let begun = Instant::now();
            while begun.elapsed() < END_LIMIT && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(LOOK);
            }
        }
        // Also when it ended by itself: what it started and left behind.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, its output going where ours goes.
pub(crate) fn run(command: &mut Command, limit: Duration) -> anyhow::Result<()> {
    let status = Running::start(command)?.wait(limit).with_context(|| shown(command))?;
    if !status.success() {
        bail!("{} {}", shown(command), how(status));
    }
    Ok(())
}

/// Runs a program to its end and returns what it printed on stdout. For short outputs.
pub(crate) fn output(command: &mut Command, limit: Duration) -> anyhow::Result<String> {
    let output = outcome(command, limit)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} {}: {}", shown(command), how(output.status), said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} did not print text", shown(command)))
}

/// Runs a program to its end, which may be a failure, and returns all it printed.
pub(crate) fn outcome(command: &mut Command, limit: Duration) -> anyhow::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(command)?;
    let stdout = drained(running.child().stdout.take());
    let stderr = drained(running.child().stderr.take());
    let status = running.wait(limit).with_context(|| shown(command))?;
    // Ends its group first: something it left behind could hold the pipes open.
    drop(running);
    Ok(Output { status, stdout: joined(stdout), stderr: joined(stderr) })
}

type Drained = std::thread::JoinHandle<Vec<u8>>;

fn drained(pipe: Option<impl std::io::Read + Send + 'static>) -> Drained {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A broken pipe ends the output; the exit status tells the rest.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn joined(drained: Drained) -> Vec<u8> {
    drained.join().unwrap_or_default()
}

/// The first program of this name on PATH.
pub(crate) fn on_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether a process of this id exists.
pub(crate) fn exists(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended strangely".into(),
    }
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or_else(|| command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .map(|word| if word.contains(' ') { format!("'{word}'") } else { word.into_owned() })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A duration for people.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_is_what_the_program_printed() {
        assert_eq!(output(Command::new("sh").args(["-c", "echo one; echo two >&2"]), LONG).unwrap(), "one\n");
    }

    #[test]
    fn a_failure_says_what_ran_and_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"]), LONG).unwrap_err();
        assert_eq!(error.to_string(), "sh -c 'echo broken >&2; exit 3' ended with 3: broken");
    }

    #[test]
    fn a_program_at_its_limit_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let noted = folder.path().join("pid");
        // Its child would live for an hour and holds none of our pipes.
        let script = format!("sleep 3600 & echo $! > '{}'; wait", noted.display());
        let error = run(Command::new("sh").args(["-c", &script]), Duration::from_secs(1)).unwrap_err();
        assert!(format!("{error:#}").contains("still running after 1.0 s"), "{error:#}");
        let pid: i32 = std::fs::read_to_string(&noted).unwrap().trim().parse().unwrap();
        let begun = Instant::now();
        // Killed, and reaped by whoever inherited it: a zombie has no command line.
        let gone = || std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty());
        while !gone() {
            assert!(begun.elapsed() < LONG, "process {pid} lives on");
            std::thread::sleep(LOOK);
        }
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(1540)), "1.5 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 05 s");
    }
}
