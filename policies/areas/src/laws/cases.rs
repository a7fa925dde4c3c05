//! The situations of each area that the laws are tried in.

use super::{Law, package};
use crate::backup::{Backup, tests as backup_tests};
use crate::fake::{FakeHost, NodeKind};
use crate::firewall::{Firewall, crash_tests, samples};
use crate::patch::{Patch, tests as patch_tests};
use crate::ssh_access::tests::{self as ssh, MARIT, OFFICE};
use crate::ssh_access::{DROP_IN, KEYS, SshAccess};

pub(super) fn ssh_access() -> Law<SshAccess> {
    fn fresh() -> FakeHost {
        let host = FakeHost::debian();
        // Whoever sets a host up gets in by a key at home, until Tenure's first change is whole.
        host.write_as("/home/admin/.ssh/authorized_keys", format!("{MARIT} marit\n"), 1000, 0o600);
        host
    }
    fn enforced() -> FakeHost {
        let host = fresh();
        let _ = ssh::proved_by(&host, &ssh::section(), MARIT);
        host
    }
    fn other() -> FakeHost {
        let host = fresh();
        let mut section = ssh::section();
        section.logins.iter_mut().for_each(|l| l.from = vec!["198.51.100.0/24".parse().expect("a network")]);
        section.logins[1].from.push("203.0.113.9/32".parse().expect("a network"));
        let _ = ssh::proved_by(&host, &section, MARIT);
        host
    }
    fn edited() -> FakeHost {
        let host = enforced();
        host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
        host
    }
    fn planted() -> FakeHost {
        let host = enforced();
        host.write_as(&format!("{KEYS}/app"), "ssh-ed25519 AAAA\n", 0, 0o644);
        host.place(&format!("{KEYS}/deploy"), NodeKind::Symlink("/etc/shadow".into()), 0);
        host
    }
    fn wiped() -> FakeHost {
        let host = enforced();
        host.delete(DROP_IN);
        host.delete("/etc/ssh/tenure");
        host
    }
    fn broken() -> FakeHost {
        let host = enforced();
        host.write_as(DROP_IN, "Nonsense\n", 0, 0o644);
        host
    }
    let mut nobody = ssh::section();
    nobody.logins.clear();
    let mut ended = ssh::section();
    ended.logins.iter_mut().for_each(|l| l.until = jiff::Timestamp::UNIX_EPOCH);
    Law {
        section: ssh::section(),
        starts: vec![
            ("fresh", fresh),
            ("another policy", other),
            ("edited drop-in", edited),
            ("planted keys", planted),
            ("all deleted", wiped),
            ("broken drop-in", broken),
        ],
        help: |host| {
            // What nobody proved is asked for again by an operator; then marit logs in.
            host.delete(crate::ssh_access::state::REFUSED);
            host.log_in("admin", MARIT, OFFICE);
        },
        open: |host| host.lets_in("admin", MARIT, OFFICE),
        refused: vec![nobody, ended],
        spare: &[],
    }
}

pub(super) fn backup() -> Law<Backup> {
    fn due() -> FakeHost {
        backup_tests::host_since("2026-11-22T10:30:00Z")
    }
    fn fresh() -> FakeHost {
        FakeHost::debian()
    }
    fn interrupted() -> FakeHost {
        let host = due();
        let _ = backup_tests::turn(&host);
        host.kill_job();
        host
    }
    fn failed() -> FakeHost {
        let host = due();
        let _ = backup_tests::turn(&host);
        host.end_job(Some("the vault does not answer"));
        host
    }
    fn asked() -> FakeHost {
        let host = fresh();
        backup_tests::ask(&host, "r-1", 0);
        host
    }
    Law {
        section: backup_tests::scheduled(),
        starts: vec![
            ("a slot is due", due),
            ("fresh", fresh),
            ("interrupted", interrupted),
            ("failed once", failed),
            ("asked for by hand", asked),
        ],
        help: |host| {
            host.end_job(None);
            host.advance_ms(90_000);
        },
        open: |_| true,
        // The guard's refusals stand in the area's own tests: nothing is due on a fresh host.
        refused: Vec::new(),
        spare: &[],
    }
}

pub(super) fn firewall() -> Law<Firewall> {
    fn enforced() -> FakeHost {
        let host = FakeHost::debian();
        let section = samples::web();
        crash_tests::settle(&host, &section);
        host.advance_ms(1000);
        crash_tests::confirm(&host);
        crash_tests::settle(&host, &section);
        host
    }
    fn flushed() -> FakeHost {
        let host = enforced();
        host.nft_as(4711, "nft", r#"{"nftables":[{"flush":{"ruleset":null}}]}"#)
            .expect("a flush always works");
        host
    }
    fn opened() -> FakeHost {
        let host = enforced();
        let rule = r#"{"nftables":[{"insert":{"rule":{"family":"inet","table":"tenure","chain":"input","expr":[{"accept":null}]}}}]}"#;
        host.nft_as(4712, "nft", rule).expect("the chain is there");
        host
    }
    fn rebooted() -> FakeHost {
        let host = enforced();
        host.reboot();
        host
    }
    fn wider() -> FakeHost {
        let host = FakeHost::debian();
        let section = samples::web_wider();
        crash_tests::settle(&host, &section);
        host.advance_ms(1000);
        crash_tests::confirm(&host);
        crash_tests::settle(&host, &section);
        host
    }
    let mut cut = samples::web();
    cut.inbound.retain(|rule| !rule.id.as_str().starts_with("implied:ssh"));
    let mut blocked = samples::web();
    blocked.blocks.push(tenure_policy::names::NetworkName::new("office").expect("a label"));
    Law {
        section: samples::web(),
        starts: vec![
            ("fresh", FakeHost::debian),
            ("flushed", flushed),
            ("accept inserted", opened),
            ("after a reboot", rebooted),
            ("another policy", wider),
        ],
        help: |host| {
            // A trial that fell back is asked for again by an operator.
            host.delete(crate::firewall::state::REFUSED);
            crash_tests::confirm(host);
        },
        open: |host| host.reaches("203.0.113.9", 22) && host.reaches("2001:db8:10::9", 22),
        refused: vec![cut, blocked],
        spare: SPARE_FIREWALL,
    }
}

/// Without the watcher's log it is only not known who changed something.
const SPARE_FIREWALL: &[&str] = &["NftChanges"];

pub(super) fn patch() -> Law<Patch> {
    fn waiting() -> FakeHost {
        let host = FakeHost::debian();
        host.set_packages(vec![package("openssl", "1", Some(("2", "Debian-Security:12/stable-security")))]);
        host
    }
    fn other() -> FakeHost {
        let host = FakeHost::debian();
        host.set_packages(vec![package("base-files", "1", Some(("2", "Debian:12.9/stable")))]);
        host
    }
    Law {
        section: patch_tests::section(),
        starts: vec![("an update waits", waiting), ("another waits", other), ("current", FakeHost::debian)],
        help: |_| {},
        open: |_| true,
        refused: vec![],
        spare: &[],
    }
}
