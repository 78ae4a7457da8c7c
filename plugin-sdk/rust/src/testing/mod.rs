//! What a plugin's native unit tests need: a cluster in memory and the lines the plugin logged. Absent from guests.

mod apply;
mod fake;
mod selector;
mod store;

use std::cell::RefCell;

pub use fake::{FakeCluster, Verb, Write};

use crate::log::Level;

/// One line the code under test logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The message.
    pub message: String,
    /// The fields, in order.
    pub fields: Vec<(String, String)>,
}

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// The lines this thread logged since the last call. Each test has a thread of its own.
#[must_use]
pub fn logged() -> Vec<Line> {
    LINES.with(RefCell::take)
}

#[expect(clippy::print_stderr, reason = "the test harness shows it when the test fails")]
pub(crate) fn record_line(level: Level, message: &str, fields: &[(&str, String)]) {
    let fields: Vec<(String, String)> = fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    eprintln!("{level:?} {message} {fields:?}");
    LINES.with(|lines| lines.borrow_mut().push(Line { level, message: message.to_owned(), fields }));
}
