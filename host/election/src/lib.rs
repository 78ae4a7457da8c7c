//! The lease state machine: when to write the lock's record, when to lead, when to stop.
//!
//! Pure. Facts go in (`handle_*`), actions come out (`poll_action`); time and chance are arguments. Never sees kube,
//! tokio or a clock. The rules it keeps are numbered in docs/election.md.

mod authority;
mod chance;
mod elector;
mod identity;
mod joint;
mod pod;
mod record;
mod settings;
mod time;

pub use authority::{Authority, LiveTerm, Standing, Term};
pub use elector::{
    Action, Attempt, Drain, Elector, Observed, Outcome, PEER_SILENT_AFTER, PEERS_MAX, PeerSeen, Phase, Report, Seen,
    Source, Token, Verdict, Write, WriteKind,
};
pub use identity::{Identity, InvalidIdentity};
pub use joint::JointElector;
pub use pod::{ContainerSeen, OwnContainer, PodSeen, Termination};
pub use record::{Annotations, Record};
pub use settings::{FirstCreate, InvalidTiming, Settings, Timing, TimingWarning};
pub use time::{Clock, Instant};
