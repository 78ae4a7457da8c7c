//! The object fence as shipped: what the API server refuses of a former leader's writes, object by object, for a plugin whose grant
//! has `fence = "object"`; and each gap that docs/security.md names.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use http::Request;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use rustix::process::Signal;
use serde_json::{Value, json};
use tenure_tests::{Options, Plugin, RealApi, Relay, Weather, World, get, program, until, until_some};

use super::rbac::create;

const FENCE: &str = include_str!("../../../deploy/kustomize/components/object-fence/object-fence.yaml");
const BREAK_GLASS: &str = "tenure.dev:break-glass";
/// Further ahead than a term of this test gets by itself: terms begin as milliseconds of the clock.
const HOUR: u64 = 60 * 60 * 1000;
/// The token of a plugin that is none of this world's.
const TOKEN: &str = "fence.tenure.dev/ours";

/// A world on the shared server, whose probe is fenced by object.
async fn world(api: &RealApi, profile: &'static str) -> World {
    let world = World::on(api, Options { profile, config: "[limits]\nrequests-per-second = 1000\n".to_owned() }).await;
    let rule = json!({"apiGroups": ["apps"], "resources": ["deployments", "deployments/status", "deployments/scale"], "verbs": ["*"]});
    let name = format!("{}-deployments", world.names.work);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [rule],
    });
    create(&world, &role).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "tenure", "namespace": world.names.system}],
    });
    create(&world, &binding).await;
    grant(&world, true);
    world
}

/// The world's grant, with Deployments beside what it has, and with the fence or without.
fn grant(world: &World, fenced: bool) {
    let file = world.folder().join("tenure.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let text = text.replace("fence = \"object\"\n", "");
    let fence = if fenced { "fence = \"object\"\n" } else { "" };
    let mut text = text.replace("plugin = \"*/*\"\n", &format!("plugin = \"*/*\"\n{fence}"));
    if !text.contains("deployments") {
        text.push_str(&format!("[[grant.permission]]\n{DEPLOYMENTS}"));
    }
    std::fs::write(file, text).expect("written");
}

const DEPLOYMENTS: &str = "api-groups = [\"apps\"]\nresources = [\"deployments\", \"deployments/status\", \"deployments/scale\"]\n\
                           verbs = [\"get\", \"update\", \"patch\"]\nnamespaces = [\"*\"]\n";

/// The probe, which may also change Deployments, and replace and delete.
fn probe(world: &World, behaviour: &str) -> Plugin {
    let probe = world.probe("probe", behaviour, "1");
    let manifest = probe
        .manifest
        .replace(r#""create", "patch"]"#, r#""create", "update", "patch", "delete"]"#)
        .replace("[settings]", &format!("[[permission]]\n{DEPLOYMENTS}\n[settings]"));
    Plugin { manifest, ..probe }
}

/// The annotation of the world's probe, once it stands on a ConfigMap.
async fn token_name(world: &World, config_map: &str) -> String {
    until_some(&format!("a token on {config_map}"), || token_name_on(world, config_map)).await
}

async fn token_name_on(world: &World, config_map: &str) -> Option<String> {
    let annotations = world.get_config_map(&world.names.work, config_map).await?.metadata.annotations?;
    annotations.into_keys().find(|key| key.starts_with("fence.tenure.dev/probe-"))
}

/// What is shipped, for this world's namespace only: other worlds on this server are none of its business.
fn documents(world: &World) -> (ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding) {
    let own = FENCE.replace("object-fence.tenure.dev", &format!("object-fence.{}.tenure.dev", world.names.system));
    let (policy, binding) = own.split_once("\n---\n").expect("two documents");
    let mut binding: Value = serde_saphyr::from_str(binding).expect("YAML");
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": world.names.work}});
    binding["spec"]["matchResources"] = json!({"namespaceSelector": here});
    (serde_saphyr::from_str(policy).expect("a policy"), serde_json::from_value(binding).expect("a binding"))
}

/// Switches the component on, and waits until the API server goes by it.
async fn switch_on(world: &World) {
    let (policy, binding) = documents(world);
    Api::all(world.client()).create(&PostParams::default(), &policy).await.expect("the policy can be created");
    Api::all(world.client()).create(&PostParams::default(), &binding).await.expect("the binding can be created");
    stands(world, true).await;
}

async fn switch_off(world: &World) {
    let (policy, binding) = documents(world);
    let name = |metadata: kube::core::ObjectMeta| metadata.name.expect("a name");
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.client());
    bindings.delete(&name(binding.metadata), &DeleteParams::default()).await.expect("the binding can be deleted");
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(world.client());
    policies.delete(&name(policy.metadata), &DeleteParams::default()).await.expect("the policy can be deleted");
    stands(world, false).await;
}

async fn stands(world: &World, expected: bool) {
    let config_maps = world.api::<ConfigMap>(&world.names.work);
    let canary = config_map("canary", &[(TOKEN, "7")]);
    let _there_already = config_maps.create(&PostParams::default(), &canary).await;
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let smaller = Patch::Merge(json!({"metadata": {"annotations": {TOKEN: "6"}}}));
    until(&format!("the fence to stand: {expected}"), || async {
        config_maps.patch("canary", &dry, &smaller).await.is_err() == expected
    })
    .await;
}

fn config_map(name: &str, annotations: &[(&str, &str)]) -> ConfigMap {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}})).expect("a ConfigMap")
}

/// The code and the words of a refusal.
fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> Option<(u16, String)> {
    match answer {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some((status.code, status.message.clone())),
        Err(error) => panic!("{error:?}"),
    }
}

fn is_fenced<T: std::fmt::Debug>(answer: kube::Result<T>) -> bool {
    refusal(answer).is_some_and(|(code, words)| code == 403 && words.contains("a fencing token only grows"))
}

/// Each way to change a ConfigMap so that it carries this token; `None`: so that it carries none.
async fn each_way(config_maps: &Api<ConfigMap>, name: &str, token: Option<&str>) -> Vec<(&'static str, bool)> {
    let post = PostParams { dry_run: true, ..PostParams::default() };
    let patching = PatchParams { dry_run: true, ..PatchParams::default() };
    let applying = PatchParams { dry_run: true, ..PatchParams::apply("fence-test").force() };
    let annotations: Vec<(&str, &str)> = token.iter().map(|token| (TOKEN, *token)).collect();
    let merge = json!({"metadata": {"annotations": {TOKEN: token}}});
    let path = "/metadata/annotations/fence.tenure.dev~1ours";
    let operation = match token {
        Some(token) => json!([{"op": "replace", "path": path, "value": token}]),
        None => json!([{"op": "remove", "path": path}]),
    };
    let mut fenced = vec![
        ("replace", is_fenced(config_maps.replace(name, &post, &config_map(name, &annotations)).await)),
        ("merge patch", is_fenced(config_maps.patch(name, &patching, &Patch::Merge(merge.clone())).await)),
        ("strategic patch", is_fenced(config_maps.patch(name, &patching, &Patch::Strategic(merge)).await)),
        (
            "JSON patch",
            is_fenced({
                let operation = serde_json::from_value(operation).expect("a patch");
                config_maps.patch(name, &patching, &Patch::<Value>::Json(operation)).await
            }),
        ),
    ];
    if let Some(token) = token {
        let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"annotations": {TOKEN: token}}});
        fenced.push(("apply", is_fenced(config_maps.patch(name, &applying, &Patch::Apply(applied)).await)));
    }
    fenced
}

async fn as_break_glass(world: &World, api: &RealApi) -> Api<ConfigMap> {
    let kubeconfig = kube::config::Kubeconfig::read_from(api.kubeconfig()).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await;
    let mut config = config.expect("a configuration");
    config.auth_info.impersonate = Some("somebody".to_owned());
    config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned(), BREAK_GLASS.to_owned()]);
    Api::namespaced(Client::try_from(config).expect("a client"), &world.names.work)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_only_grows_whoever_writes_and_however() {
    let Some(api) = RealApi::shared().await else { return };
    let world = World::on(&api, Options::default()).await;
    switch_on(&world).await;
    // An administrator, whom RBAC lets do everything.
    let config_maps = world.api::<ConfigMap>(&world.names.work);
    let others = [(TOKEN, "1000"), ("fence.tenure.dev/theirs", "5"), ("a", "b")];
    config_maps.create(&PostParams::default(), &config_map("there", &others)).await.expect("created");
    for (token, refused) in [
        (Some("999"), true),
        (Some("7"), true),
        (None, true),
        (Some(""), true),
        (Some("0"), true),
        (Some("01001"), true),
        (Some("1e9"), true),
        (Some("99999999999999999999"), true),
    ] {
        for (way, fenced) in each_way(&config_maps, "there", token).await {
            assert_eq!(fenced, refused, "{way} to {token:?}");
        }
    }
    // What keeps or raises it passes; a replace passes with all that is there.
    for token in ["1000", "1001", "10000", "4611686018427387904"] {
        let merge = Patch::Merge(json!({"metadata": {"annotations": {TOKEN: token}}}));
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        assert_eq!(refusal(config_maps.patch("there", &dry, &merge).await), None, "to {token}");
    }
    let elsewhere = Patch::Merge(json!({"data": {"x": "y"}, "metadata": {"annotations": {"a": null}}}));
    assert_eq!(refusal(config_maps.patch("there", &PatchParams::default(), &elsewhere).await), None);
    let only_ours = config_map("there", &[(TOKEN, "1001")]);
    assert!(is_fenced(config_maps.replace("there", &PostParams::default(), &only_ours).await), "theirs would be gone");
    let both = config_map("there", &[(TOKEN, "1001"), ("fence.tenure.dev/theirs", "5")]);
    assert_eq!(refusal(config_maps.replace("there", &PostParams::default(), &both).await), None);

    // An object without a token is nobody's business, nor is a token that is none.
    config_maps.create(&PostParams::default(), &config_map("free", &[(TOKEN, "none")])).await.expect("created");
    for (way, fenced) in each_way(&config_maps, "free", Some("3")).await {
        assert!(!fenced, "{way}");
    }

    // Gaps. Who is in the group may do as he likes; whoever creates what was deleted begins anew, with any token.
    let allowed = as_break_glass(&world, &api).await;
    for (way, fenced) in
        each_way(&allowed, "there", None).await.into_iter().chain(each_way(&allowed, "there", Some("2")).await)
    {
        assert!(!fenced, "{way}");
    }
    config_maps.delete("there", &DeleteParams::default()).await.expect("deleted");
    let created = config_maps.create(&PostParams::default(), &config_map("there", &[(TOKEN, "2")])).await;
    assert_eq!(refusal(created), None, "nothing is left to compare with");
}

/// A scale has its metadata from the stored object, and so has a status of many kinds: no token in it says anything, a version does.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_carry_a_token_holds_for_a_version_that_does() {
    let Some(api) = RealApi::shared().await else { return };
    let world = World::on(&api, Options::default()).await;
    switch_on(&world).await;
    let deployments = world.api::<Deployment>(&world.names.work);
    let post = PostParams::default();
    deployments.create(&post, &deployment("web")).await.expect("created");
    let touch = |token: &str| Patch::Merge(json!({"metadata": {"annotations": {TOKEN: token}}}));
    let stale = deployments.patch("web", &PatchParams::default(), &touch("6")).await.expect("touched");
    deployments.patch("web", &PatchParams::default(), &touch("7")).await.expect("touched by the successor");

    // A Deployment's status lets annotations through.
    let mut bare = stale.clone();
    bare.metadata.resource_version = None;
    assert!(is_fenced(deployments.replace_status("web", &post, &bare).await));
    let status = deployments.replace_status("web", &post, &stale).await;
    assert_eq!(refusal(status).map(|(code, _)| code), Some(409));
    let mut scale = deployments.get_scale("web").await.expect("a scale");
    scale.metadata.resource_version = None;
    scale.metadata.annotations = stale.metadata.annotations.clone();
    let unbound = deployments.replace_scale("web", &post, &scale).await;
    assert_eq!(refusal(unbound), None, "the gap that a version closes");
    scale.metadata.resource_version = stale.metadata.resource_version.clone();
    assert_eq!(refusal(deployments.replace_scale("web", &post, &scale).await).map(|(code, _)| code), Some(409));
    let preconditions = Preconditions { uid: stale.metadata.uid, resource_version: stale.metadata.resource_version };
    let exactly = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    assert_eq!(refusal(deployments.delete("web", &exactly).await.map(drop)).map(|(code, _)| code), Some(409));
    deployments.delete("web", &DeleteParams::default()).await.expect("a delete without preconditions goes through");
}

fn deployment(name: &str) -> Deployment {
    let pod =
        json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "none"}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": pod});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).expect("a Deployment")
}

/// What `each-way` needs beside what it is called for.
async fn lay_out(world: &World) {
    let work = &world.names.work;
    let config_maps = world.api::<ConfigMap>(work);
    for (name, annotations) in
        [("replaced", &[][..]), ("merged", &[]), ("patched", &[("a", "b")]), ("bare", &[]), ("applied", &[])]
    {
        config_maps.create(&PostParams::default(), &config_map(name, annotations)).await.expect("created");
    }
    world.api::<Deployment>(work).create(&PostParams::default(), &deployment("deployed")).await.expect("created");
    world.config_map("probe", work, "trigger", json!({})).await;
}

/// What the probe said of its writes in a term, once it has done them all.
async fn answers(world: &World, term: u64) -> BTreeMap<String, String> {
    world.annotated_with(&world.names.work, "trigger", "probe/term", &term.to_string()).await;
    let reasons = world.annotated(&world.names.work, "trigger", "probe/reasons").await;
    reasons
        .split(',')
        .filter_map(|one| one.split_once('='))
        .map(|(way, reason)| (way.to_owned(), reason.to_owned()))
        .collect()
}

fn assert_written(answers: &BTreeMap<String, String>) {
    for (way, reason) in answers {
        let expected = match way.as_str() {
            "status-by-patch" | "generated" | "all-annotations" => "BadRequest",
            "another" => "Denied",
            _ => "Allowed",
        };
        assert_eq!(reason, expected, "{way}: {answers:?}");
    }
    assert_eq!(answers.len(), 15, "{answers:?}");
}

/// Waits until the lock is held in a term above, and returns that.
async fn term_above(world: &World, term: u64) -> u64 {
    until_some(&format!("a term above {term}"), || async { world.term().await.filter(|now| *now > term) }).await
}

/// Sends what was sent once more, byte for byte but for the spaces, with the rights of the replica that sent it.
async fn send_again(client: &Client, event: &tenure_control_plane::AuditEvent) -> u16 {
    let body = event.request.clone().unwrap_or_default();
    let media_type = match &*event.verb {
        "patch" if body.is_array() => "application/json-patch+json",
        "patch" if body.get("kind").is_some() => "application/apply-patch+yaml",
        "patch" => "application/merge-patch+json",
        _ => "application/json",
    };
    let method = match &*event.verb {
        "create" => "POST",
        "update" => "PUT",
        "patch" => "PATCH",
        _ => "DELETE",
    };
    let request = Request::builder().method(method).uri(&event.uri).header("content-type", media_type);
    let request = request.body(kube::client::Body::from(body.to_string().into_bytes())).expect("a request");
    client.send(request).await.expect("an answer").status().as_u16()
}

/// Every write of a term, sent again when a later one has written: none gets through but what creates.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_of_a_former_leader_gets_through_once_its_successor_has_written() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = world(&api, "fast").await;
    switch_on(&world).await;
    lay_out(&world).await;
    world.start("replica-0").await;
    world.drop_in(&probe(&world, "each-way")).await;
    let first = until_some("a term", || world.term()).await;
    assert_written(&answers(&world, first).await);
    let (work, token) = (world.names.work.clone(), token_name(&world, "trigger").await);
    let on = async |name: &str| world.annotation(&work, name, &token).await;
    for name in ["replaced", "merged", "patched", "bare", "applied", &format!("made-in-{first}"), "trigger"] {
        assert_eq!(on(name).await, Some(first.to_string()), "{name}");
    }
    let kept = world.annotation(&work, "patched", "a").await;
    assert_eq!(kept.as_deref(), Some("b"), "what was there stays");
    let deployed = world.api::<Deployment>(&work).get("deployed").await.expect("there");
    assert_eq!(deployed.metadata.annotations.expect("annotations").get(&token), Some(&first.to_string()));
    assert_eq!(deployed.status.expect("a status").replicas, i32::try_from(first % 1000).ok());

    world.replica("replica-0").kill();
    world.start("replica-1").await;
    let second = term_above(&world, first).await;
    assert_written(&answers(&world, second).await);

    let sent: Vec<_> = {
        let of_first = format!("term/{first}");
        let events = world.judged().await.audit();
        let written = events.into_iter().map(|(_, event)| event).filter(|event| event.user_agent.ends_with(&of_first));
        written.filter(|event| event.namespace == work && event.code < 300 && event.resource != "events").collect()
    };
    let (mut refused, mut created) = (BTreeMap::new(), Vec::new());
    let client = world.client_of("replica-0").await;
    // What was deleted is there again, made by the successor.
    let doomed = config_map(&format!("doomed-in-{first}"), &[(&token, &second.to_string())]);
    world.api::<ConfigMap>(&work).create(&PostParams::default(), &doomed).await.expect("created");
    for event in &sent {
        let what = format!("{} {} {}/{}", event.verb, event.resource, event.name, event.subresource);
        let code = send_again(&client, event).await;
        match (&*event.verb, code) {
            // There is nothing of the name that could be deleted or written: it was this write that made it.
            (_, 404) | ("create", 409) => {}
            ("create", 201) => created.push(event.name.clone()),
            (_, 403 | 409 | 422) => *refused.entry(format!("{}/{}", event.verb, event.subresource)).or_insert(0) += 1,
            _ => panic!("{what}: {code}, {:?}", event.request),
        }
    }
    let ways: Vec<_> = refused.keys().map(String::as_str).collect();
    assert_eq!(ways, ["delete/", "patch/", "update/", "update/scale", "update/status"], "{refused:?}");
    assert_eq!(created, Vec::<String>::new());

    // The gap: what the successor has deleted, a late create brings back.
    let made = format!("made-in-{first}");
    world.delete_config_map(&work, &made).await;
    let create = sent.iter().find(|event| event.verb == "create" && event.name == made).expect("it was created");
    assert_eq!(send_again(&client, create).await, 201, "creates are not covered");
}

/// How many of the leader's writes were admitted, and how many were answered.
async fn writes_of_leader(world: &World) -> Option<(u64, u64)> {
    let console = world.lease().await?.metadata.annotations?.get("tenure.dev/console").cloned()?;
    let metrics = get(&format!("{console}/metrics")).await?;
    let count = |fate: &str| {
        let line = metrics.lines().find(|line| line.contains(&format!("fate=\"{fate}\"")))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    Some((count("admitted")?, count("answered")?))
}

/// On its way while its sender is stopped, and there when the successor has long written.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_its_way_from_a_stopped_leader_is_refused_when_it_arrives() {
    let Some(api) = RealApi::shared().await else { return };
    let relay = Relay::before(api.address()).await;
    let mut world = world(&api, "fast").await;
    switch_on(&world).await;
    world.config_map("probe", &world.names.work, "target", json!({})).await;
    world.start_at("stopped", Some(relay.address()), &[]).await;
    assert_eq!(world.leader().await, "stopped");
    world.start("successor").await;
    world.drop_in(&probe(&world, "burst")).await;
    let term = world.term().await.expect("a term");
    until("the leader to write", || async { world.judge.writes().len() > 20 }).await;
    relay.set(Weather::HeldRequests);
    relay.holds_something().await;
    // The plugin writes one after the other: what is admitted and stays the last is what the relay holds.
    until("a write that is held", || async {
        let first = writes_of_leader(&world).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let second = writes_of_leader(&world).await;
        first == second && second.is_some_and(|(admitted, answered)| admitted > answered)
    })
    .await;
    world.replica("stopped").signal(Signal::STOP);
    assert_eq!(world.leader_after("stopped").await, "successor");
    until("the successor to write", || async { world.judge.writes().iter().any(|(of, ..)| *of > term) }).await;
    relay.set(Weather::Clear);
    let late = until_some("the late write to arrive", || async {
        let events = world.judge.audit().into_iter().map(|(_, event)| event);
        let mut of_term = events.filter(|event| event.user_agent.ends_with(&format!("term/{term}")));
        of_term.find(|event| event.name == "target" && event.code != 200)
    })
    .await;
    assert_eq!(late.code, 403, "{late:?}");
    world.replica("stopped").signal(Signal::CONT);
    world.replica("stopped").logged("stopped leading").await;
    assert_eq!(world.judge.late_writes(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_token_ends_the_term_when_it_refuses_a_write_and_only_that_object_when_it_is_read() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = world(&api, "fast").await;
    switch_on(&world).await;
    lay_out(&world).await;
    world.start("replica-0").await;
    world.drop_in(&probe(&world, "each-way")).await;
    let first = until_some("a term", || world.term()).await;
    assert_written(&answers(&world, first).await);

    // On what the probe does not watch: the host meets it by a refusal, in the next term.
    let (work, token) = (world.names.work.clone(), token_name(&world, "trigger").await);
    let forged = first + HOUR;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {token.clone(): forged.to_string()}}}));
    let deployments = world.api::<Deployment>(&work);
    deployments.patch("deployed", &PatchParams::default(), &patch).await.expect("anybody may raise a token");
    world.delete_lease().await;
    let above = term_above(&world, forged).await;
    let told = world.replica("replica-0").logged("a write was refused for the larger term").await;
    assert!(told.contains(&forged.to_string()), "{told}");
    assert_written(&answers(&world, above).await);

    // On what it watches: reported, and left alone.
    let forged = above + HOUR;
    world.annotate(&work, "trigger", &token, &forged.to_string()).await;
    world.annotate(&work, "trigger", "probe/term", "none").await;
    let told = world.replica("replica-0").logged("an object carries term").await;
    assert!(told.contains(&forged.to_string()), "{told}");
    assert_eq!(world.term().await, Some(above), "what is read ends no term");
    assert_eq!(world.annotation(&work, "trigger", "probe/term").await.as_deref(), Some("none"), "denied");

    let output = Command::new(program())
        .args(["fence", "reset", "v1/ConfigMap", "trigger", "--namespace", &work, "--yes"])
        .arg("--plugin")
        .arg(format!("{}/probe", world.names.plugins))
        .arg("--kubeconfig")
        .arg(api.kubeconfig())
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("took {token} = {forged} off")));
    world.annotated_with(&work, "trigger", "probe/term", &above.to_string()).await;
    assert_eq!(world.annotation(&work, "trigger", &token).await, Some(above.to_string()));
    assert_eq!(world.term().await, Some(above));
}

#[tokio::test(flavor = "multi_thread")]
async fn grant_and_component_are_switched_on_in_any_order_and_off_again() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = world(&api, "default").await;
    let work = world.names.work.clone();
    grant(&world, false);
    world.config_map("probe", &work, "old", json!({})).await;
    world.start("replica-0").await;
    world.drop_in(&probe(&world, "stamp")).await;
    world.annotated(&work, "old", "probe/term").await;
    let term = world.term().await.expect("a term").to_string();
    assert_eq!(token_name_on(&world, "old").await, None);

    // The component, where no object has a token yet; then the grant, while the host runs.
    switch_on(&world).await;
    world.config_map("probe", &work, "old", json!({"change": "1"})).await;
    grant(&world, true);
    let token = token_name(&world, "old").await;
    world.annotated_with(&work, "old", &token, &term).await;
    let merge = |token: &str, value: &str| Patch::Merge(json!({"metadata": {"annotations": {token: value}}}));
    let config_maps = world.api::<ConfigMap>(&work);
    let patching = PatchParams::default();
    assert!(is_fenced(config_maps.patch("old", &patching, &merge(&token, "1")).await));

    // Off: nothing is refused, and a smaller token gets in.
    switch_off(&world).await;
    config_maps.patch("old", &patching, &merge(&token, "1")).await.expect("nothing holds it back");
    world.annotated_with(&work, "old", &token, &term).await;
    config_maps.patch("old", &patching, &merge(&token, "2")).await.expect("nothing holds it back");
    world.annotated_with(&work, "old", &token, &term).await;
    // On again: what is there is what counts.
    switch_on(&world).await;
    assert!(is_fenced(config_maps.patch("old", &patching, &merge(&token, "2")).await));

    // The grant without it: what stands there stays, and is in nobody's way.
    grant(&world, false);
    world.config_map("probe", &work, "new", json!({})).await;
    world.annotated(&work, "new", "probe/term").await;
    until("a plugin that is not fenced any more", || async {
        let name = format!("later-{}", next_number());
        world.config_map("probe", &work, &name, json!({})).await;
        world.annotated(&work, &name, "probe/term").await;
        world.annotation(&work, &name, &token).await.is_none()
    })
    .await;
    assert_eq!(world.annotation(&work, "old", &token).await, Some(term));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_finalizer_is_set_and_taken_away_under_the_fence() {
    let Some(api) = RealApi::shared().await else { return };
    let mut world = world(&api, "default").await;
    switch_on(&world).await;
    let work = world.names.work.clone();
    world.config_map("probe", &work, "target", json!({})).await;
    world.api::<ConfigMap>(&work).create(&PostParams::default(), &config_map("ledger", &[])).await.expect("created");
    world.start("replica-0").await;
    world.drop_in(&probe(&world, "clean").with_finalizer()).await;
    world.annotated(&work, "target", "probe/term").await;
    let token = token_name(&world, "target").await;
    let held = world.get_config_map(&work, "target").await.and_then(|target| target.metadata.finalizers);
    assert_eq!(held.map(|finalizers| finalizers.len()), Some(1));
    world.delete_config_map(&work, "target").await;
    until("the target to be gone", || async { world.get_config_map(&work, "target").await.is_none() }).await;
    world.annotated(&work, "ledger", "probe/cleaned-target").await;
    world.annotated(&work, "ledger", &token).await;
}

/// Another name each time.
fn next_number() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
