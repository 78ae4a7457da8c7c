//! What a control plane is started with.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::assets::Assets;
use crate::control_plane::{ControlPlane, StartError};

/// Settings of a [`ControlPlane`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    pub(crate) assets: Assets,
    pub(crate) data: Option<PathBuf>,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) controller_manager: bool,
    pub(crate) flags: Vec<String>,
}

impl Builder {
    pub(crate) fn new(assets: Assets) -> Self {
        let address = Ipv4Addr::LOCALHOST.into();
        Self { assets, data: None, address, port: 0, controller_manager: false, flags: Vec::new() }
    }

    /// Keeps etcd's data and everything else in this folder, and starts with what is found there. Without it they end with
    /// the control plane.
    pub fn data(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data = Some(folder.into());
        self
    }

    /// Where the API listens, instead of 127.0.0.1: the host's end of a virtual network, for one.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// The API's port; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// With kube-controller-manager: garbage collection, Deployments, service accounts.
    pub fn controller_manager(mut self) -> Self {
        self.controller_manager = true;
        self
    }

    /// One more flag for kube-apiserver, such as `--max-requests-inflight=4`; it wins over ours.
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Starts the programs and waits until the API is ready, at most a minute.
    ///
    /// # Errors
    /// When a program is missing, ends, or the API does not become ready; the error carries what the program said last.
    pub async fn start(self) -> Result<ControlPlane, StartError> {
        ControlPlane::start(self).await
    }
}
