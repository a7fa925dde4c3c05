//! Who may depend on whom, and on what of others (DESIGN §4, deny.toml).

use std::collections::BTreeSet;
use std::fs;

use tenure_architecture::{Graph, holds, named, our_files};

/// Every crate of ours and the crates of ours that it may use. A new crate is one line here, argued for.
const LAYERS: &[(&str, &[&str])] = &[
    // policies: trust ← model ← areas ← obligations
    ("tenure-trust", &[]),
    ("tenure-policy", &["tenure-trust"]),
    ("tenure-areas", &["tenure-trust", "tenure-policy"]),
    ("tenure-obligations", &["tenure-trust", "tenure-policy", "tenure-areas"]),
    // agent
    ("tenure-sys", &[]),
    ("tenure-link", &["tenure-trust", "tenure-sys"]),
    ("tenure-backup", &["tenure-trust"]),
    ("tenure-agent", &["tenure-trust", "tenure-policy", "tenure-areas", "tenure-sys", "tenure-link"]),
    // controller: of the agent only agent/sys
    ("tenure-cli", &["tenure-trust", "tenure-policy", "tenure-areas", "tenure-sys"]),
    // tests run our binaries and link only policies
    ("tenure-lab", &[]),
    ("tenure-architecture", &["tenure-lab"]),
    ("tenure-fuzz", &["tenure-trust", "tenure-policy", "tenure-areas"]),
    ("tenure-scenarios", &["tenure-lab", "tenure-trust", "tenure-policy", "tenure-areas"]),
    ("tenure-demo", &["tenure-lab", "tenure-scenarios"]),
    ("tenure-benchmarks", &["tenure-lab", "tenure-scenarios"]),
];

/// (crates, what none of them may reach at any depth, why).
const NEVER: &[(&[&str], &[&str], &str)] = &[
    (
        &["tenure-trust", "tenure-policy", "tenure-areas", "tenure-obligations"],
        &[
            "tokio",
            "mio",
            "rustls",
            "russh",
            "sqlx",
            "rusqlite",
            "libsqlite3-sys",
            "postgres",
            "nix",
            "rustix",
            "rustic_core",
            "notify",
            "netlink-sys",
            "sysinfo",
            "getrandom",
            "reqwest",
            "hyper",
            "tempfile",
        ],
        "policies/* is the functional core: no file, socket, clock, environment, process or async",
    ),
    (
        &["tenure-agent", "tenure-link", "tenure-sys"],
        &["tenure-cli", "tenure-controller", "sqlx", "axum"],
        "agent and controller never depend on each other; both may use agent/sys",
    ),
    (
        &["tenure-cli"],
        &["tenure-agent", "tenure-link", "tenure-backup", "tenure-vault"],
        "agent and controller never depend on each other; both may use agent/sys",
    ),
];

#[test]
fn crates_use_only_the_layers_below() {
    let graph = Graph::of_this_workspace();
    let mut broken = Vec::new();
    for member in graph.members() {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == member.name) else {
            broken.push(format!("{} stands in no layer: add it to LAYERS with what it may use", member.name));
            continue;
        };
        for used in graph.uses(&member.name) {
            if !allowed.contains(&used.as_str()) {
                broken.push(format!("{} uses {used}", member.name));
            }
        }
    }
    holds("DESIGN §4: trust ← model ← areas; agent and controller apart; tests link only policies", &broken);
}

#[test]
fn what_never_reaches_what() {
    for (crates, never, reason) in NEVER {
        let mut broken = Vec::new();
        for name in *crates {
            let reach = Graph::reach(name);
            assert!(!reach.is_empty(), "cargo tree tells nothing of {name}");
            let reached = never.iter().filter(|other| reach.contains(**other));
            broken.extend(
                reached.map(|other| format!("{name} reaches {other} (cargo tree -p {name} -i {other})")),
            );
        }
        holds(reason, &broken);
    }
}

#[test]
fn no_crate_names_a_dependency_that_it_does_not_use() {
    let graph = Graph::of_this_workspace();
    let root = fs::canonicalize(tenure_lab::repository()).expect("the repository");
    let files = our_files();
    let mut broken = Vec::new();
    for member in graph.members() {
        let folder = fs::canonicalize(&member.folder).expect("a member's folder");
        let folder =
            folder.strip_prefix(&root).expect("members live in the repository").display().to_string();
        let own: Vec<_> = files
            .iter()
            .filter(|f| f.path.starts_with(&format!("{folder}/")) && f.path.ends_with(".rs"))
            .collect();
        for (package, word) in &member.named {
            if !own.iter().any(|file| !named(&file.text, word).is_empty()) {
                broken.push(format!("{} names {package} and no file of {folder} says `{word}`", member.name));
            }
        }
    }
    holds("a crate takes only what it uses: every dependency is attack surface and build time", &broken);
}

#[test]
fn licences_are_the_allowed_ones() {
    let allowed: BTreeSet<String> = quoted(&section("licenses"), "allow").into_iter().collect();
    assert!(allowed.contains("Apache-2.0"), "deny.toml [licenses] allow was not read");
    let graph = Graph::of_this_workspace();
    let broken: Vec<String> = graph
        .foreign()
        .into_iter()
        .filter(|package| !package.license.as_ref().is_some_and(|spdx| permitted(spdx, &allowed)))
        .map(|p| format!("{} {}: {}", p.name, p.version, p.license.as_deref().unwrap_or("states no licence")))
        .collect();
    holds("only licences in deny.toml may be in what we ship", &broken);
}

#[test]
fn banned_crates_are_absent() {
    let banned = quoted(&section("bans"), "deny = [").len();
    assert!(banned > 4, "deny.toml [bans] deny was not read");
    let graph = Graph::of_this_workspace();
    let rules = section("bans");
    let mut broken = Vec::new();
    for line in rules.lines().filter(|line| line.contains("crate =")) {
        let words: Vec<&str> = line.split('"').collect();
        let (name, reason) = (words[1], words.get(3).copied().unwrap_or("no reason given"));
        broken.extend(
            graph.foreign().iter().filter(|p| p.name == name).map(|p| format!("{}: {reason}", p.name)),
        );
    }
    holds("deny.toml bans it", &broken);
}

#[test]
fn everything_comes_from_the_one_registry() {
    let graph = Graph::of_this_workspace();
    let sources: BTreeSet<&str> = graph.foreign().iter().filter_map(|p| p.source.as_deref()).collect();
    let foreign: Vec<String> =
        sources.iter().filter(|source| !source.starts_with("registry+")).map(|s| (*s).to_owned()).collect();
    holds(
        "no git or path source from outside: what we ship must be in the registry and in the lock",
        &foreign,
    );
    assert!(sources.len() <= 1, "one registry, not {sources:?}");
}

/// Whether an SPDX expression can be met with allowed licences. `/` is the old way to write OR.
fn permitted(spdx: &str, allowed: &BTreeSet<String>) -> bool {
    let flat = spdx.replace('/', " OR ").replace(['(', ')'], "");
    // Without nesting in the tree, AND of ORs and OR of ANDs read the same way when every part of one is allowed.
    let all = |part: &str| part.split(" AND ").all(|name| allowed.contains(name.trim()));
    if spdx.contains('(') {
        return flat.split(" AND ").all(|part| part.split(" OR ").any(|name| allowed.contains(name.trim())));
    }
    flat.split(" OR ").any(all)
}

/// The lines of one section of deny.toml.
fn section(name: &str) -> String {
    let text = fs::read_to_string(tenure_lab::repository().join("deny.toml")).expect("deny.toml");
    let start = format!("[{name}]");
    let lines = text.lines().skip_while(|line| line.trim() != start).skip(1);
    lines.take_while(|line| !line.starts_with('[')).map(|line| format!("{line}\n")).collect()
}

/// The quoted words of the list that `key` starts.
fn quoted(section: &str, key: &str) -> Vec<String> {
    let lines = section.lines().skip_while(|line| !line.starts_with(key)).skip(1);
    let inner: String = lines.take_while(|line| !line.starts_with(']')).collect();
    inner.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn spdx_expressions_are_read() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned).into();
    assert!(permitted("MIT OR GPL-3.0-only", &allowed));
    assert!(permitted("MIT/Apache-2.0", &allowed));
    assert!(permitted("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
    assert!(!permitted("(MIT OR Apache-2.0) AND OpenSSL", &allowed));
    assert!(!permitted("MIT AND GPL-3.0-only", &allowed));
    assert!(!permitted("GPL-3.0-only", &allowed));
}
