//! What can be done to a running Tenure and observed through the API: each with the time it took. The demo tells it once,
//! the benchmark many times.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::api::{Followed, version};
use super::dev::{Dev, Replica};
use super::lock::{self, Holder};
use super::scene;
use crate::process;
use crate::workspace::Workspace;

/// Longer than any of it may take at the timing of profile `fast` (a lease of 5 s), on a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A handover or takeover as seen from outside, each from the signal on.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// Who led before.
    pub(crate) from: Replica,
    /// Who leads now.
    pub(crate) to: Holder,
    /// Until the old leader had released the lock; only where it did.
    pub(crate) released: Option<Duration>,
    /// Until another replica held it.
    pub(crate) held: Duration,
    /// Until a plugin run by that replica had written to an object.
    pub(crate) reconciled: Duration,
}

/// Many ConfigMaps of one team.
pub(crate) struct Crowd {
    team: String,
    count: usize,
}

/// A running Tenure and two windows on its cluster.
pub(crate) struct Story {
    /// The processes.
    pub(crate) dev: Dev,
    leases: Followed,
    config_maps: Followed,
    teams: u32,
}

impl Story {
    /// Starts three replicas and waits for a leader.
    pub(crate) fn begin(tenure: &Path, folder: &Path, profile: &str) -> anyhow::Result<(Self, Holder)> {
        let dev = Dev::start(tenure, 3, profile, folder)?;
        let mut leases = dev.api.follow(lock::LEASES)?;
        let config_maps = dev.api.follow(scene::CONFIG_MAPS)?;
        let (_, holder) = leases.until("a replica holds the lease", LIMIT, lock::holder)?;
        Ok((Self { dev, leases, config_maps, teams: 0 }, holder))
    }

    /// Creates the ConfigMaps that `tenure plugin pack` makes of a plugin. Answers with their names.
    pub(crate) fn drop_in(&self, workspace: &Workspace, tenure: &Path, plugin: &str) -> anyhow::Result<Vec<String>> {
        self.drop_in_as(workspace, tenure, plugin, plugin)
    }

    /// The same under another name.
    pub(crate) fn drop_in_as(
        &self,
        workspace: &Workspace,
        tenure: &Path,
        plugin: &str,
        name: &str,
    ) -> anyhow::Result<Vec<String>> {
        let folder = workspace.plugins_folder().join(plugin);
        let mut pack = Command::new(tenure);
        pack.args(["plugin", "pack", "--name", name]);
        pack.arg(folder.join("plugin.toml")).arg(folder.join("plugin.wasm"));
        let packed = process::output(&mut pack, LIMIT)?;
        let objects = documents(&packed).context("tenure plugin pack did not print JSON")?;
        let mut names = Vec::new();
        for object in &objects {
            self.dev.api.create(scene::PLUGIN_CONFIG_MAPS, object)?;
            names.push(object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        Ok(names)
    }

    /// Makes the namespaces of two teams with a ConfigMap each, and waits until these bear the team's label.
    pub(crate) fn create_teams(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let team = self.next_team();
        for name in scene::NAMESPACES {
            self.dev.api.create("/api/v1/namespaces", &scene::namespace(name, &team))?;
            self.dev.api.create(&scene::config_maps_in(name), &scene::config_map(scene::CONFIG))?;
        }
        let (at, ()) = self.config_maps.until("every ConfigMap bears the label of its namespace", LIMIT, |all| {
            scene::NAMESPACES.iter().all(|name| scene::labelled(all, name, &team).is_some()).then_some(())
        })?;
        Ok(at.saturating_duration_since(begun))
    }

    /// Makes a team's namespace with so many ConfigMaps, before any plugin is there to see them. Answers with the team.
    pub(crate) fn create_many(&mut self, count: u32) -> anyhow::Result<Crowd> {
        let team = self.next_team();
        self.dev.api.create("/api/v1/namespaces", &scene::crowd(&team))?;
        for number in 0..count {
            let name = format!("{}-{number}", scene::CONFIG);
            self.dev.api.create(&scene::config_maps_in(scene::CROWD), &scene::config_map(&name))?;
        }
        Ok(Crowd { team, count: count as usize })
    }

    /// Waits until all of a crowd bear their label; from now to the first, and to the last.
    pub(crate) fn converged(&mut self, crowd: &Crowd) -> anyhow::Result<(Duration, Duration)> {
        let begun = Instant::now();
        let mut first = None;
        let (last, ()) = self.config_maps.until("all ConfigMaps bear the label", LIMIT * 10, |all| {
            let bearing = all.all().filter(|it| scene::is_in_crowd(it) && scene::bears(it, &crowd.team)).count();
            if bearing > 0 {
                first.get_or_insert(all.at);
            }
            (bearing == crowd.count).then_some(())
        })?;
        let since = |at: Instant| at.saturating_duration_since(begun);
        Ok((since(first.unwrap_or(last)), since(last)))
    }

    /// Gives a namespace to another team and waits until its ConfigMap follows.
    pub(crate) fn edit(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let (at, _) = self.hand_over_namespace()?;
        Ok(at.saturating_duration_since(begun))
    }

    /// Creates the source that both namespaces ask for and waits for the copies.
    pub(crate) fn create_source(&mut self) -> anyhow::Result<Duration> {
        let api = self.dev.api.clone();
        api.create("/api/v1/namespaces", &scene::plain_namespace(scene::SOURCE_NAMESPACE))?;
        let begun = Instant::now();
        api.create(&scene::config_maps_in(scene::SOURCE_NAMESPACE), &scene::source())?;
        let (at, ()) = self.config_maps.until("both namespaces hold a copy of the source", LIMIT, |all| {
            scene::NAMESPACES.iter().all(|name| scene::is_copy(all, name)).then_some(())
        })?;
        Ok(at.saturating_duration_since(begun))
    }

    /// Deletes the source and waits until it and its copies are gone.
    pub(crate) fn delete_source(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.dev.api.delete(&format!("{}/{}", scene::config_maps_in(scene::SOURCE_NAMESPACE), scene::SOURCE))?;
        let (at, ()) = self.config_maps.until("the source and its copies are gone", LIMIT, |all| {
            let everywhere = scene::NAMESPACES.iter().chain([&scene::SOURCE_NAMESPACE]);
            everywhere.map(|namespace| all.get(namespace, scene::SOURCE)).all(|it| it.is_none()).then_some(())
        })?;
        Ok(at.saturating_duration_since(begun))
    }

    /// The replica that leads now.
    pub(crate) fn leader(&mut self) -> anyhow::Result<Replica> {
        let (_, holder) = self.leases.until("a replica holds the lease", LIMIT, lock::holder)?;
        self.dev.replica_of(&holder.identity)
    }

    /// Signals the leader and waits until another replica leads and works. After SIGKILL nobody releases anything and the
    /// lease has to run out; after SIGTERM it is let go in order.
    pub(crate) fn end_leader(&mut self, signal: Signal) -> anyhow::Result<Change> {
        let (_, before) = self.leases.until("a replica holds the lease", LIMIT, lock::holder)?;
        let from = self.dev.replica_of(&before.identity)?;
        let begun = Instant::now();
        from.signal(signal)?;
        let mut released = None;
        let (held, to) = self.leases.until("another replica holds the lease", LIMIT, |leases| {
            if lock::is_released(leases) {
                released.get_or_insert(leases.at);
            }
            lock::holder(leases).filter(|holder| holder.identity != before.identity)
        })?;
        if to.term <= before.term {
            bail!("the new term {} is not above the old one {}", to.term, before.term);
        }
        // Written above the version that acquired the lease: so by the successor. What the old leader still did between
        // signal and end does not count; then there is another edit.
        let reconciled = loop {
            let (at, written) = self.hand_over_namespace()?;
            if written > to.version {
                break at;
            }
        };
        let since = |at: Instant| at.saturating_duration_since(begun);
        Ok(Change { from, to, released: released.map(since), held: since(held), reconciled: since(reconciled) })
    }

    /// Gives a namespace to another team; answers when its ConfigMap bore the label, and with the version that write got.
    fn hand_over_namespace(&mut self) -> anyhow::Result<(Instant, u64)> {
        let team = self.next_team();
        let namespace = scene::NAMESPACES[0];
        self.dev.api.merge(&scene::path_of(namespace), &scene::now_of(&team))?;
        self.config_maps.until("the ConfigMap bears its namespace's new label", LIMIT, |all| {
            scene::labelled(all, namespace, &team).map(version)
        })
    }

    fn next_team(&mut self) -> String {
        self.teams += 1;
        format!("team-{}", self.teams)
    }
}

/// One JSON document, a `List`, an array, or several documents in a row.
fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match document? {
            Value::Array(items) => objects.extend(items),
            mut list if list["kind"] == json!("List") => {
                objects.extend(list["items"].take().as_array().cloned().unwrap_or_default());
            }
            object => objects.push(object),
        }
    }
    if objects.is_empty() {
        bail!("it holds no object");
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_in_whatever_kubectl_would_take() {
        let object = r#"{"kind":"ConfigMap"}"#;
        for text in [
            object.to_owned() + object,
            format!("[{object},{object}]"),
            format!(r#"{{"kind":"List","items":[{object},{object}]}}"#),
        ] {
            assert_eq!(documents(&text).unwrap().len(), 2, "{text}");
        }
        assert!(documents("").is_err());
        assert!(documents("apiVersion: v1").is_err());
    }
}
