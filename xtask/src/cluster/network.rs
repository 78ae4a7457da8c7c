//! Cables: a bridge on the control plane's machine, one cable to each node and one to the host, and the routes between Pods.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::addresses::{Addresses, NETWORKS};
use super::machine::Machine;
use crate::process;

const LIMIT: Duration = Duration::from_secs(120);

/// Finds a network nobody uses and takes it, by laying the cable from the host to the control plane.
pub(crate) fn claim(control_plane: &Machine) -> anyhow::Result<Addresses> {
    let routes = routes()?;
    for network in NETWORKS {
        let addresses = Addresses::new(network);
        if routes.iter().any(|route| addresses.meets(&route.dst)) {
            continue;
        }
        let mut ip = Command::new("ip");
        ip.args(["link", "add", &addresses.host_link(), "type", "veth", "peer", "name", "host", "netns"]);
        match process::output(ip.arg(control_plane.target()), LIMIT) {
            Ok(_) => return Ok(addresses),
            // Another cluster that is about to have addresses has it.
            Err(error) if format!("{error:#}").contains("File exists") => {}
            Err(error) => return Err(error.context("cannot lay a cable from the host to the control plane")),
        }
    }
    bail!("each of 10.{}.0.0/16 to 10.{}.0.0/16 is in use: `ip route` shows by whom", NETWORKS.start(), NETWORKS.end())
}

#[derive(Debug, Deserialize)]
struct Route {
    #[serde(default)]
    dst: String,
}

fn routes() -> anyhow::Result<Vec<Route>> {
    let shown = process::output(Command::new("ip").args(["-json", "-4", "route", "show", "table", "all"]), LIMIT)?;
    serde_json::from_str(&shown).context("`ip -json route` printed something else than routes")
}

/// The bridge and the host's end.
pub(crate) fn connect_host(addresses: Addresses, control_plane: &Machine, nodes: u8) -> anyhow::Result<()> {
    let mut batch = String::from("link set lo up\nlink add nodes type bridge\n");
    let _ = writeln!(batch, "addr add {}/24 dev nodes", addresses.control_plane());
    batch += "link set nodes up\nlink set host master nodes up\n";
    add_routes(&mut batch, addresses, nodes, None);
    control_plane.links(&batch)?;

    let link = addresses.host_link();
    let mut batch = format!("addr add {}/24 dev {link}\nlink set {link} up\n", addresses.host());
    add_routes(&mut batch, addresses, nodes, None);
    let file = control_plane.place().file("host-links.batch");
    std::fs::write(&file, batch).with_context(|| format!("cannot write {}", file.display()))?;
    process::output(Command::new("ip").arg("-batch").arg(file), LIMIT).map(drop)
}

/// The cable of a node, which has the node's name at the control plane's end.
pub(crate) fn connect_node(
    addresses: Addresses,
    control_plane: &Machine,
    node: &Machine,
    index: u8,
    nodes: u8,
) -> anyhow::Result<()> {
    let name = &node.place().name;
    let mut ip = control_plane.network_command("ip");
    ip.args(["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns"]).arg(node.target());
    process::output(&mut ip, LIMIT)?;
    let mut ip = control_plane.network_command("ip");
    process::output(ip.args(["link", "set", name, "master", "nodes", "up"]), LIMIT)?;
    let mut batch = String::from("link set lo up\n");
    let _ = writeln!(batch, "addr add {}/24 dev eth0", addresses.node(index));
    batch += "link set eth0 up\n";
    let _ = writeln!(batch, "route add default via {}", addresses.host());
    add_routes(&mut batch, addresses, nodes, Some(index));
    node.links(&batch)
}

fn add_routes(batch: &mut String, addresses: Addresses, nodes: u8, own: Option<u8>) {
    for index in (1..=nodes).filter(|index| Some(*index) != own) {
        let _ = writeln!(batch, "route add {} via {}", addresses.pods(index), addresses.node(index));
    }
}

/// Pulls a node's cable, or plugs it in again.
pub(crate) fn set_cable(control_plane: &Machine, node: &str, plugged: bool) -> anyhow::Result<()> {
    let mut ip = control_plane.network_command("ip");
    process::output(ip.args(["link", "set", node, if plugged { "up" } else { "down" }]), LIMIT)
        .with_context(|| format!("cannot change the cable of {node}"))
        .map(drop)
}

/// Removes the host's end and with it the other one. Answers whether it was there.
pub(crate) fn disconnect_host(addresses: Addresses) -> anyhow::Result<bool> {
    let link = addresses.host_link();
    // The kernel removes it with the network of the control plane, at a moment of its own.
    match process::output(Command::new("ip").args(["link", "delete", &link]), LIMIT) {
        Ok(_) => Ok(true),
        Err(error) if format!("{error:#}").contains("Cannot find device") => Ok(false),
        Err(error) => Err(error),
    }
}
