//! `tenure check` on what people and attackers write: every fault at once, with place, snippet and hint, in bounds.

use std::path::Path;

use tenure_lab::{Output, run_in};
use tenure_scenarios::{Policy, Result, all_held, programs};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUSYSJBrhLCQhSCYwJhtSTOfC/R9VDcVUYwlQFm2yJb marit";

/// The usual set, with a login that ends on a fixed day: `check` reads no clock.
fn usual() -> Policy {
    Policy::new(KEY, "2037-06-30")
}

fn check(policy: &Policy, words: &[&str]) -> Result<Output> {
    let dir = tempfile::tempdir()?;
    for (name, text) in &policy.files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::write(path, text)?;
    }
    let tenure = programs::built("tenure")?;
    let argv = [&[tenure.to_str().unwrap_or_default(), "check", "."], words].concat();
    Ok(run_in(dir.path(), &argv, 20)?)
}

#[test]
fn a_whole_set_is_clean() -> Result<()> {
    let output = check(&usual(), &[])?;
    assert!(output.ok(), "{}", output.said());
    assert!(output.stdout.contains("1 file") && output.stdout.contains("6 tests"), "{}", output.stdout);
    Ok(())
}

#[test]
fn every_fault_is_told_at_once_with_place_snippet_and_hint() -> Result<()> {
    let broken = usual()
        .with("allow: [https], from: [anywhere]", "allow: [htps], from: [anywhere]")
        .with("to: [archive] }\n        -", "to: [archve] }\n        -")
        .with("patch: observe", "patch: observer")
        .with("from: [office], until", "from: [], until");
    let output = check(&broken, &[])?;
    assert_eq!(output.status, 78, "{}", output.said());
    let mut missing = Vec::new();
    for word in ["htps", "https", "archve", "archive", "observer", "lab.yaml:", "marit"] {
        if !output.stderr.contains(word) {
            missing.push(word.to_owned());
        }
    }
    all_held(&format!("not told in\n{}", output.stderr), &missing)?;
    let json = check(&broken, &["--json"])?;
    let json: serde_json::Value = serde_json::from_str(&json.stdout)?;
    assert!(json["faults"].as_array().is_some_and(|faults| faults.len() >= 4), "{json:#}");
    Ok(())
}

#[test]
fn hostile_yaml_is_refused_in_bounds_and_without_reaching_the_terminal() -> Result<()> {
    let mut wrong = Vec::new();
    let bomb = format!("a: &a [{}]\nb: &b [{}]\n", "x,".repeat(50), "*a,".repeat(50));
    let deep = format!("tenure: {}", "[".repeat(20_000));
    let wide = format!(
        "tenure: 1\nnetworks:\n{}",
        (0..200_000).map(|n| format!("  n{n}: [10.0.0.1]\n")).collect::<String>()
    );
    for (what, text) in [
        ("an alias", "tenure: 1\nx: &a 1\ny: *a\n"),
        ("a bomb of aliases", bomb.as_str()),
        ("a merge", "tenure: 1\nx: {<<: {a: 1}}\n"),
        ("a tag", "tenure: !!str 1\n"),
        ("a directive", "%YAML 1.1\n---\ntenure: 1\n"),
        ("a second document", "tenure: 1\n---\ntenure: 1\n"),
        ("a key twice", "tenure: 1\nfleet: a\nfleet: b\n"),
        ("depth", deep.as_str()),
        ("size", wide.as_str()),
        ("an escape", "tenure: 1\nfleet: \"\\e[2J\\e]0;owned\\a\"\n"),
        ("bidi", "tenure: 1\nfleet: \"a\u{202e}b\"\n"),
        ("a NUL", "tenure: 1\nfleet: \"a\\0b\"\n"),
        ("a bare time", "tenure: 1\nvalid_for: 22:00\n"),
        ("on", "tenure: 1\nfleet: on\n"),
        ("octal", "tenure: 010\n"),
        ("nothing", ""),
        ("a list", "[1, 2]\n"),
        ("a tab", "tenure: 1\n\tfleet: a\n"),
    ] {
        let policy = Policy { files: [("lab.yaml".to_owned(), text.to_owned())].into() };
        let output = check(&policy, &[])?;
        let said = output.said();
        if output.status != 78 {
            wrong.push(format!(
                "{what}: status {} {}",
                output.status,
                said.chars().take(300).collect::<String>()
            ));
        }
        if said.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c)) {
            wrong.push(format!("{what}: control or bidi characters reach the terminal: {said:?}"));
        }
        if said.len() > 100_000 || said.contains("panicked") {
            wrong.push(format!("{what}: {} bytes said", said.len()));
        }
    }
    all_held("hostile YAML", &wrong)
}

#[test]
fn nothing_absent_opens_anything() -> Result<()> {
    let mut wrong = Vec::new();
    for (old, new) in [
        ("allow: [https], from: [anywhere]", "allow: [https]"),
        ("allow: [https], from: [anywhere]", "allow: [https], from: []"),
        ("allow: [https], from: [anywhere]", "allow: [https], from: ~"),
        ("allow: [https], from: [anywhere]", "allow: [ssh], from: [anywhere]"),
        ("allow: [https], from: [anywhere]", "allow: [https], from: [0.0.0.0/0]"),
        ("allow: [tcp/8443], to: [archive]", "allow: [tcp/8443]"),
        ("to: [archive], users: [root, _apt]", "to: [archive], users: []"),
        ("who: [ops], as: admin", "who: [], as: admin"),
        ("from: [office], until", "until"),
        ("management: { who: [ops]", "management: { who: []"),
    ] {
        let output = check(&usual().with(old, new), &[])?;
        if output.status != 78 {
            wrong.push(format!("{new:?} is taken: {}", output.said()));
        }
    }
    all_held("an absent or empty selector is an error, never everybody", &wrong)
}

#[test]
fn what_is_not_enforced_yet_is_refused_by_name() -> Result<()> {
    let mut wrong = Vec::new();
    for (old, new, word) in [
        ("archive: [198.51.100.7, \"2001:db8:1::7\"]", "archive: { names: [archive.example] }", "names"),
        ("as: admin }", "as: admin, sudo: all }", "sudo"),
        ("unmanaged_keys: report", "unmanaged_keys: quarantine", "quarantine"),
        ("mode: { firewall: enforce", "mode: { firewall: permissive", "permissive"),
        ("    access:\n", "    access:\n      accounts: { admin: { groups: [adm] } }\n", "accounts"),
    ] {
        let output = check(&usual().with(old, new), &[])?;
        if output.status != 78 || !output.stderr.contains(word) {
            wrong.push(format!("{new:?}: status {}: {}", output.status, output.said()));
        }
    }
    all_held("a section that cannot be enforced yet is refused by name", &wrong)
}

#[test]
fn a_failing_test_of_the_set_is_a_fault() -> Result<()> {
    let output = check(
        &usual().with(
            "accept: [https], drop: [ssh, postgresql, tcp/9000]",
            "accept: [https, postgresql], drop: [ssh]",
        ),
        &[],
    )?;
    assert_eq!(output.status, 78, "{}", output.said());
    assert!(output.stderr.contains("postgresql"), "{}", output.stderr);
    Ok(())
}
