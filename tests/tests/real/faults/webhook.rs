//! An admission webhook that takes its time, on what plugins write and on the lock itself.

use std::time::Duration;

use rustix::process::Signal;
use tenure_tests::{Admission, Options, RealApi, Webhook, World, until};

use super::{FIRST, at_work, ended, goes_on, judged, later_term_writes};

/// A world on the shared server, and a webhook that is asked before ConfigMaps change where its plugins work.
async fn admitted_by_a_webhook() -> Option<(Webhook, World, u64)> {
    let api = RealApi::shared().await?;
    let (world, term) = at_work(&api, Options::default(), None).await;
    let webhook = Webhook::start().await;
    webhook.register(world.client(), &world.names.work, "", "configmaps").await;
    Some((webhook, world, term))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_held_in_admission_across_a_takeover_is_given_up_by_the_api_server() {
    let Some((webhook, mut world, term)) = admitted_by_a_webhook().await else { return };
    webhook.set(Admission::Held);
    webhook.asked().await;
    // A leader that stands still can reset nothing: what bounds its write is the `timeout` it was sent with.
    world.replica(FIRST).signal(Signal::STOP);
    world.leader_after(FIRST).await;
    webhook.set(Admission::Quick);
    later_term_writes(&world, term).await;
    world.replica(FIRST).signal(Signal::CONT);
    ended(&world, FIRST, term).await;
    goes_on(&world, term + 1, "afterwards").await;
    assert_eq!(judged(&mut world, "held in admission"), []);
    let writes = world.replica(FIRST).gate_writes();
    assert!(writes.iter().filter(|write| write.bytes > 0).all(|write| write.url.contains("timeout=")), "{writes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_admission_held_too_long_forbids_the_release() {
    let Some((webhook, mut world, term)) = admitted_by_a_webhook().await else { return };
    webhook.set(Admission::Held);
    webhook.asked().await;
    world.replica(FIRST).signal(Signal::TERM);
    assert!(world.replica(FIRST).ended().await.success());
    webhook.set(Admission::Quick);
    later_term_writes(&world, term).await;
    let told = world.replica(FIRST).logged("stopped leading").await;
    assert!(told.contains("runs out by itself"), "{told}");
    let history = world.judge.history();
    assert!(history.iter().all(|state| !state.holder.is_empty()), "released in spite of a write without an answer");
    assert_eq!(world.residue(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_on_leases_slower_than_an_attempt_ends_the_term_and_lets_nobody_in_until_it_is_quick() {
    let Some(api) = RealApi::shared().await else { return };
    let (mut world, term) = at_work(&api, Options::default(), None).await;
    let webhook = Webhook::start().await;
    // The attempt timeout of the profile `fast` is 667 ms.
    webhook.set(Admission::Slow(Duration::from_secs(5)));
    webhook.register(world.client(), &world.names.system, "coordination.k8s.io", "leases").await;
    ended(&world, FIRST, term).await;
    // Somebody else has tried by now, in vain.
    until("another candidate to try", || async {
        let tried = |name: &str| world.replicas[name].log_text().contains("cannot update lease");
        super::OTHERS.into_iter().any(tried)
    })
    .await;
    assert_eq!(world.term().await, Some(term));
    webhook.set(Admission::Quick);
    later_term_writes(&world, term).await;
    goes_on(&world, term + 1, "afterwards").await;
    judged(&mut world, "slow webhook on leases");
}
