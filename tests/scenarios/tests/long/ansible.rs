//! The Ansible role as its users run it: check mode changes nothing, the second run changes nothing, the agent keeps
//! the host, and a root that stands there already is not replaced.

use tenure_lab::{Options, wait_for};
use tenure_scenarios::agent::SOON;
use tenure_scenarios::fleet::{HOSTS, PACKAGES};
use tenure_scenarios::operator::{DESK, ROOT};
use tenure_scenarios::{Fleet, Result};

#[test]
fn the_role_places_starts_and_changes_nothing_twice() -> Result<()> {
    let options = Options { packages: PACKAGES.map(str::to_owned).to_vec(), keep: false };
    let fleet = Fleet::up_with(&format!("ansible{}", std::process::id() % 1000), &HOSTS, &options)?;
    fleet.make_operator("marit", "lab")?;
    fleet.sign("marit", &fleet.usual(), 1)?;
    fleet.install_role("marit")?;
    fleet.web1.must(&["rm", "/usr/sbin/tenure-agent"])?;

    let state = || fleet.web1.must(&["sh", "-c", "ls -lR /etc /usr/sbin | sha256sum; nft list ruleset"]);
    let before = state()?;
    let told = fleet.play_role(&["--check", "--diff"])?;
    assert!(told > 0, "check mode says what it would place");
    assert_eq!(state()?, before, "and places nothing");

    assert!(fleet.play_role(&[])? > 0);
    fleet.confirm_soon()?;
    fleet.await_rest()?;
    // The journal's entries are explained by what the role placed.
    let explained = fleet.web1.must(&["journalctl", "--no-pager", "-x", "-u", "tenure-agent"])?;
    assert!(explained.contains("Subject: Policy version 1 is in force"), "{explained}");
    assert_eq!(fleet.play_role(&["--check", "--diff"])?, 0);
    assert_eq!(fleet.play_role(&[])?, 0, "a second run changes nothing");

    // another root in the operator's hands does not replace the one that stands there
    let root = fleet.web1.get(ROOT)?;
    fleet.make_operator("mallory", "lab")?;
    fleet.office.must(&["cp", &format!("{DESK}/mallory-root.json"), &format!("{DESK}/marit-root.json")])?;
    assert_eq!(fleet.play_role(&[])?, 0);
    assert_eq!(fleet.web1.get(ROOT)?, root);

    // a new release: the agent is restarted and the host stays as it is
    fleet.office.must(&["sh", "-c", "printf x >>/root/tenure-agent"])?;
    assert!(fleet.play_role(&[])? > 0);
    wait_for("the agent after the upgrade", SOON, || {
        fleet.agent_json(&["status"]).is_ok_and(|status| status["board"]["policy"]["version"] == 1)
    })?;
    fleet.await_rest()
}
