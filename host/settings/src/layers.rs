//! What was given where, strongest first: flags, environment, file. Checks no value against another.

use std::path::PathBuf;
use std::time::Duration;

use crate::document::{DocumentError, Form, Origin, Source};
use crate::place::Given;
use crate::quantity::{Count, Processors, Size, Span};
use crate::raw::{Key, RawSettings};
use crate::variables::{VARIABLES, Variable, Word};
use crate::{Flags, Place};

/// The layers of one [`crate::Settings`].
pub(crate) struct Layers<'a> {
    above: Vec<(RawSettings, Place)>,
    file: RawSettings,
    source: Source<'a>,
}

impl<'a> Layers<'a> {
    pub(crate) fn read(
        source: Source<'a>,
        form: &Form,
        env: &dyn Fn(&str) -> Option<String>,
        flags: &Flags,
    ) -> Result<Self, DocumentError> {
        let file = source.read(form)?;
        let mut above = Vec::new();
        for (flag, key, text) in flags.given() {
            above.push(single(form, key, &text, Place::Flag(flag))?);
        }
        for Variable { key, .. } in &VARIABLES {
            let name = Variable::name(key);
            // An empty variable is how many deployments say "not given".
            if let Some(text) = env(&name).filter(|text| !text.is_empty()) {
                above.push(single(form, key, &text, Place::Variable(name))?);
            }
        }
        Ok(Self { above, file, source })
    }

    /// The file's own tables: what cannot be given elsewhere.
    pub(crate) fn file(&self) -> (&RawSettings, &Source<'a>) {
        (&self.file, &self.source)
    }

    /// The strongest layer's value.
    pub(crate) fn pick<T: Clone>(&self, key: impl Fn(&RawSettings) -> &Key<T>) -> Option<Given<T>> {
        self.above
            .iter()
            .find_map(|(raw, place)| {
                let value = key(raw).as_ref()?.get_ref().clone();
                Some(Given { value, place: place.clone() })
            })
            .or_else(|| self.source.given(key(&self.file)))
    }

    pub(crate) fn duration(&self, key: impl Fn(&RawSettings) -> &Key<Span>) -> Option<Given<Duration>> {
        self.pick(key).map(|given| given.map(|span| span.0))
    }

    pub(crate) fn size(&self, key: impl Fn(&RawSettings) -> &Key<Size>) -> Option<Given<u64>> {
        self.pick(key).map(|given| given.map(|size| size.0))
    }

    pub(crate) fn count(&self, key: impl Fn(&RawSettings) -> &Key<Count>) -> Option<Given<u32>> {
        self.pick(key).map(|given| given.map(|count| count.0))
    }

    pub(crate) fn processors(&self, key: impl Fn(&RawSettings) -> &Key<Processors>) -> Option<Given<u32>> {
        self.pick(key).map(|given| given.map(|processors| processors.0))
    }

    pub(crate) fn path(&self, key: impl Fn(&RawSettings) -> &Key<String>) -> Option<PathBuf> {
        self.pick(key).map(|given| given.value.into())
    }
}

/// A layer of one value: read as the file is, so that it is understood and refused in the same words.
fn single(form: &Form, key: &str, text: &str, place: Place) -> Result<(RawSettings, Place), DocumentError> {
    let word = VARIABLES.iter().find(|variable| variable.key == key).map_or(Word::Text, |variable| variable.word);
    let line = format!("{key} = {}", word.toml(text));
    let source = Source { text: &line, origin: Origin::Elsewhere(place.clone()) };
    Ok((source.read(form)?, place))
}
