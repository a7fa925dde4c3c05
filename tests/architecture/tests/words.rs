//! One meaning each (DESIGN §2): words that have a better one here, in public type names and in what people read, and
//! words that belong to one subject.

use tenure_architecture::{Source, holds, literals, rust_files, without_comments};

/// (a word, what it is called here, why).
const SYNONYMS: &[(&str, &str, &str)] = &[
    ("blacklist", "rule", "a packet filter has rules; the word says nothing of which"),
    ("whitelist", "rule", "the same"),
    ("customer", "tenant", "whoever holds the contract may pay for nobody"),
    ("violation", "drift, or finding", "a difference is a fact and no guilt"),
    ("deviation", "drift", "one word for one thing"),
    ("denial", "refusal", "a guard refuses; a packet is dropped or rejected"),
    ("rejection", "refusal", "the same"),
    (
        "rollback",
        "revert, lift, or fall back",
        "three different things: a person, a host given back, the kernel",
    ),
    ("remediation", "step", "a plan has steps; `remediated` is a verdict"),
    ("reconciler", "lane", "an area's own thread"),
    ("reconcile", "keep, or make a pass", "a pass observes, plans, guards and acts"),
    ("task", "job, step or operation", "a child process, a line of a plan, what is under way"),
    ("exemption", "waiver", "a signed one"),
    ("noncompliant", "drifted, or unknown", "five verdicts, and no sixth"),
    ("compliance", "verdict", "what one pass says of one area"),
    ("audit", "record, or evidence", "an auditor is a role; what he reads are records"),
    ("attestation", "certificate, or record", "who signs what is a closed list of kinds"),
    ("blueprint", "plan, or policy", "a plan is for one host and one pass"),
    ("manager", "what it does", "everything manages something"),
    ("helper", "what it does", "everything helps"),
    ("util", "what it does", "a drawer is no module"),
    ("utils", "what it does", "a drawer is no module"),
    ("info", "what it is", "everything informs"),
];

/// Words of §2's "Backup" that other subjects may not borrow for their types, with who may have them all the same.
const BACKUP: &[&str] =
    &["snapshot", "cell", "view", "ring", "seal", "slot", "series", "generation", "drill", "escrow"];
/// Where backups, and the policy and the signed things that speak of them, live.
const OF_BACKUP: &[&str] = &[
    "agent/backup/",
    "agent/vault/",
    "policies/model/",
    "policies/trust/",
    "policies/obligations/",
    "controller/",
];
/// (type, file, why).
const BORROWED: &[(&str, &str, &str)] = &[(
    "Generation",
    "agent/daemon/src/linux/nftables.rs",
    "nf_tables counts its generations: the kernel's own word (NFT_MSG_GETGEN)",
)];

#[test]
fn public_types_are_called_what_the_design_calls_them() {
    let mut broken = Vec::new();
    for file in product() {
        for (line, name) in public_types(&file.text) {
            let words = camel(&name);
            for (word, instead, reason) in SYNONYMS {
                if words.iter().any(|w| w == word) {
                    broken.push(format!("{}:{line}: {name}: here it is {instead} ({reason})", file.path));
                }
            }
        }
    }
    holds("DESIGN §2: one meaning each, use no others", &broken);
}

#[test]
fn what_people_read_says_it_in_the_same_words() {
    let mut broken = Vec::new();
    for file in product() {
        for (line, text) in literals(&file.text) {
            let lower = text.to_lowercase();
            // A path says what the kernel or a program calls it.
            let words = lower.split_whitespace().filter(|word| !word.contains('/'));
            let said: Vec<&str> = words.flat_map(|w| w.split(|c: char| !c.is_alphanumeric())).collect();
            for (word, instead, reason) in SYNONYMS {
                if said.contains(word) {
                    broken.push(format!("{}:{line}: {word}: here it is {instead} ({reason})", file.path));
                }
            }
        }
    }
    holds("DESIGN §2: screens, errors and records use the design's words", &broken);
}

#[test]
fn words_of_backups_name_backups() {
    let elsewhere =
        |path: &str| !OF_BACKUP.iter().any(|home| path.starts_with(home)) && !path.contains("backup");
    let mut broken = Vec::new();
    for file in product().into_iter().filter(|file| elsewhere(&file.path)) {
        for (line, name) in public_types(&file.text) {
            let borrowed = BORROWED.iter().any(|(of, path, _)| *of == name && *path == file.path);
            if !borrowed && camel(&name).iter().any(|word| BACKUP.contains(&word.as_str())) {
                broken.push(format!("{}:{line}: {name}", file.path));
            }
        }
    }
    holds(
        "snapshot, cell, view, … mean something of backups (DESIGN §2): find the subject's own word",
        &broken,
    );
}

#[test]
fn every_exception_is_still_needed() {
    let files = product();
    let gone: Vec<String> = BORROWED
        .iter()
        .filter(|(of, path, _)| {
            !files.iter().any(|f| f.path == *path && public_types(&f.text).iter().any(|(_, name)| name == of))
        })
        .map(|(of, path, _)| format!("{of} in {path}"))
        .collect();
    holds("an exception that nothing uses goes", &gone);
}

/// What we ship, without comments and without tests.
fn product() -> Vec<Source> {
    let ours = ["policies/", "agent/", "controller/"];
    let test =
        |path: &str| path.contains("/tests/") || path.contains("tests.rs") || path.contains("/examples/");
    rust_files()
        .into_iter()
        .filter(|file| ours.iter().any(|start| file.path.starts_with(start)) && !test(&file.path))
        .map(|file| {
            let text = without_comments(&file.text);
            let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
            Source { text: text[..end].to_owned(), path: file.path }
        })
        .collect()
}

/// Types that others can see, `pub(crate)` included, with their lines.
fn public_types(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        let public = words.next().is_some_and(|word| word.starts_with("pub"));
        let mut rest = words.skip_while(|word| word.ends_with(')') || *word == "in");
        let kind =
            rest.next().is_some_and(|word| ["struct", "enum", "trait", "type", "union"].contains(&word));
        let name: Option<String> =
            rest.next().map(|word| word.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        if let (true, true, Some(name)) = (public, kind, name) {
            out.push((number + 1, name));
        }
    }
    out
}

/// `PolicyInForce` → policy, in, force.
fn camel(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for c in name.chars() {
        match words.last_mut() {
            Some(word) if !c.is_uppercase() => word.push(c),
            _ => words.push(c.to_lowercase().collect()),
        }
    }
    words
}

#[test]
fn types_and_their_words_are_found() {
    let text = "pub struct One(u8);\npub(crate) enum TwoWords<T> {\nstruct Hidden;\n    pub type Third = u8;\npub fn no() {}\n\
                pub(in crate::a) trait Fourth {}\n";
    let names: Vec<String> = public_types(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["One", "TwoWords", "Third", "Fourth"]);
    assert_eq!(camel("PolicyInForce"), ["policy", "in", "force"]);
}
