//! From wasmtime's error to what happened to the guest.

use std::num::NonZeroUsize;

use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::budget::ResourceBudget;
use crate::words::{SENTENCE_CHARS_MAX, readable};

/// Frames of a backtrace that are kept; of an endless recursion the innermost few say it all.
pub(crate) const FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(32).expect("not zero");
/// Characters of a frame that are kept.
const FRAME_CHARS_MAX: usize = 240;

/// The trap that the kill switch makes.
#[derive(Debug, thiserror::Error)]
#[error("killed")]
pub(crate) struct KillTrap;

/// How a guest broke off.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Diagnosis {
    Killed,
    Memory { asked_bytes: u64, limit_bytes: u64 },
    Trap { message: String, backtrace: Vec<String> },
}

/// A guest that breaks off after it was refused memory ran out of memory, however its language puts it; one whose stack
/// overflowed did not.
pub(crate) fn diagnose(error: &wasmtime::Error, budget: &ResourceBudget) -> Diagnosis {
    if error.is::<KillTrap>() {
        return Diagnosis::Killed;
    }
    let trap = error.downcast_ref::<Trap>();
    if let Some(asked_bytes) = budget.memory_bytes_refused()
        && trap != Some(&Trap::StackOverflow)
    {
        return Diagnosis::Memory { asked_bytes, limit_bytes: budget.memory_bytes_max() };
    }
    let message = match (trap, error.downcast_ref::<I32Exit>()) {
        (Some(Trap::StackOverflow), _) => "call stack exhausted: an endless recursion?".to_owned(),
        (Some(Trap::UnreachableCodeReached), _) => {
            "wasm `unreachable` instruction executed: a panic or an abort of the plugin; its log may say why".to_owned()
        }
        (Some(trap), _) => trap.to_string(),
        (None, Some(exit)) => format!("it called exit({}): a plugin answers instead of exiting", exit.0),
        (None, None) => readable(&error.root_cause().to_string(), SENTENCE_CHARS_MAX),
    };
    Diagnosis::Trap { message, backtrace: frames(error) }
}

/// One line a frame, innermost first: offset, module and function.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    // By way of its text, since only there names are demangled: a headline, then `  0:   0x23 - module!function`.
    let text = backtrace.to_string();
    let frames = text.lines().skip(1).take(FRAMES_MAX.get());
    frames
        .map(|line| readable(line.split_once(": ").map_or(line, |(_, frame)| frame).trim(), FRAME_CHARS_MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::InstanceLimits;

    fn refused_budget() -> ResourceBudget {
        let limits = InstanceLimits { memory_bytes_max: 100, ..InstanceLimits::default() };
        let mut budget = ResourceBudget::new(Default::default(), &limits);
        assert!(!wasmtime::ResourceLimiter::memory_growing(&mut budget, 0, 200, None).expect("no trap"));
        budget
    }

    #[test]
    fn what_follows_a_refusal_of_memory_is_out_of_memory() {
        let memory = Diagnosis::Memory { asked_bytes: 200, limit_bytes: 100 };
        for error in [Trap::UnreachableCodeReached.into(), I32Exit(2).into(), Trap::MemoryOutOfBounds.into()] {
            assert_eq!(diagnose(&error, &refused_budget()), memory);
        }
    }

    #[test]
    fn the_kill_and_a_full_stack_are_not_mistaken_for_it() {
        assert_eq!(diagnose(&KillTrap.into(), &refused_budget()), Diagnosis::Killed);
        let overflow = diagnose(&Trap::StackOverflow.into(), &refused_budget());
        assert!(matches!(overflow, Diagnosis::Trap { message, .. } if message.starts_with("call stack exhausted")));
    }
}
