//! A machine of a cluster: a process of ours with a network, mounts and process numbers of its own. When it is killed the kernel
//! ends everything on the machine with it, and nothing of its mounts and links stays. It is found again by the file it runs,
//! which lies in the cluster's folder: no number is written down that could be another's later.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::processes::{self, Process};
use crate::process::{self, seconds};

/// One short command on a machine.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The start of a process.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The end of everything on a machine, killed by the kernel.
const END_LIMIT: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(10);

/// The file that a machine's first process runs.
const FIRST: &str = "first-process";

/// What makes the namespaces and waits for the first process.
const UNSHARE: &str = "unshare";

/// How many lines of a log an error shows.
const WORDS_MAX: usize = 12;

/// What a machine is called and where its files are, whether it runs or not.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `control-plane`, `node-1`.
    pub(crate) name: String,
    /// Its files.
    pub(crate) folder: PathBuf,
}

/// A running machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    place: Place,
    first: Process,
}

impl Place {
    /// A file of the machine.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a program on it says.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.folder.join("log").join(format!("{program}.log"))
    }

    /// The last lines that a program said.
    pub(crate) fn last_words(&self, program: &str) -> String {
        let text = std::fs::read(self.log(program)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(WORDS_MAX)..].join("\n")
    }

    /// The machine, if it runs.
    pub(crate) fn machine(&self) -> anyhow::Result<Option<Machine>> {
        let program = self.file(FIRST);
        let first = processes::all()?.into_iter().find(|it| it.executable == program && it.is_first());
        Ok(first.map(|first| Machine { place: self.clone(), first }))
    }

    /// Starts it, with nothing on it but its first process, which `pause` is copied for.
    pub(crate) fn start(&self, pause: &Path) -> anyhow::Result<Machine> {
        let program = self.file(FIRST);
        std::fs::create_dir_all(self.file("log")).with_context(|| format!("cannot make {}", self.folder.display()))?;
        std::fs::copy(pause, &program).with_context(|| format!("cannot write {}", program.display()))?;
        let mut command = Command::new("setsid");
        command.args(["--fork", UNSHARE, "--net", "--mount", "--propagation", "private"]);
        command.args(["--pid", "--fork", "--mount-proc", "--"]).arg(&program);
        launch(&mut command, &self.log("first-process"))?;
        let begun = Instant::now();
        loop {
            if let Some(machine) = self.machine()? {
                // What is mounted on it is seen in its Pods, and not here: the mounts became private before.
                machine.run("mount", ["--make-rshared", "/"])?;
                return Ok(machine);
            }
            if begun.elapsed() > START_LIMIT {
                let words = self.last_words("first-process");
                bail!("{} did not start within {}; it said: {words}", self.name, seconds(START_LIMIT));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Kills what is there of it, also a half of it, and waits until that is gone. Answers how many processes there were.
    pub(crate) fn end(&self) -> anyhow::Result<usize> {
        let begun = Instant::now();
        let mut most = 0;
        loop {
            let all = processes::all()?;
            let roots: Vec<&Process> = all.iter().filter(|it| self.is_root(it)).collect();
            if roots.is_empty() {
                return Ok(most);
            }
            most = most.max(processes::families(&roots, &all).len());
            if begun.elapsed() > END_LIMIT {
                bail!("{} still runs {} after it was killed", self.name, seconds(END_LIMIT));
            }
            roots.iter().for_each(|root| root.kill());
            std::thread::sleep(LOOK);
        }
    }

    fn is_root(&self, process: &Process) -> bool {
        let program = self.file(FIRST);
        let makes = process.name() == UNSHARE && process.arguments.iter().any(|it| Path::new(it) == program);
        makes || process.executable == program
    }
}

impl Machine {
    /// Where its files are.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The number of its first process here, as `nsenter --target` takes it.
    pub(crate) fn target(&self) -> String {
        self.first.pid.as_raw_nonzero().to_string()
    }

    /// A command on the machine.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.nsenter();
        command.args(["--mount", "--pid", "--net", "--"]).arg(program.as_ref());
        command
    }

    /// A command in the machine's network that sees the host's files and process numbers.
    pub(crate) fn network_command(&self, program: &str) -> Command {
        let mut command = self.nsenter();
        command.args(["--net", "--", program]);
        command
    }

    fn nsenter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.target());
        command
    }

    /// Runs a command on the machine to its end and answers with what it printed.
    pub(crate) fn run<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<String> {
        process::output(self.command(program).args(arguments), COMMAND_LIMIT).with_context(|| self.place.name.clone())
    }

    /// Mounts `folder` at `at`, on the machine alone.
    pub(crate) fn bind(&self, folder: &Path, at: &str) -> anyhow::Result<()> {
        let mut mount = self.command("mount");
        process::output(mount.arg("--bind").arg(folder).arg(at), COMMAND_LIMIT).map(drop)
    }

    /// Runs `ip -batch` in its network.
    pub(crate) fn links(&self, batch: &str) -> anyhow::Result<()> {
        let file = self.place.file("links.batch");
        std::fs::write(&file, batch).with_context(|| format!("cannot write {}", file.display()))?;
        let mut ip = self.network_command("ip");
        process::output(ip.arg("-batch").arg(&file), COMMAND_LIMIT).with_context(|| self.place.name.clone()).map(drop)
    }

    /// Starts a program that stays, its output in the machine's log. It belongs to the machine from then on, not to us.
    pub(crate) fn spawn(&self, program: &Path, arguments: &[String], search: Option<&Path>) -> anyhow::Result<()> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = self.command("setsid");
        command.arg("--fork").arg(program).args(arguments);
        if let Some(folder) = search {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(folders).context("PATH cannot be made longer")?);
        }
        launch(&mut command, &self.place.log(&name)).with_context(|| self.place.name.clone())
    }

    /// Kills a program that was started here, and starts it as it was.
    pub(crate) fn restart(&self, program: &str) -> anyhow::Result<()> {
        let running = self.processes()?.into_iter().find(|it| it.name() == program);
        let running = running.with_context(|| format!("{} does not run on {}", program, self.place.name))?;
        running.kill();
        let begun = Instant::now();
        while !running.is_gone() {
            if begun.elapsed() > END_LIMIT {
                bail!("{program} still runs {} after it was killed", seconds(END_LIMIT));
            }
            std::thread::sleep(LOOK);
        }
        // The first is its own name; what a last zero byte leaves is no argument.
        let arguments: Vec<String> = running.arguments.iter().skip(1).filter(|it| !it.is_empty()).cloned().collect();
        self.spawn(&running.executable, &arguments, None)
    }

    /// Everything that runs on it, Pods included.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let all = processes::all()?;
        Ok(processes::families(&[&self.first], &all).into_iter().cloned().collect())
    }
}

/// Runs a command that leaves a process behind: unlike other commands its group is not ended with it.
fn launch(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    let shown = process::shown(command);
    let output = File::options().create(true).append(true).open(log);
    let output = output.with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).current_dir("/");
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{shown} failed ({status}); see {}", log.display());
            }
            return Ok(());
        }
        if begun.elapsed() > START_LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{shown} did not leave its program running within {}", seconds(START_LIMIT));
        }
        std::thread::sleep(LOOK);
    }
}
