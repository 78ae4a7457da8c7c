//! What a component imports, and whether there is such a thing here. The engine checks the types; this checks the names, so
//! that a refusal can say what there is instead.

use crate::errors::LoadError;
use crate::words::{NAME_CHARS_MAX, readable};

/// The version of the contract this host serves.
pub(crate) const CONTRACT_VERSION: &str = "0.1.0";
const CONTRACT_PACKAGE: &str = "tenure:plugin";
const CONTRACT_INTERFACES: [&str; 8] = [
    "types",
    "kubernetes-read",
    "kubernetes-write",
    "leadership",
    "settings",
    "log",
    "reconcile-types",
    "lock-policy-types",
];
/// WASI that does what it says.
const WASI_LIVE: [&str; 10] = [
    "wasi:cli/stderr",
    "wasi:cli/stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];
/// WASI that is linked because languages' runtimes import it, and holds nothing: empty, or denied. `exit` ends the call.
const WASI_INERT: [&str; 17] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// What a plugin can do, as far as its imports tell: what it does not import it provably cannot do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imports {
    /// It can write to Kubernetes (`kubernetes-write`).
    pub writes: bool,
    /// It can read from Kubernetes (`kubernetes-read`).
    pub reads: bool,
    /// What of the contract is no business of a lock policy: writing, and the term.
    pub(crate) beyond_a_policy: Vec<String>,
    /// WASI interfaces that do what they say: clocks, random, output (to the log), io, poll.
    pub wasi: Vec<String>,
    /// WASI interfaces that are there and empty or denied: no files, no sockets, no environment.
    pub inert: Vec<String>,
}

impl Imports {
    /// Sorts a component's imports; refuses the first one that does not exist here.
    pub(crate) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, LoadError> {
        let mut imports = Self::default();
        for name in names {
            imports.add(name)?;
        }
        Ok(imports)
    }

    fn add(&mut self, name: &str) -> Result<(), LoadError> {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        if let Some((CONTRACT_PACKAGE, interface)) = interface.split_once('/') {
            if !CONTRACT_INTERFACES.contains(&interface) || !version.starts_with("0.1.") {
                return Err(unknown(name));
            }
            self.reads |= interface == "kubernetes-read";
            self.writes |= interface == "kubernetes-write";
            if matches!(interface, "kubernetes-write" | "leadership") {
                self.beyond_a_policy.push(name.to_owned());
            }
        } else if !version.starts_with("0.2.") {
            return Err(unknown(name));
        } else if WASI_LIVE.contains(&interface) {
            self.wasi.push(name.to_owned());
        } else if WASI_INERT.contains(&interface) {
            self.inert.push(name.to_owned());
        } else {
            return Err(unknown(name));
        }
        Ok(())
    }
}

fn unknown(name: &str) -> LoadError {
    let available = if name.starts_with("wasi:http/") {
        "outbound HTTP is deliberately absent; a plugin reaches the Kubernetes API through tenure:plugin/kubernetes-read \
         and kubernetes-write"
            .to_owned()
    } else if name.starts_with("wasi:") {
        "of WASI it has 0.2: clocks, random, io, cli/stdout and cli/stderr (to the log); files, sockets and environment \
         empty or denied"
            .to_owned()
    } else {
        format!(
            "it has {CONTRACT_PACKAGE}/{{{}}}@{CONTRACT_VERSION}, and of WASI 0.2 clocks, random, io and standard output",
            CONTRACT_INTERFACES.join(", ")
        )
    };
    LoadError::UnknownImport { import: readable(name, NAME_CHARS_MAX), available }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_tell_reading_from_writing_and_live_from_inert() {
        let names = [
            "tenure:plugin/types@0.1.0",
            "tenure:plugin/kubernetes-read@0.1.0",
            "wasi:random/random@0.2.6",
            "wasi:filesystem/types@0.2.3",
        ];
        let imports = Imports::of(names.into_iter()).expect("all exist");
        assert_eq!(
            imports,
            Imports {
                writes: false,
                reads: true,
                beyond_a_policy: Vec::new(),
                wasi: vec!["wasi:random/random@0.2.6".into()],
                inert: vec!["wasi:filesystem/types@0.2.3".into()],
            }
        );
    }

    #[test]
    fn an_import_that_does_not_exist_is_named_with_what_there_is() {
        for (name, told) in [
            ("wasi:http/outgoing-handler@0.2.3", "outbound HTTP is deliberately absent"),
            ("wasi:cli/environment@0.3.0", "of WASI it has 0.2"),
            ("tenure:plugin/kubernetes-read@0.2.0", "kubernetes-read"),
            ("tenure:plugin/secrets@0.1.0", "it has tenure:plugin/{types, kubernetes-read"),
            ("env", "it has tenure:plugin/"),
        ] {
            let refusal = Imports::of([name].into_iter()).expect_err("no such import").to_string();
            assert!(refusal.starts_with(&format!("imports \"{name}\", which this host does not have: ")), "{refusal}");
            assert!(refusal.contains(told), "{refusal}");
        }
    }
}
