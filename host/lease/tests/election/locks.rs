//! Locks that are no Leases, and several that are held together.

use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tenure_election::Phase;
use tenure_lease::{Lock, LockKind};

use crate::world::{Candidate, LOCK, NAMESPACE, World, brisk, eventually, kube_config, long};

const LEGACY: [LockKind; 2] = [LockKind::ConfigMap, LockKind::Endpoints];

fn lock(kind: LockKind, name: &str) -> Lock {
    Lock { kind, namespace: NAMESPACE.to_owned(), name: name.to_owned() }
}

fn candidate(world: &World, identity: &str, shown: Lock, also: &[Lock]) -> Candidate {
    let mut config = world.config(identity, long());
    config.lock = shown;
    config.also = also.to_vec();
    Candidate::start(config)
}

fn resource(lock: &Lock) -> ApiResource {
    let (group, version) = lock.kind.api_version().split_once('/').unwrap_or(("", lock.kind.api_version()));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, lock.kind.kind()), lock.kind.resource())
}

fn objects(world: &World, lock: &Lock) -> Api<DynamicObject> {
    let client = kube::Client::try_from(kube_config(world.address)).expect("a client");
    Api::namespaced_with(client, NAMESPACE, &resource(lock))
}

async fn object(world: &World, lock: &Lock) -> DynamicObject {
    objects(world, lock).get(&lock.name).await.expect("the lock")
}

/// What stands in the annotation of a lock that is no Lease.
fn record(object: &DynamicObject) -> Value {
    let annotation = object.metadata.annotations.as_ref().and_then(|all| all.get(LockKind::ANNOTATION));
    serde_json::from_str(annotation.map_or("null", String::as_str)).expect("JSON")
}

async fn holder(world: &World, lock: &Lock) -> String {
    let object = object(world, lock).await;
    let record = if lock.kind == LockKind::Lease { object.data["spec"].clone() } else { record(&object) };
    record["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn configmaps_and_endpoints_are_taken_released_and_taken_over() {
    for kind in LEGACY {
        let world = World::new().await;
        let lock = lock(kind, LOCK);
        let mut a = candidate(&world, "a", lock.clone(), &[]);
        let first = a.until_leading().await;
        let object = object(&world, &lock).await;
        let written = record(&object);
        assert_eq!(
            (written["holderIdentity"].as_str(), written["leaseDurationSeconds"].as_u64()),
            (Some("a"), Some(600))
        );
        assert!(written["acquireTime"].is_string() && written["renewTime"].is_string(), "{written}");
        let mark = object.metadata.annotations.expect("annotations")["tenure.dev/term"].clone();
        assert_eq!(mark, format!("{}/a", first.term()));

        let mut b = candidate(&world, "b", lock.clone(), &[]);
        b.until_holder_is("a").await;
        a.shut_down(&first).await;
        let second = b.until_leading().await;
        assert!(second.term() > first.term());
        assert_eq!(holder(&world, &lock).await, "b");
        let events = world.events().await;
        assert!(events.iter().all(|event| event.involved_object.kind.as_deref() == Some(kind.kind())));
        assert!(!events.is_empty());
    }
}

#[tokio::test]
async fn what_else_a_lock_holds_is_kept() {
    for kind in LEGACY {
        let world = World::new().await;
        let lock = lock(kind, LOCK);
        let (field, content) = match kind {
            LockKind::Endpoints => {
                ("subsets", json!([{ "addresses": [{ "ip": "10.0.0.1" }], "ports": [{ "port": 80 }] }]))
            }
            LockKind::ConfigMap | LockKind::Lease => ("data", json!({ "setting": "on" })),
        };
        let labels = [(String::from("team"), String::from("storage"))].into();
        let made = DynamicObject {
            types: None,
            metadata: ObjectMeta { name: Some(LOCK.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
            data: json!({ field: content }),
        };
        let api = objects(&world, &lock);
        let made = api.create(&PostParams::default(), &made).await.expect("an object that somebody made");

        let mut config = world.config("a", brisk());
        config.lock = lock.clone();
        // Nobody held it, but whoever did may act for one lease: it is marked as let go, so that the test need not wait.
        let mark = json!({ "metadata": { "annotations": { "tenure.dev/term": "1/x", "tenure.dev/released": "1/x" } } });
        api.patch(LOCK, &PatchParams::default(), &Patch::Merge(mark)).await.expect("a mark");
        let mut a = Candidate::start(config);
        let first = a.until_leading().await;
        let note = json!({ "metadata": { "annotations": { "example.com/note": "hi" } } });
        api.patch(LOCK, &PatchParams::default(), &Patch::Merge(note)).await.expect("a note");
        let renewed = record(&object(&world, &lock).await)["renewTime"].clone();
        let kept =
            eventually("renewed", || object(&world, &lock), |object| record(object)["renewTime"] != renewed).await;
        assert_eq!(kept.data[field], made.data[field]);
        assert_eq!(kept.metadata.labels, made.metadata.labels);
        assert_eq!(kept.metadata.annotations.expect("annotations")["example.com/note"], "hi");
        assert!(!first.is_closed(), "a note is no reason to stop");
    }
}

#[tokio::test]
async fn both_locks_are_held_in_one_term_and_losing_either_ends_it() {
    for (shown, beside) in [
        (lock(LockKind::Lease, LOCK), lock(LockKind::ConfigMap, LOCK)),
        (lock(LockKind::Lease, LOCK), lock(LockKind::Endpoints, LOCK)),
        (lock(LockKind::Lease, "new"), lock(LockKind::Lease, "old")),
    ] {
        for lost in [&shown, &beside] {
            let world = World::new().await;
            let mut a = candidate(&world, "a", shown.clone(), std::slice::from_ref(&beside));
            let live = a.until_leading().await;
            let mark = format!("{}/a", live.term());
            for held in [&shown, &beside] {
                assert_eq!(holder(&world, held).await, "a");
                let annotations = object(&world, held).await.metadata.annotations.expect("annotations");
                assert_eq!(annotations["tenure.dev/term"], mark);
            }
            take_away(&world, lost).await;
            a.until("told to stop", |leadership| leadership.unconfirmed.is_some()).await;
            assert!(live.is_closed(), "{lost} was lost");
            a.election.drained(live.term(), false);
            a.until("a standby", |leadership| leadership.phase == Phase::Standby).await;
            assert_eq!(holder(&world, lost).await, "somebody");
        }
    }
}

/// A person's hand on a lock.
async fn take_away(world: &World, lock: &Lock) {
    let patch = if lock.kind == LockKind::Lease {
        json!({ "spec": { "holderIdentity": "somebody" } })
    } else {
        let mut record = record(&object(world, lock).await);
        record["holderIdentity"] = json!("somebody");
        json!({ "metadata": { "annotations": { LockKind::ANNOTATION: record.to_string() } } })
    };
    objects(world, lock)
        .patch(&lock.name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("a patched lock");
}

#[tokio::test]
async fn a_lock_is_moved_by_three_rollouts_and_renamed_by_two() {
    let old = lock(LockKind::ConfigMap, LOCK);
    let new = lock(LockKind::Lease, LOCK);
    moved(&old, &new).await;
    moved(&lock(LockKind::Endpoints, LOCK), &new).await;
    moved(&lock(LockKind::Lease, "old-name"), &lock(LockKind::Lease, "new-name")).await;
}

/// One replica after the other is replaced: on the old lock, on both, on the new one. Each next leads only once the last has let go.
async fn moved(old: &Lock, new: &Lock) {
    let world = World::new().await;
    let mut leader = candidate(&world, "old-0", old.clone(), &[]);
    let mut term = leader.until_leading().await;
    let rollouts = [("both", new, std::slice::from_ref(old)), ("new", new, &[])];
    for (rollout, shown, also) in rollouts {
        for number in 0..2 {
            let name = format!("{rollout}-{number}");
            let mut next = candidate(&world, &name, shown.clone(), also);
            assert!(!term.is_closed());
            leader.shut_down(&term).await;
            let next_term = next.until_leading().await;
            assert!(term.is_closed());
            assert!(next_term.term() > term.term(), "{} then {}", term.term(), next_term.term());
            (leader, term) = (next, next_term);
        }
    }
    assert_eq!(holder(&world, new).await, "new-1");
    assert_eq!(holder(&world, old).await, "");
}
