//! `cargo xtask cluster down`: ends the machines of a cluster and removes what the kernel keeps after them. Says what it removed.

use anyhow::Context;

use super::cluster::Cluster;
use super::up::Turn;
use super::{cgroups, network, say};

/// Removes a cluster, or what is left of one.
pub(crate) fn down(cluster: &Cluster) -> anyhow::Result<()> {
    let _turn = Turn::wait()?;
    if !cluster.exists() && cgroups::of_cluster(&cluster.name)?.is_empty() {
        say(&format!("there is no cluster {:?}, and nothing of one", cluster.name));
        return Ok(());
    }
    remove(cluster)
}

/// The same, by who has the turn already.
pub(crate) fn remove(cluster: &Cluster) -> anyhow::Result<()> {
    if let (Some(record), Some(_)) = (cluster.record()?, cluster.control_plane().machine()?) {
        // While the other end is there this one is ours: its name may be another cluster's later.
        if network::disconnect_host(record.addresses)? {
            say(&format!(
                "removed link {}, the routes over it, and the bridge behind it",
                record.addresses.host_link()
            ));
        }
    }
    for place in cluster.places()? {
        let ended = place.end()?;
        if ended > 0 {
            say(&format!("{}: ended {ended} processes, and with them their mounts and network", place.name));
        }
    }
    let removed = cgroups::remove(&cluster.name)?;
    if removed > 0 {
        say(&format!("removed {removed} cgroups"));
    }
    if cluster.exists() {
        std::fs::remove_dir_all(&cluster.folder)
            .with_context(|| format!("cannot remove {}", cluster.folder.display()))?;
        say(&format!("removed {}", cluster.folder.display()));
    }
    Ok(())
}
