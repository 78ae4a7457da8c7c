//! `tenure plugin ...`: what an author does before a plugin meets a cluster.

mod rbac;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tenure_plugin_source::{Compression, PackError, PackOptions, pack as pack_config_maps};
use tenure_sandbox::{Sandbox, SandboxSettings, World};
use tenure_settings::{Limits, Manifest, PluginIdentity};

pub(crate) use self::rbac::rbac;
use super::compile::compiler;
use super::{say, unless_nobody_reads};
use crate::catalog::{as_toml, examine};
use crate::cli::{PackArgs, PluginCheckArgs};

/// Prints the ConfigMaps that carry a plugin, as one List, for `kubectl apply -f -`.
pub(crate) fn pack(args: &PackArgs) -> anyhow::Result<()> {
    let manifest_text = read_text(&args.manifest)?;
    let manifest = Manifest::parse(&manifest_text, &args.manifest.display().to_string())?;
    let name = config_map_name(args, &manifest)?;
    let options = PackOptions {
        namespace: args.namespace.clone(),
        name,
        compression: Compression::default(),
        signature: args.signature.as_deref().map(read_text).transpose()?,
    };
    let items = pack_config_maps(&manifest_text, &read(&args.wasm)?, options).map_err(|error| match error {
        PackError::NotWasm => anyhow!("{} is no Wasm: it does not begin with \"\\0asm\"", args.wasm.display()),
        PackError::NotASignature => {
            let file = args.signature.as_deref().unwrap_or(Path::new("--signature"));
            anyhow!("{} is no minisign signature: `minisign -S -m {}` makes one", file.display(), args.wasm.display())
        }
        error => error.into(),
    })?;
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    unless_nobody_reads(say!("{}", serde_json::to_string_pretty(&list)?).map_err(Into::into))
}

/// `--name`, else the manifest's own name, which may be one that no ConfigMap can have.
fn config_map_name(args: &PackArgs, manifest: &Manifest) -> anyhow::Result<String> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    // The namespace is not what is asked about here: any that is valid will do.
    PluginIdentity::config_map("default", &manifest.name).with_context(|| {
        format!("the name in {} cannot be the ConfigMap's; give one with --name", args.manifest.display())
    })?;
    Ok(manifest.name.clone())
}

/// Loads a plugin as the host would, and says what it could and wants to do.
pub(crate) fn check(args: &PluginCheckArgs) -> anyhow::Result<()> {
    // Called on a thread of the runtime: the trial needs its clock.
    let runtime = tokio::runtime::Handle::current();
    unless_nobody_reads(tokio::task::block_in_place(|| runtime.block_on(report(args))))
}

async fn report(args: &PluginCheckArgs) -> anyhow::Result<()> {
    let manifest = Manifest::parse(&read_text(&args.manifest)?, &args.manifest.display().to_string())?;
    let limits = Limits::default();
    let compiler = Some(compiler(&limits));
    let sandbox = Arc::new(Sandbox::new(SandboxSettings { compiler, ..SandboxSettings::default() })?);
    let examined = examine(&sandbox, read(&args.wasm)?.into(), &manifest, &manifest.name, &limits)
        .await
        .map_err(|refusal| anyhow!("{} is refused: {}", args.wasm.display(), refusal.message))?;
    let loaded = examined.loaded;
    let imports = loaded.imports();
    let kind = match loaded.world() {
        World::Reconciler => "a plugin",
        World::LockPolicy => "a lock policy",
        World::Task => "a task",
    };
    say!("{} is {kind} (world {}); sha256 {}", args.wasm.display(), loaded.world().name(), loaded.digest())?;
    say!(
        "writes: {}",
        if imports.writes { "yes, it imports kubernetes-write" } else { "never: it does not import kubernetes-write" }
    )?;
    say!("reads:  {}", if imports.reads { "yes" } else { "never" })?;
    if !imports.inert.is_empty() {
        say!("inert (imported, but nothing is behind it): {}", imports.inert.join(", "))?;
    }
    if manifest.permissions.is_empty() {
        say!("{} requests nothing", manifest.name)?;
    } else {
        say!("{} requests, to be put below a [[grant]]:\n{}", manifest.name, as_toml(&manifest.permissions))?;
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
