//! Locks that are no Leases, and locks that are moved and renamed by rollouts while plugins write.
//!
//! client-go is not in these: of today's it shares Leases only.

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use rustix::process::Signal;
use serde_json::{Value, json};
use tenure_tests::scenes::at_work;
use tenure_tests::{LEASE, Options, RealApi, World, until, until_some};

use super::evidence::assert_one_writer_a_term;
use crate::rbac::create;

const REPLICAS: [&str; 3] = ["replica-0", "replica-1", "replica-2"];
/// Where a ConfigMap or an Endpoints object holds the record.
const ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// One object that is a lock.
#[derive(Debug, Clone, Copy)]
struct Lock {
    kind: &'static str,
    name: &'static str,
}

const CONFIG_MAP: Lock = Lock { kind: "ConfigMap", name: LEASE };
const ENDPOINTS: Lock = Lock { kind: "Endpoints", name: LEASE };
const THE_LEASE: Lock = Lock { kind: "Lease", name: LEASE };
const RENAMED: Lock = Lock { kind: "Lease", name: "renamed.tenure.dev" };

/// The settings of one rollout, and the locks that a leader holds under them.
#[derive(Debug, Clone, Copy)]
struct Stage {
    environment: &'static [(&'static str, &'static str)],
    locks: &'static [Lock],
}

const FIRST: (&str, &str) = ("TENURE_ELECTION_FIRST_CREATE", "wait");
const LEASES: Stage = Stage { environment: &[FIRST], locks: &[THE_LEASE] };
const CONFIG_MAPS: Stage =
    Stage { environment: &[FIRST, ("TENURE_ELECTION_RESOURCE_LOCK", "configmaps")], locks: &[CONFIG_MAP] };
const CONFIG_MAPS_LEASES: Stage = Stage {
    environment: &[FIRST, ("TENURE_ELECTION_RESOURCE_LOCK", "configmapsleases")],
    locks: &[CONFIG_MAP, THE_LEASE],
};
const ENDPOINTS_ALONE: Stage =
    Stage { environment: &[FIRST, ("TENURE_ELECTION_RESOURCE_LOCK", "endpoints")], locks: &[ENDPOINTS] };
const ENDPOINTS_LEASES: Stage = Stage {
    environment: &[FIRST, ("TENURE_ELECTION_RESOURCE_LOCK", "endpointsleases")],
    locks: &[ENDPOINTS, THE_LEASE],
};
const BOTH_NAMES: Stage = Stage {
    environment: &[FIRST, ("TENURE_ELECTION_ID", RENAMED.name), ("TENURE_ELECTION_ALSO_HOLD", LEASE)],
    locks: &[THE_LEASE, RENAMED],
};
const NEW_NAME: Stage = Stage { environment: &[FIRST, ("TENURE_ELECTION_ID", RENAMED.name)], locks: &[RENAMED] };

fn objects(world: &World, lock: Lock) -> Api<DynamicObject> {
    let (group, plural) = match lock.kind {
        "Lease" => ("coordination.k8s.io", "leases"),
        "ConfigMap" => ("", "configmaps"),
        _ => ("", "endpoints"),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", lock.kind), plural);
    Api::namespaced_with(world.client(), &world.names.system, &resource)
}

/// Who holds a lock, and in which term; `None` where nobody does.
async fn holder(world: &World, lock: Lock) -> Option<(String, u64)> {
    let object = objects(world, lock).get_opt(lock.name).await.expect("the API answers")?;
    let annotations = object.metadata.annotations.unwrap_or_default();
    let record: Value = match lock.kind {
        "Lease" => object.data["spec"].clone(),
        _ => serde_json::from_str(annotations.get(ANNOTATION)?).expect("a record"),
    };
    let holder = record["holderIdentity"].as_str().filter(|holder| !holder.is_empty())?;
    let term = annotations.get("tenure.dev/term")?.split('/').next()?.parse().ok()?;
    Some((holder.split('_').next()?.to_owned(), term))
}

/// Who holds all locks of a stage in one term above `term`, once somebody does.
async fn leader(world: &World, stage: Stage, term: u64) -> (String, u64) {
    until_some(&format!("somebody to hold {:?} in a term above {term}", stage.locks), || async {
        let first = holder(world, stage.locks[0]).await.filter(|(_, held)| *held > term)?;
        for lock in stage.locks {
            if holder(world, *lock).await.as_ref() != Some(&first) {
                return None;
            }
        }
        Some(first)
    })
    .await
}

/// What a lock that is no Lease needs besides the base Role, as docs/deploy.md says it.
async fn allow(world: &World, resource: &str) {
    let namespace = &world.names.system;
    let metadata = json!({ "name": "tenure-lock", "namespace": namespace });
    let rule = json!({
        "apiGroups": [""], "resources": [resource], "verbs": ["get", "list", "watch", "create", "update"],
    });
    let version = "rbac.authorization.k8s.io/v1";
    create(world, &json!({ "apiVersion": version, "kind": "Role", "metadata": metadata, "rules": [rule] })).await;
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenure-lock" });
    let account = json!({ "kind": "ServiceAccount", "name": "tenure", "namespace": namespace });
    let binding = json!({
        "apiVersion": version, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [account],
    });
    create(world, &binding).await;
    until("the Role to be in force", || async { world.may(&world.account(), "update", "", resource, namespace).await })
        .await;
}

/// Waits until a term above `term` has written.
async fn written_above(world: &World, term: u64) {
    let namespace = &world.names.work;
    until("the new term to write", || async {
        let stamped = world.annotation(namespace, tenure_tests::scenes::TARGET, "probe/term").await;
        stamped.and_then(|stamped| stamped.parse::<u64>().ok()).is_some_and(|stamped| stamped > term)
    })
    .await;
}

/// Three replicas, rolled from stage to stage one after the other, whoever leads among them; a probe writes without a pause. In the
/// first stage a leader is killed besides. No older term writes after a newer one.
async fn rolled(world: World, stages: &[Stage]) -> World {
    let mut world = world;
    for name in REPLICAS {
        world.start_with(name, stages[0].environment).await;
    }
    let (_, mut term) = leader(&world, stages[0], 0).await;
    let mut world = at_work(world, "burst").await;
    let mut terms = vec![term];

    let killed = leader(&world, stages[0], 0).await.0;
    world.replica(&killed).kill();
    (_, term) = leader(&world, stages[0], term).await;
    terms.push(term);
    written_above(&world, term - 1).await;
    up(&mut world, &killed, stages[0]).await;

    for (before, stage) in stages.iter().zip(&stages[1..]) {
        for (number, name) in REPLICAS.into_iter().enumerate() {
            let led = stage_leader(&world, *before, *stage).await == Some(name.to_owned());
            world.replica(name).signal(Signal::TERM);
            assert!(world.replica(name).ended().await.success(), "{}", world.replica(name).log_text());
            up(&mut world, name, *stage).await;
            if led && number + 1 < REPLICAS.len() {
                let next = until_some("a successor", || async {
                    any_leader(&world, &[*before, *stage]).await.filter(|(_, next)| *next > term)
                });
                term = next.await.1;
                terms.push(term);
                written_above(&world, term - 1).await;
            }
        }
        let (_, settled) = leader(&world, *stage, 0).await;
        if settled > term {
            term = settled;
            terms.push(term);
        }
        written_above(&world, term - 1).await;
    }

    let mut writes = world.judged().await.writes();
    writes.sort_by_key(|(_, version, _)| *version);
    assert!(writes.is_sorted_by_key(|(term, ..)| *term), "an older term wrote after a newer one: {writes:?}");
    for term in &terms {
        assert!(writes.iter().any(|(of, ..)| of == term), "term {term} of {terms:?} wrote nothing");
    }
    assert_one_writer_a_term(&world);
    world
}

/// Starts a replica, and waits until it can be told to end.
async fn up(world: &mut World, name: &str, stage: Stage) {
    world.start_with(name, stage.environment).await;
    world.replica(name).console().await;
}

async fn any_leader(world: &World, stages: &[Stage]) -> Option<(String, u64)> {
    for stage in stages {
        let mut held = Vec::new();
        for lock in stage.locks {
            held.push(holder(world, *lock).await);
        }
        if let Some(first) = held.first().cloned().flatten()
            && held.iter().all(|other| other.as_ref() == Some(&first))
        {
            return Some(first);
        }
    }
    None
}

async fn stage_leader(world: &World, before: Stage, stage: Stage) -> Option<String> {
    any_leader(world, &[stage, before]).await.map(|(name, _)| name)
}

async fn world(api: &RealApi) -> World {
    World::on(api, Options::told_by_the_gate()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_moves_from_a_config_map_to_a_lease_and_what_else_the_config_map_holds_stays() {
    let Some(api) = RealApi::shared().await else { return };
    let world = world(&api).await;
    allow(&world, "configmaps").await;
    let made = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": LEASE, "labels": { "team": "storage" } },
        "data": { "setting": "on" },
    });
    let apply = PatchParams::apply("somebody");
    objects(&world, CONFIG_MAP)
        .patch(LEASE, &apply, &Patch::Apply(made))
        .await
        .expect("a ConfigMap that somebody made");
    let world = rolled(world, &[CONFIG_MAPS, CONFIG_MAPS_LEASES, LEASES]).await;
    let left = objects(&world, CONFIG_MAP).get(LEASE).await.expect("the ConfigMap");
    assert_eq!(left.data["data"], json!({ "setting": "on" }));
    assert_eq!(left.metadata.labels.expect("labels")["team"], "storage");
    assert_eq!(holder(&world, CONFIG_MAP).await, None, "it was let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_moves_from_endpoints_to_a_lease() {
    let Some(api) = RealApi::shared().await else { return };
    let world = world(&api).await;
    allow(&world, "endpoints").await;
    let world = rolled(world, &[ENDPOINTS_ALONE, ENDPOINTS_LEASES, LEASES]).await;
    assert_eq!(holder(&world, ENDPOINTS).await, None, "it was let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_renamed_by_two_rollouts() {
    let Some(api) = RealApi::shared().await else { return };
    let world = world(&api).await;
    let world = rolled(world, &[LEASES, BOTH_NAMES, NEW_NAME]).await;
    assert_eq!(holder(&world, THE_LEASE).await, None, "it was let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_extra_role_the_log_says_which_is_missing() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = world(&api).await;
    world.start_with(REPLICAS[0], ENDPOINTS_ALONE.environment).await;
    let said = world.replica(REPLICAS[0]).logged("forbidden to get endpoints").await;
    for word in [world.names.system.as_str(), "Role in", "apiGroups", "list", "watch", "create", "update"] {
        assert!(said.contains(word), "{word} is missing in {said}");
    }
    let warned = world.replica(REPLICAS[0]).logged("election.resource-lock is").await;
    assert!(warned.contains("the Lease fence cannot be used"), "{warned}");
}
