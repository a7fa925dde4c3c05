//! systemd's units: ours installed, enabled and running; others that keep the same packet filter.

use std::collections::BTreeMap;
use std::path::Path;

use tenure_sys::command::{Program, capture};
use tenure_sys::files::{BaseDir, Expect};

use super::Check;
use crate::journal;

const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// Restarts by systemd above which something is wrong that the agent does not tell.
const RESTARTS: u32 = 3;

/// Units of others that write the ruleset, and what they do to ours.
const OTHERS: [(&str, &str, &str); 5] = [
    (
        "nftables.service",
        "flushes every table whenever it is started, reloaded or stopped; the agent puts ours back",
        "`systemctl disable nftables` (stopping it flushes too); tables of its own go into a file that only adds",
    ),
    (
        "ufw.service",
        "keeps a ruleset of its own beside ours: a packet must pass both",
        "write its rules into the policy, then `ufw disable`",
    ),
    (
        "firewalld.service",
        "keeps a ruleset of its own beside ours: a packet must pass both",
        "write its rules into the policy, then `systemctl disable --now firewalld`",
    ),
    (
        "netfilter-persistent.service",
        "loads rules of its own at boot beside ours",
        "write its rules into the policy, then `systemctl disable netfilter-persistent`",
    ),
    (
        "shorewall.service",
        "keeps a ruleset of its own beside ours: a packet must pass both",
        "write its rules into the policy, then `systemctl disable --now shorewall`",
    ),
];

/// What systemd says of one unit.
type Unit = BTreeMap<String, String>;

/// Both units of ours.
pub(super) fn ours() -> Vec<Check> {
    ["tenure-firewall.service", "tenure-agent.service"]
        .map(|name| match show(name) {
            Ok(unit) => judge_ours(name, &unit),
            Err(why) => Check::unknown(name, why, "is systemd the init of this host?"),
        })
        .to_vec()
}

fn judge_ours(name: &str, unit: &Unit) -> Check {
    let get = |key: &str| unit.get(key).map_or("", String::as_str);
    if get("LoadState") != "loaded" {
        let what = format!("not installed ({})", get("LoadState"));
        return Check::fail(
            name,
            what,
            "put the unit into /etc/systemd/system, then `systemctl daemon-reload`",
        );
    }
    if get("UnitFileState") != "enabled" {
        let what = format!("{}: it does not start at boot", get("UnitFileState"));
        return Check::fail(name, what, format!("`systemctl enable --now {name}`"));
    }
    let (active, result) = (get("ActiveState"), get("Result"));
    let look = format!("`journalctl -u {name}`, then `systemctl restart {name}`");
    if active == "failed" || result != "success" {
        return Check::fail(name, format!("{active}, result {result}"), look);
    }
    // The boot unit needs not have run since it was installed; the agent must run.
    if active != "active" && name == "tenure-agent.service" {
        return Check::fail(name, format!("enabled and {active}"), format!("`systemctl start {name}`"));
    }
    let restarts = get("NRestarts").parse::<u32>().unwrap_or(0);
    if restarts > RESTARTS {
        return Check::warn(name, format!("{active}; systemd started it again {restarts} times"), look);
    }
    Check::ok(name, format!("enabled, {active}"))
}

/// Others that fight for the packet filter; one line when there is none.
pub(super) fn others() -> Vec<Check> {
    let mut out = Vec::new();
    for (name, effect, remedy) in OTHERS {
        match show(name) {
            Ok(unit) => out.extend(judge_other(name, &unit, ufw_enabled(), effect, remedy)),
            Err(why) => {
                return vec![Check::unknown("other firewalls", why, "is systemd the init of this host?")];
            }
        }
    }
    if out.is_empty() {
        out.push(Check::ok("other firewalls", "none is enabled or active"));
    }
    out
}

fn judge_other(name: &str, unit: &Unit, ufw: bool, effect: &str, remedy: &str) -> Option<Check> {
    let get = |key: &str| unit.get(key).map_or("", String::as_str);
    let enabled = matches!(get("UnitFileState"), "enabled" | "enabled-runtime");
    let active = get("ActiveState") == "active";
    // Debian enables ufw's unit with its package; ufw itself stays off until somebody says so.
    let counts = (enabled || active) && (name != "ufw.service" || ufw);
    let word = if active { "active" } else { "enabled" };
    counts.then(|| Check::warn(name, format!("{word}: {effect}"), remedy))
}

fn ufw_enabled() -> bool {
    let read = BaseDir::open(Path::new("/etc/ufw"))
        .and_then(|dir| dir.read(Path::new("ufw.conf"), &Expect::roots(1 << 16)));
    read.is_ok_and(|file| {
        String::from_utf8_lossy(&file.bytes)
            .lines()
            .any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"))
    })
}

fn show(name: &str) -> Result<Unit, String> {
    let properties = "--property=LoadState,UnitFileState,ActiveState,Result,NRestarts";
    let program = Program::new(SYSTEMCTL, ["show", "--no-pager", properties, name]);
    let said = capture(&program).and_then(|out| out.success()).map_err(|e| journal::chain(&e))?;
    Ok(parse(&String::from_utf8_lossy(&said)))
}

fn parse(said: &str) -> Unit {
    said.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    fn unit(load: &str, file: &str, active: &str, result: &str, restarts: u32) -> Unit {
        parse(&format!(
            "Result={result}\nNRestarts={restarts}\nLoadState={load}\nActiveState={active}\nUnitFileState={file}\n"
        ))
    }

    #[test]
    fn a_unit_of_ours_must_be_installed_enabled_and_running() {
        let agent = |unit: &Unit| judge_ours("tenure-agent.service", unit).level;
        assert_eq!(agent(&unit("loaded", "enabled", "active", "success", 0)), Level::Ok);
        assert_eq!(agent(&unit("not-found", "", "inactive", "success", 0)), Level::Fail);
        assert_eq!(agent(&unit("loaded", "disabled", "active", "success", 0)), Level::Fail);
        assert_eq!(agent(&unit("loaded", "enabled", "inactive", "success", 0)), Level::Fail);
        assert_eq!(agent(&unit("loaded", "enabled", "failed", "exit-code", 0)), Level::Fail);
        assert_eq!(agent(&unit("loaded", "enabled", "active", "success", 9)), Level::Warn);
        let boot =
            judge_ours("tenure-firewall.service", &unit("loaded", "enabled", "inactive", "success", 0));
        assert_eq!(boot.level, Level::Ok, "it runs at the next boot");
    }

    #[test]
    fn who_fights_for_the_packet_filter_is_told() {
        let other = |name: &str, unit: &Unit, ufw| judge_other(name, unit, ufw, "does", "undo").is_some();
        let (on, off) = (
            unit("loaded", "enabled", "active", "success", 0),
            unit("not-found", "", "inactive", "success", 0),
        );
        assert!(other("nftables.service", &on, false) && !other("nftables.service", &off, false));
        assert!(other("firewalld.service", &unit("loaded", "disabled", "active", "success", 0), false));
        assert!(!other("ufw.service", &on, false), "its unit is always enabled");
        assert!(other("ufw.service", &on, true));
    }
}
