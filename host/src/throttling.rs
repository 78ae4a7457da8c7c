//! What the kernel says of this container's share of the processor: how often, and for how long, it was made to wait because its quota was
//! used up. That delays the election thread with the rest.

use std::time::Duration;

/// Counts since the container began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttled {
    /// Periods of the quota in which it had to wait.
    pub(crate) periods: u64,
    /// How long, summed over processors.
    pub(crate) time: Duration,
}

impl Throttled {
    /// Of this container; `None` where nothing counts: no container, or no such controller. Two small reads in memory.
    pub(crate) fn of_this_container() -> Option<Self> {
        // Version 2, where the container sees its own cgroup as the root, then version 1.
        let files = ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"];
        files.into_iter().find_map(|file| Self::parse(&std::fs::read_to_string(file).ok()?))
    }

    /// Reads a `cpu.stat`: microseconds in version 2, nanoseconds in version 1.
    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(field, _)| *field == name)?.1.trim().parse::<u64>().ok()
        };
        let time = match number("throttled_usec") {
            Some(microseconds) => Duration::from_micros(microseconds),
            None => Duration::from_nanos(number("throttled_time")?),
        };
        Some(Self { periods: number("nr_throttled")?, time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_cgroups_are_read() {
        let second = "usage_usec 91\nuser_usec 60\nsystem_usec 31\nnr_periods 12\nnr_throttled 7\nthrottled_usec 1500\nnr_bursts 0\n";
        let first = "nr_periods 12\nnr_throttled 7\nthrottled_time 1500000\n";
        let expected = Some(Throttled { periods: 7, time: Duration::from_micros(1500) });
        assert_eq!((Throttled::parse(second), Throttled::parse(first)), (expected, expected));
        // The root of version 2 knows no quota.
        assert_eq!(Throttled::parse("usage_usec 91\nuser_usec 60\nsystem_usec 31\n"), None);
        assert_eq!(Throttled::parse(""), None);
    }
}
