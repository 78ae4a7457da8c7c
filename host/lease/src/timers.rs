//! The two kernel timers that wake the election thread. tokio's timers count CLOCK_MONOTONIC, which stands still while the
//! machine is suspended; an authority does not.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tenure_election::{Clock, Instant};
use tokio::io::unix::AsyncFd;

use crate::BootClock;

/// How far ahead the wall timer is set when there is nothing to wait for: it is then there only to notice that the wall
/// clock was set.
const IDLE_AHEAD: Duration = Duration::from_secs(24 * 3600);

/// A timer on CLOCK_BOOTTIME and one on CLOCK_REALTIME; either wakes.
#[derive(Debug)]
pub(crate) struct Timers {
    boot: AsyncFd<OwnedFd>,
    wall: AsyncFd<OwnedFd>,
    /// Some sandboxed kernels know no TFD_TIMER_CANCEL_ON_SET. An absolute timer still follows a clock set forward.
    cancel_on_set: bool,
}

impl Timers {
    /// Both timers, unarmed. Within a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { boot: timer(TimerfdClockId::Boottime)?, wall: timer(TimerfdClockId::Realtime)?, cancel_on_set: true })
    }

    /// Wakes when `clock` comes to either reading of `wakeup`. `handled` is the instant up to which the asker has acted: a
    /// wall reading before it is not waited for again, or a deadline that only the boot clock decides would spin.
    pub(crate) fn arm(&mut self, clock: &dyn Clock, handled: Instant, wakeup: Wakeup) -> io::Result<()> {
        // The kernel's clocks are read first: a pause between the two readings then wakes early, never late.
        let kernel = BootClock.now();
        let now = clock.now();
        match wakeup.boot {
            Some(deadline) => self.arm_boot(translate(deadline, now.boot, kernel.boot))?,
            None => set(&self.boot, TimerfdTimerFlags::empty(), Duration::ZERO)?,
        }
        let idle = now.wall.saturating_add(IDLE_AHEAD);
        let wall = wakeup.wall.filter(|deadline| *deadline > handled.wall).unwrap_or(idle);
        self.arm_wall(translate(wall, now.wall, kernel.wall))
    }

    fn arm_boot(&self, kernel_deadline: Duration) -> io::Result<()> {
        set(&self.boot, TimerfdTimerFlags::ABSTIME, kernel_deadline)
    }

    fn arm_wall(&mut self, kernel_deadline: Duration) -> io::Result<()> {
        if self.cancel_on_set {
            let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
            match set(&self.wall, flags, kernel_deadline) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    tracing::warn!("this kernel does not tell when the wall clock is set; deadlines are still kept");
                    self.cancel_on_set = false;
                }
                // The clock was set while nobody waited: wake at once, so that it is looked at.
                Err(error) if is_clock_set(&error) => return self.arm_boot(NOW),
                other => return other,
            }
        }
        set(&self.wall, TimerfdTimerFlags::ABSTIME, kernel_deadline)
    }

    /// Waits until a timer fires or the wall clock is set. Look at the clocks afterwards: this says nothing about which.
    pub(crate) async fn fired(&self) -> io::Result<()> {
        tokio::select! {
            fired = wait(&self.boot) => fired,
            fired = wait(&self.wall) => fired,
        }
    }
}

/// A kernel reading that has passed since boot. Not zero: that disarms.
const NOW: Duration = Duration::from_nanos(1);

/// ECANCELED is how a timer says that its clock was set.
fn is_clock_set(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::CANCELED.raw_os_error())
}

/// The kernel's reading at which an injected clock that now reads `now` will read `deadline`.
fn translate(deadline: Duration, now: Duration, kernel_now: Duration) -> Duration {
    kernel_now.saturating_add(deadline.saturating_sub(now)).max(NOW)
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types that do not own their descriptor; OwnedFd does"
)]
fn timer(clock: TimerfdClockId) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?)
}

fn set(timer: &AsyncFd<OwnedFd>, flags: TimerfdTimerFlags, deadline: Duration) -> io::Result<()> {
    let deadline = Timespec {
        tv_sec: i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: deadline.subsec_nanos().into(),
    };
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(timer.get_ref().as_fd(), flags, &Itimerspec { it_interval: never, it_value: deadline })?;
    Ok(())
}

async fn wait(timer: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = timer.readable().await?;
        let mut expirations = [0_u8; 8];
        let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?));
        match read {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if is_clock_set(&error) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}

/// What a timer is to wait for, collected from several askers: the nearest of each reading.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Wakeup {
    /// On the boot clock.
    pub(crate) boot: Option<Duration>,
    /// On the wall clock.
    pub(crate) wall: Option<Duration>,
}

impl Wakeup {
    /// Also at `deadline`, whichever clock comes to it first.
    pub(crate) fn at(&mut self, deadline: Instant) {
        self.at_boot(deadline.boot);
        self.wall = Some(self.wall.map_or(deadline.wall, |wall| wall.min(deadline.wall)));
    }

    /// Also at `boot`, whatever the wall clock says.
    pub(crate) fn at_boot(&mut self, boot: Duration) {
        self.boot = Some(self.boot.map_or(boot, |sooner| sooner.min(boot)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generous: it only keeps a broken timer from hanging the test.
    const LIMIT: Duration = Duration::from_secs(20);

    struct Shifted {
        boot: Duration,
        wall: Duration,
    }

    impl Clock for Shifted {
        fn now(&self) -> Instant {
            let real = BootClock.now();
            Instant { boot: real.boot + self.boot, wall: real.wall + self.wall }
        }
    }

    async fn fires(timers: &Timers) {
        tokio::time::timeout(LIMIT, timers.fired()).await.expect("the timer fires").expect("the timer works");
    }

    /// Arms and waits as the driver does until `clock` has come to `boot`; how often it woke.
    async fn wakes_until(clock: &dyn Clock, boot: Duration, wall: Option<Duration>) -> u32 {
        let mut timers = Timers::new().unwrap();
        let mut wakes = 0;
        loop {
            let now = clock.now();
            if now.boot >= boot {
                return wakes;
            }
            timers.arm(clock, now, Wakeup { boot: Some(boot), wall }).unwrap();
            fires(&timers).await;
            wakes += 1;
        }
    }

    /// A timer that does not wait wakes some ten thousand times in 50 ms.
    const WAKES_MAX: u32 = 50;
    const AHEAD: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn boot_deadline_is_waited_for() {
        let boot = BootClock.now().boot + AHEAD;
        assert!(wakes_until(&BootClock, boot, None).await <= WAKES_MAX);
    }

    #[tokio::test]
    async fn wall_deadline_wakes_without_a_boot_deadline() {
        let mut timers = Timers::new().unwrap();
        let now = BootClock.now();
        let wall = now.wall + Duration::from_millis(20);
        timers.arm(&BootClock, now, Wakeup { boot: None, wall: Some(wall) }).unwrap();
        fires(&timers).await;
    }

    #[tokio::test]
    async fn deadline_that_passed_since_the_last_look_wakes_at_once() {
        let handled = BootClock.now();
        let since = handled.after(Duration::from_nanos(1));
        for wakeup in [Wakeup { boot: Some(since.boot), wall: None }, Wakeup { boot: None, wall: Some(since.wall) }] {
            let mut timers = Timers::new().unwrap();
            timers.arm(&BootClock, handled, wakeup).unwrap();
            fires(&timers).await;
        }
    }

    #[tokio::test]
    async fn wall_deadline_that_was_handled_does_not_spin() {
        let now = BootClock.now();
        assert!(wakes_until(&BootClock, now.boot + AHEAD, Some(now.wall)).await <= WAKES_MAX);
    }

    #[tokio::test]
    async fn deadlines_of_an_injected_clock_are_translated() {
        let clock = Shifted { boot: Duration::from_secs(5_000), wall: Duration::from_secs(9_000) };
        let boot = clock.now().boot + AHEAD;
        assert!(wakes_until(&clock, boot, None).await <= WAKES_MAX);
    }

    #[test]
    fn wakeup_keeps_the_nearest_of_each_clock() {
        let seconds = Duration::from_secs;
        let mut wakeup = Wakeup::default();
        wakeup.at(Instant { boot: seconds(5), wall: seconds(50) });
        wakeup.at(Instant { boot: seconds(7), wall: seconds(40) });
        wakeup.at_boot(seconds(3));
        assert_eq!((wakeup.boot, wakeup.wall), (Some(seconds(3)), Some(seconds(40))));
    }
}
