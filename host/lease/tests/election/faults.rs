//! An API server that refuses, loses, delays, or is not there.

use std::sync::atomic::Ordering;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;
use tenure_lease::{ElectionConfig, Leadership};
use tenure_local_cluster::Intercept;
use tokio::net::TcpListener;

use crate::world::{Candidate, LOCK, World, brisk, config, eventually, holder, long, short};

#[tokio::test]
async fn lost_answer_to_a_renewal_costs_no_term() {
    let world = World::new().await;
    let mut a = world.candidate("a", brisk());
    let term = a.until_leading().await;
    let lost = world.fault("update", 1, Intercept::LoseAnswer);
    eventually("lost", || async { lost.load(Ordering::SeqCst) }, |lost| *lost == 1).await;
    let deadline = term.hard_until();
    let until = || async { term.hard_until() };
    eventually("renewed", until, |until| until.boot > deadline.boot).await;
    assert!(!term.is_closed());
}

#[tokio::test]
async fn lost_answer_to_the_acquiring_write_still_leads() {
    let world = World::new().await;
    let lost = world.fault("create", 1, Intercept::LoseAnswer);
    let mut a = world.candidate("a", brisk());
    a.until_leading().await;
    assert_eq!(lost.load(Ordering::SeqCst), 1);
    assert_eq!(holder(&world.lease().await), "a");
}

#[tokio::test]
async fn hanging_renewal_is_given_up_and_tried_again_in_time() {
    let world = World::new().await;
    let mut a = world.candidate("a", brisk());
    let term = a.until_leading().await;
    let hung = world.fault("update", 1, Intercept::Hang);
    eventually("hung", || async { hung.load(Ordering::SeqCst) }, |hung| *hung == 1).await;
    let deadline = term.hard_until();
    let until = || async { term.hard_until() };
    eventually("renewed", until, |until| until.boot > deadline.boot).await;
    assert!(!term.is_closed());
    let slow = a.until("counted as slow", |leadership| leadership.slow_path_total > 0).await;
    assert!(slow.is_leader());
}

#[tokio::test]
async fn leader_that_cannot_renew_stops_before_its_lease_expires() {
    let world = World::new().await;
    let mut a = world.candidate("a", short());
    let term = a.until_leading().await;
    world.fault("update", usize::MAX, Intercept::Unavailable);
    let stopped = a.until("stopped", |leadership| leadership.live.is_none()).await;
    assert!(stopped.kill);
    assert!(term.is_closed());
    let error = stopped.last_error.expect("an error");
    assert!(error.contains("503"), "{error}");
    a.election.drained(term.term(), false);
    world.stop_intercepting();
    a.until_leading().await;
}

/// Whoever is in trouble is not ready: that must not last for as long as another leads, which may be the holder of before, too.
#[tokio::test]
async fn standby_whose_write_failed_is_in_no_trouble_once_the_holder_of_before_renews_again() {
    let world = World::new().await;
    let spec =
        LeaseSpec { holder_identity: Some(String::from("b")), lease_duration_seconds: Some(1), ..LeaseSpec::default() };
    let metadata = ObjectMeta { name: Some(String::from(LOCK)), ..ObjectMeta::default() };
    let lease = Lease { metadata, spec: Some(spec) };
    world.leases().create(&PostParams::default(), &lease).await.expect("the lease is created");
    world.intercept(|request| match (request.verb, request.user_agent.starts_with("tenure-election/")) {
        ("update", true) => Intercept::Unavailable,
        _ => Intercept::Pass,
    });
    let mut a = world.candidate("a", short());
    a.until("in trouble", |leadership| leadership.last_error.is_some()).await;
    // It held the lock before, and will for longer than this test takes.
    world.patch_lease(json!({"spec": {"leaseDurationSeconds": 600}})).await;
    let mut renewals = 0_u32;
    // An attempt may be under way when the record changes for the first time.
    let in_trouble = || {
        renewals += 1;
        let (world, watched, renewals) = (&world, &a.leadership, renewals);
        async move {
            world.patch_lease(json!({"spec": {"leaseTransitions": renewals}})).await;
            let seen = |it: &Leadership| it.observed.as_ref().map(|it| it.seen.record.transitions);
            watched.clone().wait_for(|it| seen(it) == Some(renewals)).await.expect("it goes on").last_error.clone()
        }
    };
    eventually("in no trouble", in_trouble, Option::is_none).await;
}

#[tokio::test]
async fn forbidden_lease_names_what_is_missing_and_the_role_that_mends_it() {
    let world = World::new().await;
    world.fault("get", usize::MAX, Intercept::Forbid(String::from("no RBAC policy matched")));
    let mut a = world.candidate("a", brisk());
    let forbidden = |leadership: &tenure_lease::Leadership| {
        leadership.last_error.as_ref().is_some_and(|error| error.contains("forbidden to get"))
    };
    let error = a.until("forbidden", forbidden).await.last_error.expect("just seen");
    for part in ["leases.coordination.k8s.io", "\"tenure\"", "\"default\"", "Role", "no RBAC policy matched"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    world.stop_intercepting();
    a.until_leading().await;
    a.until("without an error", |leadership| leadership.last_error.is_none()).await;
}

#[tokio::test]
async fn standby_that_may_not_watch_polls_and_takes_over() {
    let world = World::new().await;
    let mut a = world.candidate("a", long());
    let first = a.until_leading().await;
    world.intercept(|request| match (request.resource.as_str(), request.verb) {
        ("leases", "list" | "watch") => Intercept::Forbid(String::from("no list, no watch")),
        _ => Intercept::Pass,
    });
    let mut b = world.candidate("b", brisk());
    b.until_holder_is("a").await;
    let told = b.until("told why", |leadership| leadership.last_error.is_some()).await;
    assert!(told.last_error.is_some_and(|error| error.contains("no list, no watch")));
    a.shut_down(&first).await;
    b.until_leading().await;
}

#[tokio::test]
async fn api_server_that_is_not_there_is_named_until_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let mut a = Candidate::start(config(address, "a", brisk()));
    let unreachable =
        a.until("told", |leadership| leadership.last_error.is_some()).await.last_error.expect("just seen");
    assert!(unreachable.contains(&address.to_string()), "{unreachable}");
    assert!(unreachable.contains("cannot be reached"), "{unreachable}");
    let world = World::on(TcpListener::bind(address).await.expect("the same port"));
    a.until_leading().await;
    assert_eq!(holder(&world.lease().await), "a");
}

#[tokio::test]
async fn watch_that_breaks_is_resumed() {
    let world = World::new().await;
    let mut a = world.candidate("a", long());
    let first = a.until_leading().await;
    let broken = world.fault("watch", 3, Intercept::Drop);
    let mut b = world.candidate("b", long());
    eventually("broken", || async { broken.load(Ordering::SeqCst) }, |broken| *broken == 3).await;
    b.until_holder_is("a").await;
    a.shut_down(&first).await;
    b.until_leading().await;
}

#[tokio::test]
async fn watch_that_never_answers_is_opened_again() {
    let world = World::new().await;
    let mut a = world.candidate("a", long());
    let first = a.until_leading().await;
    let hung = world.fault("watch", 1, Intercept::Hang);
    let mut b = world.candidate("b", short());
    b.until_holder_is("a").await;
    eventually("hung", || async { hung.load(Ordering::SeqCst) }, |hung| *hung == 1).await;
    a.shut_down(&first).await;
    b.until_leading().await;
}

#[tokio::test]
async fn events_that_are_refused_cost_nothing() {
    let world = World::new().await;
    world.intercept(|request| match request.resource.as_str() {
        "events" => Intercept::Forbid(String::from("no events")),
        _ => Intercept::Pass,
    });
    let mut a = world.candidate("a", long());
    let term = a.until_leading().await;
    a.shut_down(&term).await;
    assert_eq!(holder(&world.lease().await), "");
}

#[tokio::test]
async fn client_that_cannot_be_made_is_refused_at_the_start() {
    let world = World::new().await;
    let mut broken: ElectionConfig = world.config("a", short());
    broken.kube.cluster_url = "https://127.0.0.1:1".parse().expect("a URL");
    broken.kube.root_cert = Some(vec![b"no certificate".to_vec()]);
    let error = tenure_lease::start(broken).expect_err("it cannot be made");
    assert!(error.to_string().contains("https://127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn health_and_counts_follow_the_renewals() {
    let world = World::new().await;
    let mut a = world.candidate("a", brisk());
    let counted = a.until("counted", |leadership| leadership.transitions_seen_total == 1).await;
    assert!(counted.is_leader());
    assert_eq!(counted.lease_health.check(Duration::from_secs(20)), Ok(()));
    // A renewal never leaves early, and never at the very nanosecond.
    a.until("renewed", |leadership| leadership.last_renewal_lateness > Duration::ZERO).await;
}
