//! What an idle election costs the API server, counted in its audit log.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tenure_tests::{World, until};

use super::evidence::{assert_clean, figure, lock_writes};
use super::three_replicas;

/// Retry period of the profile `fast`: a renewal is sent so long after the one before.
const RETRY: Duration = Duration::from_secs(1);
/// How many renewals are looked at.
const RENEWALS: usize = 12;

/// The kinds of requests for the world's Lease that were answered from `begin` to `end`: verb and Pod.
fn requests_for_the_lock(world: &World, begin: Timestamp, end: Timestamp) -> Vec<(String, String)> {
    let events = world.judge.audit().into_iter().filter(|(_, event)| {
        let at: Timestamp = event.received_at.parse().expect("a time in the audit log");
        event.resource == "leases" && event.namespace == world.names.system && begin <= at && at < end
    });
    events.map(|(_, event)| (event.verb.clone(), event.pod.clone().unwrap_or_default())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_election_is_one_renewal_each_retry_period_and_nothing_else() {
    let Some(world) = three_replicas().await else { return };
    // All three watch: what a start costs is over.
    until("three watches on the lock", || async {
        let events = world.judge.audit().into_iter().map(|(_, event)| event);
        let of_world = events.filter(|event| event.resource == "leases" && event.namespace == world.names.system);
        let watches = of_world.filter(|event| event.verb == "watch" && event.code == 200);
        watches.filter_map(|event| event.pod.clone()).collect::<BTreeSet<_>>().len() == 3
    })
    .await;
    let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
    // The machine has one wall clock: what was received after this is none of our own reads above.
    let now = Timestamp::now();
    let writes = || lock_writes(&world).into_iter().filter(|write| write.received_at > now).collect::<Vec<_>>();
    until("renewals", || async { writes().len() > RENEWALS }).await;
    assert_eq!(world.term().await, Some(term), "the machine was too busy to hold a lease: nothing was measured");

    let writes = writes();
    let (begin, end) = (writes[0].received_at, writes[RENEWALS].received_at);
    let requests = requests_for_the_lock(&world, begin, end);
    let renewals = requests.iter().filter(|request| **request == ("update".to_owned(), leader.clone())).count();
    let others: Vec<_> = requests.iter().filter(|(verb, pod)| verb != "update" || pod != &leader).collect();
    assert!(others.is_empty(), "besides renewals: {others:?}");
    // Each is sent a retry period after the one before; the first of the window may have been on its way for an attempt.
    let window = end.duration_since(begin).unsigned_abs();
    let due = window.as_secs_f64() / RETRY.as_secs_f64() + 2.0;
    assert!(renewals as f64 <= due, "{renewals} renewals in {window:?}");
    let a_minute = renewals as f64 * 60.0 / window.as_secs_f64();
    figure("requests a minute of three idle candidates at 5/3/1 s", a_minute.round() as usize);
    assert_clean(&world).await;
}
