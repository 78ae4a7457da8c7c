//! A wall clock that is set while the process runs, for the tests that cannot set the machine's.
//!
//! Exists only with the cargo feature `failpoints`, and acts only when `TENURE_WALL_STEP_FILE` names a file: whole seconds in it,
//! forwards or, with a minus, backwards, are added to each reading of the wall clock from then on. The boot clock is the kernel's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tenure_election::{Clock, Instant};

use crate::BootClock;

/// [`BootClock`], its wall reading shifted by what a file says.
#[derive(Debug)]
struct SteppedClock {
    file: PathBuf,
}

/// The clock that the environment asks for, if it does.
pub(crate) fn stepped_clock() -> Option<Arc<dyn Clock>> {
    let file = std::env::var_os("TENURE_WALL_STEP_FILE")?;
    Some(Arc::new(SteppedClock { file: file.into() }))
}

impl Clock for SteppedClock {
    fn now(&self) -> Instant {
        let now = BootClock.now();
        let step = std::fs::read_to_string(&self.file).ok();
        let step: i64 = step.and_then(|step| step.trim().parse().ok()).unwrap_or(0);
        let by = Duration::from_secs(step.unsigned_abs());
        let wall = if step < 0 { now.wall.saturating_sub(by) } else { now.wall.saturating_add(by) };
        Instant { wall, ..now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_in_the_file_moves_the_wall_reading_and_no_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let clock = SteppedClock { file: file.path().to_owned() };
        for step in [0_i64, 3600, -3600] {
            std::fs::write(file.path(), step.to_string()).unwrap();
            let (before, stepped, after) = (BootClock.now(), clock.now(), BootClock.now());
            assert!((before.boot..=after.boot).contains(&stepped.boot));
            let back = |wall: Duration| i128::try_from(wall.as_nanos()).unwrap() - i128::from(step) * 1_000_000_000;
            let wall = |at: Instant| i128::try_from(at.wall.as_nanos()).unwrap();
            assert!((wall(before)..=wall(after)).contains(&back(stepped.wall)), "step {step}");
        }
    }
}
