//! The programs on the control plane's machine and their flags.

use anyhow::Context;

use super::addresses::{API_PORT, Addresses, SERVICES};
use super::keys::Keys;
use super::machine::Machine;
use super::node_programs::NodePrograms;

/// As on the API server that other tests run on, so that the same judges read it: every answered write with its objects, every
/// read without them, no events.
const AUDIT_POLICY: &str = include_str!("../../../host/control-plane/src/audit-policy.yaml");

/// A node that is silent for so long is not ready: three times what its kubelet takes between two signs of life, and long enough
/// for a machine that is busy with other things.
const SILENT_SECONDS: u32 = 12;

/// What tells the log of a cluster from that of another one.
pub(crate) const AUDIT_LOG: &str = "audit.log";

/// The control plane of one cluster.
#[derive(Debug)]
pub(crate) struct ControlPlane<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) programs: &'a NodePrograms,
    pub(crate) keys: &'a Keys,
    pub(crate) addresses: Addresses,
}

impl ControlPlane<'_> {
    /// etcd and kube-apiserver.
    pub(crate) fn start_api(&self) -> anyhow::Result<()> {
        let place = self.machine.place();
        std::fs::write(place.file("audit-policy.yaml"), AUDIT_POLICY)
            .with_context(|| format!("cannot write into {}", place.folder.display()))?;
        self.spawn("etcd", &self.etcd())?;
        self.spawn("kube-apiserver", &self.api_server())
    }

    /// Everything that needs the API.
    pub(crate) fn start_rest(&self) -> anyhow::Result<()> {
        self.spawn("kube-controller-manager", &self.controller_manager())?;
        let scheduler = self.keys.kubeconfig("kube-scheduler");
        self.spawn(
            "kube-scheduler",
            &flags(&[
                ("kubeconfig", &scheduler),
                ("authentication-kubeconfig", &scheduler),
                ("authorization-kubeconfig", &scheduler),
                ("leader-elect", "false"),
                ("bind-address", "127.0.0.1"),
            ]),
        )?;
        let corefile = self.machine.place().file("Corefile");
        std::fs::write(&corefile, self.corefile()).with_context(|| format!("cannot write {}", corefile.display()))?;
        let arguments = ["-conf".to_owned(), corefile.display().to_string()];
        self.machine.spawn(&self.programs.coredns, &arguments, None)
    }

    fn spawn(&self, program: &str, flags: &[String]) -> anyhow::Result<()> {
        self.machine.spawn(&self.programs.kubernetes.join(program), flags, None)
    }

    fn file(&self, name: &str) -> String {
        self.machine.place().file(name).display().to_string()
    }

    fn etcd(&self) -> Vec<String> {
        flags(&[
            ("data-dir", &self.file("etcd")),
            ("listen-client-urls", "http://127.0.0.1:2379"),
            ("advertise-client-urls", "http://127.0.0.1:2379"),
            // What a power cut would lose is of no interest here, and a disk's flush is slow.
            ("unsafe-no-fsync", "true"),
            ("log-level", "warn"),
        ])
    }

    fn api_server(&self) -> Vec<String> {
        let keys = self.keys;
        flags(&[
            ("etcd-servers", "http://127.0.0.1:2379"),
            ("advertise-address", &self.addresses.control_plane().to_string()),
            ("secure-port", &API_PORT.to_string()),
            ("service-cluster-ip-range", SERVICES),
            ("allow-privileged", "true"),
            ("authorization-mode", "Node,RBAC"),
            ("enable-admission-plugins", "NodeRestriction"),
            // No kube-proxy here: Pods behind a Service are called by their own addresses.
            ("enable-aggregator-routing", "true"),
            ("profiling", "false"),
            ("tls-cert-file", &keys.certificate("kube-apiserver")),
            ("tls-private-key-file", &keys.key("kube-apiserver")),
            ("client-ca-file", &keys.authority()),
            ("kubelet-certificate-authority", &keys.authority()),
            ("kubelet-client-certificate", &keys.certificate("kube-apiserver-client")),
            ("kubelet-client-key", &keys.key("kube-apiserver-client")),
            ("kubelet-preferred-address-types", "InternalIP"),
            ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            ("service-account-signing-key-file", &keys.key("service-accounts")),
            ("service-account-key-file", &keys.token_public_key()),
            ("audit-policy-file", &self.file("audit-policy.yaml")),
            ("audit-log-path", &self.file(AUDIT_LOG)),
            // One file for the whole run: what was rotated away could not be judged.
            ("audit-log-maxsize", "100000"),
        ])
    }

    fn controller_manager(&self) -> Vec<String> {
        let kubeconfig = self.keys.kubeconfig("kube-controller-manager");
        flags(&[
            ("kubeconfig", &kubeconfig),
            ("authentication-kubeconfig", &kubeconfig),
            ("authorization-kubeconfig", &kubeconfig),
            ("service-account-private-key-file", &self.keys.key("service-accounts")),
            ("root-ca-file", &self.keys.authority()),
            ("use-service-account-credentials", "true"),
            ("leader-elect", "false"),
            ("bind-address", "127.0.0.1"),
            ("node-monitor-period", "1s"),
            ("node-monitor-grace-period", &format!("{SILENT_SECONDS}s")),
        ])
    }

    /// Names of Services and nothing else: there is nobody to ask for other names.
    fn corefile(&self) -> String {
        format!(
            ".:53 {{\n    bind {}\n    errors\n    kubernetes cluster.local in-addr.arpa {{\n        kubeconfig {}\n    }}\n}}\n",
            self.addresses.control_plane(),
            self.keys.kubeconfig("coredns"),
        )
    }
}

/// Flags as programs of Kubernetes take them.
pub(crate) fn flags(values: &[(&str, &str)]) -> Vec<String> {
    values.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
