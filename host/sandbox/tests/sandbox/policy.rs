//! Lock policies: told from plugins that reconcile, asked, and held to what they may import.

use std::time::Duration;

use tenure_sandbox::{CallError, Candidate, LoadError, LockRecord, Observation, Verdict, World, fixtures};

use crate::host::{LONG, TestHost, instance, load, request, sandbox};

fn candidate(name: &str) -> Candidate {
    let (zone, version) = (Some("here".to_owned()), "0.1.0".to_owned());
    Candidate { name: name.to_owned(), zone, version, load: 7, campaigns: true }
}

fn observation() -> Observation {
    Observation {
        lock: "tenure-system/host.tenure.dev".to_owned(),
        leads: true,
        record: Some(LockRecord {
            holder: "a_1".to_owned(),
            term: Some(7),
            lease_duration_ms: 15_000,
            transitions: 3,
            unchanged_ms: 500,
            free_in_ms: 14_500,
        }),
        own: candidate("a"),
        labels: vec![("rack".to_owned(), "r1".to_owned())],
        peers: vec![candidate("b"), candidate("c")],
        wait_max_ms: 30_000,
    }
}

#[tokio::test]
async fn a_policy_is_asked_and_answers_again_and_again() {
    let host = TestHost::answering("");
    let campaigns = fixtures::policy("(i32.const 1024)");
    assert_eq!(load(&campaigns).world(), World::LockPolicy);
    let mut policy = instance(&campaigns, &host).await;
    for _ in 0..3 {
        assert_eq!(policy.decide(observation(), LONG).await, Ok(Verdict::Campaign));
    }
    let waits =
        "(i32.store8 (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1028) (i32.const 2500)) (i32.const 1024)";
    let mut policy = instance(&fixtures::policy(waits), &host).await;
    assert_eq!(policy.decide(observation(), LONG).await, Ok(Verdict::Wait { ms: 2500 }));
    // What it yields for is here the lock's name, the first field of what it was told.
    let yields = "(i32.store8 (i32.const 1024) (i32.const 3))
        (i64.store (i32.const 1028) (i64.load (local.get $observation)))
        (i32.const 1024)";
    let mut policy = instance(&fixtures::policy(yields), &host).await;
    let reason = "tenure-system/host.tenure.dev".to_owned();
    assert_eq!(policy.decide(observation(), LONG).await, Ok(Verdict::Yield { reason }));
}

#[tokio::test]
async fn a_policy_that_traps_or_spins_is_cut_off() {
    let host = TestHost::answering("");
    let mut traps = instance(&fixtures::policy("unreachable"), &host).await;
    assert!(matches!(traps.decide(observation(), LONG).await, Err(CallError::Trap { .. })));
    let mut spins = instance(&fixtures::policy("(loop $for_ever (br $for_ever)) (i32.const 1024)"), &host).await;
    let after = Duration::from_millis(100);
    assert_eq!(spins.decide(observation(), after).await, Err(CallError::Timeout { after }));
}

#[tokio::test]
async fn a_call_of_the_other_world_is_an_error() {
    let host = TestHost::answering("");
    let mut policy = instance(&fixtures::policy("(i32.const 1024)"), &host).await;
    assert!(matches!(policy.reconcile(request(), LONG).await, Err(CallError::Trap { .. })));
    let plugin = load(&fixtures::idle());
    assert_eq!(plugin.world(), World::Reconciler);
    let mut plugin = instance(&fixtures::idle(), &host).await;
    assert!(matches!(plugin.decide(observation(), LONG).await, Err(CallError::Trap { .. })));
}

#[test]
fn a_policy_that_could_write_or_knows_terms_is_refused() {
    for import in ["kubernetes-write", "leadership"] {
        let text = format!(
            r#"(component
                (import "tenure:plugin/{import}@0.1.0" (instance))
                (core module $module (func (export "decide")))
                (core instance $instance (instantiate $module))
                (func (export "decide") (canon lift (core func $instance "decide"))))"#
        );
        let refused = sandbox().load(&wat::parse_str(text).expect("valid text")).expect_err("refused");
        assert!(matches!(refused, LoadError::PolicyActs { .. }), "{refused}");
        assert!(refused.to_string().contains(import), "{refused}");
    }
}
