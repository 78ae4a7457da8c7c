//! Compiling in a process of its own: under a limit on memory and time, one that may die of it. Both ends are here: what
//! starts the process and what the process does. Knows no cache and no contract.
//!
//! The child reads Wasm from its standard input until the end and writes one byte, then compiled code or the sentence that
//! refuses it. Whatever else happens is told by how it ends.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use wasmtime::{Engine, Module};

use crate::errors::LoadError;
use crate::limits::SandboxSettings;
use crate::sandbox::{config, uncompilable};
use crate::wrap::{Format, wrap};

/// Less memory than this compiles hardly anything.
const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// What is left to the rest of the container while something is compiled.
const ROOM_KEPT_BYTES: u64 = 32 << 20;
/// Compiled code is some times larger than the Wasm; more than this is not taken.
const CODE_BYTES_MAX: u64 = 512 << 20;

/// The first byte of an answer.
const CODE: u8 = 0;
const UNCOMPILABLE: u8 = 1;
const UNWRAPPABLE: u8 = 2;

/// How to compile in a process of its own.
#[derive(Debug, Clone)]
pub struct Compiler {
    /// A program that calls [`compile`] with its standard input and output.
    pub program: PathBuf,
    /// Its arguments; how much memory it may take, in bytes, is put after them.
    pub arguments: Vec<OsString>,
    /// How much memory it may take, in bytes, beside what it has when it starts. Less where the container has less left.
    pub memory_bytes_max: u64,
    /// How long it may take.
    pub timeout: Duration,
}

/// Compiles a module or component, in this process: what a [`Compiler`]'s program does.
///
/// # Errors
/// When `wasm` cannot be read or `answer` cannot be written. That something is no plugin is an answer.
pub fn compile(mut wasm: impl Read, mut answer: impl Write) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    wasm.read_to_end(&mut bytes)?;
    let compiled = Engine::new(&config(&SandboxSettings::default()))
        .map_err(|error| uncompilable(&error))
        .and_then(|engine| code_of(&engine, &bytes));
    let (kind, content) = match compiled {
        Ok(code) => (CODE, code),
        Err(LoadError::Wrap { message }) => (UNWRAPPABLE, message.into_bytes()),
        Err(LoadError::Compile { message }) => (UNCOMPILABLE, message.into_bytes()),
        Err(other) => (UNCOMPILABLE, other.to_string().into_bytes()),
    };
    answer.write_all(&[kind])?;
    answer.write_all(&content)?;
    answer.flush()
}

/// The machine code of a plugin, as [`wasmtime::component::Component::deserialize`] takes it.
pub(crate) fn code_of(engine: &Engine, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
    let wrapped = match Format::of(wasm)? {
        Format::Component => None,
        Format::Module => {
            // wit-component trusts what it is given to be valid.
            Module::validate(engine, wasm).map_err(|error| uncompilable(&error))?;
            Some(wrap(wasm)?)
        }
    };
    engine.precompile_component(wrapped.as_deref().unwrap_or(wasm)).map_err(|error| uncompilable(&error))
}

impl Compiler {
    /// The machine code of a plugin, made by a child.
    pub(crate) fn code_of(&self, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
        let memory_bytes = self.memory_bytes(container_room())?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(memory_bytes.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What it says when it dies is how it ended, in other words.
            .stderr(Stdio::null())
            .spawn()
            .map_err(LoadError::Compiler)?;
        let (answer, status) = self.converse(&mut child, wasm)?;
        match answer.split_first() {
            _ if !status.success() => {
                let had_all = memory_bytes == self.memory_bytes_max;
                Err(LoadError::CompilerBroke { ended: status.to_string(), memory_bytes, had_all })
            }
            Some((&CODE, code)) => Ok(code.to_vec()),
            Some((&UNWRAPPABLE, message)) => Err(LoadError::Wrap { message: text(message) }),
            Some((&UNCOMPILABLE, message)) => Err(LoadError::Compile { message: text(message) }),
            _ => Err(LoadError::Compiler(std::io::Error::other("its answer is none"))),
        }
    }

    /// How much memory a child may have, with so much left in the container; `None`: nobody limits that.
    fn memory_bytes(&self, room: Option<u64>) -> Result<u64, LoadError> {
        let Some(room) = room else { return Ok(self.memory_bytes_max) };
        let left = room.saturating_sub(ROOM_KEPT_BYTES);
        if left < MEMORY_BYTES_MIN.min(self.memory_bytes_max) {
            return Err(LoadError::NoRoom { left_bytes: room });
        }
        Ok(self.memory_bytes_max.min(left))
    }

    /// Hands it the Wasm, and takes its answer until its time is up. It has ended when this returns.
    fn converse(&self, child: &mut Child, wasm: &[u8]) -> Result<(Vec<u8>, ExitStatus), LoadError> {
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (answered, answer) = mpsc::channel();
        let (answer, ended) = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A child that dies before it has read all tells that by its end.
                stdin.map(|mut stdin| stdin.write_all(wasm))
            });
            scope.spawn(move || {
                let mut bytes = Vec::new();
                let read = stdout.map(|stdout| stdout.take(CODE_BYTES_MAX).read_to_end(&mut bytes));
                // Nobody listens any more when its time is up.
                let _ = answered.send(read.transpose().map(|_| bytes));
            });
            let answer = answer.recv_timeout(self.timeout);
            if answer.is_err() {
                // It may have ended by itself in this instant.
                let _ = child.kill();
            }
            (answer, child.wait())
        });
        let status = ended.map_err(LoadError::Compiler)?;
        match answer {
            Ok(answer) => Ok((answer.map_err(LoadError::Compiler)?, status)),
            Err(_) => Err(LoadError::CompileTimeout { after: self.timeout }),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that this container may still take before the kernel ends it; `None` where nothing limits it (cgroup v2).
fn container_room() -> Option<u64> {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    room(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?)
}

/// What is cached of files counts as used, and is given back when it is asked for.
fn room(max: &str, current: &str, stat: &str) -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let given_back = stat.lines().find_map(|line| number(line.strip_prefix("inactive_file ")?)).unwrap_or(0);
    Some(number(max)?.saturating_sub(number(current)?.saturating_sub(given_back)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child that is a shell script.
    fn shell(script: &str) -> Compiler {
        Compiler {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into(), "sh".into()],
            memory_bytes_max: 256 << 20,
            timeout: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_child_is_told_how_much_memory_it_may_take_and_what_it_answers_is_the_code() {
        let code = shell("read line; printf '\\0%s %s' \"$line\" \"$1\"").code_of(b"wasm\n").expect("code");
        let code = String::from_utf8(code).expect("text");
        let (line, memory) = code.split_once(' ').expect("two words");
        assert_eq!(line, "wasm");
        assert!(memory.parse::<u64>().expect("a number") <= 256 << 20, "{memory}");
    }

    #[test]
    fn what_the_child_refuses_is_refused_in_its_words() {
        let refused = shell("printf '\\1too wide'").code_of(b"").expect_err("refused");
        assert!(matches!(refused, LoadError::Compile { message } if message == "too wide"));
        let refused = shell("printf '\\2too long'").code_of(b"").expect_err("refused");
        assert!(matches!(refused, LoadError::Wrap { message } if message == "too long"));
    }

    #[test]
    fn a_child_that_dies_is_a_refusal_that_names_its_end_and_its_memory() {
        // More than a pipe holds, so that it dies while it is still written to.
        let wasm = vec![0; 1 << 20];
        let refused = shell("printf '\\0code'; kill -ABRT $$").code_of(&wasm).expect_err("refused");
        assert!(matches!(&refused, LoadError::CompilerBroke { .. }), "{refused:?}");
        assert!(refused.to_string().contains("limits.compile-memory"), "{refused}");
    }

    #[test]
    fn a_child_that_does_not_come_to_an_end_is_killed() {
        let endless = Compiler { timeout: Duration::from_millis(50), ..shell("exec /bin/sleep 86400") };
        let refused = endless.code_of(&vec![0; 1 << 20]).expect_err("refused");
        assert!(matches!(refused, LoadError::CompileTimeout { .. }), "{refused:?}");
    }

    #[test]
    fn a_program_that_is_not_there_and_an_answer_that_is_none_are_the_hosts_faults() {
        let missing = Compiler { program: "/nowhere/tenure".into(), ..shell("") };
        for compiler in [missing, shell("exit 0"), shell("printf '\\7'")] {
            let refused = compiler.code_of(b"").expect_err("refused");
            assert!(matches!(refused, LoadError::Compiler(_)) && refused.may_pass(), "{refused:?}");
        }
    }

    #[test]
    fn a_child_gets_what_the_container_has_left_and_none_is_started_where_that_is_too_little() {
        let compiler = shell("");
        let mib = |mib: u64| mib << 20;
        assert_eq!(compiler.memory_bytes(None).expect("no limit"), mib(256));
        assert_eq!(compiler.memory_bytes(Some(mib(1000))).expect("room"), mib(256));
        assert_eq!(compiler.memory_bytes(Some(mib(132))).expect("some room"), mib(100));
        let refused = compiler.memory_bytes(Some(mib(90))).expect_err("no room");
        assert!(matches!(refused, LoadError::NoRoom { .. }) && refused.may_pass());
    }

    #[test]
    fn room_is_what_the_limit_leaves_beside_what_the_kernel_can_give_back() {
        assert_eq!(room("1000\n", "400\n", "anon 100\ninactive_file 150\n"), Some(750));
        assert_eq!(room("1000\n", "400\n", "anon 100\n"), Some(600));
        assert_eq!(room("1000\n", "1400\n", ""), Some(0));
        assert_eq!(room("max\n", "400\n", "inactive_file 150\n"), None);
    }

    #[test]
    fn both_ends_agree_on_answers() {
        let answer = |wasm: &[u8]| {
            let mut answer = Vec::new();
            compile(wasm, &mut answer).expect("written");
            answer
        };
        let component = wat::parse_str("(component)").expect("valid text");
        assert_eq!(answer(&component)[0], CODE);
        assert_eq!(answer(b"\0asm\x0d\0\x01\0nonsense")[0], UNCOMPILABLE);
        assert_eq!(answer(&wat::parse_str("(module)").expect("valid text"))[0], UNWRAPPABLE);
    }
}
