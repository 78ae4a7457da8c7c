//! A cluster as its folder knows it: which machines it has and where their files are. The folder is made first and removed
//! last, so that what is left of a cluster can be found from it.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::addresses::Addresses;
use super::machine::{Machine, Place};
use crate::go;

const RECORD: &str = "cluster.json";

const CONTROL_PLANE: &str = "control-plane";

/// What cannot be found out by looking.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The cluster's network.
    pub(crate) addresses: Addresses,
    /// How many nodes were asked for.
    pub(crate) nodes: u8,
    /// Which kubectl speaks to it.
    pub(crate) kubectl: PathBuf,
    /// Which ctr its nodes' containerd was built with.
    pub(crate) ctr: PathBuf,
}

/// A cluster by name, whether it is there or not.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
}

impl Cluster {
    /// The one of this name.
    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        Ok(Self { name: name.to_owned(), folder: Self::all_folder()?.join(name) })
    }

    /// Every cluster there is something of.
    pub(crate) fn all() -> anyhow::Result<Vec<Self>> {
        let folder = Self::all_folder()?;
        let mut clusters = Vec::new();
        if folder.is_dir() {
            for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
                clusters.push(Self::named(&entry?.file_name().to_string_lossy())?);
            }
        }
        clusters.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(clusters)
    }

    /// Where all clusters have their folders.
    pub(crate) fn all_folder() -> anyhow::Result<PathBuf> {
        let folder = go::cache()?.join("clusters");
        // Machines have folders of their own there, and would not see their files.
        for hidden in ["/var", "/run"] {
            if folder.starts_with(hidden) {
                bail!("{} is in {hidden}, which nodes have of their own: set XDG_CACHE_HOME", folder.display());
            }
        }
        Ok(folder)
    }

    /// Whether there is anything of it.
    pub(crate) fn exists(&self) -> bool {
        self.folder.is_dir()
    }

    /// Reads what was written down; nothing of a cluster whose start ended early.
    pub(crate) fn record(&self) -> anyhow::Result<Option<Record>> {
        let file = self.folder.join(RECORD);
        match std::fs::read(&file) {
            Ok(text) => Ok(Some(
                serde_json::from_slice(&text)
                    .with_context(|| format!("{} is no record of a cluster", file.display()))?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Writes it down, whole or not at all.
    pub(crate) fn write(&self, record: &Record) -> anyhow::Result<()> {
        let (file, half) = (self.folder.join(RECORD), self.folder.join("cluster.json.half"));
        std::fs::write(&half, serde_json::to_vec_pretty(record)?)
            .and_then(|()| std::fs::rename(&half, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// For kubectl and everybody else; there from the moment the API can be asked.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Keys and certificates.
    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// The machine of the API server.
    pub(crate) fn control_plane(&self) -> Place {
        self.place(CONTROL_PLANE)
    }

    /// A node, counted from 1.
    pub(crate) fn node(&self, index: u8) -> Place {
        self.place(&format!("node-{index}"))
    }

    fn place(&self, name: &str) -> Place {
        Place { name: name.to_owned(), folder: self.folder.join("machines").join(name) }
    }

    /// Every machine there is something of, the control plane first.
    pub(crate) fn places(&self) -> anyhow::Result<Vec<Place>> {
        let mut places = vec![self.control_plane()];
        let folder = self.folder.join("machines");
        if folder.is_dir() {
            for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
                places.push(self.place(&entry?.file_name().to_string_lossy()));
            }
        }
        places.sort_by_key(|place| (place.name != CONTROL_PLANE, place.name.len(), place.name.clone()));
        places.dedup_by(|one, other| one.name == other.name);
        Ok(places)
    }

    /// The machines that run.
    pub(crate) fn machines(&self) -> anyhow::Result<Vec<Machine>> {
        self.places()?.iter().filter_map(|place| place.machine().transpose()).collect()
    }

    /// What is written down of a cluster that runs.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn running(&self) -> anyhow::Result<(Record, Machine)> {
        match (self.record()?, self.control_plane().machine()?) {
            (Some(record), Some(control_plane)) => Ok((record, control_plane)),
            _ => bail!("no cluster {:?} runs: `cargo xtask cluster up --name {}` starts it", self.name, self.name),
        }
    }
}
