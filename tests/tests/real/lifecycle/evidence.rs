//! What the audit log and the replicas' own logs prove. Panics with the evidence; decides nothing about what is promised to
//! whom.

use std::time::Duration;

use jiff::Timestamp;
use tenure_tests::{LockWrite, Replica, Version, World};

/// Of client-go's requests, for the lock and for its workload.
const CLIENT_GO: &str = "client-go-candidate/";

/// Every stored write to the world's Lease, in the order of versions.
pub(crate) fn lock_writes(world: &World) -> Vec<LockWrite> {
    world.judge.lock_log().writes()
}

/// As [`tenure_tests::LockLog::assert_nobody_came_early`], of the world's lock.
pub(crate) fn assert_nobody_came_early(world: &World, lease: Duration) {
    world.judge.lock_log().assert_nobody_came_early(lease);
}

/// As [`tenure_tests::LockLog::assert_one_writer_a_term`], of the world's lock.
pub(crate) fn assert_one_writer_a_term(world: &World) {
    world.judge.lock_log().assert_one_writer_a_term();
}

/// Requests of a term that came to the API server from an instant on, whatever became of them: the machine has one wall clock.
pub(crate) fn arrivals_since(world: &World, term: u64, since: Timestamp) -> usize {
    let (account, agent) = (world.account(), format!("term/{term}"));
    let events = world.judge.audit().into_iter();
    let events = events.filter(|(_, event)| event.user == account && event.user_agent.ends_with(&agent));
    events.filter(|(_, event)| event.received_at.parse::<Timestamp>().is_ok_and(|at| at >= since)).count()
}

/// What a term committed after a version: the ids of its writes.
pub(crate) fn writes_after(world: &World, term: u64, version: Version) -> Vec<String> {
    let writes = world.judge.lock_log().plugin_writes().into_iter();
    writes.filter(|(of, stored, _)| *of == term && *stored > version).map(|(.., event)| event.id.clone()).collect()
}

/// How many writes of client-go's workload were committed after a version.
pub(crate) fn client_go_writes(world: &World, after: Version) -> usize {
    let events = world.judge.audit().into_iter().filter(|(epoch, event)| {
        event.resource == "configmaps"
            && event.namespace == world.names.work
            && event.user_agent.starts_with(CLIENT_GO)
            && event.version().is_some_and(|number| Version { epoch: *epoch, number } > after)
    });
    events.count()
}

/// Panics when a write that came late is none that the replica's gate let out while the term lasted: then it is no residue. Returns
/// how many came late.
pub(crate) fn assert_residue(late: &[String], replica: &Replica, term: u64) -> usize {
    let sent = replica.writes_of_the_ended(term);
    for id in late {
        let known = sent.iter().any(|write| &write.id == id && write.passed_at.is_some());
        assert!(known, "{} says nothing of sending {id}: {sent:?}", replica.name);
    }
    late.len()
}

/// Says a figure that is measured and not promised.
#[expect(clippy::print_stderr, reason = "figures are for whoever reads the test's output")]
pub(crate) fn figure(what: &str, count: usize) {
    eprintln!("FIGURE {what}: {count}");
}

/// All that holds of any world of ours, whatever was done to it.
pub(crate) async fn assert_clean(world: &World) {
    world.judged().await.assert_clean();
    assert_one_writer_a_term(world);
    assert_nobody_came_early(world, super::LEASE);
}
