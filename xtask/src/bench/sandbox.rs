//! The sandbox's own benchmarks: criterion runs and records them, this reads what it recorded.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::figures::Figure;
use crate::process;
use crate::workspace::Workspace;

const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Runs them and answers with the mean of each.
pub(crate) fn measure(workspace: &Workspace) -> anyhow::Result<Vec<Figure>> {
    let recorded = workspace.target().join("criterion");
    // Benchmarks that are gone must not be reported.
    if recorded.is_dir() {
        std::fs::remove_dir_all(&recorded).with_context(|| format!("cannot remove {}", recorded.display()))?;
    }
    process::run(workspace.cargo().args(["bench", "--package", "tenure-sandbox", "--benches"]), LIMIT)?;
    let mut figures = Vec::new();
    read(&recorded, &recorded, &mut figures)?;
    if figures.is_empty() {
        bail!("criterion recorded nothing in {}", recorded.display());
    }
    Ok(figures)
}

/// criterion puts each benchmark's estimates into `<group>/<name>/new/estimates.json`.
fn read(top: &Path, folder: &Path, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let estimates = folder.join("new/estimates.json");
    if estimates.is_file() {
        let text = std::fs::read_to_string(&estimates)?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("cannot read {}", estimates.display()))?;
        let mean = value.pointer("/mean/point_estimate").and_then(Value::as_f64);
        let mean = mean.with_context(|| format!("{} has no mean", estimates.display()))?;
        let name = folder.strip_prefix(top).unwrap_or(folder).display().to_string();
        figures.push(Figure::once(&format!("sandbox: {name} (mean)"), Duration::from_secs_f64(mean / 1e9)));
        return Ok(());
    }
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_type()?.is_dir() && entry.file_name() != "report" {
            read(top, &entry.path(), figures)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_criterion_recorded_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("instance/instantiate/new");
        std::fs::create_dir_all(&new).unwrap();
        std::fs::write(new.join("estimates.json"), r#"{"mean":{"point_estimate":1234.0}}"#).unwrap();
        std::fs::create_dir_all(folder.path().join("report")).unwrap();
        let mut figures = Vec::new();
        read(folder.path(), folder.path(), &mut figures).unwrap();
        let shown = format!("{figures:?}");
        assert_eq!(figures.len(), 1);
        assert!(shown.contains("instance/instantiate") && shown.contains("1234 ns"), "{shown}");
    }
}
