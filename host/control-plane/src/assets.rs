//! Where the programs of a control plane lie. Finds them; builds and fetches nothing.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What envtest and its kin name the folder by.
const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers: garbage collection, Deployments, service accounts.
    ControllerManager,
}

impl Program {
    /// The name of its file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
        }
    }
}

/// Why there are no programs.
#[derive(Debug, Error)]
pub enum AssetsError {
    /// `KUBEBUILDER_ASSETS` is set and its folder lacks a program.
    #[error("{ASSETS_VARIABLE} names {}, which has no {program}; `cargo xtask cluster build` prints a folder that has", folder.display())]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// The first program it lacks.
        program: &'static str,
    },
    /// `KUBEBUILDER_ASSETS` is not set.
    #[error(
        "{ASSETS_VARIABLE} does not name the folder of etcd and kube-apiserver; `setup-envtest use -p path` downloads them and prints \
         it, `cargo xtask cluster build` builds them (with Go, once, in about four minutes) and prints it"
    )]
    Missing,
}

/// A folder with etcd and kube-apiserver, and maybe kube-controller-manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assets {
    folder: PathBuf,
}

impl Assets {
    /// The folder `KUBEBUILDER_ASSETS` names.
    ///
    /// # Errors
    /// When it names none, or one without etcd and kube-apiserver.
    pub fn find() -> Result<Self, AssetsError> {
        let named = std::env::var_os(ASSETS_VARIABLE).filter(|folder| !folder.is_empty());
        Self::in_folder(named.ok_or(AssetsError::Missing)?)
    }

    /// This folder.
    ///
    /// # Errors
    /// When it lacks etcd or kube-apiserver.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Result<Self, AssetsError> {
        let folder = folder.into();
        for program in [Program::Etcd, Program::ApiServer] {
            if !folder.join(program.name()).is_file() {
                return Err(AssetsError::Incomplete { folder, program: program.name() });
            }
        }
        Ok(Self { folder })
    }

    /// Where they lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a program, if it is there.
    #[must_use]
    pub fn program(&self, program: Program) -> Option<PathBuf> {
        Some(self.folder.join(program.name())).filter(|file| file.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_lacks_a_program_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("etcd"), "").unwrap();
        let error = Assets::in_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has no kube-apiserver"), "{error}");
        std::fs::write(folder.path().join("kube-apiserver"), "").unwrap();
        let assets = Assets::in_folder(folder.path()).unwrap();
        assert_eq!(assets.program(Program::Etcd), Some(folder.path().join("etcd")));
        assert_eq!(assets.program(Program::ControllerManager), None);
    }
}
