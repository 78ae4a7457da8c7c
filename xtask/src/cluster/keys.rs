//! The keys of a cluster, made for it and kept in its folder. A Go program makes them, with what Go brings along: the crates that
//! can do it would be compiled before this command could do anything else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::addresses::{API_SERVICE, Addresses};
use crate::process;

/// A dozen keys take no time.
const LIMIT: Duration = Duration::from_secs(60);

/// Who is who, by the name of the file: the user, and the group that RBAC knows it by.
const CLIENTS: [(&str, &str, &str); 6] = [
    ("admin", "admin", "system:masters"),
    ("kube-apiserver-client", "kube-apiserver", "system:masters"),
    ("kube-controller-manager", "system:kube-controller-manager", ""),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kube-proxy", "system:kube-proxy", ""),
    ("coredns", NAME_SERVER, ""),
];

/// Whom the name server asks as.
pub(crate) const NAME_SERVER: &str = "tenure:name-server";

/// The files in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Makes them for a control plane and so many nodes.
    pub(crate) fn make(
        program: &Path,
        folder: PathBuf,
        addresses: Addresses,
        nodes: &[String],
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let wanted = folder.join("wanted.json");
        std::fs::write(&wanted, wanted_for(addresses, nodes).to_string())
            .with_context(|| format!("cannot write {}", wanted.display()))?;
        process::output(Command::new(program).arg(&wanted).arg(&folder), LIMIT)?;
        Ok(Self { folder })
    }

    /// The certificate everybody trusts.
    pub(crate) fn authority(&self) -> String {
        self.file("ca.crt")
    }

    /// A certificate, by its name.
    pub(crate) fn certificate(&self, name: &str) -> String {
        self.file(&format!("{name}.crt"))
    }

    /// Its key.
    pub(crate) fn key(&self, name: &str) -> String {
        self.file(&format!("{name}.key"))
    }

    /// A client's way to the API.
    pub(crate) fn kubeconfig(&self, name: &str) -> String {
        self.file(&format!("{name}.kubeconfig"))
    }

    /// What proves service account tokens.
    pub(crate) fn token_public_key(&self) -> String {
        self.file("service-accounts.pub")
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

fn wanted_for(addresses: Addresses, nodes: &[String]) -> Value {
    let control_plane = addresses.control_plane().to_string();
    let mut names = vec![control_plane, API_SERVICE.to_string(), "127.0.0.1".into(), "localhost".into()];
    let service =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    names.extend(service.map(String::from));
    let mut servers = Map::from_iter([("kube-apiserver".to_owned(), json!(names))]);
    let mut clients = Map::new();
    for (file, user, group) in CLIENTS {
        clients.insert(file.to_owned(), json!({"user": user, "group": group}));
    }
    for (index, node) in (1..).zip(nodes) {
        servers.insert(format!("{node}-server"), json!([node, addresses.node(index).to_string()]));
        clients.insert(node.clone(), json!({"user": format!("system:node:{node}"), "group": "system:nodes"}));
    }
    json!({"url": addresses.url(), "servers": servers, "clients": clients})
}
