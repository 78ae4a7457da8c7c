//! The flags each program is started with.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::certificates::Certificates;

/// Files and addresses the programs share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    /// Where sockets lie: their paths must be short.
    pub(crate) sockets: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) certificates: Certificates,
    pub(crate) controller_manager: bool,
    pub(crate) flags: Vec<String>,
}

impl Stage {
    pub(crate) fn etcd_data(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    pub(crate) fn audit_policy(&self) -> PathBuf {
        self.folder.join("audit-policy.yaml")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// etcd listens on sockets of the file system: no port to race for, nothing another user can reach.
    fn etcd_socket(&self, name: &str) -> String {
        format!("unix://{}", self.sockets.join(name).display())
    }

    pub(crate) fn etcd_flags(&self) -> Vec<OsString> {
        let (clients, peers) = (self.etcd_socket("etcd.sock"), self.etcd_socket("peer.sock"));
        let mut flags = Flags::default();
        flags.set_file("data-dir", &self.etcd_data());
        flags.set("listen-client-urls", &clients);
        flags.set("listen-peer-urls", &peers);
        // Of the form that is asked for, and never called: there are no peers, and the one client knows the socket.
        flags.set("advertise-client-urls", "http://localhost:1");
        flags.set("initial-advertise-peer-urls", "http://localhost:1");
        flags.set("initial-cluster", "default=http://localhost:1");
        // What a power cut would lose is of no interest here, and a disk's flush is slow.
        flags.set("unsafe-no-fsync", "true");
        flags.set("log-level", "warn");
        flags.0
    }

    pub(crate) fn api_server_flags(&self) -> Vec<OsString> {
        let mut flags = Flags::default();
        flags.set("etcd-servers", &self.etcd_socket("etcd.sock"));
        flags.set("bind-address", &self.address.ip().to_string());
        flags.set("secure-port", &self.address.port().to_string());
        // The port is held by this process, so that nobody takes it while the API server is stopped.
        flags.set("permit-port-sharing", "true");
        flags.set("endpoint-reconciler-type", "none");
        flags.set("service-cluster-ip-range", "10.0.0.0/24");
        flags.set("allow-privileged", "true");
        flags.set("authorization-mode", "Node,RBAC");
        flags.set("profiling", "false");
        if !self.controller_manager {
            // Nobody makes the account `default` of a namespace, which this would wait for at each Pod.
            flags.set("disable-admission-plugins", "ServiceAccount");
        }
        flags.set_file("tls-cert-file", &self.certificates.server_certificate_file());
        flags.set_file("tls-private-key-file", &self.certificates.server_key_file());
        flags.set_file("client-ca-file", &self.certificates.authority_file());
        flags.set("service-account-issuer", "https://kubernetes.default.svc");
        flags.set_file("service-account-signing-key-file", &self.certificates.token_key_file());
        flags.set_file("service-account-key-file", &self.certificates.token_public_key_file());
        flags.set_file("audit-policy-file", &self.audit_policy());
        flags.set_file("audit-log-path", &self.audit_log());
        // One file for the whole run: what was rotated away could not be judged.
        flags.set("audit-log-maxsize", "100000");
        for flag in &self.flags {
            flags.0.push(flag.into());
        }
        flags.0
    }

    pub(crate) fn controller_manager_flags(&self) -> Vec<OsString> {
        let mut flags = Flags::default();
        flags.set_file("kubeconfig", &self.kubeconfig());
        flags.set_file("service-account-private-key-file", &self.certificates.token_key_file());
        flags.set_file("root-ca-file", &self.certificates.authority_file());
        flags.set("leader-elect", "false");
        flags.set("use-service-account-credentials", "true");
        flags.set("secure-port", "0");
        flags.set("bind-address", &IpAddr::from([127, 0, 0, 1]).to_string());
        flags.0
    }
}

#[derive(Default)]
struct Flags(Vec<OsString>);

impl Flags {
    fn set(&mut self, name: &str, value: &str) {
        self.0.push(format!("--{name}={value}").into());
    }

    fn set_file(&mut self, name: &str, file: &Path) {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(file);
        self.0.push(flag);
    }
}
