//! An API server (in this process, or a real one), a folder of configuration, and the replicas that run on them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Config;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;

use crate::server::Server;
use crate::{Judge, LIMIT, NetworkNamespace, Plugin, RealApi, Replica, until, until_some, until_some_within};

/// The lock's name.
pub const LEASE: &str = "tenure";
/// The account of every replica.
pub const ACCOUNT: &str = "tenure";
/// What the host itself may do, as shipped; its namespaces become the world's.
const ROLES: &str = include_str!("../../deploy/kustomize/base/roles.yaml");
/// What every world grants: ConfigMaps and Namespaces anywhere, and Events.
const GRANT: &str = r#"
[[grant]]
plugin = "*/*"
[[grant.permission]]
api-groups = [""]
resources = ["configmaps", "namespaces", "events"]
verbs = ["get", "list", "watch", "create", "update", "patch", "delete"]
namespaces = ["*"]
[[grant.permission]]
api-groups = [""]
resources = ["namespaces"]
verbs = ["get", "list", "watch"]
"#;
/// Where plugins lie in a world in memory.
pub const PLUGIN_NAMESPACE: &str = "tenure-plugins";

/// A world's namespaces. On a server that worlds share, each has its own.
#[derive(Debug, Clone)]
pub struct Names {
    /// Where the lock is, and the replicas' Pods and account.
    pub system: String,
    /// Where plugins lie.
    pub plugins: String,
    /// Where plugins work.
    pub work: String,
    /// What the values of `probe` labels begin with, so that no probe sees another world's objects.
    prefix: String,
}

impl Names {
    fn of_memory() -> Self {
        let (system, plugins, work) = ("tenure-system".to_owned(), PLUGIN_NAMESPACE.to_owned(), "default".to_owned());
        Self { system, plugins, work, prefix: String::new() }
    }

    fn new_on_real() -> Self {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let world = format!("w{}", WORLDS.fetch_add(1, Ordering::Relaxed));
        let name = |of: &str| format!("{world}-{of}");
        Self { system: name("system"), plugins: name("plugins"), work: name("work"), prefix: format!("{world}-") }
    }
}

/// What a world is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The election's profile.
    pub profile: &'static str,
    /// More TOML for the configuration, after the rest.
    pub config: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { profile: "fast", config: String::new() }
    }
}

impl Options {
    /// With what the gate says of each write in the log, which late writes are judged by.
    pub fn told_by_the_gate() -> Self {
        Self { config: "[log]\nlevel = \"debug\"\n".to_owned(), ..Self::default() }
    }
}

/// Everything a whole-host test needs.
pub struct World {
    /// Its namespaces.
    pub names: Names,
    /// Follows the Lease and judges writes by it.
    pub judge: Judge,
    /// Replicas by name.
    pub replicas: BTreeMap<String, Replica>,
    folder: tempfile::TempDir,
    server: Server,
    client: kube::Client,
}

impl World {
    /// An API server in this process with the namespaces of an installation, and no replica yet.
    pub async fn new(options: Options) -> Self {
        let server = Server::in_memory().await;
        let client = kube::Client::new(server.memory().clone(), "default");
        Self::on_server(server, client, Names::of_memory(), &options).await
    }

    /// A world in memory with `count` replicas, once one of them leads.
    pub async fn with_replicas(count: usize, options: Options) -> Self {
        Self::new(options).await.staffed(count).await
    }

    /// A world on a real API server, with namespaces, account and roles of its own, and no replica yet.
    pub async fn on(api: &RealApi, options: Options) -> Self {
        let client = api.client().await;
        let names = Names::new_on_real();
        let world = Self::on_server(Server::Real(api.clone()), client, names, &options).await;
        world.namespace(&world.names.work, &[]).await;
        world.create_roles().await;
        world
    }

    /// Starts `count` replicas and waits until one of them leads.
    pub async fn staffed(mut self, count: usize) -> Self {
        for number in 0..count {
            self.start(&format!("replica-{number}")).await;
        }
        self.leader().await;
        self
    }

    async fn on_server(server: Server, client: kube::Client, names: Names, options: &Options) -> Self {
        let folder = tempfile::Builder::new().prefix("tenure-test-").tempdir().expect("a temporary folder");
        let judge = Judge::new(&server, &client, &names.system, LEASE).await;
        let world = Self { names, judge, replicas: BTreeMap::new(), folder, server, client };
        world.write_config(options);
        for namespace in [&world.names.system, &world.names.plugins] {
            world.namespace(namespace, &[]).await;
        }
        world
    }

    /// The host's roles as shipped, and what the grant allows, both bound to the replicas' account.
    async fn create_roles(&self) {
        for document in ROLES.split("\n---\n") {
            let document = document.replace("tenure-system", &self.names.system);
            let object = document.replace("tenure-plugins", &self.names.plugins);
            let object: Value = serde_saphyr::from_str(&object).expect("roles.yaml is YAML");
            let namespace = object["metadata"]["namespace"].as_str().expect("a role is somewhere");
            match object["kind"].as_str() {
                Some("Role") => self.create::<Role>(Some(namespace), &object).await,
                Some("RoleBinding") => self.create::<RoleBinding>(Some(namespace), &object).await,
                kind => panic!("roles.yaml has a {kind:?}"),
            }
        }
        let name = &self.names.system;
        let rule = json!({
            "apiGroups": ["", "events.k8s.io"], "resources": ["configmaps", "namespaces", "events"],
            "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"],
        });
        self.create::<ClusterRole>(None, &json!({"metadata": {"name": name}, "rules": [rule]})).await;
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
        let account = json!({"kind": "ServiceAccount", "name": ACCOUNT, "namespace": name});
        let binding = json!({"metadata": {"name": name}, "roleRef": role, "subjects": [account]});
        self.create::<ClusterRoleBinding>(None, &binding).await;
    }

    async fn create<K>(&self, namespace: Option<&str>, object: &Value)
    where
        K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
    {
        let kind = kube::core::ApiResource::erase::<K>(&());
        let api: Api<kube::core::DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &kind),
            None => Api::all_with(self.client(), &kind),
        };
        let mut object = object.clone();
        object["apiVersion"] = kind.api_version.clone().into();
        object["kind"] = kind.kind.clone().into();
        let object = serde_json::from_value(object).expect("an object");
        api.create(&PostParams::default(), &object).await.expect("the object can be created");
    }

    /// Where kubeconfig, configuration, logs and the plugin directory lie.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn write_config(&self, options: &Options) {
        let code = self.folder.path().join("code");
        let config = format!(
            r#"profile = "{profile}"
[election]
id = "{LEASE}"
namespace = "{system}"
first-create = "immediate"
[plugins]
namespaces = ["{plugins}"]
code-cache = "{code}"
{more}
{GRANT}
"#,
            profile = options.profile,
            system = self.names.system,
            plugins = self.names.plugins,
            code = code.display(),
            more = options.config,
        );
        std::fs::write(self.folder.path().join("tenure.toml"), config).expect("written");
    }

    /// Starts a replica.
    pub async fn start(&mut self, name: &str) {
        self.start_with(name, &[]).await;
    }

    /// Starts a replica with more in its environment.
    pub async fn start_with(&mut self, name: &str, environment: &[(&str, &str)]) {
        self.start_at(name, None, environment).await;
    }

    /// Starts a replica that reaches the API through whatever listens at `at`.
    pub async fn start_at(&mut self, name: &str, at: Option<SocketAddr>, environment: &[(&str, &str)]) {
        let kubeconfig = self.kubeconfig(name, at).await;
        self.start_under(&[], name, &kubeconfig, environment);
    }

    /// Starts a replica in a network namespace.
    pub async fn start_in(&mut self, namespace: &NetworkNamespace, name: &str, environment: &[(&str, &str)]) {
        let kubeconfig = self.kubeconfig(name, None).await;
        self.start_under(&namespace.launcher(), name, &kubeconfig, environment);
    }

    fn start_under(&mut self, launcher: &[String], name: &str, kubeconfig: &Path, environment: &[(&str, &str)]) {
        let environment: Vec<_> =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let replica = Replica::start_under(launcher, name, self.folder.path(), kubeconfig, &environment);
        self.replicas.insert(name.to_owned(), replica);
    }

    /// Writes what the replica of this name reaches the API with, and returns the file. With `at`, through a proxy there.
    pub async fn kubeconfig(&self, name: &str, at: Option<SocketAddr>) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.kubeconfig"));
        let kubeconfig = self.server.kubeconfig(&self.names.system, ACCOUNT, name, at).await;
        std::fs::write(&file, kubeconfig).expect("written");
        file
    }

    /// The judge, once it knows of everything that was committed before this call: an answer comes before its line in the
    /// audit log, and before the watch brings the news.
    pub async fn judged(&self) -> &Judge {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        if let Server::Real(api) = &self.server {
            let mark = format!("mark-{}", MARKS.fetch_add(1, Ordering::Relaxed));
            let object = ConfigMap {
                metadata: ObjectMeta { name: Some(mark.clone()), ..ObjectMeta::default() },
                ..ConfigMap::default()
            };
            let config_maps = self.api::<ConfigMap>(&self.names.system);
            config_maps.create(&PostParams::default(), &object).await.expect("the mark can be created");
            until("the mark in the audit log", || async { api.audit().iter().any(|event| event.name == mark) }).await;
        } else if let Some(version) = self.lease().await.and_then(|lease| lease.metadata.resource_version) {
            let version: u64 = version.parse().expect("a version");
            until("the judge to have seen the Lease as it is", || async {
                self.judge.history().last().is_some_and(|state| state.version.number >= version)
            })
            .await;
        }
        &self.judge
    }

    /// A replica that was started.
    pub fn replica(&mut self, name: &str) -> &mut Replica {
        self.replicas.get_mut(name).unwrap_or_else(|| panic!("no replica {name} was started"))
    }

    /// The API as the replica of this name sees it, with its rights.
    pub async fn client_of(&self, name: &str) -> kube::Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(name, None).await).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        kube::Client::try_from(config.expect("a configuration")).expect("a client")
    }

    /// Whether a user may do this in a namespace, as far as the API server has heard by now: a role that was stored is
    /// not in force before its authorizer's watch tells of it.
    pub async fn may(&self, user: &str, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client());
        let answer = reviews.create(&PostParams::default(), &review).await.expect("the API server reviews access");
        answer.status.is_some_and(|status| status.allowed)
    }

    /// The user name of the replicas' account.
    pub fn account(&self) -> String {
        format!("system:serviceaccount:{}:{ACCOUNT}", self.names.system)
    }

    /// The API server in this process, for its faults.
    ///
    /// # Panics
    /// When the world is on a real one.
    pub fn cluster(&self) -> &LocalCluster {
        self.server.memory()
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// A client for an administrator.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The probe under this name, told what to do; it sees this world's objects only.
    pub fn probe(&self, name: &str, behaviour: &str, value: &str) -> Plugin {
        let probe = Plugin::probe(name, behaviour, value);
        let (label, own) = (format!("probe={name}"), format!("probe={}{name}", self.names.prefix));
        Plugin { manifest: probe.manifest.replace(&label, &own), ..probe }
    }

    /// The guest of this language; it sees this world's objects only.
    pub fn language(&self, language: &str) -> Plugin {
        let guest = Plugin::language(language);
        let (label, own) = (format!("probe={language}"), format!("probe={}{language}", self.names.prefix));
        Plugin { manifest: guest.manifest.replace(&label, &own), ..guest }
    }

    /// Objects of one kind in one namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// The lock's Lease.
    pub fn leases(&self) -> Api<Lease> {
        self.api(&self.names.system)
    }

    /// The lock's Lease, if it is there.
    pub async fn lease(&self) -> Option<Lease> {
        self.leases().get_opt(LEASE).await.expect("the API answers")
    }

    /// The name of the replica that holds the lock, if one does.
    pub async fn holder(&self) -> Option<String> {
        let holder = self.lease().await?.spec?.holder_identity?;
        holder.split('_').next().filter(|name| !name.is_empty()).map(str::to_owned)
    }

    /// Waits until a replica holds the lock.
    pub async fn leader(&self) -> String {
        until_some("a leader", || self.holder()).await
    }

    /// Waits until a replica other than `former` holds the lock.
    pub async fn leader_after(&self, former: &str) -> String {
        until_some(&format!("a leader after {former}"), || async {
            self.holder().await.filter(|holder| holder != former)
        })
        .await
    }

    /// The term in the Lease.
    pub async fn term(&self) -> Option<u64> {
        self.lease().await?.metadata.annotations?.get("tenure.dev/term")?.split('/').next()?.parse().ok()
    }

    /// Waits until the lock is held in a term above `term`.
    pub async fn leader_of_a_term_above(&self, term: u64) {
        until(&format!("a term above {term}"), || async { self.term().await.is_some_and(|now| now > term) }).await;
    }

    /// Changes the Lease by hand, past every version check, as a person with kubectl would.
    pub async fn edit_lease(&self, patch: Value) {
        let patch = Patch::Merge(patch);
        self.leases().patch(LEASE, &PatchParams::default(), &patch).await.expect("the lease can be patched");
    }

    /// Deletes the Lease.
    pub async fn delete_lease(&self) {
        self.leases().delete(LEASE, &DeleteParams::default()).await.expect("the lease can be deleted");
    }

    /// Creates a namespace.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("a Namespace");
        let namespaces: Api<Namespace> = Api::all(self.client());
        namespaces.create(&PostParams::default(), &namespace).await.expect("the namespace can be created");
    }

    /// Creates a ConfigMap for the probe of this name, or changes its data.
    pub async fn config_map(&self, probe: &str, namespace: &str, name: &str, data: Value) {
        let metadata =
            json!({"name": name, "namespace": namespace, "labels": {"probe": format!("{}{probe}", self.names.prefix)}});
        let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        let patch = Patch::Apply(config_map);
        let parameters = PatchParams::apply("test").force();
        self.api::<ConfigMap>(namespace).patch(name, &parameters, &patch).await.expect("the ConfigMap can be applied");
    }

    /// One ConfigMap, if it is there.
    pub async fn get_config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        self.api::<ConfigMap>(namespace).get_opt(name).await.expect("the API answers")
    }

    /// An annotation of a ConfigMap.
    pub async fn annotation(&self, namespace: &str, name: &str, key: &str) -> Option<String> {
        self.get_config_map(namespace, name).await?.metadata.annotations?.get(key).cloned()
    }

    /// Drops a plugin in as `kubectl apply` would.
    pub async fn drop_in(&self, plugin: &Plugin) {
        for config_map in plugin.pack(&self.names.plugins) {
            let name = config_map["metadata"]["name"].as_str().expect("a name").to_owned();
            let parameters = PatchParams::apply("test").force();
            let api = self.api::<ConfigMap>(&self.names.plugins);
            api.patch(&name, &parameters, &Patch::Apply(config_map)).await.expect("the plugin can be applied");
        }
    }

    /// Waits until a replica, leader or not, says that the one plugin there is stands so.
    pub async fn only_plugin_is(&mut self, name: &str, state: &str) {
        let console = self.replica(name).console().await;
        until(&format!("{name} to say that its plugin is {state}"), || async {
            let status = get(&format!("{console}/status")).await.unwrap_or_default();
            let status: Value = serde_json::from_str(&status).unwrap_or_default();
            status["plugins"][0]["state"] == state
        })
        .await;
    }

    /// Waits until the leader says that a plugin is in this state, and returns its row.
    pub async fn plugin_state(&self, plugin: &str, state: &str) -> Value {
        self.plugin_state_within(LIMIT, plugin, state).await
    }

    /// As [`plugin_state`](Self::plugin_state), for what compiles longer than any plugin of ours.
    pub async fn plugin_state_within(&self, limit: Duration, plugin: &str, state: &str) -> Value {
        let identity = format!("{}/{plugin}", self.names.plugins);
        until_some_within(limit, &format!("{plugin} to be {state} on the leader"), || async {
            let status = self.status_of_leader().await?;
            let row = status["plugins"].as_array()?.iter().find(|row| row["identity"] == identity)?.clone();
            (row["state"] == state).then_some(row)
        })
        .await
    }

    /// Stores a ConfigMap as `kubectl apply --server-side` would.
    pub async fn apply_config_map(&self, config_map: &Value) {
        let name = config_map["metadata"]["name"].as_str().expect("a name");
        let api = self.api::<ConfigMap>(config_map["metadata"]["namespace"].as_str().expect("a namespace"));
        let parameters = PatchParams::apply("test").force();
        api.patch(name, &parameters, &Patch::Apply(config_map)).await.expect("the ConfigMap can be applied");
    }

    /// Sets an annotation of a ConfigMap.
    pub async fn annotate(&self, namespace: &str, name: &str, key: &str, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        let api = self.api::<ConfigMap>(namespace);
        api.patch(name, &PatchParams::default(), &patch).await.expect("the ConfigMap can be annotated");
    }

    /// Deletes a ConfigMap as `kubectl delete --wait=false` would.
    pub async fn delete_config_map(&self, namespace: &str, name: &str) {
        let api = self.api::<ConfigMap>(namespace);
        api.delete(name, &DeleteParams::default()).await.expect("the ConfigMap can be deleted");
    }

    /// Deletes a plugin's ConfigMaps, chunks and all.
    pub async fn remove_plugin(&self, name: &str) {
        let api = self.api::<ConfigMap>(&self.names.plugins);
        for config_map in api.list(&Default::default()).await.expect("the API answers") {
            let found = config_map.metadata.name.expect("an object has a name");
            if found == name || found.starts_with(&format!("{name}-")) {
                api.delete(&found, &DeleteParams::default()).await.expect("the plugin can be deleted");
            }
        }
    }

    /// The message of an Event on a ConfigMap, if there is one.
    pub async fn event_on(&self, namespace: &str, name: &str) -> Option<String> {
        let events = self.api::<Event>(namespace).list(&Default::default()).await.expect("the API answers");
        events.into_iter().find(|event| event.involved_object.name.as_deref() == Some(name))?.message
    }

    /// Type and message of the Events on the lock.
    pub async fn lock_events(&self) -> Vec<(String, String)> {
        let events = self.api::<Event>(&self.names.system).list(&Default::default()).await.expect("the API answers");
        let of_lock = events.into_iter().filter(|event| {
            event.involved_object.kind.as_deref() == Some("Lease")
                && event.involved_object.name.as_deref() == Some(LEASE)
        });
        of_lock.map(|event| (event.type_.unwrap_or_default(), event.message.unwrap_or_default())).collect()
    }

    /// How many plugins the leader knows.
    pub async fn plugins_on_leader(&self) -> usize {
        until_some("the leader's status", || async {
            Some(self.status_of_leader().await?["plugins"].as_array()?.len())
        })
        .await
    }

    /// Whether the leader's console answers a path with 200.
    pub async fn get_status(&self, path: &str) -> bool {
        let Some(lease) = self.lease().await else { return false };
        let console = lease.metadata.annotations.as_ref().and_then(|all| all.get("tenure.dev/console")).cloned();
        get(&format!("{}{path}", console.unwrap_or_default())).await.is_some()
    }

    /// What the leader's console says of itself.
    pub async fn status_of_leader(&self) -> Option<Value> {
        let console = self.lease().await?.metadata.annotations?.get("tenure.dev/console").cloned()?;
        let answer = get(&format!("{console}/status")).await?;
        serde_json::from_str(&answer).ok()
    }

    /// Waits until the object has an annotation, and returns its value.
    pub async fn annotated(&self, namespace: &str, name: &str, key: &str) -> String {
        until_some(&format!("annotation {key} on {namespace}/{name}"), || self.annotation(namespace, name, key)).await
    }

    /// Waits until the object has an annotation with this value.
    pub async fn annotated_with(&self, namespace: &str, name: &str, key: &str, value: &str) {
        until(&format!("annotation {key}={value} on {namespace}/{name}"), || async {
            self.annotation(namespace, name, key).await.as_deref() == Some(value)
        })
        .await;
    }
}

/// The body of a plain HTTP GET, if the answer was a success.
pub async fn get(url: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (host, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = tokio::net::TcpStream::connect(host).await.ok()?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}
