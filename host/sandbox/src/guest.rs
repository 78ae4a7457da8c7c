//! What stands between a guest and the [`Host`] port: sizes, the kill switch, panics. Decides nothing about Kubernetes.
//! No host call traps: what goes wrong is an error the guest can handle.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use wasmtime_wasi::{WasiCtxView, WasiView};

use crate::bindings::policy::tenure::plugin::lock_policy_types;
use crate::bindings::tenure::plugin::{
    kubernetes_read, kubernetes_write, leadership, log, reconcile_types, settings, types,
};
use crate::budget::ResourceBudget;
use crate::common::{Common, Limit};
use crate::contract::{Error, GetOptions, Kind, ListOptions, ObjectRef, WriteOptions};
use crate::kill::KillSwitch;
use crate::limits::InstanceLimits;
use crate::log_budget::LogBudget;
use crate::port::Host;
use crate::wasi::Wasi;
use crate::weigh::Weigh;

/// Everything that belongs to one instance on our side of the border.
pub(crate) struct GuestState {
    border: Border,
    log: Arc<LogBudget>,
    wasi: Option<Box<Wasi>>,
    /// Public to the crate because wasmtime asks for a `&mut` to it.
    pub(crate) budget: ResourceBudget,
}

impl GuestState {
    pub(crate) fn new(host: Arc<dyn Host>, common: &Arc<Common>, kill: KillSwitch, limits: &InstanceLimits) -> Self {
        Self {
            log: Arc::new(LogBudget::new(Arc::clone(&host), Arc::clone(common), limits)),
            border: Border {
                host,
                common: Arc::clone(common),
                kill,
                request_bytes_max: limits.request_bytes_max,
                response_bytes_max: limits.response_bytes_max,
            },
            wasi: None,
            budget: ResourceBudget::new(Arc::clone(common), limits),
        }
    }

    pub(crate) fn begin_call(&mut self) {
        self.budget.forget_refusals();
    }

    /// The call is over: an unfinished line of output is a line now.
    pub(crate) fn end_call(&mut self) {
        if let Some(wasi) = &self.wasi {
            wasi.end_lines();
        }
    }

    pub(crate) fn log(&self) -> &LogBudget {
        &self.log
    }

    /// What a call came to, if it is small enough.
    pub(crate) fn bounded<T: Weigh>(&self, result: T) -> Result<T, Error> {
        self.border.within(result, |bytes, bytes_max| {
            format!("its result has {bytes} bytes, at most {bytes_max} are taken (response-bytes-max)")
        })
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(&self.log))).view()
    }
}

/// The port behind its checks.
struct Border {
    host: Arc<dyn Host>,
    common: Arc<Common>,
    kill: KillSwitch,
    request_bytes_max: u64,
    response_bytes_max: u64,
}

impl Border {
    /// One asynchronous host call: killed before or meanwhile, too large, or too large an answer never arrives.
    async fn call<'a, T, F>(
        &'a self,
        what: &'static str,
        request_bytes: u64,
        call: impl FnOnce(&'a dyn Host) -> F,
    ) -> Result<T, types::Error>
    where
        T: Weigh,
        F: Future<Output = Result<T, Error>> + 'a,
    {
        if self.kill.killed() {
            return Err(Error::cancelled().into());
        }
        if request_bytes > self.request_bytes_max {
            self.common.count_refused(Limit::RequestBytes);
            let message = format!(
                "{what}: the call carries {request_bytes} bytes, at most {} are taken (request-bytes-max)",
                self.request_bytes_max
            );
            return Err(Error::limited(message).into());
        }
        let answer = tokio::select! {
            biased;
            () = self.kill.thrown() => Err(Error::cancelled()),
            answer = AssertUnwindSafe(call(&*self.host)).catch_unwind() => answer.unwrap_or_else(|_| {
                tracing::error!(call = what, "a host call panicked; the plugin is told InternalError");
                Err(Error::new("InternalError", format!("{what}: the host failed on this call; its log says why")))
            }),
        };
        match answer {
            Ok(answer) => self.bounded(what, answer).map_err(Into::into),
            Err(error) => Err(self.bounded(what, error).unwrap_or_else(|too_large| too_large).into()),
        }
    }

    fn bounded<T: Weigh>(&self, what: &str, answer: T) -> Result<T, Error> {
        self.within(answer, |bytes, bytes_max| {
            format!(
                "{what}: the answer has {bytes} bytes, at most {bytes_max} are passed on (response-bytes-max): ask for less"
            )
        })
    }

    fn within<T: Weigh>(&self, value: T, too_large: impl FnOnce(u64, u64) -> String) -> Result<T, Error> {
        let (bytes, bytes_max) = (value.bytes(), self.response_bytes_max);
        if bytes <= bytes_max {
            return Ok(value);
        }
        self.common.count_refused(Limit::ResponseBytes);
        Err(Error::limited(too_large(bytes, bytes_max)))
    }

    /// One synchronous host call; `otherwise` is what a guest gets to see when the host panics.
    fn ask<T>(&self, what: &'static str, otherwise: T, call: impl FnOnce(&dyn Host) -> T) -> T {
        catch_unwind(AssertUnwindSafe(|| call(&*self.host))).unwrap_or_else(|_| {
            tracing::error!(call = what, "a host call panicked; the plugin is told a safe default");
            otherwise
        })
    }
}

impl types::Host for GuestState {}
impl reconcile_types::Host for GuestState {}
impl lock_policy_types::Host for GuestState {}

impl kubernetes_read::Host for GuestState {
    async fn get(
        &mut self,
        object: types::ObjectRef,
        options: kubernetes_read::GetOptions,
    ) -> Result<String, types::Error> {
        let (object, options) = (ObjectRef::from(object), GetOptions::from(options));
        let bytes = object.bytes() + options.bytes();
        self.border.call("get", bytes, |host| host.get(object, options)).await
    }

    async fn list(
        &mut self,
        kind: types::Kind,
        options: kubernetes_read::ListOptions,
    ) -> Result<kubernetes_read::Page, types::Error> {
        let (kind, options) = (Kind::from(kind), ListOptions::from(options));
        let bytes = kind.bytes() + options.bytes();
        self.border.call("list", bytes, |host| host.list(kind, options)).await.map(Into::into)
    }
}

impl kubernetes_write::Host for GuestState {
    async fn create(
        &mut self,
        object: types::ObjectRef,
        body: String,
        options: kubernetes_write::WriteOptions,
    ) -> Result<String, types::Error> {
        let (object, options, bytes) = write_request(object, &body, options);
        self.border.call("create", bytes, |host| host.create(object, body, options)).await
    }

    async fn replace(
        &mut self,
        object: types::ObjectRef,
        body: String,
        options: kubernetes_write::WriteOptions,
    ) -> Result<String, types::Error> {
        let (object, options, bytes) = write_request(object, &body, options);
        self.border.call("replace", bytes, |host| host.replace(object, body, options)).await
    }

    async fn patch(
        &mut self,
        object: types::ObjectRef,
        patch_type: kubernetes_write::PatchType,
        body: String,
        options: kubernetes_write::WriteOptions,
    ) -> Result<String, types::Error> {
        let (object, options, bytes) = write_request(object, &body, options);
        self.border.call("patch", bytes, |host| host.patch(object, patch_type.into(), body, options)).await
    }

    async fn apply(
        &mut self,
        object: types::ObjectRef,
        body: String,
        force: bool,
        options: kubernetes_write::WriteOptions,
    ) -> Result<String, types::Error> {
        let (object, options, bytes) = write_request(object, &body, options);
        self.border.call("apply", bytes, |host| host.apply(object, body, force, options)).await
    }

    async fn delete(
        &mut self,
        object: types::ObjectRef,
        options: kubernetes_write::DeleteOptions,
    ) -> Result<String, types::Error> {
        let (object, options) = (ObjectRef::from(object), crate::contract::DeleteOptions::from(options));
        let bytes = object.bytes() + options.bytes();
        self.border.call("delete", bytes, |host| host.delete(object, options)).await
    }

    async fn record_event(
        &mut self,
        object: types::ObjectRef,
        event_type: kubernetes_write::EventType,
        reason: String,
        message: String,
    ) -> Result<(), types::Error> {
        let object = ObjectRef::from(object);
        let bytes = object.bytes() + reason.bytes() + message.bytes();
        self.border
            .call("record-event", bytes, |host| host.record_event(object, event_type.into(), reason, message))
            .await
    }
}

fn write_request(
    object: types::ObjectRef,
    body: &String,
    options: kubernetes_write::WriteOptions,
) -> (ObjectRef, WriteOptions, u64) {
    let (object, options) = (ObjectRef::from(object), WriteOptions::from(options));
    let bytes = object.bytes() + body.bytes() + options.bytes();
    (object, options, bytes)
}

impl leadership::Host for GuestState {
    fn term(&mut self) -> u64 {
        // 0 is no term: a token that every fence refuses.
        self.border.ask("term", 0, |host| host.term())
    }

    fn cancelled(&mut self) -> bool {
        self.border.kill.killed() || self.border.ask("cancelled", true, |host| host.cancelled())
    }

    async fn wait(&mut self, ms: u32) -> bool {
        tokio::select! {
            biased;
            () = self.border.kill.thrown() => true,
            cancelled = AssertUnwindSafe(self.border.host.wait(ms)).catch_unwind() => cancelled.unwrap_or_else(|_| {
                tracing::error!(call = "wait", "a host call panicked; the plugin is told it is cancelled");
                true
            }),
        }
    }
}

impl settings::Host for GuestState {
    fn get(&mut self) -> String {
        self.border.ask("settings", "null".to_owned(), |host| host.settings())
    }
}

impl log::Host for GuestState {
    fn emit(&mut self, level: log::Level, message: String, fields: Vec<(String, String)>) {
        self.log.emit(level.into(), message, fields);
    }
}

#[cfg(all(test, feature = "fixtures"))]
mod tests {
    use super::*;
    use crate::fixtures::{CannedHost, request};

    fn object() -> types::ObjectRef {
        request("").object.into()
    }

    fn options() -> kubernetes_write::WriteOptions {
        kubernetes_write::WriteOptions { subresource: None, dry_run: false, field_validation: None, extra: Vec::new() }
    }

    fn delete_options() -> kubernetes_write::DeleteOptions {
        kubernetes_write::DeleteOptions {
            uid: None,
            resource_version: None,
            propagation: None,
            grace_period_seconds: None,
            dry_run: false,
            extra: Vec::new(),
        }
    }

    fn get_options() -> kubernetes_read::GetOptions {
        kubernetes_read::GetOptions { live: false, metadata_only: false, subresource: None, extra: Vec::new() }
    }

    fn list_options() -> kubernetes_read::ListOptions {
        kubernetes_read::ListOptions {
            namespace: None,
            label_selector: None,
            field_selector: None,
            limit: None,
            continue_token: None,
            live: false,
            metadata_only: false,
            extra: Vec::new(),
        }
    }

    /// Each call of the contract's read and write interfaces; the reason of its error, if it failed.
    async fn reasons(state: &mut GuestState) -> Vec<Option<String>> {
        use kubernetes_read::Host as _;
        use kubernetes_write::Host as _;
        let kind = object().kind;
        let patch_type = kubernetes_write::PatchType::Merge;
        let event_type = kubernetes_write::EventType::Normal;
        let answers = [
            kubernetes_read::Host::get(state, object(), get_options()).await.err(),
            state.list(kind, list_options()).await.err(),
            state.create(object(), String::new(), options()).await.err(),
            state.replace(object(), String::new(), options()).await.err(),
            state.patch(object(), patch_type, String::new(), options()).await.err(),
            state.apply(object(), String::new(), false, options()).await.err(),
            state.delete(object(), delete_options()).await.err(),
            state.record_event(object(), event_type, String::new(), String::new()).await.err(),
        ];
        answers.into_iter().map(|error| error.map(|error| error.reason)).collect()
    }

    #[tokio::test]
    async fn after_the_kill_every_host_call_answers_cancelled_and_none_arrives() {
        let host = Arc::new(CannedHost::new("{}"));
        let kill = KillSwitch::new();
        let mut state = GuestState::new(
            Arc::clone(&host) as Arc<dyn Host>,
            &Arc::default(),
            kill.clone(),
            &InstanceLimits::default(),
        );
        assert_eq!(reasons(&mut state).await, vec![None; 8]);
        assert_eq!(host.calls(), 8);
        kill.kill();
        assert_eq!(reasons(&mut state).await, vec![Some("Cancelled".to_owned()); 8]);
        assert_eq!(host.calls(), 8);
        assert!(leadership::Host::cancelled(&mut state), "also for a guest that asks");
        assert!(leadership::Host::wait(&mut state, u32::MAX).await, "and for one that waits");
    }

    #[tokio::test]
    async fn a_host_call_that_is_pending_when_the_kill_comes_answers_cancelled() {
        let kill = KillSwitch::new();
        let border = Border {
            host: Arc::new(CannedHost::new("{}")),
            common: Arc::default(),
            kill: kill.clone(),
            request_bytes_max: 1024,
            response_bytes_max: 1024,
        };
        let pending = border.call("get", 0, |_| std::future::pending::<Result<String, Error>>());
        let (answer, ()) = tokio::join!(pending, async { kill.kill() });
        assert_eq!(answer.expect_err("cancelled").reason, "Cancelled");
    }
}
