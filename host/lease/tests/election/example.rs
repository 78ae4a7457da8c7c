//! `examples/leader.rs`, as it stands: one works, writes through its gate, is asked to stop, and the other takes over.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use tenure_election::LiveTerm;
use tokio::sync::{mpsc, oneshot};

use crate::world::{NAMESPACE, World, holder, kube_config, long, within};

#[expect(dead_code, reason = "its main is not run here")]
#[path = "../../examples/leader.rs"]
mod leader;

/// What a program that follows the example did.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Sees(&'static str, String),
    Writes(&'static str),
    Stops(&'static str),
}

/// Says that the work is gone, however it went.
struct Gone(&'static str, mpsc::UnboundedSender<Did>);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.1.send(Did::Stops(self.0));
    }
}

fn program(world: &World, name: &'static str, told: mpsc::UnboundedSender<Did>) -> oneshot::Sender<()> {
    let config = world.config(name, long());
    let clock = Arc::clone(&config.clock);
    let client = kube::Client::try_from(kube_config(world.address)).expect("a client");
    let saw = told.clone();
    let work = move |live: Arc<LiveTerm>| {
        let (clock, client, told) = (Arc::clone(&clock), client.clone(), told.clone());
        async move {
            let _gone = Gone(name, told.clone());
            let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
            let metadata = ObjectMeta { generate_name: Some(format!("{name}-")), ..ObjectMeta::default() };
            let map = ConfigMap { metadata, ..ConfigMap::default() };
            let (given, none) = (PostParams::default(), std::future::pending::<()>());
            leader::gated(&live, &*clock, maps.create(&given, &map))
                .await
                .expect("a leader may write")
                .expect("it is stored");
            told.send(Did::Writes(name)).expect("the test listens");
            none.await;
        }
    };
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    let follow = async move {
        let new_leader = move |leader: &str| {
            let _ = saw.send(Did::Sees(name, leader.to_owned()));
        };
        leader::follow(config, stopped, work, new_leader).await.expect("it ends in order");
    };
    tokio::spawn(follow);
    stop
}

#[tokio::test]
async fn program_of_the_example_works_stops_and_hands_over() {
    let world = World::new().await;
    let (told, mut did) = mpsc::unbounded_channel();
    let stop_a = program(&world, "a", told.clone());
    let mut until = async |wanted: Did| {
        within(&format!("{wanted:?}"), async { while did.recv().await.expect("programs run") != wanted {} }).await;
    };
    until(Did::Writes("a")).await;
    let _stop_b = program(&world, "b", told);
    until(Did::Sees("b", String::from("a"))).await;

    stop_a.send(()).expect("it runs");
    until(Did::Stops("a")).await;
    until(Did::Writes("b")).await;
    assert_eq!(holder(&world.lease().await), "b");
}

#[tokio::test]
async fn gate_of_the_example_lets_nothing_through_without_authority() {
    let world = World::new().await;
    let clock = world.config("a", long()).clock;
    let mut a = world.candidate("a", long());
    let live = a.until_leading().await;
    assert_eq!(leader::gated(&live, &*clock, async { 1 }).await, Some(1));
    live.close();
    let request = async { panic!("a request was begun after the term was closed") };
    assert_eq!(leader::gated::<()>(&live, &*clock, request).await, None);
}
