//! An API server that serves few at a time, and a client that asks for much: renewals are late, and safe.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use tenure_tests::{Options, RealApi};
use tokio::task::JoinSet;

use super::{at_work, goes_on, judged};

/// After a refusal.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);
/// Lists at once, of a server that serves three requests at a time.
const LISTS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_starves_nobody_into_two_leaders() {
    let few = |builder: tenure_control_plane::Builder| {
        builder.flag("--max-requests-inflight=2").flag("--max-mutating-requests-inflight=1")
    };
    let Some(api) = RealApi::own(few).await else { return };
    let (mut world, term) = at_work(&api, Options::default(), None).await;
    // Administrators are exempt from fair queuing; an account of the replicas' own level is not.
    let flooder = api.pod_kubeconfig(&world.names.work, "flooder", "flooder", None).await;
    let flooder = kube::config::Kubeconfig::from_yaml(&flooder).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(flooder, &Default::default()).await.expect("a config");
    let client = kube::Client::try_from(config).expect("a client");
    let mut flood = JoinSet::new();
    for _ in 0..LISTS {
        let config_maps: Api<ConfigMap> = Api::all(client.clone());
        flood.spawn(async move {
            loop {
                // What is refused was asked for all the same; asked again at once it would load this machine, not the server.
                if config_maps.list(&ListParams::default()).await.is_err() {
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
        });
    }
    goes_on(&world, term, "in-the-flood").await;
    goes_on(&world, term, "still-in-the-flood").await;
    judged(&mut world, "in the flood");
    flood.shutdown().await;
    goes_on(&world, term, "after-the-flood").await;
    judged(&mut world, "after the flood");
}
