//! Lines for the host's log, with fields. In a guest they go to the host; in a native test to standard error, and
//! [`testing::logged`](crate::testing::logged) hands them to the test.

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// What a developer wants to see.
    Debug,
    /// What happened.
    Info,
    /// Somebody should look when there is time.
    Warn,
    /// Something failed.
    Error,
}

/// Writes one line. [`info!`](crate::info) and its sisters read better.
pub fn emit(level: Level, message: &str, fields: &[(&str, String)]) {
    crate::guest::emit(level, message, fields);
}

/// One line at a given level: `log!(Level::Info, namespace = name, copies = 3; "copied {what}")`.
#[macro_export]
macro_rules! log {
    ($level:expr, $($key:ident = $value:expr),+ ; $($message:tt)+) => {
        $crate::log::emit($level, &::std::format!($($message)+), &[$((::std::stringify!($key), ($value).to_string())),+])
    };
    ($level:expr, $($message:tt)+) => {
        $crate::log::emit($level, &::std::format!($($message)+), &[])
    };
}

/// A line for those who follow every step.
#[macro_export]
macro_rules! trace { ($($line:tt)+) => { $crate::log!($crate::log::Level::Trace, $($line)+) }; }
/// A line for developers.
#[macro_export]
macro_rules! debug { ($($line:tt)+) => { $crate::log!($crate::log::Level::Debug, $($line)+) }; }
/// A line about what happened: `info!(object = reference; "copied")`.
#[macro_export]
macro_rules! info { ($($line:tt)+) => { $crate::log!($crate::log::Level::Info, $($line)+) }; }
/// A line somebody should look at when there is time.
#[macro_export]
macro_rules! warn { ($($line:tt)+) => { $crate::log!($crate::log::Level::Warn, $($line)+) }; }
/// A line about a failure.
#[macro_export]
macro_rules! error { ($($line:tt)+) => { $crate::log!($crate::log::Level::Error, $($line)+) }; }
