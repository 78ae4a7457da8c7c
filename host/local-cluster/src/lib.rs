//! The Kubernetes API in memory: a tower service and an HTTP listener.
//!
//! Serves Namespace, ConfigMap, Secret, ServiceAccount, Pod, Lease and Event (under both of its groups) the way kube-apiserver does,
//! down to the words of its refusals, so that controllers, kube-rs and kubectl can be run against it without a cluster. What it does
//! not implement it answers with 501; it never approximates.
//!
//! Absent: authentication, authorization, TLS, admission plugins other than those of namespaces, controllers (no scheduler, kubelet or
//! garbage collector; only the removal of a deleted namespace's content), custom resources, answers in protobuf.
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
mod decode;
mod defaults;
mod discovery;
mod dispatch;
mod duplicates;
mod event_view;
mod fields;
mod history;
mod intercept;
mod journal;
mod metadata;
mod negotiate;
mod object;
mod openapi_v2;
mod ownership;
mod patching;
mod protobuf;
mod query;
mod read;
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
