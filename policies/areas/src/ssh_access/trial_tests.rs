//! A change of who gets in on trial: old and new ways side by side, and what ends it.

use tenure_policy::names::UnixUser;
use tenure_policy::resolved::{Mode, SshAccessSection};

use super::state::{PROVED, Proved, REFUSED, TRIAL};
use super::tests::*;
use super::*;
use crate::area::Weight;
use crate::fake::FakeHost;
use crate::pass::{Report, Verdict};

fn step(host: &FakeHost, section: &SshAccessSection) -> Report {
    turn(host, section, Mode::Enforce)
}

fn proved(host: &FakeHost) -> Proved {
    serde_json::from_slice(&host.content(PROVED).expect("it is written down")).expect("whole")
}

/// Files of others and of ours but for what the agent remembers.
fn places(host: &FakeHost) -> Vec<(String, Vec<u8>)> {
    let mine = |path: &String| path.starts_with("/var/lib/tenure/");
    let names = host.all_files().into_keys().filter(|path| !mine(path));
    names.filter_map(|path| Some((path.clone(), host.content(&path)?))).collect()
}

/// A host with people on it: admin by a key at home, app by a password, root by a key.
fn lived_in() -> FakeHost {
    let host = FakeHost::debian();
    host.write_as("/home/admin/.ssh/authorized_keys", format!("{EVIL} old\n"), 1000, 0o600);
    host.write_as("/root/.ssh/authorized_keys", format!("{EVIL} old\n"), 0, 0o600);
    host
}

fn old_ways(host: &FakeHost) -> [bool; 3] {
    [
        host.lets_in("admin", EVIL, STRANGER),
        host.lets_in("root", EVIL, STRANGER),
        host.lets_in_by_password("app", STRANGER),
    ]
}

#[test]
fn both_ways_are_open_until_somebody_of_management_is_in_by_the_new_one() {
    let host = lived_in();
    let begun = step(&host, &section());
    assert_eq!(begun.verdict, Verdict::Pending, "{begun:#?}");
    let pending = begun.pending.expect("on trial");
    assert_eq!(pending.until.to_string(), "2026-11-22T12:01:00Z");
    let next = pending.next.expect("somebody must come");
    assert!(next.contains("marit as admin by SHA256:") && next.contains("from 203.0.113.0/24"), "{next}");
    assert_eq!(old_ways(&host), [true; 3]);
    assert!(host.lets_in("admin", MARIT, OFFICE) && host.lets_in("deploy", BOT, "203.0.113.40"));
    assert!(!host.lets_in("admin", MARIT, STRANGER), "the new way is only open as the policy says");
    // None of these is a login of management by a key of the policy.
    assert!(host.log_in("admin", EVIL, OFFICE), "by the old key");
    assert!(host.log_in("root", EVIL, STRANGER), "as root, by the old key");
    assert!(host.log_in("deploy", BOT, "203.0.113.40"), "a machine");
    host.write_journal_as(
        1000,
        "/usr/bin/logger",
        "Accepted publickey for admin from 203.0.113.9 port 1 ssh2: x",
    );
    host.advance_ms(5000);
    let waits = step(&host, &section());
    assert_eq!((waits.verdict, waits.done.len()), (Verdict::Pending, 0), "{waits:#?}");
    assert_eq!(old_ways(&host), [true; 3]);

    assert!(host.log_in("admin", MARIT, OFFICE));
    assert_eq!(step(&host, &section()).verdict, Verdict::Pending);
    assert_eq!(old_ways(&host), [false; 3], "closed at once");
    host.advance_ms(1000);
    let report = step(&host, &section());
    assert_eq!(report.verdict, Verdict::Remediated, "{report:#?}");
    let by = proved(&host).by;
    assert_eq!((by.len(), by[0].who.as_str(), by[0].from.to_string().as_str()), (1, "marit", OFFICE));
    assert!(host.content(TRIAL).is_none());
    assert_eq!(step(&host, &section()).verdict, Verdict::Compliant);
}

#[test]
fn the_same_key_at_home_is_no_proof_when_the_policy_has_it_from_elsewhere() {
    let host = FakeHost::debian();
    host.write_as("/home/admin/.ssh/authorized_keys", format!("{MARIT} marit\n"), 1000, 0o600);
    let mut wrong = section();
    wrong.logins.retain(|l| l.who.as_str() == "marit");
    wrong.logins[0].from = vec!["198.51.100.0/24".parse().unwrap()];
    let before = places(&host);
    assert_eq!(step(&host, &wrong).verdict, Verdict::Pending);
    assert!(host.log_in("admin", MARIT, OFFICE), "by the key at home");
    host.advance_ms(59_000);
    assert_eq!(step(&host, &wrong).verdict, Verdict::Pending);
    host.advance_ms(1_000);
    let over = step(&host, &wrong);
    assert_eq!(over.verdict, Verdict::Drifted, "{over:#?}");
    assert_eq!(places(&host), before, "exactly what stood there");
    let finding = found(&over.findings, "trial-refused");
    assert_eq!(finding.weight, Weight::Drift);
    assert!(finding.what.contains("from 198.51.100.0/24"), "{}", finding.what);
    assert!(host.lets_in("admin", MARIT, OFFICE) && host.lets_in_by_password("app", STRANGER));
    // Not again by itself, whatever happens; again when an operator asks, or with another policy.
    for _ in 0..3 {
        host.advance_ms(600_000);
        let writes = host.writes();
        assert_eq!((step(&host, &wrong).verdict, host.writes()), (Verdict::Drifted, writes));
    }
    assert_eq!(step(&host, &section()).verdict, Verdict::Pending);
    let _ = step(&host, &wrong);
    host.delete(REFUSED);
    let _ = step(&host, &wrong);
    assert_eq!(step(&host, &wrong).verdict, Verdict::Pending);
}

#[test]
fn a_key_that_sshd_found_elsewhere_than_in_our_file_proves_nothing() {
    let host = FakeHost::debian();
    host.write_as("/home/admin/.ssh/authorized_keys", format!("{MARIT} marit\n"), 1000, 0o600);
    // Somebody's block before ours: sshd never looks into our directory, whatever the trial writes.
    host.write_as(
        "/etc/ssh/sshd_config.d/00-a.conf",
        "Match User admin\n  AuthorizedKeysFile .ssh/authorized_keys\n  LogLevel VERBOSE\n",
        0,
        0o644,
    );
    assert_eq!(step(&host, &section()).verdict, Verdict::Pending);
    assert!(host.log_in("admin", MARIT, OFFICE), "by the key at home");
    let waits = step(&host, &section());
    assert_eq!(waits.verdict, Verdict::Pending, "{waits:#?}");
    host.advance_ms(60_000);
    assert_eq!(step(&host, &section()).verdict, Verdict::Drifted);
    assert!(host.lets_in("admin", MARIT, OFFICE), "who would have been locked out still gets in");
}

#[test]
fn what_takes_nothing_away_needs_no_trial_and_what_does_needs_one() {
    let office = "203.0.113.0/24";
    let wider = |s: &mut SshAccessSection| s.logins[1].from.push("198.51.100.0/24".parse().unwrap());
    let another = |s: &mut SshAccessSection| s.logins.push(login("eva", "app", EVIL, &[office], None));
    let longer = |s: &mut SshAccessSection| s.logins[1].until = "2028-01-01T00:00:00Z".parse().unwrap();
    let revoked = |s: &mut SshAccessSection| drop(s.logins.remove(0));
    let narrower = |s: &mut SshAccessSection| s.logins[1].from = vec!["203.0.113.40/32".parse().unwrap()];
    let key = |s: &mut SshAccessSection| s.logins[1].keys = vec![EVIL.into()];
    let account = |s: &mut SshAccessSection| s.logins[1].account = UnixUser::new("app").unwrap();
    let shorter = |s: &mut SshAccessSection| s.logins[1].until = "2026-12-01T00:00:00Z".parse().unwrap();
    let not_hers = |s: &mut SshAccessSection| s.management.retain(|who| who.as_str() != "marit");
    // marit alone was seen: what leaves her way as it is is done at once.
    let table: [(&str, Change<'_>, Verdict); 9] = [
        ("wider", &wider, Verdict::Remediated),
        ("another", &another, Verdict::Remediated),
        ("longer", &longer, Verdict::Remediated),
        ("somebody else revoked", &revoked, Verdict::Remediated),
        ("narrower", &narrower, Verdict::Pending),
        ("another key", &key, Verdict::Pending),
        ("another account", &account, Verdict::Pending),
        ("shorter", &shorter, Verdict::Remediated),
        ("no longer management", &not_hers, Verdict::Remediated),
    ];
    for (name, change, verdict) in table {
        let host = enforced();
        let mut next = section();
        change(&mut next);
        let report = step(&host, &next);
        assert_eq!(report.verdict, verdict, "{name}: {report:#?}");
        assert_eq!(host.content(TRIAL).is_some(), verdict == Verdict::Pending, "{name}");
        assert!(host.lets_in("admin", MARIT, OFFICE), "{name}: her old way");
        if verdict == Verdict::Remediated {
            assert_eq!(proved(&host).section.logins, next.logins, "{name}");
        }
    }
}

/// A login speaks for its key for 30 days.
#[test]
fn a_login_of_long_ago_does_not_speak_for_a_key() {
    let mut next = section();
    next.logins.remove(0);
    for (days, verdict) in [(29, Verdict::Remediated), (31, Verdict::Pending)] {
        let host = enforced();
        host.advance_ms(days * 24 * 3_600_000);
        assert_eq!(step(&host, &next).verdict, verdict, "{days} days");
    }
}

#[test]
fn a_changed_section_goes_back_to_the_one_in_force_and_that_is_kept() {
    let host = enforced();
    let before = places(&host);
    let mut lost = section();
    lost.logins.retain(|l| l.who.as_str() == "marit");
    lost.logins[0].keys = vec![EVIL.into()];
    assert_eq!(step(&host, &lost).verdict, Verdict::Pending);
    assert!(host.lets_in("admin", MARIT, OFFICE) && host.lets_in("admin", EVIL, OFFICE));
    assert!(!host.lets_in_by_password("app", STRANGER), "what was closed before stays closed");
    assert!(host.log_in("admin", MARIT, OFFICE), "by the key that is to go");
    host.advance_ms(60_000);
    let over = step(&host, &lost);
    assert_eq!((over.verdict, places(&host)), (Verdict::Drifted, before.clone()), "{over:#?}");
    assert!(!host.lets_in("admin", EVIL, OFFICE));
    // The section in force is kept against drift meanwhile.
    host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
    host.reload_sshd();
    let restored = step(&host, &lost);
    assert_eq!(restored.verdict, Verdict::Drifted);
    assert!(restored.mended.iter().any(|f| f.kind == "drop-in-changed"), "{restored:#?}");
    assert_eq!(places(&host), before);
}

#[test]
fn a_policy_changed_during_a_trial_takes_it_back_and_the_newest_is_tried() {
    let host = lived_in();
    let mut other = section();
    other.logins.remove(0);
    assert_eq!(step(&host, &section()).verdict, Verdict::Pending);
    host.advance_ms(1000);
    let _ = step(&host, &other);
    assert_eq!(old_ways(&host), [true; 3]);
    assert!(host.content(REFUSED).is_none() && host.content(DROP_IN).is_none());
    assert_eq!(step(&host, &other).verdict, Verdict::Pending);
    assert!(!host.lets_in("admin", JEROEN, OFFICE), "only the newest is tried");
    host.log_in("admin", MARIT, OFFICE);
    let _ = step(&host, &other);
    host.advance_ms(1000);
    assert_eq!(step(&host, &other).verdict, Verdict::Remediated);
}

#[test]
fn a_second_look_that_finds_the_way_in_cut_opens_the_old_ways_again() {
    let host = lived_in();
    let before = places(&host);
    let _ = step(&host, &section());
    host.log_in("admin", MARIT, OFFICE);
    let _ = step(&host, &section());
    assert_eq!(old_ways(&host), [false; 3]);
    host.write_as("/etc/ssh/sshd_config.d/50-x.conf", "DenyUsers admin\n", 0, 0o644);
    host.advance_ms(1000);
    let report = step(&host, &section());
    assert_eq!(report.verdict, Verdict::Drifted, "{report:#?}");
    assert!(found(&report.findings, "trial-refused").what.contains("AllowUsers or DenyUsers"));
    host.delete("/etc/ssh/sshd_config.d/50-x.conf");
    assert_eq!(places(&host), before);
    host.reload_sshd();
    assert_eq!(old_ways(&host), [true; 3]);
}

#[test]
fn a_second_look_on_a_full_disk_opens_the_old_ways_again() {
    let host = lived_in();
    let _ = step(&host, &section());
    host.log_in("admin", MARIT, OFFICE);
    let _ = step(&host, &section());
    assert_eq!(old_ways(&host), [false; 3]);
    host.write_as("/etc/ssh/sshd_config.d/50-x.conf", "DenyUsers admin\n", 0, 0o644);
    host.fill_disk_before_write(1);
    for _ in 0..3 {
        host.advance_ms(1000);
        let report = step(&host, &section());
        assert_eq!(report.verdict, Verdict::Drifted, "{report:#?}");
        assert_eq!(old_ways(&host), [false, true, true], "the others than whom somebody else keeps out");
    }
    assert!(host.content(REFUSED).is_none() && host.content(TRIAL).is_some());
    // With room again it is given up for good.
    host.revive();
    for _ in 0..3 {
        host.advance_ms(1000);
        let _ = step(&host, &section());
    }
    assert!(host.content(REFUSED).is_some() && host.content(TRIAL).is_none());
    assert_eq!(old_ways(&host), [false, true, true]);
}

#[test]
fn during_a_trial_what_others_change_is_put_side_by_side_again() {
    let host = lived_in();
    let _ = step(&host, &section());
    let beside = host.content(DROP_IN).unwrap();
    host.write_as(DROP_IN, "DenyUsers *\n", 0, 0o644);
    host.delete(&format!("{KEYS}/admin"));
    host.write_as(&format!("{KEYS}/app"), format!("{EVIL}\n"), 0, 0o644);
    let report = step(&host, &section());
    assert_eq!(report.verdict, Verdict::Pending, "{report:#?}");
    assert!(report.mended.iter().any(|f| f.kind == "trial-disturbed"));
    assert_eq!(host.content(DROP_IN).unwrap(), beside);
    assert!(host.content(&format!("{KEYS}/app")).is_none());
    assert!(host.lets_in("admin", MARIT, OFFICE));
}

#[test]
fn the_old_configuration_stays_in_force_to_the_letter() {
    let host = FakeHost::debian();
    host.write_as(
        config::MAIN,
        "Include /etc/ssh/sshd_config.d/*.conf\nAuthorizedKeysFile /etc/keys/%u\nAllowUsers app root@192.0.2.*\nPermitRootLogin no\n\
         AuthenticationMethods publickey,password\n",
        0,
        0o644,
    );
    host.reload_sshd();
    host.write_as("/etc/keys/admin", format!("{EVIL}\n"), 0, 0o644);
    let mut section = section();
    section.logins.push(login("eva", "root", EVIL, &["203.0.113.0/24"], None));
    let _ = step(&host, &section);
    let text = String::from_utf8(host.content(DROP_IN).unwrap()).unwrap();
    assert_eq!(
        text,
        format!(
            "{}\n\
             Match User admin Address 203.0.113.0/24,2001:db8:10::/48\n\
             \u{20} LogLevel VERBOSE\n  PubkeyAuthentication yes\n  AuthorizedKeysFile /etc/ssh/tenure/keys/%u /etc/keys/%u\n\
             \u{20} AllowUsers admin\n  AuthenticationMethods publickey publickey,password\n\
             Match User deploy Address 203.0.113.40/32\n\
             \u{20} LogLevel VERBOSE\n  PubkeyAuthentication yes\n  AuthorizedKeysFile /etc/ssh/tenure/keys/%u /etc/keys/%u\n\
             \u{20} AllowUsers deploy\n  AuthenticationMethods publickey publickey,password\n\
             Match User root Address 203.0.113.0/24\n\
             \u{20} LogLevel VERBOSE\n  PubkeyAuthentication yes\n  AuthorizedKeysFile /etc/ssh/tenure/keys/%u /etc/keys/%u\n\
             \u{20} AllowUsers root\n  AuthenticationMethods publickey publickey,password\n  PermitRootLogin prohibit-password\n",
            beside::MARK
        )
    );
    assert!(host.lets_in("root", EVIL, OFFICE) && host.lets_in("admin", MARIT, OFFICE));
    assert!(!host.lets_in("admin", MARIT, STRANGER) && !host.lets_in("root", EVIL, STRANGER));
}

#[test]
fn a_trial_whose_record_is_lost_begins_anew_and_goes_back_to_what_was_kept() {
    let host = lived_in();
    host.write_as(DROP_IN, "# mine\n", 0, 0o640);
    let before = places(&host);
    let _ = step(&host, &section());
    host.write_as(TRIAL, "{\"section\":", 0, 0o600);
    let broken = step(&host, &section());
    assert!(broken.findings.iter().all(|f| f.kind != "trial-refused"), "{broken:#?}");
    host.advance_ms(60_000);
    let _ = step(&host, &section());
    assert_eq!(places(&host), before);
    assert_eq!(old_ways(&host), [true; 3]);
}

#[test]
fn lost_state_of_a_host_that_is_as_it_should_be_is_written_down_again() {
    let host = enforced();
    host.delete(PROVED);
    assert_eq!(step(&host, &section()).verdict, Verdict::Remediated);
    assert!(proved(&host).by.is_empty());
    assert_eq!(step(&host, &section()).verdict, Verdict::Compliant);
}

#[test]
fn a_lift_during_a_trial_leaves_nothing_of_it() {
    let host = lived_in();
    let before = places(&host);
    let _ = step(&host, &section());
    let desired = SshAccess::desired(&section());
    let plan = SshAccess::lift(&desired, &SshAccess::observe(&host, &desired).unwrap());
    let done = SshAccess::act(&Approved::by_guard(plan), &host).done;
    assert!(done.iter().all(|d| d.error.is_none()), "{done:?}");
    assert_eq!(places(&host), before);
    assert!([TRIAL, PROVED, REFUSED, BEFORE].iter().all(|path| host.content(path).is_none()));
}

#[test]
fn without_a_journal_nobody_is_seen_and_nothing_is_closed() {
    let host = lived_in();
    let _ = step(&host, &section());
    host.log_in("admin", MARIT, OFFICE);
    host.refuse_to_answer("SshdJournal", "no journal files were found");
    let report = step(&host, &section());
    assert_eq!(report.verdict, Verdict::Unknown, "{report:#?}");
    assert!(found(&report.findings, "journal-unread").what.contains("no journal files"));
    assert_eq!(old_ways(&host), [true; 3]);
    host.advance_ms(60_000);
    assert_eq!(step(&host, &section()).verdict, Verdict::Drifted);
    assert_eq!(old_ways(&host), [true; 3]);
}

/// sshd reads late: a file that somebody breaks after the test ends it, and that is told and not taken for done.
#[test]
fn an_sshd_that_did_not_come_back_is_told_until_it_has_read_what_was_put() {
    let host = enforced();
    let broken = "/etc/ssh/sshd_config.d/90-broken.conf";
    host.write_as(DROP_IN, "PasswordAuthentication yes\n", 0, 0o644);
    host.spoil_next_reload(broken, "NoSuchThing x\n");
    let report = step(&host, &section());
    assert_eq!(report.verdict, Verdict::Drifted, "{report:#?}");
    assert!(report.done.iter().any(|d| d.error.as_ref().is_some_and(|e| e.contains("does not listen"))));
    assert_eq!(found(&report.findings, "not-reloaded").weight, Weight::Drift);
    assert!(!host.lets_in("admin", MARIT, OFFICE), "it has ended");
    let report = step(&host, &section());
    assert!(report.done.iter().any(|d| d.error.as_ref().is_some_and(|e| e.contains("Bad configuration"))));
    host.delete(broken);
    assert_eq!(step(&host, &section()).verdict, Verdict::Remediated);
    assert!(host.lets_in("admin", MARIT, OFFICE));
}
