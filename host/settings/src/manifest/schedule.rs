//! A manifest's `[[schedule]]` entries. Whether a cron expression can be followed is for the host to say.

use std::time::Duration;

use crate::document::{DocumentError, Source};
use crate::raw::RawSchedule;

/// Shorter periods are a busy loop, not a schedule.
const EVERY_MIN: Duration = Duration::from_secs(1);
/// Longer than any handover by far, and short enough that what is called for again was due just now.
const CATCH_UP: Duration = Duration::from_secs(5 * 60);

/// When a plugin is called without cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recurrence {
    /// At a fixed distance.
    Every(Duration),
    /// By the calendar.
    Cron {
        /// Five fields, as crontab(5) has them.
        expression: String,
        /// In which they are read: a name of the IANA database.
        time_zone: String,
        /// How long after an instant a plugin that starts is still called for it.
        catch_up: Duration,
    },
}

/// Reads one `[[schedule]]`.
pub(super) fn read_schedule(
    raw: &toml::Spanned<RawSchedule>,
    source: &Source<'_>,
) -> Result<Recurrence, DocumentError> {
    let RawSchedule { every, cron, time_zone, catch_up } = raw.get_ref();
    let whole = |message: &str| Err(source.value_error(&raw.span(), "schedule", message.to_owned()));
    match (every, cron) {
        (Some(_), Some(_)) => whole("has both `every` and `cron`; make it two"),
        (None, None) => whole("needs `every` or `cron`"),
        (Some(every), None) => {
            let time_zone = time_zone.as_ref().map(|zone| ("time-zone", zone.span()));
            let catch_up = catch_up.as_ref().map(|span| ("catch-up", span.span()));
            if let Some((key, span)) = time_zone.or(catch_up) {
                let message = "belongs to `cron`; leave it out beside `every`".to_owned();
                return Err(source.value_error(&span, &format!("schedule.{key}"), message));
            }
            let period = every.get_ref().0;
            if period < EVERY_MIN {
                let message = format!(
                    "{period:?} is too short; the shortest is {EVERY_MIN:?}, and objects that change are watched"
                );
                return Err(source.value_error(&every.span(), "schedule.every", message));
            }
            Ok(Recurrence::Every(period))
        }
        (None, Some(cron)) => Ok(Recurrence::Cron {
            expression: cron.get_ref().clone(),
            time_zone: time_zone.as_ref().map_or_else(|| "UTC".to_owned(), |zone| zone.get_ref().clone()),
            catch_up: catch_up.as_ref().map_or(CATCH_UP, |span| span.get_ref().0),
        }),
    }
}
