//! Who has which address. Each cluster has a network 10.N.0.0/16 of its own: 10.N.255.0/24 for machines, 10.N.I.0/24 for the
//! Pods of node I. Services are the same everywhere: their addresses never leave a node.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// Networks that are tried for a new cluster, in this order.
pub(crate) const NETWORKS: std::ops::RangeInclusive<u8> = 200..=231;

/// How many nodes have an address.
pub(crate) const NODES_MAX: u8 = 64;

/// Where Services are.
pub(crate) const SERVICES: &str = "10.96.0.0/16";

/// Where the API server is as a Service: the first address of [`SERVICES`].
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// The port of the API server.
pub(crate) const API_PORT: u16 = 6443;

/// The addresses of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    network: u8,
}

impl Addresses {
    /// Those in 10.`network`.0.0/16.
    pub(crate) fn new(network: u8) -> Self {
        Self { network }
    }

    /// The host, as the cluster sees it.
    pub(crate) fn host(self) -> Ipv4Addr {
        self.machine(1)
    }

    /// The control plane, which is also the cluster's name server.
    pub(crate) fn control_plane(self) -> Ipv4Addr {
        self.machine(2)
    }

    /// A node, counted from 1.
    pub(crate) fn node(self, index: u8) -> Ipv4Addr {
        self.machine(10 + index)
    }

    fn machine(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.network, 255, last)
    }

    /// The Pods of a node.
    pub(crate) fn pods(self, index: u8) -> String {
        format!("10.{}.{index}.0/24", self.network)
    }

    /// All Pods.
    pub(crate) fn all_pods(self) -> String {
        format!("10.{}.0.0/17", self.network)
    }

    /// The host's end of its cable into the cluster. Two clusters cannot have the same network, because the kernel does not give
    /// two links one name.
    pub(crate) fn host_link(self) -> String {
        format!("tenure-{}", self.network)
    }

    /// Where the API is, for everybody.
    pub(crate) fn url(self) -> String {
        format!("https://{}:{API_PORT}", self.control_plane())
    }

    /// Whether the host already has a route to any of it: `destination` as `ip route` shows it.
    pub(crate) fn meets(self, destination: &str) -> bool {
        let (address, length) = destination.split_once('/').unwrap_or((destination, "32"));
        let (Ok(address), Ok(length)) = (address.parse::<Ipv4Addr>(), length.parse::<u32>()) else { return false };
        if length == 0 {
            return false; // the default route leads everywhere and is nobody's
        }
        let mask = u32::MAX << (32 - length.clamp(1, 16));
        (address.to_bits() ^ Ipv4Addr::new(10, self.network, 0, 0).to_bits()) & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_routed_elsewhere_is_not_free() {
        let addresses = Addresses::new(200);
        for (destination, meets) in [
            ("default", false),
            ("0.0.0.0/0", false),
            ("10.200.3.0/24", true),
            ("10.200.255.1", true),
            ("10.0.0.0/8", true),
            ("10.201.0.0/16", false),
            ("172.17.0.0/16", false),
        ] {
            assert_eq!(addresses.meets(destination), meets, "{destination}");
        }
    }
}
