//! The Ansible role as its users run it: check mode changes nothing, the second run changes nothing, the agent keeps
//! the host, and a root that stands there already is not replaced.

use tenure_lab::{Options, Output, repository, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::HOSTS;
use tenure_scenarios::operator::{DESK, ROOT};
use tenure_scenarios::{Fleet, Result, programs};

const FOLDER: &str = "/root/ansible";

fn play(fleet: &Fleet, more: &[&str]) -> Result<Output> {
    let line = "cd \"$0\" && ANSIBLE_HOST_KEY_CHECKING=False ANSIBLE_NOCOLOR=1 exec ansible-playbook -i inventory \
                tenure.hosting.agent \"$@\"";
    Ok(fleet.office.exec_fed(&[&["sh", "-c", line, FOLDER], more].concat(), None, 180)?)
}

/// Installs the collection as a user does.
fn install(fleet: &Fleet) -> Result<()> {
    let line = "cd /root && HOME=/root ansible-galaxy collection install --offline ./ansible";
    let output = fleet.office.exec_fed(&["sh", "-c", line], None, 120)?;
    if output.ok() { Ok(()) } else { Err(output.said().into()) }
}

/// `changed=N` of web1 in the recap.
fn changed(output: &Output) -> Result<u32> {
    let recap = output.stdout.lines().find(|line| line.starts_with("web1 ") && line.contains("changed="));
    let count = recap.and_then(|line| line.split("changed=").nth(1)?.split_whitespace().next()?.parse().ok());
    match (output.ok(), count) {
        (true, Some(count)) => Ok(count),
        _ => Err(output.said().into()),
    }
}

#[test]
fn the_role_places_starts_and_changes_nothing_twice() -> Result<()> {
    let options = Options { packages: vec!["ansible-core".into()], keep: false };
    let fleet = Fleet::up_with(&format!("ansible{}", std::process::id() % 1000), &HOSTS, &options)?;
    fleet.make_operator("marit", "lab")?;
    fleet.sign("marit", &fleet.usual(), 1)?;
    let role = repository().join("ansible");
    for file in files(&role)? {
        let name = file.strip_prefix(&role)?.display().to_string();
        fleet.office.put(&format!("{FOLDER}/{name}"), &std::fs::read(&file)?, "644")?;
    }
    install(&fleet)?;
    fleet.office.put("/root/tenure-agent", &programs::bytes("tenure-agent")?, "755")?;
    fleet.web1.must(&["rm", "/usr/sbin/tenure-agent"])?;
    let inventory = format!(
        "web1 ansible_host=198.51.100.11 ansible_user=admin ansible_ssh_private_key_file=/root/keys/marit \
         tenure_agent_program=/root/tenure-agent tenure_agent_root={DESK}/marit-root.json \
         tenure_agent_bundles={DESK}/signed\n"
    );
    fleet.office.put(&format!("{FOLDER}/inventory"), inventory.as_bytes(), "644")?;

    let state = || fleet.web1.must(&["sh", "-c", "ls -lR /etc /usr/sbin | sha256sum; nft list ruleset"]);
    let before = state()?;
    let told = changed(&play(&fleet, &["--check", "--diff"])?)?;
    assert!(told > 0, "check mode says what it would place");
    assert_eq!(state()?, before, "and places nothing");

    assert!(changed(&play(&fleet, &[])?)? > 0);
    fleet.confirm_soon()?;
    fleet.await_rest()?;
    // The journal's entries are explained by what the role placed.
    let explained = fleet.web1.must(&["journalctl", "--no-pager", "-x", "-u", "tenure-agent"])?;
    assert!(explained.contains("Subject: Policy version 1 is in force"), "{explained}");
    assert_eq!(changed(&play(&fleet, &["--check", "--diff"])?)?, 0);
    assert_eq!(changed(&play(&fleet, &[])?)?, 0, "a second run changes nothing");

    // another root in the operator's hands does not replace the one that stands there
    let root = fleet.web1.get(ROOT)?;
    fleet.make_operator("mallory", "lab")?;
    fleet.office.must(&["cp", &format!("{DESK}/mallory-root.json"), &format!("{DESK}/marit-root.json")])?;
    assert_eq!(changed(&play(&fleet, &[])?)?, 0);
    assert_eq!(fleet.web1.get(ROOT)?, root);

    // a new release: the agent is restarted and the host stays as it is
    fleet.office.must(&["sh", "-c", "printf x >>/root/tenure-agent"])?;
    assert!(changed(&play(&fleet, &[])?)? > 0);
    wait_for("the agent after the upgrade", SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|status| status["board"]["policy"]["version"] == 1)
    })?;
    fleet.await_rest()
}

fn files(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}
