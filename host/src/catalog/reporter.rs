//! Events on a plugin's ConfigMap, so that `kubectl describe` shows why it does not run. Only the leader speaks, else each
//! replica would say the same.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use tenure_lease::Leadership;
use tenure_plugin_source::Origin;
use tenure_settings::PluginIdentity;
use tokio::sync::{mpsc, watch};

use super::Left;

/// Events that wait to be sent; more are dropped: the log and status have them all.
const QUEUE_MAX: usize = 64;
/// The longest note events.k8s.io/v1 takes, in bytes.
const NOTE_BYTES_MAX: usize = 1024;

/// Sends events about plugins.
pub(crate) struct Reporter {
    leadership: watch::Receiver<Leadership>,
    led: bool,
    queue: mpsc::Sender<(Event, ObjectReference)>,
}

/// Sends what the [`Reporter`] queued.
pub(crate) struct ReporterTask {
    recorder: Recorder,
    queue: mpsc::Receiver<(Event, ObjectReference)>,
}

impl Reporter {
    pub(crate) fn new(leadership: watch::Receiver<Leadership>, recorder: Recorder) -> (Self, ReporterTask) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        (Self { leadership, led: false, queue: sender }, ReporterTask { recorder, queue })
    }

    /// Waits until this replica becomes leader; false when the election has ended.
    pub(crate) async fn became_leader(&mut self) -> bool {
        loop {
            let leads = self.leadership.borrow_and_update().is_leader();
            if leads && !self.led {
                self.led = true;
                return true;
            }
            self.led = leads;
            if self.leadership.changed().await.is_err() {
                return false;
            }
        }
    }

    /// A plugin does not run, or not in its newest version.
    pub(crate) fn refused(&self, identity: &PluginIdentity, origin: &Origin, message: &str) {
        self.warn(identity, origin, ("PluginRefused", "Load"), message);
    }

    /// Objects carry the finalizer of a plugin that does not see them.
    pub(crate) fn held(&self, left: &Left) {
        self.warn(&left.identity, &left.origin, ("FinalizersLeft", "Remove"), &left.message());
    }

    fn warn(&self, identity: &PluginIdentity, origin: &Origin, (reason, action): (&str, &str), message: &str) {
        let Origin::ConfigMap { namespace, name, uid, .. } = origin else { return };
        if !self.leadership.borrow().is_leader() {
            return;
        }
        let event = Event {
            type_: EventType::Warning,
            reason: reason.into(),
            note: Some(message[..message.floor_char_boundary(NOTE_BYTES_MAX)].to_owned()),
            action: action.into(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("ConfigMap".into()),
            namespace: Some(namespace.clone()),
            name: Some(name.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        };
        if self.queue.try_send((event, reference)).is_err() {
            tracing::debug!(plugin = %identity, "too many events wait; this one is only in the log");
        }
    }
}

impl ReporterTask {
    /// Sends until the [`Reporter`] is gone.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        while let Some((event, reference)) = self.queue.recv().await {
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                tracing::debug!(%error, "an event could not be recorded");
            }
        }
        Ok(())
    }
}
