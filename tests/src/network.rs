//! A network of its own for each replica: a namespace with one cable to a bridge, on which the API server listens. Needs root.
//!
//! Owns names, addresses and cables, all with this process' id in their names, and takes them down; also those of a process that
//! died before it could. Starts nothing on them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Begins the name of everything made here; the id of the process follows.
const PREFIX: &str = "tnt";

/// A bridge and the namespaces on it.
#[derive(Debug)]
pub struct Network {
    bridge: String,
    address: Ipv4Addr,
    namespaces: Vec<NetworkNamespace>,
}

/// A network namespace with one interface.
#[derive(Debug, Clone)]
pub struct NetworkNamespace {
    name: String,
    /// The end of its cable that is plugged into the bridge.
    cable: String,
}

impl Network {
    /// A bridge with an address of the range for tests of networks (RFC 2544), or a loud word that there is none without root;
    /// with `CI=true` that is a failure.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    pub fn new() -> Option<Self> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "network namespaces need root");
            eprintln!("SKIPPED: network namespaces need root; `sudo -E` before the test command runs this one too");
            return None;
        }
        remove_stale();
        let (process, number) = (std::process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let bridge = format!("{PREFIX}{process}b{number}");
        let [.., third, fourth] = process.to_be_bytes();
        let network = Self {
            bridge: bridge.clone(),
            address: Ipv4Addr::new(198, 18 + u8::from(number % 2 == 1), third, (fourth & 0xf0) + 1),
            namespaces: Vec::new(),
        };
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["address", "add", &format!("{}/28", network.address), "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        Some(network)
    }

    /// The address on the bridge, which every namespace reaches.
    pub fn address(&self) -> IpAddr {
        self.address.into()
    }

    /// One more namespace.
    pub fn add(&mut self) -> NetworkNamespace {
        let number = self.namespaces.len();
        let namespace =
            NetworkNamespace { name: format!("{}n{number}", self.bridge), cable: format!("{}v{number}", self.bridge) };
        let NetworkNamespace { name, cable } = &namespace;
        ip(&["netns", "add", name]);
        self.namespaces.push(namespace.clone());
        ip(&["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name]);
        ip(&["link", "set", cable, "master", &self.bridge, "up"]);
        let [first, second, third, fourth] = self.address.octets();
        let own = fourth + 1 + u8::try_from(number).expect("a handful of replicas");
        ip(&["-n", name, "address", "add", &format!("{first}.{second}.{third}.{own}/28"), "dev", "eth0"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        namespace
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            remove(&["link", "delete", &namespace.cable]);
            remove(&["netns", "delete", &namespace.name]);
        }
        remove(&["link", "delete", &self.bridge]);
    }
}

impl NetworkNamespace {
    /// What starts a program in it, before the program's own name.
    pub fn launcher(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", folder().join(&self.name).display())]
    }

    /// Pulls the cable: what is on its way is lost, and nobody is told.
    pub fn cut(&self) {
        ip(&["link", "set", &self.cable, "down"]);
    }

    /// Plugs it in again.
    pub fn heal(&self) {
        ip(&["link", "set", &self.cable, "up"]);
    }

    /// Bytes that wait in send queues of its established connections.
    pub fn queued_bytes(&self) -> u64 {
        let launcher = self.launcher();
        let said =
            Command::new(&launcher[0]).args(&launcher[1..]).args(["ss", "-tnH", "state", "established"]).output();
        let said = said.expect("ss is there, beside ip");
        let queue = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
        String::from_utf8_lossy(&said.stdout).lines().filter_map(queue).sum()
    }
}

/// Where `ip netns` keeps its names.
fn folder() -> PathBuf {
    PathBuf::from("/run/netns")
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("`ip` of iproute2 is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {said}", arguments.join(" "));
}

/// What is gone already is as well.
fn remove(arguments: &[&str]) {
    drop(Command::new("ip").args(arguments).output());
}

/// Takes down what processes left that were killed.
fn remove_stale() {
    let names = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_stale(name))
    };
    for name in names(folder()) {
        remove(&["netns", "delete", &name]);
    }
    for name in names(PathBuf::from("/sys/class/net")) {
        remove(&["link", "delete", &name]);
    }
}

fn is_stale(name: &str) -> bool {
    let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('b')).map(|(process, _)| process);
    process.is_some_and(|process| process.parse::<u32>().is_ok() && !PathBuf::from("/proc").join(process).exists())
}
