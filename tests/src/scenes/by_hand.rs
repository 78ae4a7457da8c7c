//! What people do to the Lease while a leader works: it stops at once, and never are there two.

use serde_json::{Value, json};

use super::at_work;
use crate::{World, until, until_some};

/// A Lease that people have in their hands, and the term it was in before.
pub struct Handled {
    /// The world.
    pub world: World,
    /// Who led.
    pub leader: String,
    /// In which term.
    pub term: u64,
}

impl Handled {
    /// With a plugin that writes without pause.
    pub async fn bursting(world: World) -> Self {
        let world = at_work(world, "burst").await;
        let (leader, term) = (world.leader().await, world.term().await.expect("a term"));
        Self { world, leader, term }
    }

    /// Waits until the term has ended and a later one has written. The late writes of the term that ended: what had
    /// passed its last look at the clocks before the watch brought the news.
    pub async fn taken_over(&mut self) -> usize {
        self.world.replica(&self.leader).logged("stopped leading").await;
        let (world, term) = (&self.world, self.term);
        until("a later term to write", || async { world.judge.writes().iter().any(|(of, ..)| *of > term) }).await;
        let judge = world.judged().await;
        judge.assert_terms_rise();
        judge.late_writes().len()
    }

    /// As [`taken_over`](Self::taken_over), where nobody but those who wait a whole lease may come next: no write is late.
    pub async fn taken_over_after_a_wait(&mut self) {
        let late = self.taken_over().await;
        assert_eq!(late, 0, "writes of term {} after a later one: {:?}", self.term, self.world.judge.late_writes());
    }
}

/// Deleted: the term ends, and nobody begins one before the deletion.
pub async fn a_deleted_lease_ends_the_term(world: World) -> Handled {
    let mut handled = Handled::bursting(world).await;
    handled.world.delete_lease().await;
    handled.taken_over_after_a_wait().await;
    let judge = &handled.world.judge;
    let deleted = judge.history().into_iter().find(|state| state.deleted).expect("the deletion was seen").version;
    let next = judge.terms().into_iter().find(|(other, ..)| *other > handled.term).expect("a later term");
    assert!(next.2 > deleted);
    handled
}

/// Edited in a way that ends the term: with `patch`, by a person.
pub async fn an_edit_ends_the_term(world: World, patch: Value) -> Handled {
    let mut handled = Handled::bursting(world).await;
    handled.world.edit_lease(patch).await;
    handled.taken_over_after_a_wait().await;
    handled
}

/// Given to a holder that does not exist: respected until it expires, and what comes out meanwhile was in flight.
pub async fn given_to_another(world: World) -> Handled {
    let mut handled = Handled::bursting(world).await;
    handled.world.edit_lease(json!({"spec": {"holderIdentity": "somebody-else"}})).await;
    handled.world.replica(&handled.leader).logged("stopped leading").await;
    until_some("the edit", || async {
        handled.world.judge.history().into_iter().find(|state| state.holder == "somebody-else")
    })
    .await;
    handled.taken_over_after_a_wait().await;
    handled
}

/// Labels and foreign annotations do no harm, and stay.
pub async fn labels_and_foreign_annotations_do_no_harm(world: World) -> World {
    let Handled { world, leader, term } = Handled::bursting(world).await;
    world.edit_lease(json!({"metadata": {"labels": {"team": "a"}, "annotations": {"note": "hello"}}})).await;
    let edited = world.judge.history().len();
    until("three renewals after the edit", || async { world.judge.history().len() > edited + 3 }).await;
    let lease = world.lease().await.expect("the lease");
    assert_eq!(lease.metadata.annotations.as_ref().and_then(|all| all.get("note")).map(String::as_str), Some("hello"));
    assert_eq!(lease.metadata.labels.as_ref().and_then(|all| all.get("team")).map(String::as_str), Some("a"));
    assert_eq!((world.leader().await, world.term().await), (leader, Some(term)));
    world.judged().await.assert_clean();
    world
}
