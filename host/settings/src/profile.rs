//! Sets of defaults to start from; each key can still be given. Owns the defaults that differ between profiles only.

use serde::Deserialize;
use tenure_election::{FirstCreate, Timing};

use crate::LogLevel;

/// Where the defaults come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// client-go's timing: 15/10/2 s.
    #[default]
    Default,
    /// A successor within seconds, for three times the requests: 5/3/1 s.
    Fast,
    /// Far or busy API servers, many hosts: 60/40/10 s.
    Lazy,
    /// Exactly one replica, without a lock. Its Deployment needs `strategy: Recreate`.
    Single,
    /// Fast, talkative, on loopback, and without a wait where no lock exists yet.
    Development,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 5] = [Self::Default, Self::Fast, Self::Lazy, Self::Single, Self::Development];

    /// As `profile = ".."` writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Fast => "fast",
            Self::Lazy => "lazy",
            Self::Single => "single",
            Self::Development => "development",
        }
    }

    pub(crate) const fn election_enabled(self) -> bool {
        !matches!(self, Self::Single)
    }

    pub(crate) const fn timing(self) -> Timing {
        match self {
            Self::Default | Self::Single => Timing::DEFAULT,
            Self::Fast | Self::Development => Timing::FAST,
            Self::Lazy => Timing::LAZY,
        }
    }

    pub(crate) const fn first_create(self) -> FirstCreate {
        match self {
            Self::Development => FirstCreate::Immediate,
            _ => FirstCreate::Wait,
        }
    }

    pub(crate) const fn listen(self) -> &'static str {
        match self {
            Self::Development => "127.0.0.1:8080",
            _ => "0.0.0.0:8080",
        }
    }

    pub(crate) const fn log_level(self) -> LogLevel {
        match self {
            Self::Development => LogLevel::Debug,
            _ => LogLevel::Info,
        }
    }
}
