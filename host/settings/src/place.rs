//! Where a value was given, for messages. Resolves nothing.

use std::ops::Range;

use crate::{DocumentError, Profile};

/// Where a value was given. Displays as people look for it: `tenure.toml:4:1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file, or whatever its origin was called.
    File {
        /// Its path, as it was handed in.
        path: String,
        /// Line, counted from 1.
        line: usize,
        /// Column in characters, counted from 1.
        column: usize,
    },
    /// In an environment variable.
    Variable(String),
    /// By a flag.
    Flag(&'static str),
    /// Nowhere: it is the profile's.
    Profile(Profile),
}

/// A value and where it was given.
#[derive(Debug, Clone)]
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

impl<T> Given<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Given<U> {
        Given { value: change(self.value), place: self.place }
    }

    pub(crate) fn error(&self, key: &str, message: String) -> DocumentError {
        DocumentError::Value { place: self.place.clone(), key: key.to_owned(), message }
    }
}

impl Place {
    /// The place of a byte range in a file's text.
    #[must_use]
    pub(crate) fn in_file(path: &str, text: &str, span: &Range<usize>) -> Self {
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Profile(profile) => write!(f, "profile {:?}", profile.as_str()),
        }
    }
}
