//! Where things are, and how cargo is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use cargo_metadata::{Metadata, MetadataCommand, Package};

/// The feature that lets tests stop the host at chosen points; without it none of that is compiled in.
pub(crate) const TEST_FEATURES: &str = "tenure/failpoints";

/// The rooms that see no runtime, no cluster and no clock.
pub(crate) const PURE_ROOMS: [&str; 4] =
    ["tenure-election", "tenure-capability", "tenure-reconcile", "tenure-settings"];

/// What plugins and pure rooms compile to.
pub(crate) const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// This project's folder and packages.
#[derive(Debug)]
pub(crate) struct Workspace {
    metadata: Metadata,
}

impl Workspace {
    /// The workspace this program was built from.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
        let metadata = MetadataCommand::new()
            .cargo_path(cargo())
            .manifest_path(manifest.join("Cargo.toml"))
            .exec()
            .context("cargo metadata failed")?;
        Ok(Self { metadata })
    }

    /// What cargo says of it.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The top folder.
    pub(crate) fn root(&self) -> &Path {
        self.metadata.workspace_root.as_std_path()
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> &Path {
        self.metadata.target_directory.as_std_path()
    }

    /// Where built plugins are put, one folder each.
    pub(crate) fn plugins_folder(&self) -> PathBuf {
        self.target().join("plugins")
    }

    /// The `tenure` of a profile (`debug`, `release`).
    pub(crate) fn tenure(&self, profile: &str) -> PathBuf {
        self.target().join(profile).join("tenure")
    }

    /// The packages in `plugins/`.
    pub(crate) fn plugins(&self) -> Vec<&Package> {
        self.packages_in("plugins")
    }

    /// The packages in `tests/guests/`: plugins that only whole-host tests run. Without that of the languages, which is built
    /// with its siblings.
    pub(crate) fn test_guests(&self) -> Vec<&Package> {
        let of_languages = self.packages_in("tests/guests/languages");
        self.packages_in("tests/guests").into_iter().filter(|it| !of_languages.contains(it)).collect()
    }

    fn packages_in(&self, folder: &str) -> Vec<&Package> {
        let folder = self.metadata.workspace_root.join(folder);
        self.metadata.workspace_packages().into_iter().filter(|it| it.manifest_path.starts_with(&folder)).collect()
    }

    /// `cargo` in the top folder. What the cargo that runs us says of this package is taken out of its environment: build
    /// scripts look at such variables, and would run anew each time it is this cargo and not a person's.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(self.root());
        for (name, _) in std::env::vars_os() {
            let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
            if name.to_str().is_some_and(|name| of_package.iter().any(|prefix| name.starts_with(prefix))) {
                command.env_remove(name);
            }
        }
        command
    }
}

/// The cargo that runs us, so that both are of one toolchain.
fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Whether this is CI, where nothing may be skipped and warnings fail.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
