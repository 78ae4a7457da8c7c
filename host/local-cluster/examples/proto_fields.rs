//! Derives `src/tables/proto_fields.tsv` from the protocol buffer definitions of Kubernetes (`generated.proto` of k8s.io/api and
//! k8s.io/apimachinery): numbers, names and types of the fields of every built-in kind and of what it refers to, nothing else.
//!
//! `cargo run -p tenure-local-cluster --example proto_fields -- <k8s.io/api> <k8s.io/apimachinery> \
//!     > host/local-cluster/src/tables/proto_fields.tsv`

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

/// What every name begins with; left out of the table.
const PREFIX: &str = "k8s.io.";
/// Read beside the kinds: the envelope they come in, and the options of a deletion.
const ROOTS: [&str; 2] = ["apimachinery.pkg.apis.meta.v1.DeleteOptions", "apimachinery.pkg.runtime.Unknown"];
const KINDS: &str = include_str!("../src/tables/kinds.jsonl");

/// (number, name, type)
type Field = (u32, String, String);

fn main() -> Result<(), Box<dyn Error>> {
    let mut messages: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    for directory in std::env::args().skip(1) {
        read_all(Path::new(&directory), &mut messages)?;
    }
    let mut wanted: Vec<String> = ROOTS.map(str::to_owned).to_vec();
    for line in KINDS.lines() {
        let kind: Value = serde_json::from_str(line)?;
        wanted.extend(kind["schema"].as_str().map(|name| name.trim_start_matches("io.k8s.").to_owned()));
    }
    let mut written = BTreeSet::new();
    while let Some(message) = wanted.pop() {
        let Some(fields) = messages.get(&message).filter(|_| written.insert(message.clone())) else { continue };
        for (_, _, kind) in fields {
            wanted.extend(kind.split(['<', '>', ',']).filter(|part| messages.contains_key(*part)).map(str::to_owned));
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "# message\tnumber field type ...: made by examples/proto_fields.rs; do not edit")?;
    for message in written {
        write!(out, "{message}")?;
        for (number, name, kind) in &messages[&message] {
            write!(out, "\t{number} {name} {kind}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Reads every `generated.proto` below a directory.
fn read_all(directory: &Path, messages: &mut BTreeMap<String, Vec<Field>>) -> Result<(), Box<dyn Error>> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path, messages)?;
        } else if path.file_name().is_some_and(|name| name == "generated.proto") {
            let text = std::fs::read_to_string(&path)?;
            let package = text.lines().find_map(|line| line.strip_prefix("package ")?.strip_suffix(';'));
            read(package.ok_or("a file without a package")?.trim_start_matches(PREFIX), &text, messages);
        }
    }
    Ok(())
}

/// Reads the messages of one file. The generated files are regular: one field a line.
fn read(package: &str, text: &str, messages: &mut BTreeMap<String, Vec<Field>>) {
    let mut current = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("message ").and_then(|line| line.strip_suffix(" {")) {
            current = format!("{package}.{name}");
            messages.entry(current.clone()).or_default();
        } else if let Some((declaration, number)) = line.strip_suffix(';').and_then(|line| line.rsplit_once(" = ")) {
            let Ok(number) = number.parse() else { continue };
            let Some((kind, name)) = declaration.rsplit_once(' ') else { continue };
            messages.entry(current.clone()).or_default().push((number, name.to_owned(), qualified(package, kind)));
        }
    }
}

/// The type with full message names: `string`, `repeated:string`, `map:string`, `k8s.io.api.core.v1.EventSeries`.
fn qualified(package: &str, kind: &str) -> String {
    let (prefix, kind) = if let Some(kind) = kind.strip_prefix("optional ") {
        ("", kind)
    } else if let Some(kind) = kind.strip_prefix("repeated ") {
        ("repeated<", kind)
    } else if let Some(kind) = kind.strip_prefix("map<string, ").and_then(|kind| kind.strip_suffix('>')) {
        ("map<", kind)
    } else {
        ("", kind)
    };
    let kind = match kind {
        "string" | "bytes" | "bool" | "int32" | "int64" | "double" => kind.to_owned(),
        _ => kind
            .strip_prefix('.')
            .map_or_else(|| format!("{package}.{kind}"), |kind| kind.trim_start_matches(PREFIX).to_owned()),
    };
    if prefix.is_empty() { kind } else { format!("{prefix}{kind}>") }
}
