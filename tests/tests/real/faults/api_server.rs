//! The API server and its store go away and come back.

use std::time::Duration;

use tenure_control_plane::Program;
use tenure_tests::{Options, RealApi, stopped};

use super::{FIRST, at_work, ended, goes_on, judged, later_term_writes};

/// Longer than the lease of the profile `fast`, 5 s, with what a loaded machine adds.
pub(super) const AWAY: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_the_api_server_and_of_etcd_mid_term_leave_one_leader_at_work() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    let (mut world, term) = at_work(&api, Options::default(), None).await;

    api.stop(Program::ApiServer).await;
    api.start_api_server().await.expect("it starts again");
    goes_on(&world, term, "after-a-restart").await;
    judged(&mut world, "API server restarted");

    api.kill(Program::ApiServer);
    api.start_api_server().await.expect("it starts again");
    goes_on(&world, term, "after-its-kill").await;
    judged(&mut world, "API server killed");

    api.kill(Program::Etcd);
    api.start_etcd().expect("it starts again");
    api.ready().await.expect("the API is back");
    goes_on(&world, term, "after-the-kill-of-etcd").await;
    judged(&mut world, "etcd killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_is_away_for_longer_than_the_lease_nobody_writes_and_one_goes_on_afterwards() {
    let Some(api) = RealApi::own(|builder| builder).await else { return };
    let (mut world, term) = at_work(&api, Options::default(), None).await;

    api.stop(Program::ApiServer).await;
    let before = world.judge.writes().len();
    tokio::time::sleep(AWAY).await;
    ended(&world, FIRST, term).await;
    api.start_api_server().await.expect("it starts again");
    later_term_writes(&world, term).await;
    goes_on(&world, term + 1, "after-it-was-stopped").await;
    let late = world.judge.writes()[before..].iter().filter(|(of, ..)| *of == term).count();
    assert_eq!(late, 0, "writes of the term that ended while the API server did not run");
    judged(&mut world, "API server away, stopped");

    let (term, leader) = (world.term().await.expect("a term"), world.leader().await);
    api.pause(Program::ApiServer);
    stopped("kube-apiserver", api.pid(Program::ApiServer).expect("it runs")).await;
    let before = world.judge.writes().len();
    tokio::time::sleep(AWAY).await;
    ended(&world, &leader, term).await;
    assert_eq!(world.judge.writes().len(), before, "written by an API server that stands still");
    api.resume(Program::ApiServer);
    later_term_writes(&world, term).await;
    goes_on(&world, term + 1, "after-it-was-paused").await;
    // What lay in the API server's own receive buffer when its sender's gate closed.
    let late = world.judge.writes()[before..].iter().filter(|(of, ..)| *of == term).count();
    assert!(late <= 2, "{late} writes of the term that ended while the API server stood still");
    judged(&mut world, "API server away, paused");
}
