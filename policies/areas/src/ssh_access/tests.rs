//! The area against the fake host, with people at its door.

use tenure_policy::names::{RuleId, UnixUser};
use tenure_policy::resolved::{Login, Mode, SshAccessSection, UnmanagedKeys};
use tenure_trust::PersonName;

use super::*;
use crate::area::{Finding, Weight};
use crate::fake::{FakeHost, NodeKind};
use crate::pass::{Report, Verdict, pass};

pub(crate) const MARIT: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKx4/O6B2jG8iTBloPEYSnpl3o+JdmiwLOzVg19Kpqb1";
pub(super) const JEROEN: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM5c17LCV9ptHTKtM/o3vEXvlK0v1yZkAQRE6KXAK06O";
pub(super) const BOT: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB6GJ9+Bofq2kWu+wdm7ixdnjAVp4RDfnTPCWJLvrPRv";
pub(super) const EVIL: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF7adlDPUQUVlSFti1uDb0qWvWxaIujoyUuGaz3XYTFk";
pub(crate) const OFFICE: &str = "203.0.113.9";
const OFFICE6: &str = "2001:db8:10::9";
pub(super) const STRANGER: &str = "192.0.2.77";
pub(super) const NEW_OFFICE: &str = "198.51.100.9";

pub(super) type Change<'a> = &'a dyn Fn(&mut SshAccessSection);

pub(super) fn login(who: &str, account: &str, key: &str, from: &[&str], command: Option<&str>) -> Login {
    Login {
        id: RuleId::new(format!("base/ssh/{who}")).unwrap(),
        who: PersonName::new(who).unwrap(),
        account: UnixUser::new(account).unwrap(),
        keys: vec![key.into()],
        from: from.iter().map(|net| net.parse().unwrap()).collect(),
        until: "2027-06-30T00:00:00Z".parse().unwrap(),
        command: command.map(Into::into),
    }
}

pub(crate) fn section() -> SshAccessSection {
    let office = ["203.0.113.0/24", "2001:db8:10::/48"];
    SshAccessSection {
        logins: vec![
            login("jeroen", "admin", JEROEN, &office, None),
            login("marit", "admin", MARIT, &office, None),
            login(
                "deploy-bot",
                "deploy",
                BOT,
                &["203.0.113.40/32"],
                Some("/usr/local/bin/deploy --now \"x y\""),
            ),
        ],
        management: vec![PersonName::new("jeroen").unwrap(), PersonName::new("marit").unwrap()],
        confirm_within_seconds: 60,
        unmanaged_keys: UnmanagedKeys::Report,
    }
}

pub(crate) fn turn(host: &FakeHost, section: &SshAccessSection, mode: Mode) -> Report {
    pass::<SshAccess>(&SshAccess::desired(section), mode, host, host, &|| host.now())
}

fn enforce(host: &FakeHost) -> Report {
    turn(host, &section(), Mode::Enforce)
}

/// Enforces a section for the first time, with somebody who logs in while it is on trial.
pub(crate) fn proved_by(host: &FakeHost, section: &SshAccessSection, key: &str) -> Report {
    let begun = turn(host, section, Mode::Enforce);
    assert_eq!(begun.verdict, Verdict::Pending, "{begun:#?}");
    host.advance_ms(2000);
    assert!(host.log_in("admin", key, OFFICE));
    let closed = turn(host, section, Mode::Enforce);
    assert_eq!(closed.verdict, Verdict::Pending, "{closed:#?}");
    host.advance_ms(1000);
    turn(host, section, Mode::Enforce)
}

pub(super) fn enforced() -> FakeHost {
    let host = FakeHost::debian();
    let report = proved_by(&host, &section(), MARIT);
    assert_eq!(report.verdict, Verdict::Remediated, "{report:#?}");
    host
}

fn proved(host: &FakeHost) -> Report {
    proved_by(host, &section(), MARIT)
}

pub(super) fn found<'a>(findings: &'a [Finding], kind: &str) -> &'a Finding {
    findings.iter().find(|f| f.kind == kind).unwrap_or_else(|| panic!("no {kind} in {findings:#?}"))
}

fn facts(host: &FakeHost) -> Facts {
    SshAccess::observe(host, &SshAccess::desired(&section())).unwrap()
}

#[test]
fn the_right_key_from_the_right_address_gets_in_and_nothing_else() {
    let host = FakeHost::debian();
    host.write_as("/home/app/.ssh/authorized_keys", format!("{EVIL} old-dev\n"), 1002, 0o600);
    assert!(host.lets_in("app", EVIL, STRANGER) && host.lets_in_by_password("app", STRANGER), "before");
    let report = proved(&host);
    assert_eq!(report.verdict, Verdict::Remediated, "{report:#?}");
    let table = [
        ("admin", MARIT, OFFICE, true),
        ("admin", MARIT, OFFICE6, true),
        ("admin", JEROEN, OFFICE, true),
        ("admin", MARIT, STRANGER, false),
        ("admin", MARIT, "2001:db8:11::9", false),
        ("admin", EVIL, OFFICE, false),
        ("admin", BOT, OFFICE, false),
        ("deploy", BOT, "203.0.113.40", true),
        ("deploy", BOT, OFFICE, false),
        ("deploy", MARIT, "203.0.113.40", false),
        ("root", MARIT, OFFICE, false),
        ("app", EVIL, STRANGER, false),
    ];
    for (user, key, addr, expected) in table {
        assert_eq!(host.lets_in(user, key, addr), expected, "{user} {addr}");
    }
    assert!(!host.lets_in_by_password("app", STRANGER));
    let report = enforce(&host);
    let key = found(&report.findings, "unmanaged-key");
    assert_eq!((key.weight, key.place.as_str()), (Weight::Note, "/home/app/.ssh/authorized_keys:1"));
    assert!(key.what.contains("SHA256:WH1fUB/GsBZnMBTVZXnP01xrC/i53d/qC5rPOncZeno"), "{}", key.what);
}

#[test]
fn a_second_pass_has_nothing_to_do() {
    let host = enforced();
    let writes = host.writes();
    let report = enforce(&host);
    assert_eq!(report.verdict, Verdict::Compliant, "{report:#?}");
    assert_eq!(host.writes(), writes);
    assert!(report.plan.unwrap().steps.is_empty());
}

#[test]
fn an_edited_drop_in_is_restored_and_the_edit_is_told() {
    let host = enforced();
    let old = String::from_utf8(host.content(DROP_IN).unwrap()).unwrap();
    host.advance_ms(60_000);
    host.write_as(DROP_IN, old.replace("PasswordAuthentication no", "PasswordAuthentication yes"), 0, 0o644);
    host.reload_sshd();
    let edited_at = host.now().wall;
    host.advance_ms(5_000);
    let report = enforce(&host);
    assert_eq!(report.verdict, Verdict::Remediated);
    let finding = found(&report.mended, "drop-in-changed");
    assert!(finding.what.contains("`PasswordAuthentication yes`"), "{}", finding.what);
    assert_eq!(finding.at, Some(edited_at));
    assert_eq!(finding.by, None, "the kernel does not tell who");
    assert_eq!(host.content(DROP_IN).unwrap(), old.as_bytes());
}

#[test]
fn key_files_are_restored_and_strange_ones_removed() {
    let host = enforced();
    let admin = format!("{KEYS}/admin");
    let old = host.content(&admin).unwrap();
    host.write_as(&admin, [&old[..], EVIL.as_bytes(), b" me\n"].concat(), 0, 0o644);
    host.write_as(&format!("{KEYS}/root"), format!("{EVIL}\n"), 0, 0o644);
    host.place(&format!("{KEYS}/deploy"), NodeKind::Fifo, 0);
    host.chmod(&admin, 1000, 0o600);
    let report = enforce(&host);
    assert_eq!(report.verdict, Verdict::Remediated, "{report:#?}");
    assert!(report.mended.iter().any(|f| f.kind == "key-file-unlisted" && f.what.contains("SHA256:WH1f")));
    assert_eq!(host.content(&admin).unwrap(), old);
    assert!(host.content(&format!("{KEYS}/root")).is_none());
    assert!(host.lets_in("deploy", BOT, "203.0.113.40"));
}

#[test]
fn a_match_block_that_overrides_is_drift_with_its_place() {
    let host = enforced();
    let main = String::from_utf8(host.content(config::MAIN).unwrap()).unwrap();
    let line = main.lines().count() + 2;
    host.write_as(config::MAIN, format!("{main}Match User admin\n  PasswordAuthentication yes\n"), 0, 0o644);
    let report = enforce(&host);
    assert_eq!(report.verdict, Verdict::Drifted);
    let finding = found(&report.findings, "sshd-overridden");
    assert_eq!(finding.place, format!("/etc/ssh/sshd_config:{line} in `Match User admin`"));
    assert!(finding.what.contains("passwordauthentication is `yes`"), "{}", finding.what);
}

#[test]
fn a_foreign_allowusers_and_a_denyusers_are_found() {
    let host = enforced();
    host.write_as("/etc/ssh/sshd_config.d/50-x.conf", "AllowUsers app\nDenyUsers admin\n", 0, 0o644);
    host.write_as("/home/app/.ssh/authorized_keys", format!("{EVIL} x\n"), 1002, 0o600);
    let report = enforce(&host);
    assert_eq!(report.verdict, Verdict::Drifted);
    assert!(found(&report.findings, "way-in-open").what.contains("app from"));
    assert_eq!(found(&report.findings, "way-in-cut").place, "/etc/ssh/sshd_config.d/50-x.conf:2");
}

#[test]
fn observing_says_what_enforcing_would_do_and_who_loses_a_login() {
    let host = FakeHost::debian();
    host.write_as(
        "/home/app/.ssh/authorized_keys",
        format!("from=\"10.0.0.0/8\" {EVIL} old-dev\n"),
        1002,
        0o600,
    );
    let before = host.all_files();
    let report = turn(&host, &section(), Mode::Observe);
    assert_eq!((report.verdict, host.all_files() == before, host.writes()), (Verdict::Drifted, true, 0));
    let steps = report.plan.clone().unwrap().steps;
    assert_eq!(steps[0], format!("keep what stands here in {BEFORE}"));
    assert_eq!(steps.last().unwrap(), &format!("note in {RELOADED} what sshd has read"));
    let facts = report.facts_of::<SshAccess>().unwrap();
    let desired = SshAccess::desired(&section());
    let lost: Vec<_> =
        matrix::lost(&desired, &facts, host.now().wall).iter().map(ToString::to_string).collect();
    assert_eq!(lost, ["app by password", "app (key in /home/app/.ssh/authorized_keys:1) from 10.0.0.0/8"]);
    assert_eq!(matrix::after(&desired, &facts, host.now().wall).len(), 3);
    assert_eq!(found(&report.findings, "unmanaged-key").weight, Weight::Drift, "sshd reads it now");
}

#[test]
fn after_enforcing_the_matrix_is_the_policy() {
    let facts = facts(&enforced());
    let ways: Vec<_> = matrix::now(&facts).iter().map(ToString::to_string).collect();
    assert_eq!(ways.len(), 3, "{ways:?}");
    assert!(ways.iter().all(|w| w.contains(KEYS)), "{ways:?}");
    let desired = SshAccess::desired(&section());
    assert_eq!(matrix::lost(&desired, &facts, "2026-11-22T12:00:00Z".parse().unwrap()), []);
}

#[test]
fn a_plan_that_locks_everybody_out_is_refused_before_a_write() {
    let missing = |s: &mut SshAccessSection| {
        s.logins.iter_mut().for_each(|l| l.account = UnixUser::new("nobody-here").unwrap())
    };
    let ended = |s: &mut SshAccessSection| {
        s.logins.iter_mut().for_each(|l| l.until = "2026-11-01T00:00:00Z".parse().unwrap())
    };
    let machines = |s: &mut SshAccessSection| s.logins.retain(|l| l.command.is_some());
    let others = |s: &mut SshAccessSection| s.management = vec![PersonName::new("somebody-else").unwrap()];
    let unwritable =
        |s: &mut SshAccessSection| s.logins.iter_mut().for_each(|l| l.keys = vec!["ssh-ed25519 x".into()]);
    let table: [(&str, Change<'_>); 5] = [
        ("does not exist", &missing),
        ("ended 2026-11-01", &ended),
        ("no login of management", &machines),
        ("no login of management", &others),
        ("cannot be written", &unwritable),
    ];
    for (part, change) in table {
        let host = FakeHost::debian();
        let mut section = section();
        change(&mut section);
        let report = turn(&host, &section, Mode::Enforce);
        let refusal = report.refusal.expect("it is refused");
        assert_eq!((refusal.kind.as_str(), report.verdict), ("no-way-in", Verdict::Drifted));
        assert!(refusal.what.contains(part), "{part}: {}", refusal.what);
        assert_eq!(host.writes(), 0);
    }
}

#[test]
fn a_configuration_that_does_not_read_the_drop_in_is_refused() {
    for main in ["UsePAM yes\n", "Match User x\nInclude /etc/ssh/sshd_config.d/*.conf\n"] {
        let host = FakeHost::debian();
        host.write_as(config::MAIN, main, 0, 0o644);
        assert_eq!(enforce(&host).refusal.expect("refused").kind, "drop-in-not-read");
        assert_eq!(host.writes(), 0);
    }
}

const CLOSED: [(u32, u32); 4] = [(0, 0o700), (0, 0o777), (7, 0o755), (0, 0o775)];

#[test]
fn directories_below_which_sshd_believes_no_key_are_refused_at_first_and_our_own_opened() {
    for (uid, mode) in CLOSED {
        let host = FakeHost::debian();
        host.place("/etc/ssh", NodeKind::Dir, uid);
        host.chmod("/etc/ssh", uid, mode);
        let report = enforce(&host);
        let refusal = report.refusal.expect("refused");
        assert_eq!((refusal.kind.as_str(), host.writes()), ("directory-untrusted", 0));
        assert!(refusal.what.contains("chmod 755 /etc/ssh"), "{}", refusal.what);
        // A first change that was killed when it had made the directory leaves one that nobody passes.
        for path in ["/etc/ssh/tenure", KEYS] {
            let host = FakeHost::debian();
            host.place(path, NodeKind::Dir, uid);
            host.chmod(path, uid, mode);
            let report = proved_by(&host, &section(), MARIT);
            assert_eq!(
                (report.verdict, report.refusal),
                (Verdict::Remediated, None),
                "{path} {uid} {mode:o}"
            );
            assert!(host.lets_in("admin", MARIT, OFFICE), "{path} {uid} {mode:o}");
        }
    }
}

#[test]
fn directories_that_keep_every_key_out_are_opened_again() {
    for path in ["/etc/ssh", "/etc/ssh/tenure", KEYS] {
        for (uid, mode) in CLOSED {
            let what = format!("{path} {uid} {mode:o}");
            let host = enforced();
            assert!(host.lets_in("admin", MARIT, OFFICE), "{what}");
            host.place(path, NodeKind::Dir, uid);
            host.chmod(path, uid, mode);
            host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
            assert!(!host.lets_in("admin", MARIT, OFFICE), "{what}");
            let report = enforce(&host);
            assert_eq!((report.verdict, report.refusal), (Verdict::Remediated, None), "{what}");
            assert_eq!(found(&report.mended, "directory-untrusted").place, path);
            assert_eq!(found(&report.mended, "drop-in-changed").place, DROP_IN, "{what}");
            assert!(host.lets_in("admin", MARIT, OFFICE), "{what}");
        }
    }
    // What is above is none of ours: it is told, and keeps nothing else from being restored.
    let host = enforced();
    host.place("/etc", NodeKind::Dir, 0);
    host.chmod("/etc", 0, 0o700);
    host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
    let report = enforce(&host);
    assert_eq!(found(&report.mended, "drop-in-changed").place, DROP_IN);
    assert_eq!(found(&report.findings, "directory-untrusted").place, "/etc");
}

#[test]
fn who_may_write_the_accounts_or_links_to_them_does_not_switch_the_area_off() {
    for path in ["/etc/passwd", "/etc/shadow"] {
        for (uid, mode, links) in [(0, 0o664, false), (7, 0o644, false), (0, 0o640, true)] {
            let host = enforced();
            host.chmod(path, uid, mode);
            if links {
                host.hard_link(path);
            }
            host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
            let report = enforce(&host);
            let what = format!("{path} {uid} {mode:o} {links}");
            assert_eq!(report.unknown, None, "{what}");
            assert_eq!(found(&report.mended, "drop-in-changed").place, DROP_IN, "{what}");
            let told = report.findings.iter().any(|f| f.kind == "untrusted-file" && f.place == path);
            assert_eq!(told, !links, "{what}: {:#?}", report.findings);
        }
    }
}

#[test]
fn a_missing_account_is_named_and_its_keys_wait() {
    let host = FakeHost::debian();
    let mut section = section();
    section.logins.push(login("late", "later", EVIL, &["203.0.113.0/24"], None));
    let report = proved_by(&host, &section, MARIT);
    assert_eq!(report.verdict, Verdict::Drifted);
    assert_eq!(found(&report.findings, "account-missing").place, "later");
    assert!(host.content(&format!("{KEYS}/later")).is_none());
    assert!(host.lets_in("admin", MARIT, OFFICE), "the others are not made to wait");
}

#[test]
fn a_login_ends_by_itself_and_its_key_goes() {
    let host = FakeHost::debian();
    let mut section = section();
    section.logins[1].until = "2026-11-22T13:00:00Z".parse().unwrap();
    let _ = proved_by(&host, &section, MARIT);
    assert!(host.lets_in("admin", MARIT, OFFICE));
    host.advance_ms(3_600_001);
    assert!(!host.lets_in("admin", MARIT, OFFICE), "sshd itself knows the end");
    let report = turn(&host, &section, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Remediated);
    assert_eq!(found(&report.findings, "login-ended").weight, Weight::Note);
    assert!(!String::from_utf8(host.content(&format!("{KEYS}/admin")).unwrap()).unwrap().contains("marit"));
    assert!(host.lets_in("admin", JEROEN, OFFICE));
}

#[test]
fn files_that_are_not_to_be_trusted_are_told_and_not_followed() {
    let host = enforced();
    let line = format!("{EVIL} x\n");
    host.write_as("/home/admin/.ssh/authorized_keys", &line, 1000, 0o600);
    host.hard_link("/home/admin/.ssh/authorized_keys");
    host.place("/home/deploy/.ssh/authorized_keys", NodeKind::Fifo, 1001);
    host.place("/home/app/.ssh", NodeKind::Symlink("/root/.ssh".into()), 1002);
    host.write_as("/root/.ssh/authorized_keys2", format!("\n{EVIL} \u{1b}[2J\u{202e}x\n"), 0, 0o600);
    let report = enforce(&host);
    let untrusted: Vec<_> =
        report.findings.iter().filter(|f| f.kind == "untrusted-file").map(|f| f.place.as_str()).collect();
    assert_eq!(
        untrusted,
        [
            "/home/admin/.ssh/authorized_keys",
            "/home/app/.ssh/authorized_keys",
            "/home/app/.ssh/authorized_keys2",
            "/home/deploy/.ssh/authorized_keys"
        ]
    );
    let key = found(&report.findings, "unmanaged-key");
    assert_eq!(key.place, "/root/.ssh/authorized_keys2:2");
    assert!(key.what.contains("\\u{1b}[2J\\u{202e}x"), "{}", key.what);
}

#[test]
fn a_drop_in_that_sshd_does_not_accept_is_taken_back() {
    let host = enforced();
    let old = host.content(DROP_IN).unwrap();
    host.write_as("/etc/ssh/sshd_config.d/90-broken.conf", "NoSuchThing x\n", 0, 0o644);
    let mut section = section();
    section.logins[1].from.push("198.51.100.0/24".parse().unwrap());
    let report = turn(&host, &section, Mode::Enforce);
    assert_eq!(report.verdict, Verdict::Drifted);
    assert!(
        report.done.iter().any(|d| d.error.as_ref().is_some_and(|e| e.contains("Bad configuration option")))
    );
    assert_eq!(host.content(DROP_IN).unwrap(), old);
    assert!(host.lets_in("admin", MARIT, OFFICE));
    host.delete("/etc/ssh/sshd_config.d/90-broken.conf");
    assert_eq!(turn(&host, &section, Mode::Enforce).verdict, Verdict::Remediated);
    assert!(host.lets_in("admin", MARIT, NEW_OFFICE));

    let fresh = FakeHost::debian();
    fresh.write_as("/etc/ssh/sshd_config.d/90-broken.conf", "NoSuchThing x\n", 0, 0o644);
    assert_eq!(enforce(&fresh).verdict, Verdict::Drifted);
    assert!(fresh.content(DROP_IN).is_none());
}

#[test]
fn a_broken_configuration_does_not_switch_enforcement_off() {
    let host = enforced();
    host.write_as(DROP_IN, "NoSuchThing x\n", 0, 0o644);
    assert_eq!(enforce(&host).verdict, Verdict::Remediated);
    host.chmod(config::MAIN, 0, 0o666);
    host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
    let report = enforce(&host);
    assert_eq!(report.verdict, Verdict::Drifted);
    assert_eq!(found(&report.findings, "untrusted-file").place, config::MAIN);
    assert!(report.mended.iter().any(|f| f.kind == "drop-in-changed"));
}

#[test]
fn lift_gives_back_what_stood_here() {
    for stood in [None, Some("# mine\nPasswordAuthentication yes\n")] {
        let host = FakeHost::debian();
        if let Some(text) = stood {
            host.write_as(DROP_IN, text, 0, 0o640);
        }
        let before = host.all_files();
        assert_eq!(proved(&host).verdict, Verdict::Remediated);
        let desired = SshAccess::desired(&section());
        let plan = SshAccess::lift(&desired, &SshAccess::observe(&host, &desired).unwrap());
        let done = SshAccess::act(&Approved::by_guard(plan), &host).done;
        assert!(done.iter().all(|d| d.error.is_none()), "{done:?}");
        let files = |mut all: std::collections::BTreeMap<String, crate::fake::Node>| {
            all.retain(|_, node| node.kind != NodeKind::Dir);
            all.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(files(host.all_files()), files(before), "empty directories may stay");
        assert_eq!(host.content(DROP_IN).as_deref(), stood.map(str::as_bytes));
        let mode = host.stat(&crate::port::Beneath::of(DROP_IN)).ok().map(|stat| stat.mode);
        assert_eq!(mode, stood.map(|_| 0o640), "with the permissions that it had");
        assert!(host.lets_in_by_password("app", STRANGER), "sshd has read it");
        assert!(SshAccess::lift(&desired, &SshAccess::observe(&host, &desired).unwrap()).is_empty());
    }
}

#[test]
fn revoked_keys_are_gone_at_once_when_a_proved_way_in_stays() {
    let host = FakeHost::debian();
    let _ = proved_by(&host, &section(), JEROEN);
    let mut next = section();
    next.logins[1].keys = vec![EVIL.into()];
    host.kill_before_write(2);
    let _ = turn(&host, &next, Mode::Enforce);
    assert!(!host.lets_in("admin", MARIT, OFFICE), "the first write already takes the old key away");
    assert!(host.lets_in("admin", JEROEN, OFFICE));
}

#[test]
fn commands_are_quoted_so_that_sshd_reads_them_as_meant() {
    for command in ["/bin/x", "a \"b\" c", r#"a\"b"#, r"c:\dir\x", "x, y=\"z\""] {
        let lines = render::lines(&login("m", "deploy", BOT, &["10.0.0.0/8"], Some(command)));
        let line = keys::parse_line(lines[0].as_bytes()).unwrap();
        assert_eq!(line.option("command"), Some(command), "{}", lines[0]);
        assert_eq!(line.option("from"), Some("10.0.0.0/8"));
        assert_eq!(line.option("expiry-time"), Some("20270630000000Z"));
        assert!(line.option("pty").is_none());
    }
    for command in ["", "a\nb", "ends with \\", "nul\0"] {
        assert_eq!(
            render::lines(&login("m", "deploy", BOT, &["10.0.0.0/8"], Some(command))),
            Vec::<String>::new()
        );
    }
}

#[test]
fn logins_of_management_are_told_30_days_before_they_end_and_are_no_drift() {
    let host = enforced();
    let told = |wall: &str, section: &SshAccessSection| {
        let facts = SshAccess::observe(&host, &SshAccess::desired(section)).expect("facts");
        let now = Now { wall: wall.parse().unwrap(), ..host.now() };
        let findings = SshAccess::plan(&SshAccess::desired(section), &facts, &now).findings;
        findings.into_iter().filter(|f| f.kind == "login-ends").collect::<Vec<Finding>>()
    };
    let section = section();
    assert_eq!(told("2027-05-30T23:59:59Z", &section), []);
    let soon = told("2027-05-31T00:00:00Z", &section);
    assert_eq!(
        soon.iter().map(|f| f.place.as_str()).collect::<Vec<_>>(),
        ["base/ssh/jeroen", "base/ssh/marit"]
    );
    assert!(soon.iter().all(|f| f.weight == Weight::Note), "the host is as the policy says: {soon:#?}");
    assert!(soon[1].what.contains("marit as admin") && soon[1].what.contains("2027-06-30"), "{soon:#?}");
    // What it says stays the same from day to day: no record a day.
    assert_eq!(told("2027-06-29T00:00:00Z", &section), soon);
    assert_eq!(told("2027-06-30T00:00:00Z", &section), [], "they have ended, which is told as that");
    // Only management's: who else ends is nobody's way in.
    let only = SshAccessSection { management: vec![PersonName::new("marit").unwrap()], ..section };
    let whose = told("2027-06-01T00:00:00Z", &only);
    assert_eq!(whose.iter().map(|f| f.place.as_str()).collect::<Vec<_>>(), ["base/ssh/marit"]);
}
