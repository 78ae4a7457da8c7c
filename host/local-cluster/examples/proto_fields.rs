//! Derives `src/proto_fields.tsv` from the protocol buffer definitions of Kubernetes (`generated.proto` of k8s.io/api and
//! k8s.io/apimachinery): numbers, names and types of the fields of the kinds that are read in that form, nothing else.
//!
//! `cargo run -p tenure-local-cluster --example proto_fields -- <k8s.io/api> <k8s.io/apimachinery> \
//!     > host/local-cluster/src/proto_fields.tsv`

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::Path;

/// Package and file, below the one directory or the other.
const FILES: [(&str, usize, &str); 5] = [
    ("k8s.io.api.core.v1", 0, "core/v1/generated.proto"),
    ("k8s.io.api.coordination.v1", 0, "coordination/v1/generated.proto"),
    ("k8s.io.api.events.v1", 0, "events/v1/generated.proto"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1", 1, "pkg/apis/meta/v1/generated.proto"),
    ("k8s.io.apimachinery.pkg.runtime", 1, "pkg/runtime/generated.proto"),
];

/// Kinds read from protocol buffers, and the envelope they come in. Pods are not among them: kubectl sends those as JSON.
const ROOTS: [&str; 9] = [
    "k8s.io.api.core.v1.ConfigMap",
    "k8s.io.api.core.v1.Event",
    "k8s.io.api.core.v1.Namespace",
    "k8s.io.api.core.v1.Secret",
    "k8s.io.api.core.v1.ServiceAccount",
    "k8s.io.api.coordination.v1.Lease",
    "k8s.io.api.events.v1.Event",
    "k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "k8s.io.apimachinery.pkg.runtime.Unknown",
];

/// (number, name, type)
type Field = (u32, String, String);

fn main() -> Result<(), Box<dyn Error>> {
    let directories: Vec<String> = std::env::args().skip(1).collect();
    let mut messages: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    for (package, directory, file) in FILES {
        let directory =
            directories.get(directory).ok_or("name the directories of k8s.io/api and k8s.io/apimachinery")?;
        read(package, &std::fs::read_to_string(Path::new(directory).join(file))?, &mut messages);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "# message\tnumber\tfield\ttype: made by examples/proto_fields.rs; do not edit")?;
    let (mut wanted, mut written): (Vec<String>, Vec<String>) = (ROOTS.map(str::to_owned).to_vec(), Vec::new());
    while let Some(message) = wanted.pop() {
        if written.contains(&message) {
            continue;
        }
        for (number, name, kind) in messages.get(&message).into_iter().flatten() {
            writeln!(out, "{message}\t{number}\t{name}\t{kind}")?;
            wanted.extend(kind.split(['<', '>', ',']).filter(|part| messages.contains_key(*part)).map(str::to_owned));
        }
        written.push(message);
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
        "string" | "bytes" | "bool" | "int32" | "int64" => kind.to_owned(),
        _ => kind.strip_prefix('.').map_or_else(|| format!("{package}.{kind}"), str::to_owned),
    };
    if prefix.is_empty() { kind } else { format!("{prefix}{kind}>") }
}
