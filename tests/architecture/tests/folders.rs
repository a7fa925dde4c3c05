//! Which folders and crates there may be (DESIGN §4). A new one is one line here, argued for in its commit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tenure_architecture::{Graph, holds, our_files};

/// Everything that may stand at the top: folders and files.
const TOP: &[&str] = &[
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "agent",
    "ansible",
    "clippy.toml",
    "controller",
    "deny.toml",
    "docs",
    "policies",
    "rustfmt.toml",
    "tests",
];

/// Folders in the parts: their crate, or none for folders of data.
const PARTS: &[(&str, Option<&str>)] = &[
    // the functional core
    ("policies/trust", Some("tenure-trust")),
    ("policies/model", Some("tenure-policy")),
    ("policies/areas", Some("tenure-areas")),
    ("policies/obligations", Some("tenure-obligations")),
    ("policies/baselines", None),
    ("policies/examples", None),
    // the shell on hosts and the vault
    ("agent/sys", Some("tenure-sys")),
    ("agent/link", Some("tenure-link")),
    ("agent/daemon", Some("tenure-agent")),
    ("agent/backup", Some("tenure-backup")),
    ("agent/vault", Some("tenure-vault")),
    // the shell at the centre
    ("controller/server", Some("tenure-controller")),
    ("controller/cli", Some("tenure-cli")),
    // what shows and proves it
    ("tests/lab", Some("tenure-lab")),
    ("tests/scenarios", Some("tenure-scenarios")),
    ("tests/architecture", Some("tenure-architecture")),
    ("tests/demo", Some("tenure-demo")),
    ("tests/benchmarks", Some("tenure-benchmarks")),
    ("tests/fuzz", Some("tenure-fuzz")),
];

/// Parts whose folders are a closed list.
const CLOSED: [&str; 4] = ["policies", "agent", "controller", "tests"];

#[test]
fn nothing_else_stands_at_the_top() {
    let top: BTreeSet<String> =
        our_files().iter().map(|f| f.path.split('/').next().unwrap_or_default().to_owned()).collect();
    let broken: Vec<String> = top.into_iter().filter(|name| !TOP.contains(&name.as_str())).collect();
    holds("DESIGN §4: the top has agent, controller, policies, tests, docs, and no other drawer", &broken);
}

#[test]
fn parts_have_the_folders_of_the_design() {
    let folders: BTreeSet<String> = our_files()
        .iter()
        .filter_map(|file| {
            let mut parts = file.path.split('/');
            let (part, folder, more) = (parts.next()?, parts.next()?, parts.next());
            (more.is_some() && CLOSED.contains(&part)).then(|| format!("{part}/{folder}"))
        })
        .collect();
    let broken: Vec<String> =
        folders.into_iter().filter(|folder| !PARTS.iter().any(|(known, _)| known == folder)).collect();
    holds("DESIGN §4: a new folder of a part is argued for", &broken);
}

#[test]
fn every_crate_lies_where_the_design_has_it() {
    let root = fs::canonicalize(tenure_lab::repository()).expect("the repository");
    let known: BTreeMap<&str, &str> =
        PARTS.iter().filter_map(|(folder, name)| name.map(|name| (name, *folder))).collect();
    let graph = Graph::of_this_workspace();
    let mut broken = Vec::new();
    for member in graph.members() {
        let folder = fs::canonicalize(&member.folder).expect("a member's folder");
        let folder =
            folder.strip_prefix(&root).expect("members live in the repository").display().to_string();
        match known.get(member.name.as_str()) {
            Some(home) if *home == folder => {}
            Some(home) => broken.push(format!("{} lies in {folder}, its place is {home}", member.name)),
            None => broken.push(format!("{} in {folder} is no crate of the design", member.name)),
        }
    }
    holds("DESIGN §4: which crates there are, and where", &broken);
}
