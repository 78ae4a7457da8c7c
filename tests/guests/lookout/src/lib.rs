//! A plugin that only reads, for every replica: it says in the log which ConfigMap it saw, with what in it, and in which term.

use serde_json::Value;
use tenure_plugin::{Cluster, Outcome, Reconciler, Request, Result, info};

/// The plugin.
#[derive(Debug)]
pub struct Lookout;

impl Reconciler for Lookout {
    type Settings = ();

    fn new((): ()) -> Result<Self> {
        Ok(Self)
    }

    fn reconcile(&mut self, request: Request, cluster: &Cluster) -> Result<Outcome> {
        let Some(object) = cluster.find::<Value>(&request.object)? else { return Ok(Outcome::done()) };
        let value = object["data"]["value"].as_str().unwrap_or_default();
        info!("saw {} with {value} in term {}", request.object.name, cluster.term());
        Ok(Outcome::done())
    }
}

tenure_plugin::reconciler!(Lookout, reads_only);
