//! The epoch's heartbeat: a thread that advances the engine's epoch while any guest runs, and sleeps otherwise. Knows
//! nothing of calls but how many there are.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

/// How long a guest may compute before it yields to the other tasks of its worker thread.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Owns the thread; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    ended: bool,
}

impl Shared {
    /// Two integers cannot be left half-changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("epoch".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&engine, &shared)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ticks go on until what is returned is dropped.
    #[must_use]
    pub(crate) fn running(&self) -> Running {
        self.shared.lock().running += 1;
        self.shared.changed.notify_one();
        Running(Arc::clone(&self.shared))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked on anything of ours, and there is nobody left to tell.
            drop(thread.join());
        }
    }
}

/// One running call.
#[derive(Debug)]
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

fn run(engine: &Engine, shared: &Shared) {
    let mut state = shared.lock();
    while !state.ended {
        if state.running == 0 {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        } else {
            drop(state);
            std::thread::sleep(TICK);
            engine.increment_epoch();
            state = shared.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_ticker_ends_its_thread_also_while_calls_run() {
        let engine = Engine::default();
        let ticker = Ticker::start(engine).expect("a thread");
        let running = ticker.running();
        let shared = Arc::clone(&ticker.shared);
        drop(ticker);
        assert_eq!(Arc::strong_count(&shared), 2, "only the running call and this test still hold it");
        drop(running);
    }
}
