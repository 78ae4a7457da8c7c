//! Plugins for tests: built ones, and their manifests with other settings.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tenure_plugin_source::{Compression, PackOptions, pack};

use crate::Signer;

/// A guest of each language, of each released version of the contract.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/kept/0.1.0");
/// Of the guests in all languages.
const LANGUAGE_MANIFEST: &str = include_str!("../guests/languages/plugin.toml");

/// A plugin to drop in.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The ConfigMap's name.
    pub name: String,
    /// `plugin.toml`.
    pub manifest: String,
    /// The module.
    pub wasm: Vec<u8>,
    /// What stands beside it as its signature.
    pub signature: Option<String>,
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
        Self { name: name.to_owned(), manifest, wasm: read("plugin.wasm"), signature: None }
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

    /// The guest that speaks the contract's transcript, in this language: as built now, where `TENURE_LANGUAGES` names their
    /// folder, else the one kept since its version of the contract was released.
    pub fn language(language: &str) -> Self {
        let read = |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let wasm = match languages_built() {
            Some(folder) => read(&folder.join(language).join("plugin.wasm")),
            None => {
                let packed = read(&Path::new(KEPT).join(format!("{language}.wasm.zst")));
                zstd::decode_all(packed.as_slice()).expect("what is kept is compressed with zstd")
            }
        };
        let manifest = LANGUAGE_MANIFEST.replace("LANGUAGE", language);
        Self { name: language.to_owned(), manifest, wasm, signature: None }
    }

    /// The languages there are guests in, by name.
    pub fn languages() -> Vec<String> {
        let folder = languages_built().unwrap_or_else(|| KEPT.into());
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut languages: Vec<String> = entries
            .map(|entry| entry.expect("the folder can be listed").file_name().to_string_lossy().into_owned())
            .map(|name| name.split('.').next().unwrap_or_default().to_owned())
            .collect();
        languages.sort();
        languages
    }

    /// With so much beside the code that it needs chunks.
    #[must_use]
    pub fn in_chunks(mut self) -> Self {
        const BYTES: u32 = 600 << 10;
        // A custom section. What a compressor finds nothing in: a multiplicative generator's high bits.
        let mut state = 1_u64;
        let noise = (0..BYTES).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let name = b"\x05noise";
        let size = BYTES + name.len() as u32;
        let size = [0, 7, 14].map(|shift| (size >> shift) as u8 & 0x7f | if shift < 14 { 0x80 } else { 0 });
        self.wasm.push(0);
        self.wasm.extend(size);
        self.wasm.extend(name);
        self.wasm.extend(noise);
        self
    }

    /// With a signature that is right for what it is made of now.
    #[must_use]
    pub fn signed(mut self, by: &Signer) -> Self {
        self.signature = Some(by.sign(&self.wasm));
        self
    }

    /// Under another name for people.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.manifest = self.manifest.replacen("name = \"probe\"", &format!("name = \"{name}\""), 1);
        self
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
            signature: None,
        };
        let mut config_maps = pack(&self.manifest, &self.wasm, options).expect("the plugin can be packed");
        // Whatever it is: packing would refuse what is none.
        if let (Some(signature), Some(head)) = (&self.signature, config_maps.last_mut()) {
            head["data"]["plugin.wasm.minisig"] = signature.as_str().into();
        }
        config_maps
    }
}

fn languages_built() -> Option<PathBuf> {
    std::env::var_os("TENURE_LANGUAGES").map(PathBuf::from)
}

fn plugins() -> PathBuf {
    std::env::var_os("TENURE_PLUGINS").map(PathBuf::from).unwrap_or_else(|| {
        panic!("TENURE_PLUGINS does not name the folder of built plugins; `cargo xtask test` builds them and sets it")
    })
}
