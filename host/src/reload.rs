//! The configuration while the host runs: its file is looked at again and again, checked as at the start, and its grants are
//! handed on. All else in it is for the next start. A file that cannot be used leaves everything as it is, and is reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, PostParams};
use serde_json::json;
use tenure_console::{Metrics, SettingsState};
use tenure_election::Term;
use tenure_lease::{Leadership, Lock};
use tenure_settings::{Flags, Settings, Warning};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::catalog::Grants;

/// How often the file is read. Reading beats being told: a mounted ConfigMap changes by a link two levels up, others by a
/// rename or in place, and network file systems tell nobody.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest message core/v1 takes in an Event, in bytes.
const EVENT_BYTES_MAX: usize = 1024;

/// Where the settings come from, and what goes over them.
#[derive(Debug, Clone)]
pub(crate) struct SettingsFile {
    pub(crate) path: PathBuf,
    pub(crate) flags: Flags,
    /// `--console-listen`.
    pub(crate) console_listen: Option<std::net::SocketAddr>,
}

/// A file's content, or why there is none.
type Content = Result<String, String>;

impl SettingsFile {
    /// Without flags over it.
    pub(crate) fn alone(path: &Path) -> Self {
        Self { path: path.to_owned(), flags: Flags::default(), console_listen: None }
    }

    /// Reads and checks it. The text goes along: what is read later is compared with it.
    ///
    /// # Errors
    /// When the file cannot be read, or not be used.
    pub(crate) fn read(&self) -> anyhow::Result<(Settings, Vec<Warning>, String)> {
        let text = std::fs::read_to_string(&self.path).with_context(|| {
            format!(
                "cannot read the configuration {}; --config names it, config/tenure.toml is one with every key",
                self.path.display()
            )
        })?;
        let (settings, warnings) = self.parse(&text)?;
        Ok((settings, warnings, text))
    }

    fn parse(&self, text: &str) -> anyhow::Result<(Settings, Vec<Warning>)> {
        let environment = |name: &str| std::env::var(name).ok();
        let shown = self.path.display().to_string();
        let (mut settings, warnings) = Settings::parse(text, &shown, &environment, &self.flags)?;
        if let Some(listen) = self.console_listen {
            settings.console.listen = listen;
        }
        Ok((settings, warnings))
    }

    async fn content(&self) -> Content {
        tokio::fs::read_to_string(&self.path).await.map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

/// Follows the file.
pub(crate) struct Follower {
    pub(crate) file: SettingsFile,
    /// What the host works by: as at the start, but for the grants.
    pub(crate) settings: Settings,
    /// What was judged last.
    pub(crate) text: String,
    /// Where the host and its lock live: no plugin namespace.
    pub(crate) host_namespaces: Vec<String>,
    pub(crate) grants: watch::Sender<Grants>,
    pub(crate) announcer: Announcer,
}

/// Says how the settings stand, wherever somebody may look.
pub(crate) struct Announcer {
    /// For status: a sentence where the file is not what the host works by.
    pub(crate) note: watch::Sender<Option<String>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) client: kube::Client,
    pub(crate) lock: Lock,
    /// What an Event has said, and in which term.
    pub(crate) told: Option<(Term, String)>,
}

impl Follower {
    /// Never returns while the process is to go on.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut judged: Content = Ok(std::mem::take(&mut self.text));
        let mut seen = judged.clone();
        loop {
            look.tick().await;
            let now = self.file.content().await;
            // The same twice in a row: a file that is being written in place may be valid, and lack grants, when half of it is there.
            if now == seen && now != judged {
                self.judge(&now);
                judged.clone_from(&now);
            }
            seen = now;
            self.announcer.tell_the_cluster().await;
        }
    }

    fn judge(&mut self, content: &Content) {
        match content.as_ref().map_err(|error| anyhow::anyhow!(error.clone())).and_then(|text| self.checked(text)) {
            Ok((settings, warnings)) => self.take(settings, &warnings),
            Err(error) => {
                let message = format!("{error:#}; the settings of before stay in force");
                tracing::error!(path = %self.file.path.display(), reason = message, "changed settings refused");
                self.announcer.show(SettingsState::Refused, Some(message));
            }
        }
    }

    /// As at the start.
    fn checked(&self, text: &str) -> anyhow::Result<(Settings, Vec<Warning>)> {
        let (settings, warnings) = self.file.parse(text)?;
        self.host_namespaces.iter().try_for_each(|namespace| settings.check_host_namespace(namespace))?;
        Ok((settings, warnings))
    }

    fn take(&mut self, settings: Settings, warnings: &[Warning]) {
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let waiting = for_the_next_start(&self.settings, &settings);
        if settings.grants != self.settings.grants {
            tracing::info!(path = %self.file.path.display(), grants = settings.grants.len(), "changed grants are in force");
            self.settings.grants = settings.grants;
            self.grants.send_replace(self.settings.grants.clone().into());
        }
        if waiting.is_empty() {
            return self.announcer.show(SettingsState::Current, None);
        }
        let message = format!(
            "{} changed in {}: that needs a restart, until then it stays as it was at the start (grants take effect at once)",
            waiting.join(", "),
            self.file.path.display()
        );
        tracing::warn!(reason = message, "changed settings need a restart");
        self.announcer.show(SettingsState::RestartNeeded, Some(message));
    }
}

/// The parts that differ, and that a running host does not change.
fn for_the_next_start(now: &Settings, new: &Settings) -> Vec<&'static str> {
    let parts = [
        ("profile", now.profile != new.profile),
        ("[election]", now.election != new.election),
        ("[plugins]", now.plugins != new.plugins),
        ("[limits]", now.limits != new.limits),
        ("[console]", now.console != new.console),
        ("[cache]", now.cache != new.cache),
        ("[log]", now.log != new.log),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
}

impl Announcer {
    fn show(&self, state: SettingsState, message: Option<String>) {
        self.metrics.set_settings_state(state);
        self.note.send_replace(message);
    }

    /// An Event on the Lease, once a term and message. Only the leader speaks: the file is mostly the same for all.
    async fn tell_the_cluster(&mut self) {
        let Some(message) = self.note.borrow().clone() else {
            self.told = None;
            return;
        };
        let (term, uid) = {
            let now = self.leadership.borrow();
            let Some(live) = &now.live else { return };
            (live.term(), now.observed.as_ref().map(|observed| observed.seen.uid.clone()))
        };
        let news = (term, message);
        if self.told.as_ref() == Some(&news) {
            return;
        }
        if let Err(error) = self.post(&news.1, uid).await {
            tracing::debug!(%error, "an event about the settings could not be recorded");
        }
        self.told = Some(news);
    }

    async fn post(&self, message: &str, uid: Option<String>) -> anyhow::Result<()> {
        let Lock { kind, namespace, name } = &self.lock;
        let now = jiff::Timestamp::now();
        let time = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let event: Event = serde_json::from_value(json!({
            "metadata": { "name": format!("{name}.{:x}", now.as_nanosecond()), "namespace": namespace },
            "involvedObject": {
                "apiVersion": kind.api_version(), "kind": kind.kind(), "namespace": namespace, "name": name, "uid": uid,
            },
            "type": "Warning",
            "reason": "Settings",
            "message": &message[..message.floor_char_boundary(EVENT_BYTES_MAX)],
            "source": { "component": "tenure" },
            "reportingComponent": "tenure",
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }))?;
        Api::<Event>::namespaced(self.client.clone(), namespace).create(&PostParams::default(), &event).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_named_and_grants_are_not_among_it() {
        let parse = |text: &str| Settings::parse(text, "t", &|_| None, &Flags::default()).expect("settings").0;
        let before = parse("");
        let grant = "[[grant]]\nplugin = \"tenure-plugins/a\"\n";
        assert_eq!(for_the_next_start(&before, &parse(grant)), [""; 0]);
        let lock = "[election]\nid = \"other.example.com\"\n[limits]\nmemory = \"1Mi\"\n";
        assert_eq!(for_the_next_start(&before, &parse(&format!("{lock}{grant}"))), ["[election]", "[limits]"]);
    }
}
