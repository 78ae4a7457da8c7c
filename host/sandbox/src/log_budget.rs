//! A plugin's log within its budget: lines a second, all its instances together, and bytes a line. What is over is dropped
//! or cut, counted, and said. Standard output and standard error come here line by line.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::common::{Common, Limit};
use crate::contract::{Level, Pair};
use crate::limits::InstanceLimits;
use crate::port::Host;
use crate::words::on_one_line;

/// The log of one instance.
pub(crate) struct LogBudget {
    host: Arc<dyn Host>,
    common: Arc<Common>,
    line_bytes_max: usize,
    lines_max: u32,
}

impl LogBudget {
    pub(crate) fn new(host: Arc<dyn Host>, common: Arc<Common>, limits: &InstanceLimits) -> Self {
        Self { host, common, line_bytes_max: limits.log_line_bytes_max, lines_max: limits.log_lines_per_second }
    }

    /// Passes one line on, cut to size, unless this second's lines are used up.
    pub(crate) fn emit(&self, level: Level, message: String, fields: Vec<Pair>) {
        if self.admit() {
            let (message, fields) = fit(message, fields, self.line_bytes_max);
            self.pass(level, message, fields);
        }
    }

    /// Whether this second has room for a line; reports the ones that had none before.
    fn admit(&self) -> bool {
        let Admission { admitted, dropped_before } = self.common.log().admit(Instant::now(), self.lines_max);
        if !admitted {
            self.common.count_refused(Limit::LogLinesPerSecond);
        }
        self.report(dropped_before);
        admitted
    }

    /// Says how many lines were dropped and not yet spoken of.
    pub(crate) fn report_dropped(&self) {
        let dropped = std::mem::take(&mut self.common.log().dropped);
        self.report(dropped);
    }

    fn report(&self, dropped: u64) {
        if dropped > 0 {
            let message = format!("{dropped} log lines were dropped: more than {} in a second", self.lines_max);
            self.pass(Level::Warn, message, vec![("dropped".into(), dropped.to_string())]);
        }
    }

    fn pass(&self, level: Level, message: String, fields: Vec<Pair>) {
        let message = on_one_line(message);
        let fields = fields.into_iter().map(|(key, value)| (on_one_line(key), on_one_line(value))).collect();
        if catch_unwind(AssertUnwindSafe(|| self.host.log(level, message, fields))).is_err() {
            tracing::error!("a plugin's log line was lost: the host panicked on it");
        }
    }
}

/// One second of lines.
#[derive(Debug, Default)]
pub(crate) struct Window {
    began: Option<Instant>,
    lines: u32,
    /// Not spoken of yet.
    dropped: u64,
}

/// Whether a line goes out, and how many before it did not and have to be spoken of.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
struct Admission {
    admitted: bool,
    dropped_before: u64,
}

impl Window {
    fn admit(&mut self, now: Instant, lines_max: u32) -> Admission {
        let mut dropped_before = 0;
        if self.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            self.began = Some(now);
            self.lines = 0;
            dropped_before = std::mem::take(&mut self.dropped);
        }
        let admitted = self.lines < lines_max;
        if admitted {
            self.lines += 1;
        } else {
            self.dropped += 1;
        }
        Admission { admitted, dropped_before }
    }
}

/// The message and as many fields as fit into `bytes_max`; what had to go is counted in the line itself.
fn fit(mut message: String, fields: Vec<Pair>, bytes_max: usize) -> (String, Vec<Pair>) {
    if message.len() > bytes_max {
        let end = message.floor_char_boundary(bytes_max);
        let cut = message.len() - end;
        message.truncate(end);
        message.push_str(&format!(" ... ({cut} bytes cut)"));
        return (message, Vec::new());
    }
    let mut left = bytes_max - message.len();
    let offered = fields.len();
    let kept: Vec<Pair> = fields
        .into_iter()
        .take_while(|(key, value)| match left.checked_sub(key.len() + value.len()) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        })
        .collect();
    if kept.len() < offered {
        message.push_str(&format!(" ... ({} fields cut)", offered - kept.len()));
    }
    (message, kept)
}

/// Bytes that become log lines.
#[derive(Clone)]
pub(crate) struct LineStream {
    log: Arc<LogBudget>,
    name: &'static str,
    level: Level,
    partial: Arc<Mutex<Partial>>,
}

/// A line whose end has not come yet; never longer than a line may be.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    bytes_cut: usize,
}

impl LineStream {
    pub(crate) fn new(log: Arc<LogBudget>, name: &'static str, level: Level) -> Self {
        Self { log, name, level, partial: Arc::default() }
    }

    /// Takes bytes in and passes on each line that is complete.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.append(piece);
            if pieces.peek().is_some() {
                self.end_line();
            }
        }
    }

    /// Passes on what stands there without a line end.
    pub(crate) fn end_line(&self) {
        let Partial { bytes, bytes_cut } = std::mem::take(&mut *self.partial());
        let text = String::from_utf8_lossy(&bytes);
        let mut line = text.trim_end_matches('\r').to_owned();
        if bytes_cut > 0 {
            line.push_str(&format!(" ... ({bytes_cut} bytes cut)"));
        }
        if !line.is_empty() && self.log.admit() {
            self.log.pass(self.level, line, vec![("stream".into(), self.name.into())]);
        }
    }

    fn append(&self, piece: &[u8]) {
        let mut partial = self.partial();
        let room = self.log.line_bytes_max.saturating_sub(partial.bytes.len());
        let taken = piece.len().min(room);
        partial.bytes.extend_from_slice(&piece[..taken]);
        partial.bytes_cut += piece.len() - taken;
    }

    fn partial(&self) -> MutexGuard<'_, Partial> {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_budget_of_a_second_are_dropped_and_reported_in_the_next() {
        let start = Instant::now();
        let mut window = Window::default();
        assert_eq!(window.admit(start, 2), Admission { admitted: true, dropped_before: 0 });
        assert_eq!(window.admit(start, 2), Admission { admitted: true, dropped_before: 0 });
        for _ in 0..5 {
            assert_eq!(window.admit(start, 2), Admission { admitted: false, dropped_before: 0 });
        }
        let later = start + Duration::from_secs(1);
        assert_eq!(window.admit(later, 2), Admission { admitted: true, dropped_before: 5 });
    }

    #[test]
    fn a_long_message_is_cut_at_a_character_and_says_so() {
        let (message, fields) = fit("äääää".into(), vec![("a".into(), "b".into())], 5);
        assert_eq!(message, "ää ... (6 bytes cut)");
        assert_eq!(fields, []);
    }

    #[test]
    fn fields_that_do_not_fit_are_counted() {
        let fields = vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "22222".to_owned())];
        let (message, fields) = fit("hi".into(), fields, 5);
        assert_eq!((message.as_str(), fields.len()), ("hi ... (1 fields cut)", 1));
    }
}
