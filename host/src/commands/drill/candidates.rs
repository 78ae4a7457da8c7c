//! The port to whoever campaigns: children of this process, Pods, or Pods' processes on their nodes.

use std::time::Instant;

use async_trait::async_trait;

/// What can be acted on. Of one drill, in one mode.
#[async_trait(?Send)]
pub(super) trait Candidates {
    /// What is done to a holder, for the report.
    fn action(&self) -> String;

    /// Brings up whatever has to run.
    async fn start(&mut self) -> anyhow::Result<()>;

    /// Finds who is behind a holderIdentity, and remembers it for what follows. Changes nothing.
    async fn find(&mut self, holder: &str) -> anyhow::Result<()>;

    /// What has to be agreed to before anything is done to whom [`Self::find`] found; `None` where nobody needs to be asked.
    fn plan(&self) -> Option<String>;

    /// Gets ready to act at once on whom [`Self::find`] found.
    async fn arm(&mut self) -> anyhow::Result<()>;

    /// Acts. Returns the instant right before the action was sent.
    async fn act(&mut self) -> anyhow::Result<Instant>;

    /// Lets a paused holder go on.
    async fn resume(&mut self) -> anyhow::Result<()>;

    /// After a trial: waits until there are as many candidates as before, or starts them; not after the last one. Returns what
    /// is worth telling.
    async fn replace(&mut self, is_last: bool) -> anyhow::Result<Vec<String>>;

    /// Waits for something to happen to a candidate that nobody asked for, mends it, and tells. Loses nothing when dropped.
    async fn mind(&mut self) -> anyhow::Result<String>;

    /// Why there may be no holder, for an error.
    fn hint(&self) -> String;

    /// Leaves nothing stopped and nothing running. Called again, it ends at once what it still waits for.
    async fn leave(&mut self);
}
