//! The Kubernetes API in memory: a tower service and an HTTP listener.
//!
//! Serves the kinds of Kubernetes that can be listed the way kube-apiserver does, down to the words of its refusals, so that
//! controllers, kube-rs and kubectl can be run against it without a cluster. What it does not implement it answers with 501.
//!
//! Every kind's types are held against its published schema. Beyond types, the rules of Go's validation are applied to Namespace,
//! ConfigMap, Secret, ServiceAccount, Pod (in part), Lease, Event and CustomResourceDefinition; of other built-in kinds' objects only
//! the metadata is validated. Defaults that Go fills in are filled in for the workloads, Service, NetworkPolicy, RBAC bindings,
//! volumes and claims, StorageClass, PriorityClass, HorizontalPodAutoscaler, Endpoints, EndpointSlice and webhook configurations.
//!
//! Custom resources have structural schemas, pruning, defaults, versions without conversion, status, scale and columns. A
//! definition with rules in CEL or a conversion webhook is answered with 501.
//!
//! Absent: authentication, authorization, TLS, admission plugins other than those of namespaces, controllers (no scheduler or
//! kubelet; only the removal of a deleted namespace's content, of a deleted definition's instances and of objects whose owners are
//! gone), the objects a new cluster has beside its namespaces, answers in protobuf, and autoscaling/v1 (its objects are served as autoscaling/v2).
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use tenure_local_cluster::LocalCluster;
//!
//! let cluster = LocalCluster::new();
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! println!("{}", cluster.kubeconfig(listener.local_addr()?));
//! cluster.serve(listener, std::future::pending()).await
//! # }
//! ```

mod audit;
mod body;
mod cluster;
mod custom;
mod decode;
mod defaults;
mod dependents;
mod discovery;
mod dispatch;
mod duplicates;
mod event_view;
mod fields;
mod go_json;
mod history;
mod intercept;
mod journal;
mod label_grammar;
mod metadata;
mod negotiate;
mod object;
mod ownership;
mod patching;
mod protobuf;
mod quantity;
mod query;
mod read;
mod registry;
mod render;
mod resource;
mod respond;
mod route;
mod schema;
mod selector;
mod serve;
mod service;
mod status;
mod store;
mod strategic;
mod syntax;
mod table;
mod validation;
mod watch;
mod write;

pub use audit::AuditEntry;
pub use cluster::{Builder, LocalCluster};
pub use intercept::{Intercept, Interceptor, RequestInfo};
pub use journal::OpenError;
pub use respond::Body;
pub use service::ConnectionDropped;
