//! What the Go sources tell: how each field of a struct is written when it is empty, and the flags of each kind's strategy.
//!
//! Reads declarations line by line, as gofmt leaves them; knows no expression.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The modules, and the packages of them read so far.
pub(crate) struct Sources {
    modules: PathBuf,
    /// Of the release: `36.3`.
    release: String,
    packages: BTreeMap<String, Package>,
}

#[derive(Default, Clone)]
struct Package {
    /// Name in the file -> path.
    imports: BTreeMap<String, String>,
    structs: BTreeMap<String, Vec<Field>>,
    /// `type X string` and the like.
    others: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Field {
    json: String,
    options: Vec<String>,
    go_type: String,
}

/// Flags of a kind's strategy and storage.
#[derive(Default)]
pub(crate) struct Strategy {
    pub(crate) create_on_update: bool,
    pub(crate) unconditional_update: bool,
    pub(crate) generation: bool,
    pub(crate) returns_deleted: bool,
}

/// What a Go type is to encoding/json.
enum Class {
    Pointer,
    Collection,
    Bytes,
    Struct,
    /// With the name Go's errors give it.
    Scalar(String),
}

impl Sources {
    /// `version` as the API server tells it: `v1.36.3`.
    pub(crate) fn new(modules: PathBuf, version: &str) -> Self {
        let release = version.trim_start_matches("v1.").to_owned();
        Self { modules, release, packages: BTreeMap::new() }
    }

    /// Kubernetes itself is versioned 1.x.y, its libraries 0.x.y.
    fn module(&self, name: &str) -> Option<PathBuf> {
        let major = if name == "kubernetes" { "1" } else { "0" };
        Some(self.modules.join(format!("{name}@v{major}.{}", self.release))).filter(|path| path.is_dir())
    }

    /// Field -> `k` (written even when empty) or `z` (left out when zero), each with Go's name of a scalar type that is not plain.
    pub(crate) fn fields_of(
        &mut self,
        definition: &str,
        properties: &Map<String, Value>,
    ) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
        let (package, name) = definition.rsplit_once('.').ok_or("a definition without a package")?;
        let path = format!("k8s.io/{}", package.trim_start_matches("io.k8s.").replace('.', "/"));
        let mut treated = BTreeMap::new();
        for field in self.flattened(&path, name)? {
            if !properties.contains_key(&field.1.json) {
                continue;
            }
            let (package, field) = field;
            let has = |option: &str| field.options.iter().any(|given| given == option);
            let class = self.class(&package, &field.go_type)?;
            let code = match (&class, has("omitempty"), has("omitzero")) {
                (Class::Pointer, ..) | (Class::Collection, true, _) | (Class::Struct, _, true) => String::new(),
                (Class::Collection, false, _) | (Class::Struct, ..) | (Class::Bytes, false, _) => "k".to_owned(),
                (Class::Bytes, true, _) => "z".to_owned(),
                (Class::Scalar(name), omitempty, omitzero) => {
                    let code = if omitempty || omitzero { "z" } else { "k" };
                    if name.contains('.') { format!("{code} {name}") } else { code.to_owned() }
                }
            };
            if !code.is_empty() {
                treated.insert(field.json.clone(), code);
            }
        }
        Ok(treated)
    }

    /// The fields of a struct and of those inlined in it, each with the package it is declared in.
    fn flattened(&mut self, path: &str, name: &str) -> Result<Vec<(String, Field)>, Box<dyn Error>> {
        let package = self.package(path)?;
        let fields = package.structs.get(name).ok_or_else(|| format!("no struct {name} in {path}"))?;
        let mut flat = Vec::new();
        for field in fields {
            if field.options.iter().any(|option| option == "inline") {
                let (path, name) = self.locate(path, field.go_type.trim_start_matches('*'))?;
                flat.extend(self.flattened(&path, &name)?);
            } else {
                flat.push((path.to_owned(), field.clone()));
            }
        }
        Ok(flat)
    }

    fn locate(&mut self, path: &str, go_type: &str) -> Result<(String, String), Box<dyn Error>> {
        match go_type.split_once('.') {
            None => Ok((path.to_owned(), go_type.to_owned())),
            Some((alias, name)) => {
                let path = self.package(path)?.imports.get(alias).cloned();
                Ok((path.ok_or_else(|| format!("no import {alias}"))?, name.to_owned()))
            }
        }
    }

    fn class(&mut self, path: &str, go_type: &str) -> Result<Class, Box<dyn Error>> {
        match go_type {
            "[]byte" => return Ok(Class::Bytes),
            _ if go_type.starts_with('*') => return Ok(Class::Pointer),
            _ if go_type.starts_with("[]") || go_type.starts_with("map[") => return Ok(Class::Collection),
            "string" | "bool" | "int" | "int32" | "int64" | "float64" => return Ok(Class::Scalar(go_type.to_owned())),
            _ => {}
        }
        let (path, name) = self.locate(path, go_type)?;
        let package = self.package(&path)?;
        if package.structs.contains_key(&name) {
            return Ok(Class::Struct);
        }
        let underlying = package.others.get(&name).cloned().ok_or_else(|| format!("no type {name} in {path}"))?;
        Ok(match self.class(&path, &underlying)? {
            Class::Scalar(_) => Class::Scalar(format!("{}.{name}", path.rsplit('/').next().unwrap_or_default())),
            other => other,
        })
    }

    fn package(&mut self, path: &str) -> Result<Package, Box<dyn Error>> {
        if let Some(package) = self.packages.get(path) {
            return Ok(package.clone());
        }
        let (module, below) = path
            .strip_prefix("k8s.io/")
            .and_then(|path| path.split_once('/'))
            .ok_or_else(|| format!("{path} is not a package of k8s.io"))?;
        let directory = self.module(module).ok_or_else(|| format!("no module {module}"))?.join(below);
        let mut package = Package::default();
        for entry in std::fs::read_dir(&directory)? {
            let file = entry?.path();
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".go") && !name.ends_with("_test.go") && !name.starts_with("zz_generated") {
                package.read(&std::fs::read_to_string(&file)?);
            }
        }
        self.packages.insert(path.to_owned(), package.clone());
        Ok(package)
    }

    /// The strategy of a kind: its folder is named after it, give or take an ending.
    pub(crate) fn strategy(&self, group: &str, singular: &str, plural: &str) -> Strategy {
        let group = match group.split('.').next().unwrap_or_default() {
            "" => "core",
            "rbac" => "rbac",
            first => first,
        };
        let Some(kubernetes) = self.module("kubernetes") else { return Strategy::default() };
        let folder = kubernetes.join("pkg/registry").join(group);
        // The two groups of events share one registry.
        let folder = if group == "events" { kubernetes.join("pkg/registry/core") } else { folder };
        let certificates = if group == "certificates" { "certificates" } else { plural };
        let names = [singular, plural, certificates, singular.trim_end_matches('s')];
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let Some((name, strategy)) =
            names.iter().find_map(|name| Some((name, read(&folder.join(name).join("strategy.go"))?)))
        else {
            return Strategy::default();
        };
        let storage = folder.join(name).join("storage");
        let storage =
            [folder.join(name).join("storage.go"), storage.join("storage.go")].iter().find_map(|path| read(path));
        let says = |method: &str| {
            let at = strategy.find(&format!(") {method}() bool"));
            at.is_some_and(|at| strategy[at..].lines().nth(1).is_some_and(|line| line.trim() == "return true"))
        };
        Strategy {
            create_on_update: says("AllowCreateOnUpdate"),
            unconditional_update: says("AllowUnconditionalUpdate"),
            generation: strategy.contains(".Generation = 1"),
            returns_deleted: storage.is_some_and(|storage| {
                storage.lines().any(|line| line.split_whitespace().eq(["ReturnDeletedObject:", "true,"]))
            }),
        }
    }
}

impl Package {
    fn read(&mut self, text: &str) {
        let mut current: Option<String> = None;
        let mut importing = false;
        for line in text.lines() {
            let words: Vec<&str> = line.split("//").next().unwrap_or_default().split_whitespace().collect();
            match (words.as_slice(), &current) {
                (["import", "("], _) => importing = true,
                ([")"], _) => importing = false,
                ([path], _) if importing => self.import(path.trim_matches('"'), None),
                ([alias, path], _) if importing => self.import(path.trim_matches('"'), Some(alias)),
                (["type", name, "struct", "{"], _) => {
                    self.structs.insert((*name).to_owned(), Vec::new());
                    current = Some((*name).to_owned());
                }
                (["type", name, "struct", "{}"], _) => drop(self.structs.insert((*name).to_owned(), Vec::new())),
                (["type", name, rest @ ..], _) => {
                    let underlying = rest.iter().filter(|word| **word != "=").copied().collect::<String>();
                    self.others.insert((*name).to_owned(), underlying);
                }
                (["}"], Some(_)) if line.starts_with('}') => current = None,
                (_, Some(name)) => {
                    if let Some(field) = field(line) {
                        self.structs.entry(name.clone()).or_default().push(field);
                    }
                }
                _ => {}
            }
        }
    }

    fn import(&mut self, path: &str, alias: Option<&str>) {
        let alias = alias.unwrap_or_else(|| path.rsplit('/').next().unwrap_or_default());
        self.imports.insert(alias.to_owned(), path.to_owned());
    }
}

/// ``Name Type `json:"name,omitempty"` ``, or without a name where a struct is embedded.
fn field(line: &str) -> Option<Field> {
    let (declaration, tag) = line.trim().split_once('`')?;
    let json = tag.split_once("json:\"")?.1.split_once('"')?.0;
    let mut options = json.split(',').map(str::to_owned);
    let json = options.next().filter(|name| name != "-")?;
    let words: Vec<&str> = declaration.split_whitespace().collect();
    let mut options: Vec<String> = options.collect();
    let go_type = match words.as_slice() {
        [embedded] => {
            if json.is_empty() {
                options.push("inline".to_owned());
            }
            (*embedded).to_owned()
        }
        [_, rest @ ..] => rest.concat(),
        [] => return None,
    };
    Some(Field { json, options, go_type })
}
