//! Lists as iterators: one page in memory at a time.

use std::{collections::VecDeque, marker::PhantomData, rc::Rc};

use serde::de::DeserializeOwned;

use crate::{Error, Kind, ListOptions, Result, host::Reads};

/// All objects of a kind, page by page. After an error it ends: what came before it is a part, not the whole.
///
/// `collect::<Result<Vec<_>>>()` gives all or nothing.
#[must_use = "nothing is read until the iterator is used"]
pub struct Objects<T> {
    host: Rc<dyn Reads>,
    kind: Kind,
    options: ListOptions,
    buffered: VecDeque<String>,
    pages_left: bool,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Objects<T> {
    pub(crate) fn new(host: Rc<dyn Reads>, kind: Kind, options: ListOptions) -> Self {
        Self { host, kind, options, buffered: VecDeque::new(), pages_left: true, item: PhantomData }
    }

    fn fetch(&mut self) -> Result<()> {
        let page = self.host.list(&self.kind, &self.options)?;
        self.pages_left = page.continue_token.is_some();
        self.options.continue_token = page.continue_token;
        self.buffered = page.items.into();
        Ok(())
    }

    fn end(&mut self, error: Error) -> Error {
        self.buffered.clear();
        self.pages_left = false;
        error
    }
}

impl<T: DeserializeOwned> Iterator for Objects<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        // A page may be empty and still not be the last: the host filters what was not granted.
        while self.buffered.is_empty() && self.pages_left {
            if let Err(error) = self.fetch() {
                return Some(Err(self.end(error)));
            }
        }
        let json = self.buffered.pop_front()?;
        Some(serde_json::from_str(&json).map_err(|error| {
            let kind = &self.kind.kind;
            self.end(Error::guest(format!("a listed {kind} does not fit the plugin's type: {error}")))
        }))
    }
}
