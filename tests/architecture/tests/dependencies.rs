//! Who may depend on whom (DESIGN §4).

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
    ("tenure-vault", &["tenure-trust", "tenure-policy", "tenure-sys", "tenure-link"]),
    ("tenure-backup", &["tenure-trust", "tenure-policy", "tenure-areas", "tenure-sys", "tenure-link"]),
    (
        "tenure-agent",
        &["tenure-trust", "tenure-policy", "tenure-areas", "tenure-sys", "tenure-link", "tenure-backup"],
    ),
    // controller: of the agent only agent/sys
    ("tenure-cli", &["tenure-trust", "tenure-policy", "tenure-areas", "tenure-obligations", "tenure-sys"]),
    (
        "tenure-controller",
        &["tenure-trust", "tenure-policy", "tenure-areas", "tenure-obligations", "tenure-sys"],
    ),
    // tests run our binaries and link only policies; the fuzz targets also what parses a repository
    ("tenure-lab", &[]),
    ("tenure-architecture", &["tenure-lab"]),
    (
        "tenure-fuzz",
        &["tenure-trust", "tenure-policy", "tenure-areas", "tenure-obligations", "tenure-backup"],
    ),
    ("tenure-scenarios", &["tenure-lab", "tenure-trust", "tenure-policy", "tenure-areas"]),
    ("tenure-demo", &["tenure-lab", "tenure-scenarios"]),
    (
        "tenure-benchmarks",
        &[
            "tenure-lab",
            "tenure-scenarios",
            "tenure-trust",
            "tenure-policy",
            "tenure-areas",
            "tenure-obligations",
        ],
    ),
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
        &["tenure-agent", "tenure-link", "tenure-vault", "tenure-cli", "tenure-controller"],
        &["ring", "openssl-sys", "native-tls"],
        "one TLS stack and one provider of cryptography: rustls and aws-lc-rs",
    ),
    (
        &["tenure-vault"],
        &[
            "tenure-areas",
            "tenure-backup",
            "tenure-obligations",
            "rustic_core",
            "aes256ctr_poly1305aes",
            "age",
        ],
        "a vault has no key to the data and no code that could use one",
    ),
    (
        &["tenure-cli", "tenure-controller"],
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
