//! Waiting for a condition: with a limit, and a word on what was waited for.

use std::future::Future;
use std::time::Duration;

/// Long enough for a loaded machine to do anything a test waits for; no test is meant to come near it.
pub const LIMIT: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// Asks until the answer is yes.
///
/// # Panics
/// When it is not within [`LIMIT`]; says what was waited for.
pub async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    until_some(what, || {
        let answer = ask();
        async move { answer.await.then_some(()) }
    })
    .await;
}

/// Asks until there is an answer, and returns it.
///
/// # Panics
/// When there is none within [`LIMIT`]; says what was waited for.
pub async fn until_some<T, F: Future<Output = Option<T>>>(what: &str, ask: impl FnMut() -> F) -> T {
    until_some_within(LIMIT, what, ask).await
}

/// As [`until_some`], for what takes longer than any process of ours: a rollout, a node that comes back.
///
/// # Panics
/// When there is none within `limit`; says what was waited for.
pub async fn until_some_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("waited {} s in vain for {what}", limit.as_secs()),
    }
}
