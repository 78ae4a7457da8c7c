//! What a task implements.

use serde::de::DeserializeOwned;

use crate::{Cluster, Result};

/// A task: work that is done once in each term, or goes on for as long as the term does.
///
/// Each run has an instance of its own. Memory is lost with it, and so is a run that a handover cuts short: the next leader
/// begins anew, so what is done already has to show in the cluster.
pub trait Task: Sized + 'static {
    /// The manifest's `[settings]`. `#[serde(deny_unknown_fields)]` catches misspelt keys; `()` takes none.
    type Settings: DeserializeOwned;

    /// Called once, before the run.
    ///
    /// # Errors
    /// When the settings make no sense. The run then failed with this error, which the host shows.
    fn new(settings: Self::Settings) -> Result<Self>;

    /// The run. It has all the time of its term; pauses belong into [`Cluster::wait`], which returns as soon as leadership
    /// ends. From then on it has the grace to come to its end, then it is killed.
    ///
    /// # Errors
    /// Any error has the host run it again, with backoff. Well ended, it has run for this term.
    fn run(self, cluster: &Cluster) -> Result<()>;
}
