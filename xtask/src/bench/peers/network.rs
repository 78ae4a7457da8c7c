//! Network namespaces, two a candidate: one it lives in, as a Pod does, and the node before it, whose cable to us can be pulled.
//! Then bytes stay in the candidate's kernel, and the node answers that there is no way, so that they are sent soon after the
//! cable is back. A relay on our side carries the connections on to the API server, which listens on loopback only. Needs root.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::process;

/// What `ip` takes at most.
const LIMIT: Duration = Duration::from_secs(20);

/// Of RFC 2544, for measurements: `198.18.<number>.1` is our end of the cable, .2 the node's; .5 the node's end towards the
/// candidate, .6 the candidate's.
fn address(number: u8, end: u8) -> String {
    format!("198.18.{number}.{end}")
}

/// A candidate's network namespace, its node's, and the cable to that. Dropped: gone.
pub(crate) struct Network {
    name: String,
    node: String,
    number: u8,
    relay: Relay,
}

impl Network {
    /// Makes one, with a relay to `server`.
    pub(crate) fn make(number: u8, server: SocketAddr) -> anyhow::Result<Self> {
        let (name, node, ours) = (format!("peers-{number}"), format!("peers-{number}-node"), ours(number));
        remove(&[&name, &node], &ours); // what a killed run left behind
        let end = |end| format!("{}/30", address(number, end));
        ip(&["netns", "add", &name])?;
        ip(&["netns", "add", &node])?;
        ip(&["link", "add", &ours, "type", "veth", "peer", "name", UPLINK, "netns", &node])?;
        ip(&["-n", &node, "link", "add", DOWNLINK, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
        ip(&["address", "add", &end(1), "dev", &ours])?;
        ip(&["link", "set", &ours, "up"])?;
        for (namespace, link, its_end) in [(&node, UPLINK, 2), (&node, DOWNLINK, 5), (&name, "eth0", 6)] {
            ip(&["-n", namespace, "address", "add", &end(its_end), "dev", link])?;
            ip(&["-n", namespace, "link", "set", link, "up"])?;
        }
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        ip(&["-n", &name, "route", "add", "default", "via", &address(number, 5)])?;
        ip(&["route", "add", &format!("{}/30", address(number, 4)), "via", &address(number, 2)])?;
        let mut forward = Command::new("nsenter");
        forward.arg(format!("--net=/run/netns/{node}")).args(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        process::output(&mut forward, LIMIT)?;
        let relay = Relay::start(&format!("{}:0", address(number, 1)), server)?;
        Ok(Self { name, node, number, relay })
    }

    /// What it is called, for whoever is to live in it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A kubeconfig that leads to the relay; certificates stand for the API server's name, whatever the address.
    pub(crate) fn kubeconfig(&self, direct: &Path, server: &str) -> anyhow::Result<PathBuf> {
        let text = std::fs::read_to_string(direct).with_context(|| format!("cannot read {}", direct.display()))?;
        if !text.contains("tls-server-name") {
            bail!("{} has no tls-server-name, so the API server cannot be met at another address", direct.display());
        }
        let relayed = direct.with_extension("relayed");
        let text = text.replace(&format!("https://{server}"), &format!("https://{}", self.relay.address));
        std::fs::write(&relayed, text).with_context(|| format!("cannot write {}", relayed.display()))?;
        Ok(relayed)
    }

    /// Pulls the node's cable.
    pub(crate) fn cut(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.node, "link", "set", UPLINK, "down"])
    }

    /// Plugs it in again.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        ip(&["-n", &self.node, "link", "set", UPLINK, "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(&[&self.name, &self.node], &ours(self.number));
    }
}

/// The node's end of the cable, and of the one to the candidate.
const UPLINK: &str = "uplink";
const DOWNLINK: &str = "downlink";

/// Our end of the cable.
fn ours(number: u8) -> String {
    format!("peers-{number}")
}

/// Why there can be no network namespaces here, if so.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root: sudo -E cargo xtask bench peers --only cut".into());
    }
    let lacking = ["ip", "nsenter"].into_iter().find(|name| process::on_path(name).is_none())?;
    Some(format!("{lacking} is not on PATH: install iproute2 and util-linux"))
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    process::output(Command::new("ip").args(arguments), LIMIT).map(drop)
}

fn remove(namespaces: &[&str], ours: &str) {
    // Each may be gone already, or never have been.
    let _ = ip(&["link", "delete", ours]);
    for namespace in namespaces {
        let _ = ip(&["netns", "delete", namespace]);
    }
}

/// Carries connections from one address to another, byte for byte.
struct Relay {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    fn start(at: &str, to: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(at).with_context(|| format!("cannot listen on {at}"))?;
        let address = listener.local_addr().context("a listener without an address")?;
        let relay = Self { address, ended: Arc::default(), streams: Arc::default() };
        let (ended, streams) = (Arc::clone(&relay.ended), Arc::clone(&relay.streams));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // What cannot be carried is closed; the candidate tries again.
                let _ = carry(near, to, &streams);
            }
        });
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // wakes the listener's thread
        for stream in self.streams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn carry(near: TcpStream, to: SocketAddr, streams: &Mutex<Vec<TcpStream>>) -> std::io::Result<()> {
    let far = TcpStream::connect(to)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    streams.lock().unwrap_or_else(PoisonError::into_inner).extend([near.try_clone()?, far.try_clone()?]);
    for (from, into) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        std::thread::spawn(move || one_way(from, into));
    }
    Ok(())
}

fn one_way(mut from: TcpStream, mut into: TcpStream) {
    let _ = std::io::copy(&mut from, &mut into);
    let _ = into.flush();
    // An end in one direction ends both: nobody here speaks half-closed TCP.
    let _ = into.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_relay_carries_both_ways_and_ends_what_it_carries() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::start("127.0.0.1:0", server.local_addr().unwrap()).unwrap();
        let mut near = TcpStream::connect(relay.address).unwrap();
        let mut far = server.accept().unwrap().0;
        near.set_read_timeout(Some(LIMIT)).unwrap();
        far.set_read_timeout(Some(LIMIT)).unwrap();
        let mut got = [0; 4];
        near.write_all(b"ping").unwrap();
        far.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
        far.write_all(b"pong").unwrap();
        near.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"pong");
        drop(relay);
        assert_eq!(near.read(&mut got).unwrap_or(0), 0);
    }
}
