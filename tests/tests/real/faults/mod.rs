//! What holds while the infrastructure fails: three replicas, one of them at work, and something under them that breaks.
//!
//! Common to all: no write of an older term after a takeover but residue, terms rise, nobody exits, and work goes on.

mod api_server;
mod beside_client_go;
mod clock;
mod flood;
mod partition;
mod relay;
mod restore;
mod webhook;

use std::net::SocketAddr;

use serde_json::json;
use tenure_tests::{GATE_LOG, LateWrite, Options, RealApi, World, until};

/// The replica that leads first.
const FIRST: &str = "replica-0";
/// The ones that stand by.
const OTHERS: [&str; 2] = ["replica-1", "replica-2"];

/// Of every replica: its gate tells what it lets through, and a drain does not wait long for who writes again and again.
const STANDARD: [(&str, &str); 2] = [GATE_LOG, ("TENURE_ELECTION_SHUTDOWN_GRACE", "1s")];

/// A world in which [`FIRST`] leads (through `at`, where that is a relay) and writes one ConfigMap again and again, one write at a
/// time, while the others stand by. A second plugin stamps what [`stamped`] makes.
async fn at_work(api: &RealApi, options: Options, at: Option<SocketAddr>) -> (World, u64) {
    let mut world = World::on(api, options).await;
    world.start_at(FIRST, at, &STANDARD).await;
    set_to_work(&world).await;
    for name in OTHERS {
        world.start_with(name, &STANDARD).await;
    }
    while !FIRST.eq(&all_know_of(&world).await) {
        // This machine stalled for longer than a lease lasts before anything was under test: once more.
        for name in OTHERS {
            world.replica(name).kill();
        }
        until("the first to lead", || async { world.holder().await.as_deref() == Some(FIRST) }).await;
        for name in OTHERS {
            world.start_with(name, &STANDARD).await;
        }
    }
    let term = stood_by(&world).await;
    (world, term)
}

/// Waits until the others know who leads; who.
async fn all_know_of(world: &World) -> String {
    for name in OTHERS {
        world.replicas[name].logged("holds the lock").await;
    }
    world.leader().await
}

/// Gives [`FIRST`] its work, and waits until it is at it.
async fn set_to_work(world: &World) {
    world.leader().await;
    lay_out_work(world).await;
    at_it(world).await;
}

/// The plugins, and what the one that writes again and again writes to.
async fn lay_out_work(world: &World) {
    world.drop_in(&world.probe("burster", "burst", "1")).await;
    world.drop_in(&world.probe("stamper", "stamp", "1")).await;
    world.config_map("burster", &world.names.work, "target", json!({})).await;
}

/// Waits until somebody does the work.
async fn at_it(world: &World) {
    stamped(world, "before").await;
    world.annotated(&world.names.work, "target", "probe/number").await;
}

/// Waits until the others know who leads; in which term.
async fn stood_by(world: &World) -> u64 {
    assert_eq!(
        all_know_of(world).await,
        FIRST,
        "this machine is too busy for the lease: it was lost before anything was broken"
    );
    world.term().await.expect("a term")
}

/// Makes a ConfigMap, and waits until it is stamped; with which term.
async fn stamped(world: &World, name: &str) -> u64 {
    world.config_map("stamper", &world.names.work, name, json!({})).await;
    let term = world.annotated(&world.names.work, name, "probe/term").await;
    term.parse().expect("a term")
}

/// Waits until `term` or a later one goes on writing, and has stamped a new ConfigMap.
async fn goes_on(world: &World, term: u64, name: &str) {
    let now = stamped(world, name).await;
    assert!(now >= term, "term {now} wrote after term {term}");
    burst_goes_on(world, term).await;
}

/// Waits until `term` or a later one goes on writing.
async fn burst_goes_on(world: &World, term: u64) {
    let written = |world: &World| world.judge.writes().into_iter().filter(|(of, ..)| *of >= term).count();
    let before = written(world);
    until("the burst to go on", || async { written(world) >= before + 5 }).await;
}

/// Waits until a replica says that its term is over.
async fn ended(world: &World, name: &str, term: u64) {
    until(&format!("{name} to stop leading in term {term}"), || async {
        world.replicas[name].stopped_leading_at(term).is_some()
    })
    .await;
}

/// Waits until a later term writes.
async fn later_term_writes(world: &World, term: u64) {
    until("a later term to write", || async { world.judge.writes().iter().any(|(of, ..)| *of > term) }).await;
}

/// What holds at the end of each: the late writes, all of them residue, at most one for each takeover, since the one who writes again
/// and again writes one at a time.
fn judged(world: &mut World, what: &str) -> Vec<LateWrite> {
    for name in [FIRST].into_iter().chain(OTHERS) {
        assert!(world.replica(name).is_running(), "{name} has exited");
    }
    let residue = world.residue();
    let takeovers = world.judge.terms().len() - 1;
    tell(&format!("{what}: {takeovers} takeovers, {} residue, {} writes", residue.len(), world.judge.writes().len()));
    assert!(residue.len() <= takeovers, "{} late writes in {takeovers} takeovers: {residue:?}", residue.len());
    residue
}

#[expect(clippy::print_stderr, reason = "what was counted belongs in the run's output")]
fn tell(what: &str) {
    eprintln!("{what}");
}
