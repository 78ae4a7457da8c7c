//! What fails under ours fails under a candidate of client-go that competes with them, too: none of ours comes early, none leads
//! beside another, and what ours commit after client-go took the lock is residue.

use rustix::process::Signal;
use tenure_control_plane::Program;
use tenure_tests::{ClientGo, Options, RealApi, World};

use super::api_server::AWAY;
use super::{at_work, judged, stamped, tell};
use crate::lifecycle::LEASE;
use crate::lifecycle::evidence::{assert_nobody_came_early, assert_residue, lock_writes, writes_after};

/// Panics when ours wrote after client-go had taken the lock from them, but for residue. How often it did take it, and how many
/// writes came late.
fn residue_beside(api: &RealApi, world: &mut World) -> (usize, usize) {
    let writes = lock_writes(api, world);
    let taken = writes.windows(2).filter(|pair| pair[1].is_of_client_go() && !pair[1].holder.is_empty());
    let taken = taken.filter(|pair| pair[0].is_ours() && !pair[0].holder.is_empty());
    let taken: Vec<_> = taken.map(|pair| (pair[0].holder.clone(), pair[1].version)).collect();
    let mut late = 0;
    for (holder, version) in &taken {
        let term = world.judge.terms().into_iter().rfind(|(_, of, began)| of == holder && began.number < *version);
        let (term, ..) = term.unwrap_or_else(|| panic!("{holder} held the lock in no term"));
        let name = holder.split('_').next().unwrap_or_default().to_owned();
        late += assert_residue(&writes_after(api, world, term, *version), world.replica(&name), term);
    }
    (taken.len(), late)
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_an_outage_beside_client_go_let_nobody_of_ours_in_early() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    if !ClientGo::is_there() {
        return;
    }
    let (mut world, _) = at_work(&api, Options::default(), None).await;
    let mut other = ClientGo::start(&world, "client-go", None, &["--stay"]).await;
    other.said("new-leader", 1).await;

    api.kill(Program::ApiServer);
    api.start_api_server().await.expect("it starts again");
    api.kill(Program::Etcd);
    api.start_etcd().expect("it starts again");
    api.ready().await.expect("the API is back");
    api.stop(Program::ApiServer).await;
    tokio::time::sleep(AWAY).await;
    api.start_api_server().await.expect("it starts again");
    // Whoever is first: with a lease of five seconds that is anybody's, and nobody's before it has run out.
    world.leader().await;
    other.signal(Signal::TERM);
    other.ended().await;
    stamped(&world, "at-last").await;
    world.judged().await;
    assert_nobody_came_early(&api, &world, LEASE);
    let (taken, late) = residue_beside(&api, &mut world);
    tell(&format!("client-go took the lock from ours {taken} times; {late} late writes of ours, all of them residue"));
    judged(&mut world, "restarts and an outage beside client-go");
}
