//! How many bytes a value carries across the border: what the request and response budgets count. Text only; numbers and
//! booleans are free.

use crate::contract::{
    DeleteOptions, Error, GetOptions, Kind, ListOptions, ObjectRef, Outcome, Page, Pair, Verdict, WriteOptions,
};

/// Something whose text is counted.
pub(crate) trait Weigh {
    /// Bytes of all its text.
    fn bytes(&self) -> u64;
}

impl Weigh for () {
    fn bytes(&self) -> u64 {
        0
    }
}

impl Weigh for String {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }
}

impl<T: Weigh> Weigh for Option<T> {
    fn bytes(&self) -> u64 {
        self.as_ref().map_or(0, T::bytes)
    }
}

impl<T: Weigh> Weigh for Vec<T> {
    fn bytes(&self) -> u64 {
        self.iter().map(T::bytes).sum()
    }
}

impl Weigh for Pair {
    fn bytes(&self) -> u64 {
        self.0.bytes() + self.1.bytes()
    }
}

impl Weigh for Kind {
    fn bytes(&self) -> u64 {
        self.api_version.bytes() + self.kind.bytes()
    }
}

impl Weigh for ObjectRef {
    fn bytes(&self) -> u64 {
        self.kind.bytes() + self.namespace.bytes() + self.name.bytes()
    }
}

impl Weigh for GetOptions {
    fn bytes(&self) -> u64 {
        self.subresource.bytes() + self.extra.bytes()
    }
}

impl Weigh for ListOptions {
    fn bytes(&self) -> u64 {
        self.namespace.bytes()
            + self.label_selector.bytes()
            + self.field_selector.bytes()
            + self.continue_token.bytes()
            + self.extra.bytes()
    }
}

impl Weigh for WriteOptions {
    fn bytes(&self) -> u64 {
        self.subresource.bytes() + self.field_validation.bytes() + self.extra.bytes()
    }
}

impl Weigh for DeleteOptions {
    fn bytes(&self) -> u64 {
        self.uid.bytes() + self.resource_version.bytes() + self.extra.bytes()
    }
}

impl Weigh for Page {
    fn bytes(&self) -> u64 {
        self.items.bytes() + self.continue_token.bytes() + self.resource_version.bytes()
    }
}

impl Weigh for Verdict {
    fn bytes(&self) -> u64 {
        match self {
            Self::Yield { reason } => reason.bytes(),
            Self::Campaign | Self::Wait { .. } | Self::Keep => 0,
        }
    }
}

impl Weigh for Outcome {
    fn bytes(&self) -> u64 {
        self.extra.bytes()
    }
}

impl Weigh for Error {
    fn bytes(&self) -> u64 {
        self.reason.bytes() + self.message.bytes() + self.status.bytes()
    }
}
