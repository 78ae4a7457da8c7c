//! The contract in every language, at the border itself: what an API server rarely says, and what only a host says.

use std::path::Path;
use std::sync::Arc;

use tenure_sandbox::{CallError, Cause, Error, Host, InstanceLimits, KillSwitch, Level, Loaded};

use crate::host::{Answer, LONG, TestHost, request, sandbox};

/// Guests that were built when this version of the contract was released; `cargo xtask plugins --languages` builds them.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guests/kept/0.1.0");

fn kept() -> Vec<(String, Arc<Loaded>)> {
    let sandbox = sandbox();
    let loaded = |path: &Path| {
        let packed = std::fs::read(path).expect("a file");
        let wasm = zstd::decode_all(packed.as_slice()).expect("compressed with zstd");
        sandbox.load(&wasm).unwrap_or_else(|refused| panic!("{}: {refused}", path.display()))
    };
    let files = std::fs::read_dir(KEPT).expect("guests are kept").map(|entry| entry.expect("a file").path());
    files.map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), loaded(&path))).collect()
}

/// Every reason there is in the contract, each field in use and not.
fn errors() -> Vec<Error> {
    let status = r#"{"kind":"Status","message":"ä→😀","code":409}"#;
    let of_server = ["NotFound", "AlreadyExists", "Conflict", "Invalid", "Forbidden", "TooManyRequests", "Timeout"]
        .map(|reason| Error { status: Some(status.to_owned()), ..Error::new(reason, "said the server: ä→😀") });
    let of_host = ["Denied", "Limited", "Unknown", "GuestError", "BadRequest"].map(|reason| Error::new(reason, ""));
    let waiting = [0, 1, u32::MAX].map(|ms| Error { retry_after_ms: Some(ms), ..Error::limited("wait") });
    of_server.into_iter().chain(of_host).chain(waiting).chain([Error::cancelled()]).collect()
}

#[tokio::test]
async fn every_error_crosses_in_every_language_both_ways_and_whole() {
    for (name, plugin) in kept() {
        for error in errors() {
            let host = TestHost::new(Answer::Fail(error.clone())) as Arc<dyn Host>;
            let instance = plugin.instantiate(host, InstanceLimits::default(), KillSwitch::new()).await;
            let mut request = request();
            request.body = Some(r#"{"data":{"does":"meet"}}"#.into());
            let answer = instance.expect("an instance").reconcile(request, LONG).await;
            assert_eq!(answer, Err(CallError::Guest(error)), "{name}");
        }
    }
}

#[tokio::test]
async fn a_schedule_crosses_in_every_language() {
    for (name, plugin) in kept() {
        let host = TestHost::answering("");
        let port = Arc::clone(&host) as Arc<dyn Host>;
        let instance = plugin.instantiate(port, InstanceLimits::default(), KillSwitch::new()).await;
        let mut request = request();
        (request.cause, request.body) = (Cause::Scheduled, None);
        request.extra = vec![("schedule".into(), "0".into()), ("due".into(), "2026-11-21T03:30:00Z".into())];
        let answer = instance.expect("an instance").reconcile(request, LONG).await;
        assert_eq!(answer.expect("an outcome").requeue_after_ms, Some(1 << 40), "{name}");
        let due = vec![("due".to_owned(), "2026-11-21T03:30:00Z".to_owned())];
        assert_eq!(host.lines(), [(Level::Info, "scheduled".to_owned(), due)], "{name}");
    }
}
