//! Plugins for tests: built ones, and their manifests with other settings.

use std::path::PathBuf;

use serde_json::Value;
use tenure_plugin_source::{Compression, PackOptions, pack};

/// A plugin to drop in.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The ConfigMap's name.
    pub name: String,
    /// `plugin.toml`.
    pub manifest: String,
    /// The module.
    pub wasm: Vec<u8>,
}

impl Plugin {
    /// A plugin that `cargo xtask plugins` built, under its own name.
    pub fn built(name: &str) -> Self {
        let folder = plugins().join(name);
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read(&path)
                .unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask plugins` builds it", path.display()))
        };
        let manifest = String::from_utf8(read("plugin.toml")).expect("a manifest is text");
        Self { name: name.to_owned(), manifest, wasm: read("plugin.wasm") }
    }

    /// The probe, told what to do. `value` is what it stamps objects with.
    pub fn probe(name: &str, behaviour: &str, value: &str) -> Self {
        let probe = Self::built("probe");
        let manifest = probe
            .manifest
            .replace("behaviour = \"stamp\"", &format!("behaviour = \"{behaviour}\""))
            .replace("value = \"1\"", &format!("value = \"{value}\""))
            .replace("probe=true", &format!("probe={name}"));
        Self { name: name.to_owned(), manifest, ..probe }
    }

    /// With the host's finalizer on what the probe watches.
    #[must_use]
    pub fn with_finalizer(mut self) -> Self {
        self.manifest = self.manifest.replace("label-selector = ", "finalizer = true\nlabel-selector = ");
        self
    }

    /// With another line in the manifest's first table.
    #[must_use]
    pub fn with(mut self, line: &str) -> Self {
        self.manifest.push_str(line);
        self
    }

    /// The ConfigMaps that carry it.
    pub fn pack(&self, namespace: &str) -> Vec<Value> {
        let options = PackOptions {
            namespace: namespace.to_owned(),
            name: self.name.clone(),
            compression: Compression::default(),
        };
        pack(&self.manifest, &self.wasm, options).expect("the plugin can be packed")
    }
}

fn plugins() -> PathBuf {
    std::env::var_os("TENURE_PLUGINS").map(PathBuf::from).unwrap_or_else(|| {
        panic!("TENURE_PLUGINS does not name the folder of built plugins; `cargo xtask test` builds them and sets it")
    })
}
