//! The kill switch: one for each plugin and term. Never taken back.

use tokio_util::sync::CancellationToken;

/// Ends every instance that was made with it. Clones share one switch.
///
/// Call [`crate::Sandbox::kill_epoch`] after [`Self::kill`], so that a guest which computes notices at once and not at the
/// next tick. Unlike the soft signal ([`crate::Host::cancelled`]) this asks nobody.
#[derive(Debug, Clone, Default)]
pub struct KillSwitch(CancellationToken);

impl KillSwitch {
    /// A switch that has not been thrown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Throws it: pending host calls answer `Cancelled`, calls end as [`crate::CallError::Killed`]. From any thread.
    pub fn kill(&self) {
        self.0.cancel();
    }

    /// Whether it was thrown.
    #[must_use]
    pub fn killed(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when it is thrown; at once when it was.
    pub(crate) async fn thrown(&self) {
        self.0.cancelled().await;
    }
}
