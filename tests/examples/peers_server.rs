//! A real API server for `cargo xtask bench peers`, with a kubeconfig for each user named. Says where it is in one line of JSON, and
//! ends when asked to.
//!
//! `peers_server <folder> --group <group> <user>...`
#![expect(clippy::print_stdout, reason = "it says where it is")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use tenure_control_plane::{Assets, ControlPlane};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some("--group"), Some(group)) =
        (arguments.next().map(PathBuf::from), arguments.next().as_deref(), arguments.next())
    else {
        anyhow::bail!("peers_server <folder> --group <group> <user>...");
    };
    let mut asked_to_end = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let api = ControlPlane::builder(Assets::find()?).start().await?;
    let mut users = BTreeMap::new();
    for user in arguments {
        // As if a proxy stood at the server's own address: the name to expect is then in it, wherever it leads.
        let text = api.kubeconfig_of(&user, Some(&group), Some(api.address()))?;
        let file = folder.join(format!("{user}.kubeconfig"));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        users.insert(user, file);
    }
    let version = api.client().await?.apiserver_version().await.context("the API server does not say its version")?;
    let ready = json!({
        "address": api.address(), "kubeconfig": api.kubeconfig(), "users": users, "audit": api.folder().join("audit.log"),
        "version": version.git_version,
    });
    println!("{ready}");
    asked_to_end.recv().await;
    api.end().await;
    Ok(())
}
