//! Reading one TOML text into one type, with a place and a mend for whatever is wrong. Knows no particular keys.

use std::ops::Range;
use std::time::Duration;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Place;
use crate::nesting::{LEVELS_MAX, too_deep_at};
use crate::place::Given;
use crate::quantity::{Count, Processors, Size, Span};
use crate::raw::Key;

/// What serde calls the one field of [`Spanned`] on its way through it; not a key anybody wrote.
const SPANNED_FIELD: &str = "$__serde_spanned_private_value";

/// How unlike a known key a typing error may be (Jaro-Winkler, 1 is equal).
const LIKENESS_MIN: f64 = 0.8;

/// A text that is no document of the wanted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// No TOML.
    #[error("{place}: this is not TOML: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A key that means nothing.
    #[error("{place}: unknown key `{key}`; {hint}")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key, with the tables it is in.
        key: String,
        /// The nearest known key, or all that are known there.
        hint: String,
    },
    /// A key that means something in general, but not to this host.
    #[error("{place}: `{key}` is not supported by this version; {mend}")]
    Unsupported {
        /// Where.
        place: Place,
        /// The key, with the tables it is in.
        key: String,
        /// What to do instead.
        mend: &'static str,
    },
    /// A value that cannot stand there.
    #[error("{place}: {subject}{message}", subject = subject(key))]
    Value {
        /// Where.
        place: Place,
        /// The key, with the tables it is in; empty for the document as a whole.
        key: String,
        /// What is wrong with it, and what to write.
        message: String,
    },
}

/// What a kind of document may contain, for messages: serde alone decides what it does contain.
pub(crate) struct Form {
    /// The keys known in a table, by the table's path without indices.
    pub(crate) keys: fn(table: &str) -> &'static [&'static str],
    /// Keys that are known, but not supported: path, and what to do instead.
    pub(crate) unsupported: &'static [(&'static str, &'static str)],
}

/// One TOML text and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    pub(crate) origin: Origin<'a>,
}

/// Where a text comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin<'a> {
    /// A file: places in it are counted.
    File(&'a str),
    /// A single value given elsewhere: all of it is at one place.
    Elsewhere(Place),
}

/// The way to a key, as serde went it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Source<'_> {
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        match &self.origin {
            Origin::File(path) => Place::in_file(path, self.text, span),
            Origin::Elsewhere(place) => place.clone(),
        }
    }

    pub(crate) fn given<T: Clone>(&self, key: &Key<T>) -> Option<Given<T>> {
        key.as_ref().map(|spanned| self.given_value(spanned))
    }

    pub(crate) fn given_value<T: Clone>(&self, spanned: &Spanned<T>) -> Given<T> {
        Given { value: spanned.get_ref().clone(), place: self.place(&spanned.span()) }
    }

    pub(crate) fn size(&self, key: &Key<Size>) -> Option<Given<u64>> {
        self.given(key).map(|given| given.map(|size| size.0))
    }

    pub(crate) fn count(&self, key: &Key<Count>) -> Option<Given<u32>> {
        self.given(key).map(|given| given.map(|count| count.0))
    }

    pub(crate) fn processors(&self, key: &Key<Processors>) -> Option<Given<u32>> {
        self.given(key).map(|given| given.map(|processors| processors.0))
    }

    pub(crate) fn duration(&self, key: &Key<Span>) -> Option<Given<Duration>> {
        self.given(key).map(|given| given.map(|span| span.0))
    }

    pub(crate) fn value_error(&self, span: &Range<usize>, key: &str, message: String) -> DocumentError {
        DocumentError::Value { place: self.place(span), key: key.to_owned(), message }
    }

    /// Reads the text. What it says twice, or says and nobody knows, is an error.
    pub(crate) fn read<T: DeserializeOwned>(&self, form: &Form) -> Result<T, DocumentError> {
        if let Some(at) = too_deep_at(self.text) {
            let message = format!("nests more than {LEVELS_MAX} levels deep; keep it flatter");
            return Err(self.value_error(&(at..at), "", message));
        }
        let table = DeTable::parse(self.text).map_err(|error| DocumentError::Syntax {
            place: self.place(&error.span().unwrap_or_default()),
            message: one_line(error.message()),
        })?;
        let mut ignored = Vec::new();
        let deserializer = toml::Deserializer::from(table.clone());
        let value = serde_ignored::deserialize(deserializer, |path| ignored.push(steps(&path)));
        // A misspelt key may be the very one that is missing: it is the better message.
        if let Some(path) = ignored.first() {
            return Err(self.unknown_key(form, table.get_ref(), path));
        }
        value.map_err(|error| {
            let span = error.span().unwrap_or_default();
            let key = innermost_key(table.get_ref(), &span).map(|path| dotted(&path)).unwrap_or_default();
            let message = format!("cannot be read: {}", one_line(error.message()));
            DocumentError::Value { place: self.place(&span), key, message }
        })
    }

    fn unknown_key(&self, form: &Form, table: &DeTable<'_>, path: &[Step]) -> DocumentError {
        let place = self.place(&key_span(table, path).unwrap_or_default());
        let without_indices = path.iter().filter(|step| matches!(step, Step::Key(_))).cloned().collect::<Vec<_>>();
        let key = dotted(&without_indices);
        if let Some((_, mend)) = form.unsupported.iter().find(|(unsupported, _)| *unsupported == key) {
            return DocumentError::Unsupported { place, key, mend };
        }
        let (parent, name) = key.rsplit_once('.').unwrap_or(("", &key));
        let hint = nearest((form.keys)(parent), name);
        DocumentError::UnknownKey { place, key, hint }
    }
}

/// What to write instead of `name`.
pub(crate) fn nearest(known: &[&str], name: &str) -> String {
    let likeness = |key: &&str| strsim::jaro_winkler(key, name);
    let best = known.iter().copied().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match best {
        Some(best) if likeness(&best) >= LIKENESS_MIN => format!("did you mean `{best}`?"),
        _ => format!("known here: {}", known.join(", ")),
    }
}

fn subject(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("`{key}` ") }
}

/// Messages of serde and the parser may span lines, and quote what was written: that may have any character.
fn one_line(message: &str) -> String {
    without_control(&message.lines().map(str::trim).collect::<Vec<_>>().join("; "))
}

fn without_control(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn steps(path: &serde_ignored::Path<'_>) -> Vec<Step> {
    use serde_ignored::Path;
    match path {
        Path::Root => Vec::new(),
        Path::Seq { parent, index } => with(steps(parent), Step::Index(*index)),
        Path::Map { parent, key } if key == SPANNED_FIELD => steps(parent),
        Path::Map { parent, key } => with(steps(parent), Step::Key(key.clone())),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => steps(parent),
    }
}

fn with(mut path: Vec<Step>, step: Step) -> Vec<Step> {
    path.push(step);
    path
}

fn dotted(path: &[Step]) -> String {
    let words = path.iter().map(|step| match step {
        Step::Key(key) => without_control(key),
        Step::Index(index) => (index + 1).to_string(),
    });
    words.collect::<Vec<_>>().join(".")
}

/// Where the last key of `path` stands.
fn key_span(table: &DeTable<'_>, path: &[Step]) -> Option<Range<usize>> {
    let (Step::Key(first), rest) = path.split_first()? else { return None };
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    if rest.is_empty() {
        return Some(key.span());
    }
    match (value.get_ref(), rest.split_first()?) {
        (DeValue::Table(inner), _) => key_span(inner, rest),
        (DeValue::Array(array), (Step::Index(index), rest)) => match array.get(*index)?.get_ref() {
            DeValue::Table(inner) => key_span(inner, rest),
            _ => Some(key.span()),
        },
        _ => Some(key.span()),
    }
}

/// The deepest key whose value holds the start of `span`.
fn innermost_key(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<Step>> {
    table.iter().find_map(|(key, value)| {
        innermost(value, span).map(|mut path| {
            path.insert(0, Step::Key(key.get_ref().to_string()));
            path
        })
    })
}

fn innermost(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<Step>> {
    let deeper = match value.get_ref() {
        DeValue::Table(inner) => innermost_key(inner, span),
        DeValue::Array(array) => array
            .iter()
            .enumerate()
            .find_map(|(index, value)| innermost(value, span).map(|path| [vec![Step::Index(index)], path].concat())),
        _ => None,
    };
    let holds = value.span().contains(&span.start) || value.span() == *span;
    deeper.or_else(|| holds.then(Vec::new))
}
