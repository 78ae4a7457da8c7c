//! `tenure plugin ...`: what an author does before a plugin meets a cluster.

use std::path::Path;

use anyhow::Context as _;
use tenure_plugin_source::{Compression, PackOptions, pack as pack_config_maps};
use tenure_sandbox::{Sandbox, SandboxSettings};
use tenure_settings::Manifest;

use crate::cli::{PackArgs, PluginCheckArgs};

/// Prints the ConfigMaps that carry a plugin, as one List, for `kubectl apply -f -`.
pub(crate) fn pack(args: &PackArgs) -> anyhow::Result<()> {
    let manifest_text = read_text(&args.manifest)?;
    let manifest = Manifest::parse(&manifest_text, &args.manifest.display().to_string())?;
    let options = PackOptions {
        namespace: args.namespace.clone(),
        name: args.name.clone().unwrap_or(manifest.name),
        compression: Compression::default(),
    };
    let items = pack_config_maps(&manifest_text, &read(&args.wasm)?, options)?;
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    println!("{}", serde_json::to_string_pretty(&list)?);
    Ok(())
}

/// Loads a plugin as the host would, and says what it could and wants to do.
pub(crate) fn check(args: &PluginCheckArgs) -> anyhow::Result<()> {
    let manifest = Manifest::parse(&read_text(&args.manifest)?, &args.manifest.display().to_string())?;
    let sandbox = Sandbox::new(SandboxSettings::default())?;
    let loaded = sandbox.load(&read(&args.wasm)?).with_context(|| format!("{} is refused", args.wasm.display()))?;
    let imports = loaded.imports();
    println!("{} is a plugin; sha256 {}", args.wasm.display(), loaded.digest());
    println!(
        "writes: {}",
        if imports.writes { "yes, it imports kubernetes-write" } else { "never: it does not import kubernetes-write" }
    );
    println!("reads:  {}", if imports.reads { "yes" } else { "never" });
    if !imports.inert.is_empty() {
        println!("inert (imported, but nothing is behind it): {}", imports.inert.join(", "));
    }
    println!("{} requests:", manifest.name);
    for rule in &manifest.permissions {
        println!("[[grant.permission]]\n{rule}");
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
