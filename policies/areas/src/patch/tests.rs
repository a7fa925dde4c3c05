//! The area against the fake host, through weeks.

use tenure_policy::resolved::{Mode, PatchSection};

use super::*;
use crate::area::{Finding, Weight};
use crate::fake::{FakeHost, FakePackage};
use crate::pass::{Report, Verdict, pass};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const LIST: &str = "/var/lib/apt/lists/deb.debian.org_debian-security_dists_bookworm-security_InRelease";

pub(crate) fn section() -> PatchSection {
    PatchSection {
        security_within_seconds: 7 * 86_400,
        reboot_within_seconds: 14 * 86_400,
        lists_within_seconds: 2 * 86_400,
    }
}

fn turn(host: &FakeHost) -> Report {
    pass::<Patch>(&section(), Mode::Observe, host, host, &|| host.now())
}

fn refreshed(host: &FakeHost) {
    host.write_as(LIST, "", 0, 0o644);
}

fn package(name: &str, version: &str, candidate: Option<(&str, &str)>) -> FakePackage {
    let candidate = candidate.map(|(v, o)| (v.to_owned(), o.to_owned()));
    FakePackage { name: name.into(), version: version.into(), candidate }
}

const SECURITY: &str = "Debian-Security:12/stable-security";

fn find<'a>(report: &'a Report, kind: &str) -> &'a Finding {
    report
        .findings
        .iter()
        .find(|f| f.kind == kind)
        .unwrap_or_else(|| panic!("no {kind}: {:#?}", report.findings))
}

#[test]
fn a_current_host_is_compliant_and_nothing_is_written() {
    let host = FakeHost::debian();
    let report = turn(&host);
    assert_eq!((report.verdict, host.writes()), (Verdict::Compliant, 0));
    assert_eq!(report.facts_of::<Patch>().unwrap().installed, 4);
}

#[test]
fn an_update_waits_then_is_overdue_then_done() {
    let host = FakeHost::debian();
    host.set_packages(vec![package("openssl", "3.0.14-1", Some(("3.0.15-1", SECURITY)))]);
    let first = turn(&host);
    assert_eq!(first.verdict, Verdict::Compliant);
    assert_eq!(find(&first, "security-waiting").at, Some(host.now().wall));
    let writes = host.writes();
    assert!(turn(&host).repeats(&first), "a second look has nothing new");
    assert_eq!(host.writes(), writes, "and remembers nothing anew");

    host.advance_ms(6 * DAY);
    refreshed(&host);
    // Another candidate comes: the age goes on, for the hole is as old as before.
    host.set_packages(vec![package("openssl", "3.0.14-1", Some(("3.0.16-1", SECURITY)))]);
    assert_eq!(turn(&host).verdict, Verdict::Compliant);
    host.advance_ms(DAY + 1000);
    let report = turn(&host);
    assert_eq!(report.verdict, Verdict::Drifted);
    let overdue = find(&report, "security-overdue");
    assert!(
        overdue
            .what
            .contains("3.0.14-1 → 3.0.16-1 waits for at least 7 d of 7 d: install it (first seen here on"),
        "{}",
        overdue.what
    );

    host.set_packages(vec![package("openssl", "3.0.16-1", None)]);
    assert_eq!(turn(&host).verdict, Verdict::Compliant);
    assert!(String::from_utf8(host.content(SEEN).unwrap()).unwrap().contains("\"upgrades\":{}"));
    // The next update is new, whatever was seen before.
    host.set_packages(vec![package("openssl", "3.0.16-1", Some(("3.0.17-1", SECURITY)))]);
    assert_eq!(turn(&host).verdict, Verdict::Compliant);
}

fn list_of(host: &FakeHost, suite: &str, date: &str) {
    let head =
        format!("Label: Debian-Security\nSuite: {suite}\nVersion: 12\nDate: {date}\nSHA256:\n 0 0 x\n");
    host.write_as(LIST, &head, 0, 0o644);
}

#[test]
fn an_update_is_at_least_as_old_as_the_list_that_has_it() {
    let host = FakeHost::debian();
    let (now, later) = (host.now().wall, |days: i64| jiff::SignedDuration::from_hours(days * 24));
    let text = |at: jiff::Timestamp| at.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
    host.set_packages(vec![package("openssl", "3.0.14-1", Some(("3.0.15-1", SECURITY)))]);
    list_of(&host, "stable-security", &text(now - later(5)));
    let first = turn(&host);
    let waiting = find(&first, "security-waiting");
    assert_eq!((first.verdict, waiting.at), (Verdict::Compliant, Some(now - later(5))));
    assert!(
        waiting.what.contains("waits for at least 5 d of 7 d (in the archive's list of "),
        "{}",
        waiting.what
    );
    assert!(turn(&host).repeats(&first), "a second look has nothing new");

    // A newer list takes nothing back: the oldest that had it counts.
    host.advance_ms(2 * DAY + 1000);
    list_of(&host, "stable-security", &text(host.now().wall));
    assert_eq!(turn(&host).verdict, Verdict::Drifted, "7 days, though seen here for two");

    // Another suite's list says nothing of it, and neither does one from ahead of the clock.
    for (suite, days) in [("stable-updates", -30), ("stable-security", 30)] {
        host.delete(SEEN);
        list_of(&host, suite, &text(host.now().wall + later(days)));
        let report = turn(&host);
        assert_eq!(find(&report, "security-waiting").at, Some(host.now().wall), "{suite}");
    }
}

#[test]
fn a_memory_from_before_lists_were_dated_goes_on() {
    let host = FakeHost::debian();
    let since = host.now().wall;
    let old = format!(
        "{{\"upgrades\":{{\"openssl\":{{\"installed\":\"1\",\"since\":\"{since}\"}}}},\"reboot\":null}}"
    );
    host.write_as(SEEN, &old, 0, 0o600);
    host.set_packages(vec![package("openssl", "1", Some(("2", SECURITY)))]);
    host.advance_ms(DAY);
    assert_eq!(find(&turn(&host), "security-waiting").at, Some(since));
}

#[test]
fn stale_lists_are_unknown_but_known_holes_stay_known() {
    let host = FakeHost::debian();
    host.advance_ms(2 * DAY + 1000);
    let report = turn(&host);
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(report.unknown.unwrap().reason.contains("2 d old"));
    host.write_as("/var/lib/apt/lists/partial/x", "", 0, 0o644);
    assert_eq!(turn(&host).verdict, Verdict::Unknown, "an attempt is no refresh");
    host.write_as("/var/lib/apt/periodic/update-success-stamp", "", 0, 0o644);
    assert_eq!(turn(&host).verdict, Verdict::Compliant);
    host.delete("/var/lib/apt/lists");
    assert_eq!(turn(&host).verdict, Verdict::Unknown, "a stamp without lists says nothing");

    host.set_packages(vec![package("openssl", "1", Some(("2", SECURITY)))]);
    let _ = turn(&host);
    host.advance_ms(8 * DAY);
    assert_eq!(turn(&host).verdict, Verdict::Drifted);
}

#[test]
fn a_list_from_the_future_is_unknown() {
    let host = FakeHost::debian();
    host.advance_ms(DAY);
    refreshed(&host);
    let early = || crate::area::Now { wall: "2026-11-22T12:00:00Z".parse().unwrap(), ..host.now() };
    let report = pass::<Patch>(&section(), Mode::Observe, &host, &host, &early);
    assert_eq!(find(&report, "lists-ahead").weight, Weight::Unknown);
}

#[test]
fn a_reboot_is_needed_by_mark_or_by_kernel() {
    let host = FakeHost::debian();
    host.write_as("/run/reboot-required", "*** System restart required ***\n", 0, 0o644);
    host.write_as("/run/reboot-required.pkgs", "libc6\ndbus\u{1b}[2J\nlibc6\n", 0, 0o644);
    let report = turn(&host);
    assert_eq!((report.verdict, find(&report, "reboot-needed").weight), (Verdict::Compliant, Weight::Note));
    assert!(find(&report, "reboot-needed").what.ends_with("dbus\\u{1b}[2J, libc6"));
    host.advance_ms(14 * DAY + 1000);
    refreshed(&host);
    assert_eq!(turn(&host).verdict, Verdict::Drifted);
    host.reboot();
    assert_eq!(turn(&host).verdict, Verdict::Compliant);

    let image = |release: &str| package(&format!("linux-image-{release}"), "1", None);
    host.set_packages(vec![
        image("6.1.0-28-amd64"),
        image("6.1.0-31-amd64"),
        image("amd64"),
        image("6.1.0-9-amd64"),
    ]);
    let report = turn(&host);
    assert!(
        find(&report, "reboot-needed")
            .what
            .contains("kernel 6.1.0-31-amd64 is installed and 6.1.0-28-amd64 runs")
    );
    host.set_kernel("6.18.5");
    assert!(turn(&host).findings.is_empty(), "a lab host's kernel is newer than any of its packages");
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let host = FakeHost::debian();
    for query in ["Packages", "PendingUpgrades", "Kernel"] {
        host.refuse_to_answer(query, "timed out");
        assert_eq!(turn(&host).verdict, Verdict::Unknown, "{query}");
        host.answer();
    }
    host.write_as(SEEN, "{", 0, 0o600);
    assert_eq!(turn(&host).verdict, Verdict::Unknown, "a broken memory is not an empty one");
    let since = host.now().wall;
    let steering = format!(
        "{{\"upgrades\":{{\"a\u{feff}b\":{{\"installed\":null,\"since\":\"{since}\"}}}},\"reboot\":null}}"
    );
    host.write_as(SEEN, &steering, 0, 0o600);
    assert_eq!(turn(&host).verdict, Verdict::Unknown, "what is not ours reaches no fact");
    host.delete(SEEN);
    host.set_packages(vec![package("openssl", "1", Some(("2", SECURITY)))]);
    host.fail_write(1);
    let report = turn(&host);
    assert_eq!(report.verdict, Verdict::Unknown, "an age that is not remembered would never come due");
}
