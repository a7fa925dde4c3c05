//! Holds the whole lock to deny.toml: licences as crates declare them, banned crates, sources.

use std::collections::BTreeSet;
use std::fs;

use tenure_architecture::{Graph, Locked, holds, locked};

/// Every line of deny.toml that these tests understand. Another would look as if somebody checked it.
const UNDERSTOOD: &[&str] = &[
    "targets",
    "all-features",
    "allow",
    "multiple-versions",
    "wildcards",
    "allow-wildcard-paths",
    "deny",
    "unknown-registry",
    "unknown-git",
    "allow-git",
];

#[test]
fn licences_are_the_allowed_ones_on_every_target() {
    let allowed: BTreeSet<String> = quoted(&section("licenses"), "allow").into_iter().collect();
    assert!(allowed.contains("Apache-2.0"), "deny.toml [licenses] allow was not read");
    let targets =
        quoted(&section("graph").replace("targets = [", "targets = [\n").replace(']', "\n]"), "targets");
    assert!(targets.len() > 1, "deny.toml [graph] targets was not read: {targets:?}");
    let lock = names(&locked());
    let mut broken = Vec::new();
    for target in &targets {
        for package in Graph::for_target(target).foreign() {
            let told = package.license.as_deref().unwrap_or("states no licence");
            if !package.license.as_ref().is_some_and(|spdx| permitted(spdx, &allowed)) {
                broken.push(format!("{} {} for {target}: {told}", package.name, package.version));
            }
            if !lock.contains(&(package.name.clone(), package.version.clone())) {
                broken.push(format!("{} {} for {target}: is not in the lock", package.name, package.version));
            }
        }
    }
    holds("only licences in deny.toml may be in what we ship", &broken);
}

#[test]
fn banned_crates_are_absent_from_the_lock() {
    let rules = section("bans");
    let banned: Vec<(&str, Vec<&str>, &str)> = rules
        .lines()
        .filter(|line| line.contains("crate ="))
        .map(|line| {
            let words: Vec<&str> = line.split('"').collect();
            // `wrappers`: it is banned for everybody but these (cargo-deny's meaning).
            let wrappers = line.split_once("wrappers = [").and_then(|(_, rest)| rest.split_once(']'));
            let wrappers = wrappers.map(|(list, _)| list.split('"').skip(1).step_by(2).collect());
            let reason = line.split_once("reason = \"").and_then(|(_, rest)| rest.split('"').next());
            (words[1], wrappers.unwrap_or_default(), reason.unwrap_or("no reason given"))
        })
        .collect();
    assert!(banned.len() > 4, "deny.toml [bans] deny was not read");
    let lock = locked();
    let mut broken = Vec::new();
    for (name, wrappers, reason) in &banned {
        assert!(!reason.is_empty() && *reason != "no reason given", "{name} is banned without a reason");
        let named_by = |p: &&Locked| p.names.iter().any(|other| other == name);
        let strangers: Vec<&str> = lock.iter().filter(named_by).map(|p| p.name.as_str()).collect();
        let only_wrappers = !wrappers.is_empty() && strangers.iter().all(|other| wrappers.contains(other));
        broken.extend(
            lock.iter()
                .filter(|p| p.name == *name && !only_wrappers)
                .map(|p| format!("{} {} by {}: {reason}", p.name, p.version, strangers.join(", "))),
        );
    }
    holds("deny.toml bans it, on whatever platform", &broken);
}

#[test]
fn everything_locked_comes_from_the_one_registry() {
    let rules = section("sources");
    for rule in ["unknown-registry = \"deny\"", "unknown-git = \"deny\"", "allow-git = []"] {
        assert!(rules.contains(rule), "deny.toml [sources] says something else than these tests hold");
    }
    let lock = locked();
    let own: BTreeSet<String> = Graph::of_this_workspace().members().map(|p| p.name.clone()).collect();
    let (mut registries, mut broken) = (BTreeSet::new(), Vec::new());
    for package in &lock {
        let Locked { name, version, source, checksum, names: _ } = package;
        match source {
            None if own.contains(name) => {}
            None => broken.push(format!("{name} {version}: a path outside of the workspace")),
            Some(source) if source.starts_with("registry+") && checksum.is_some() => {
                registries.insert(source.clone());
            }
            Some(source) => broken.push(format!("{name} {version}: {source}, checksum {checksum:?}")),
        }
    }
    if registries.len() > 1 {
        broken.push(format!("one registry, not {registries:?}"));
    }
    holds(
        "no git, path or second registry: what we ship must be in the registry and in the lock by its hash",
        &broken,
    );
}

#[test]
fn no_version_is_any_version() {
    let text = fs::read_to_string(tenure_lab::repository().join("Cargo.toml")).expect("Cargo.toml");
    let broken: Vec<String> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with('['))
        .filter(|(_, line)| line.contains("\"*\"") || line.contains("git ="))
        .map(|(number, line)| format!("Cargo.toml:{}: {line}", number + 1))
        .collect();
    holds("deny.toml [bans] wildcards, [sources] git", &broken);
}

#[test]
fn deny_toml_says_nothing_that_nobody_checks() {
    let text = fs::read_to_string(tenure_lab::repository().join("deny.toml")).expect("deny.toml");
    let keys = text
        .lines()
        .filter(|line| !line.starts_with([' ', '#', '[', ']']))
        .filter_map(|line| line.split_once(" ="));
    let broken: Vec<String> =
        keys.map(|(key, _)| key.to_owned()).filter(|key| !UNDERSTOOD.contains(&key.as_str())).collect();
    holds("tests/architecture/tests/deny.rs does not know it", &broken);
}

fn names(lock: &[Locked]) -> BTreeSet<(String, String)> {
    lock.iter().map(|p| (p.name.clone(), p.version.clone())).collect()
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
