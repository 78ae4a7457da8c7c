//! A task that only reads, for every replica: it says in the log when it begins, in which term, and when it was told to end.

use std::time::Duration;

use tenure_plugin::{Cluster, Result, Task, info};

/// The task.
#[derive(Debug)]
pub struct Sentry;

impl Task for Sentry {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn run(self, cluster: &Cluster) -> Result<()> {
        info!("on guard in term {}", cluster.term());
        while !cluster.wait(Duration::from_secs(60)) {}
        info!("told to end");
        Ok(())
    }
}

tenure_plugin::task!(Sentry, reads_only);
