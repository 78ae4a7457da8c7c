//! Candidates that are children of this process. Signals nobody else.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use futures::future::select_all;
use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};
use tokio::process::{Child, Command};

use super::candidates::Candidates;
use super::narrate;
use crate::cli::{DrillCandidateArgs, DrillMode};

/// Stands in an argument for the candidate's name.
const PLACEHOLDER: &[u8] = b"{identity}";
/// How long a candidate may take to end after SIGTERM: the default grace of a Pod.
const END_LIMIT: Duration = Duration::from_secs(30);
/// How long one may take when the drill is over; then it is killed.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// A candidate that ends this often, each time within [`QUICK_END`] of its start, cannot work.
const QUICK_ENDS_MAX: u32 = 3;
const QUICK_END: Duration = Duration::from_secs(2);
/// How long one that ended by itself stays away.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// What of a candidate's output is shown when it cannot work.
const TAIL_LINES: usize = 8;

/// Becomes the candidate, once it is settled that the candidate ends when the drill does, however that ends.
pub(crate) fn become_candidate(args: &DrillCandidateArgs) -> anyhow::Result<()> {
    // Kept across exec, unless the program has set-uid bits or capabilities of its own.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != i32::try_from(args.parent).ok() {
        bail!("the drill that started this ended");
    }
    let (program, arguments) = args.command.split_first().context("no command was given")?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(anyhow!(error).context(format!("cannot run {}", program.display())))
}

/// What candidates are started with.
pub(super) struct Recipe {
    pub(super) count: u8,
    pub(super) command: Vec<OsString>,
    pub(super) logs: Option<PathBuf>,
    /// For KUBECONFIG, where the drill itself was given one.
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) mode: DrillMode,
}

/// The children.
pub(super) struct Processes {
    recipe: Recipe,
    folder: Folder,
    children: Vec<Candidate>,
    found: Option<usize>,
    was_left: bool,
}

struct Candidate {
    name: String,
    child: Child,
    started: Instant,
    quick_ends: u32,
}

enum Folder {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

impl Processes {
    /// Starts nothing yet.
    pub(super) fn new(mut recipe: Recipe) -> anyhow::Result<Self> {
        let folder = match &recipe.logs {
            Some(path) => {
                std::fs::create_dir_all(path).with_context(|| format!("cannot create --logs {}", path.display()))?;
                Folder::Kept(path.clone())
            }
            None => Folder::Temporary(tempfile::Builder::new().prefix("tenure-drill-").tempdir()?),
        };
        if let Some(path) = &mut recipe.kubeconfig {
            *path = path.canonicalize().with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
        }
        Ok(Self { recipe, folder, children: Vec::new(), found: None, was_left: false })
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// The death signal follows the thread that starts the child: one of the runtime's, which lives as long as the process.
    fn spawn(&self, name: &str) -> anyhow::Result<Child> {
        let path = self.log(name);
        let log = std::fs::File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = Command::new(std::env::current_exe().context("cannot find the program that runs")?);
        command
            .args(["drill-candidate", "--parent"])
            .arg(std::process::id().to_string())
            .arg("--")
            .args(self.recipe.command.iter().map(|argument| substituted(argument, name)))
            .env("POD_NAME", name)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C reaches this process only, and a signal to the candidate its own children too.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(path) = &self.recipe.kubeconfig {
            command.env("KUBECONFIG", path);
        }
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        narrate(format_args!("{name}: started, pid {}", child.id().unwrap_or_default()));
        Ok(child)
    }

    /// Starts one that has ended again.
    fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        let child = self.spawn(&self.children[index].name)?;
        let candidate = &mut self.children[index];
        candidate.child = child;
        candidate.started = Instant::now();
        Ok(())
    }

    fn found(&mut self) -> anyhow::Result<&mut Candidate> {
        self.found.and_then(|index| self.children.get_mut(index)).context("no holder was found to act on")
    }

    /// The last lines that a candidate said.
    fn tail(&self, name: &str) -> String {
        let text = std::fs::read(self.log(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n  ")
    }
}

impl Candidate {
    /// To it and to whatever it started. Only while it was not waited for: its number may be another's after that.
    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} has ended", self.name))?;
        kill_process_group(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    async fn end(&mut self, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
        if let Ok(ended) = tokio::time::timeout(limit, self.child.wait()).await {
            return Ok(Some(ended?));
        }
        // Already gone, or goes now.
        let _ = self.signal(Signal::KILL);
        self.child.wait().await?;
        Ok(None)
    }
}

#[async_trait(?Send)]
impl Candidates for Processes {
    fn action(&self) -> String {
        let count = self.recipe.count;
        match self.recipe.mode {
            DrillMode::Handover => format!("SIGTERM to the holder, one of {count} processes of this machine"),
            DrillMode::Crash => format!("SIGKILL to the holder, one of {count} processes of this machine"),
            DrillMode::Pause => {
                format!(
                    "SIGSTOP to the holder, one of {count} processes of this machine, until its successor has renewed; then SIGCONT"
                )
            }
        }
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        for number in 0..self.recipe.count {
            let name = format!("drill-{number}");
            let child = self.spawn(&name)?;
            self.children.push(Candidate { name, child, started: Instant::now(), quick_ends: 0 });
        }
        Ok(())
    }

    async fn find(&mut self, holder: &str) -> anyhow::Result<()> {
        let is_it = |candidate: &Candidate| is_identity_of(holder, &candidate.name);
        self.found = Some(self.children.iter().position(is_it).with_context(|| {
            format!(
                "the lease is held and renewed by {holder:?}, which is none of this drill's processes: give the drill a lease \
                 that nobody else uses, and the candidates their names by {{identity}} in an argument, or let them take \
                 POD_NAME for it"
            )
        })?);
        Ok(())
    }

    fn plan(&self) -> Option<String> {
        None
    }

    async fn arm(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<Instant> {
        let (signal, said) = match self.recipe.mode {
            DrillMode::Handover => (Signal::TERM, "SIGTERM"),
            DrillMode::Crash => (Signal::KILL, "SIGKILL"),
            DrillMode::Pause => (Signal::STOP, "SIGSTOP"),
        };
        let candidate = self.found()?;
        narrate(format_args!("{said} to {}", candidate.name));
        let at = Instant::now();
        candidate.signal(signal)?;
        Ok(at)
    }

    async fn resume(&mut self) -> anyhow::Result<()> {
        self.found()?.signal(Signal::CONT)
    }

    async fn replace(&mut self, is_last: bool) -> anyhow::Result<Vec<String>> {
        let mut notes = Vec::new();
        let mode = self.recipe.mode;
        let Some(index) = self.found.take() else { return Ok(notes) };
        let candidate = &mut self.children[index];
        let has_ended = match mode {
            DrillMode::Handover | DrillMode::Crash => {
                if candidate.end(END_LIMIT).await?.is_none() {
                    let limit_s = END_LIMIT.as_secs();
                    notes.push(format!("{} did not end within {limit_s} s and was killed", candidate.name));
                }
                true
            }
            DrillMode::Pause => match candidate.child.try_wait()? {
                Some(status) => {
                    notes.push(format!("{} ended after it was resumed ({status})", candidate.name));
                    true
                }
                None => false,
            },
        };
        if has_ended && !is_last {
            self.restart(index)?;
        }
        Ok(notes)
    }

    async fn mind(&mut self) -> anyhow::Result<String> {
        let (ended, index) = {
            let ends = self.children.iter_mut().map(|candidate| Box::pin(candidate.child.wait()));
            let ends: Vec<_> = ends.collect();
            if ends.is_empty() {
                return std::future::pending().await;
            }
            let (ended, index, _) = select_all(ends).await;
            (ended?, index)
        };
        tokio::time::sleep(RESTART_DELAY).await;
        let candidate = &mut self.children[index];
        let was_quick = candidate.started.elapsed() < QUICK_END;
        candidate.quick_ends = if was_quick { candidate.quick_ends + 1 } else { 0 };
        let (name, quick_ends) = (candidate.name.clone(), candidate.quick_ends);
        if quick_ends == QUICK_ENDS_MAX {
            bail!(
                "{name} ended {quick_ends} times right after its start ({ended}); it said last:\n  {}",
                self.tail(&name)
            );
        }
        self.restart(index)?;
        Ok(format!("{name} ended by itself ({ended}) and was started again"))
    }

    fn hint(&self) -> String {
        let said: Vec<String> =
            self.children.iter().map(|it| format!("{}:\n  {}", it.name, self.tail(&it.name))).collect();
        format!("do the candidates campaign for another one? What they said last:\n{}", said.join("\n"))
    }

    async fn leave(&mut self) {
        let is_second_time = std::mem::replace(&mut self.was_left, true);
        for candidate in &self.children {
            // Each may have ended by itself.
            let _ = candidate.signal(Signal::CONT);
            let _ = candidate.signal(if is_second_time { Signal::KILL } else { Signal::TERM });
        }
        let ends = self.children.iter_mut().map(|candidate| candidate.end(LEAVE_LIMIT));
        futures::future::join_all(ends).await;
    }
}

/// Whether a candidate of this name campaigns as `holder`: by the name itself, or with something of its own behind `_`.
fn is_identity_of(holder: &str, name: &str) -> bool {
    holder.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn substituted(argument: &OsStr, name: &str) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = argument.as_bytes();
    while let Some(at) = rest.windows(PLACEHOLDER.len()).position(|window| window == PLACEHOLDER) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(name.as_bytes());
        rest = &rest[at + PLACEHOLDER.len()..];
    }
    bytes.extend_from_slice(rest);
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_known_by_its_name_with_or_without_more_behind_it() {
        for holder in ["drill-1", "drill-1_8d5ad537", "drill-1_8d5ad537_0011"] {
            assert!(is_identity_of(holder, "drill-1"), "{holder}");
        }
        for holder in ["drill-10", "drill-10_x", "drill", "", "x_drill-1"] {
            assert!(!is_identity_of(holder, "drill-1"), "{holder}");
        }
    }

    #[test]
    fn the_placeholder_is_replaced_wherever_it_stands() {
        for (given, wanted) in [
            ("--identity={identity}", "--identity=drill-2"),
            ("{identity}{identity}", "drill-2drill-2"),
            ("{identity", "{identity"),
            ("plain", "plain"),
        ] {
            assert_eq!(substituted(OsStr::new(given), "drill-2"), OsStr::new(wanted));
        }
    }
}
