//! Why a key is worked on, and what becomes of several reasons at once.

/// Why a key is worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The object appeared or changed.
    Changed,
    /// The object is being deleted, or is gone.
    Deleted,
    /// A schedule came due.
    Scheduled,
    /// The call before failed so many times in a row; 0: it asked to be called again.
    Retried(u32),
    /// The key's first call in this term.
    TermStarted,
}

impl Cause {
    /// A plugin sees one cause a call: the one that asks most of it.
    const fn weight(self) -> u8 {
        match self {
            Self::Retried(_) => 0,
            Self::Scheduled => 1,
            Self::Changed => 2,
            Self::TermStarted => 3,
            Self::Deleted => 4,
        }
    }
}

/// What the next call of a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) cause: Cause,
    /// The object came back after a deletion nobody has handled yet: the deletion is called first, then this.
    pub(crate) then_changed: bool,
}

impl Pending {
    pub(crate) const fn new(cause: Cause) -> Self {
        Self { cause, then_changed: false }
    }

    /// This and what came `later`, in one.
    #[must_use]
    pub(crate) fn merged(self, later: Self) -> Self {
        if later.cause == Cause::Deleted {
            return later;
        }
        if self.cause == Cause::Deleted {
            let came_back = matches!(later.cause, Cause::Changed | Cause::TermStarted);
            return Self { cause: Cause::Deleted, then_changed: self.then_changed || came_back };
        }
        if later.cause.weight() >= self.cause.weight() { later } else { self }
    }
}
