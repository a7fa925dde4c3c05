//! Step 1: the policy is checked, a broken copy is refused with everything that is wrong in it, and an operator signs.

use serde_json::Value;
use tenure_scenarios::{Fleet, Policy, Result};

use crate::local::{EXAMPLE, LOCAL, set};
use crate::screen::{Screen, Stopped};

/// One thing that is broken in a copy of the set.
struct Planted {
    file: &'static str,
    /// What stands in the file, once.
    good: &'static str,
    /// What is written instead.
    bad: &'static str,
    /// What the snippet has to point at.
    at: &'static str,
    /// What the fault has to say.
    says: &'static str,
}

const FLEET: &str = "fleet.yaml";
const PLANTED: [Planted; 6] = [
    Planted {
        file: FLEET,
        good: "patch: observe }",
        bad: "patch: observ }",
        at: "observ",
        says: "did you mean \"observe\"?",
    },
    Planted {
        file: FLEET,
        good: "erase_after: 3d",
        bad: "erase_after: 3dd",
        at: "3dd",
        says: "\"3dd\" is not a period",
    },
    Planted {
        file: FLEET,
        good: "allow: [tcp/8443], from: [office]",
        bad: "allow: [tcp/8443], from: [offce]",
        at: "offce",
        says: "unknown network \"offce\", did you mean \"office\"?",
    },
    Planted {
        file: LOCAL,
        good: "clocks: [198.51.100.123,",
        bad: "clocks: [198.51.100.300,",
        at: "198.51.100.300",
        says: "is not an address or CIDR",
    },
    Planted {
        file: LOCAL,
        good: "ops: [marit, jeroen]",
        bad: "ops: [marit, jeroem]",
        at: "jeroem",
        says: "did you mean \"jeroen\"?",
    },
    Planted {
        file: "tenants/example-client.yaml",
        good: "purge_within: 1 month",
        bad: "purge_within: 1month",
        at: "1month",
        says: "is not a period",
    },
];

/// Shows the policy.
pub(crate) fn show(screen: &mut Screen, fleet: &Fleet) -> std::result::Result<(), Stopped> {
    screen.section(
        1,
        "Policy",
        &format!("{EXAMPLE}   from \"SoWorker – AVG en Security\"; its local.yaml is this run's own"),
    );
    screen.step("check", "the set", || {
        fleet.write_set(&set(fleet)?)?;
        let said = fleet.tenure_must(&["check", "set"])?;
        Ok(said.lines().last().unwrap_or_default().to_owned())
    })?;
    let mut shown = Vec::new();
    screen.step("check", "a broken copy", || {
        fleet.write_set(&broken(set(fleet)?)?)?;
        shown = refused(fleet)?;
        let planted = PLANTED.len();
        Ok(format!(
            "a broken copy is refused: {planted} faults planted, all {planted} told with place, snippet, hint"
        ))
    })?;
    for line in shown {
        screen.line(&format!("            {line}"));
    }
    let mut told = String::new();
    screen.step("check", "a copy that opens what its own tests close", || {
        let open =
            set(fleet)?.with("{ allow: [http, https], from", "{ allow: [http, https, postgresql], from");
        fleet.write_set(&open)?;
        let output = fleet.tenure(&["check", "set"])?;
        let says = "test fails: postgresql (tcp/5432) from 192.0.2.77 to web1 gets through";
        told = output.stderr.lines().find(|line| line.contains(says)).unwrap_or_default().to_owned();
        if told.is_empty() || output.status != 78 {
            return Err(format!("the test that fails is not told: {}", output.said()).into());
        }
        Ok("a copy that opens postgresql is refused by the set's own tests".to_owned())
    })?;
    screen.line(&format!("            {told}"));
    screen.step("key", "an operator's key and the root", || {
        fleet.make_chief_of("soworker")?;
        fleet.place_root("marit")?;
        Ok("marit's key, encrypted; the root carried to web1 by hand".to_owned())
    })?;
    screen.step("sign", "index and one bundle per machine", || {
        let said = fleet.sign("marit", &set(fleet)?, 1)?;
        Ok(said.lines().find(|line| line.starts_with("version")).unwrap_or_default().to_owned())
    })?;
    screen.step("sign", "the same set under a root that asks for two", || two_of_two(fleet))
}

/// Under a root that asks for two signatures one is none, and whoever adds hers signs from the set and not from the first
/// signature.
fn two_of_two(fleet: &Fleet) -> Result<String> {
    let pass = ["--passphrase-file", "pass"];
    fleet.tenure_must(&[&["key", "create", "jeroen"][..], &pass].concat())?;
    let root = [
        &["root", "create", "--fleet", "soworker", "--root-key", "marit.pub", "--policy-key", "marit.pub"][..],
        &[
            "--policy-key",
            "jeroen.pub",
            "--policy-threshold",
            "2",
            "--key",
            "marit.key",
            "--out",
            "two-root.json",
        ],
        &pass,
    ];
    fleet.tenure_must(&root.concat())?;
    let index = ["verify", "two/index.json", "--root", "two-root.json"];
    let sign = |key: &str, more: &[&str]| {
        let with = ["--root", "two-root.json", "--out", "two", "--key", key];
        fleet.tenure(&[&["sign", "set"][..], &with, &pass, more].concat())
    };
    let first = sign("marit.key", &["--version", "1"])?;
    if !first.ok() || !first.said().contains("1 of 2 keys") || fleet.tenure(&index)?.ok() {
        return Err(format!("one signature counts for two: {}", first.said()).into());
    }
    let second = sign("jeroen.key", &["--add"])?;
    if !second.ok() {
        return Err(second.said().into());
    }
    fleet.tenure_must(&index)?;
    Ok("under a root that asks for two: marit's alone verifies nowhere, with jeroen's it does (2 of 2)"
        .to_owned())
}

/// The set with everything planted.
fn broken(mut policy: Policy) -> Result<Policy> {
    for Planted { file, good, bad, .. } in &PLANTED {
        let text = policy.files.get_mut(*file).ok_or_else(|| format!("the set has no {file}"))?;
        if text.matches(good).count() != 1 {
            return Err(format!("{file} does not say {good:?} once").into());
        }
        *text = text.replace(good, bad);
    }
    Ok(policy)
}

/// Checks the set on the desk: each planted fault, and nothing else, is told with its place, the words there, and what to do
/// about it. Gives the lines that a person reads.
fn refused(fleet: &Fleet) -> Result<Vec<String>> {
    let policy = broken(set(fleet)?)?;
    let output = fleet.tenure(&["check", "set", "--json"])?;
    let json: Value = serde_json::from_str(&output.stdout).map_err(|_| output.said())?;
    let faults = json["faults"].as_array().cloned().unwrap_or_default();
    let told = fleet.tenure(&["check", "set"])?;
    if (output.status, told.status) != (78, 78) || faults.len() != PLANTED.len() {
        return Err(format!("{} faults instead of {}: {}", faults.len(), PLANTED.len(), told.said()).into());
    }
    for Planted { file, bad, at, says, .. } in &PLANTED {
        let text = &policy.files[*file];
        let line = text.lines().position(|line| line.contains(bad)).map_or(0, |number| number + 1);
        let place = format!("{file}:{line}:");
        let fault = faults.iter().find(|fault| {
            let text = |key: &str| fault[key].as_str().unwrap_or_default();
            let there = fault["place"]["file"] == *file && fault["place"]["line"] == line;
            there && text("what").contains(says) && !text("hint").is_empty()
        });
        let marked = fault.map(|fault| marked(&fault["snippet"])).unwrap_or_default();
        let lines =
            told.stderr.lines().filter(|line| line.starts_with(&place) && line.contains(says)).count();
        if marked.trim_matches('"') != *at || lines != 1 {
            return Err(
                format!("{place} {says:?} is not told, with {at:?} and a hint: {}", told.said()).into()
            );
        }
    }
    Ok(told.stderr.lines().map(str::to_owned).collect())
}

/// What the signs below a snippet's line point at.
fn marked(snippet: &Value) -> String {
    let number = |key: &str| snippet[key].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
    let text = snippet["text"].as_str().unwrap_or_default();
    text.chars().skip(number("before")).take(number("length")).collect()
}
