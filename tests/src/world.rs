//! An API server in this process, a folder of configuration, and the replicas that run on them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tenure_local_cluster::LocalCluster;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Judge, Plugin, Replica, until, until_some};

const LEASE_NAMESPACE: &str = "tenure-system";
const LEASE: &str = "tenure";
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
/// Where plugins lie.
pub const PLUGIN_NAMESPACE: &str = "tenure-plugins";

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

/// Everything a whole-host test needs.
pub struct World {
    /// The API server, for its audit log and its faults.
    pub cluster: LocalCluster,
    /// Where it listens.
    pub address: SocketAddr,
    /// Follows the Lease and judges writes by it.
    pub judge: Judge,
    /// Replicas by name.
    pub replicas: BTreeMap<String, Replica>,
    folder: tempfile::TempDir,
    server: JoinHandle<()>,
}

impl World {
    /// An API server with the namespaces of an installation, and no replica yet.
    pub async fn new(options: Options) -> Self {
        let cluster = LocalCluster::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let server = {
            let cluster = cluster.clone();
            tokio::spawn(async move { cluster.serve(listener, std::future::pending()).await.expect("the API serves") })
        };
        let folder = tempfile::Builder::new().prefix("tenure-test-").tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("kubeconfig"), cluster.kubeconfig(address)).expect("written");
        let judge = Judge::new(&cluster, LEASE_NAMESPACE, LEASE).await;
        let world = Self { cluster, address, judge, replicas: BTreeMap::new(), folder, server };
        world.write_config(&options);
        for namespace in [LEASE_NAMESPACE, PLUGIN_NAMESPACE] {
            world.namespace(namespace, &[]).await;
        }
        world
    }

    /// A world with `count` replicas, once one of them leads.
    pub async fn with_replicas(count: usize, options: Options) -> Self {
        let mut world = Self::new(options).await;
        for number in 0..count {
            world.start(&format!("replica-{number}"));
        }
        world.leader().await;
        world
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
namespace = "{LEASE_NAMESPACE}"
first-create = "immediate"
[plugins]
namespaces = ["{PLUGIN_NAMESPACE}"]
code-cache = "{code}"
{more}
{GRANT}
"#,
            profile = options.profile,
            code = code.display(),
            more = options.config,
        );
        std::fs::write(self.folder.path().join("tenure.toml"), config).expect("written");
    }

    /// Starts a replica.
    pub fn start(&mut self, name: &str) {
        self.start_with(name, &[]);
    }

    /// Starts a replica with more in its environment.
    pub fn start_with(&mut self, name: &str, environment: &[(&str, &str)]) {
        let environment: Vec<_> =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let replica = Replica::start(name, self.folder.path(), &environment);
        self.replicas.insert(name.to_owned(), replica);
    }

    /// A replica that was started.
    pub fn replica(&mut self, name: &str) -> &mut Replica {
        self.replicas.get_mut(name).unwrap_or_else(|| panic!("no replica {name} was started"))
    }

    /// A client of this API server that needs no socket.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.cluster.clone(), "default")
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
        self.api(LEASE_NAMESPACE)
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
        let metadata = json!({"name": name, "namespace": namespace, "labels": {"probe": probe}});
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
        for config_map in plugin.pack(PLUGIN_NAMESPACE) {
            let name = config_map["metadata"]["name"].as_str().expect("a name").to_owned();
            let parameters = PatchParams::apply("test").force();
            let api = self.api::<ConfigMap>(PLUGIN_NAMESPACE);
            api.patch(&name, &parameters, &Patch::Apply(config_map)).await.expect("the plugin can be applied");
        }
    }

    /// Waits until the leader says that a plugin is in this state, and returns its row.
    pub async fn plugin_state(&self, plugin: &str, state: &str) -> Value {
        let identity = format!("{PLUGIN_NAMESPACE}/{plugin}");
        until_some(&format!("{plugin} to be {state} on the leader"), || async {
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

    /// Deletes a plugin's ConfigMaps, chunks and all.
    pub async fn remove_plugin(&self, name: &str) {
        let api = self.api::<ConfigMap>(PLUGIN_NAMESPACE);
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

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
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
