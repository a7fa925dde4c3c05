//! The agent dies before any write of any change of who gets in, and what then happens to the host happens: it ends in the
//! old or the new state, and at no moment is anybody of management without a way in.

use tenure_policy::names::UnixUser;
use tenure_policy::resolved::{Mode, SshAccessSection};

use super::DROP_IN;
use super::state::{PROVED, REFUSED, TRIAL};
use super::tests::{Change, EVIL, JEROEN, MARIT, NEW_OFFICE, OFFICE, STRANGER, enforced, section, turn};
use crate::fake::FakeHost;
use crate::pass::{Report, Verdict};

/// What may happen to a host after its agent died.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    AgentStarts,
    AgentStartsLate,
    SshdRestarts,
    HostRestarts,
    SomebodyComesThenAgentStarts,
    PolicyTakenBack,
}

const THEN: [Then; 6] = [
    Then::AgentStarts,
    Then::AgentStartsLate,
    Then::SshdRestarts,
    Then::HostRestarts,
    Then::SomebodyComesThenAgentStarts,
    Then::PolicyTakenBack,
];

/// A host before a change: people with a key at home, or the old section proved.
fn start(first: bool) -> FakeHost {
    let host = if first { FakeHost::debian() } else { enforced() };
    host.write_as("/home/admin/.ssh/authorized_keys", format!("{JEROEN} j\n"), 1000, 0o600);
    host
}

/// Old ways in, on a host that began with keys at home or with the old section.
fn old_way(host: &FakeHost, first: bool) -> bool {
    let key = if first { JEROEN } else { MARIT };
    host.lets_in("admin", key, OFFICE)
}

/// Whoever the new section lets in tries to log in.
fn come(host: &FakeHost, way: (&str, &str, &str)) {
    host.log_in(way.0, way.1, way.2);
}

fn settle(host: &FakeHost, section: &SshAccessSection) -> Report {
    for _ in 0..12 {
        let report = turn(host, section, Mode::Enforce);
        if report.done.is_empty() && report.pending.is_none() {
            return report;
        }
        host.advance_ms(10_000);
    }
    panic!("does not settle: {:#?}", turn(host, section, Mode::Enforce));
}

struct Case {
    name: &'static str,
    next: SshAccessSection,
    /// The new way in: account, key, address.
    way: (&'static str, &'static str, &'static str),
}

/// Goes to the new section, with somebody who comes by it or not, killed before the `n`-th write. False when no write was
/// the `n`-th.
fn killed_at(n: u64, case: &Case, comes: bool, then: Then) -> bool {
    let first = case.name == "first";
    let what = format!("{}, write {n}, comes {comes}, then {then:?}", case.name);
    let host = start(first);
    let open = |moment: &str| {
        let (user, key, addr) = case.way;
        assert!(old_way(&host, first) || host.lets_in(user, key, addr), "{what}: nobody gets in {moment}");
    };
    host.kill_before_write(n);
    for moment in ["as it begins", "as somebody comes", "at the second look", "in the end"] {
        let _ = turn(&host, &case.next, Mode::Enforce);
        open(moment);
        if comes {
            come(&host, case.way);
        }
        host.advance_ms(if comes { 2000 } else { 30_000 });
    }
    if !host.revive() {
        return false;
    }
    open("with the agent dead");
    let old = section();
    let mut wanted = &case.next;
    match then {
        Then::AgentStarts => {}
        Then::AgentStartsLate => host.advance_ms(3_600_000),
        Then::SshdRestarts => host.reload_sshd(),
        Then::HostRestarts => host.reboot(),
        Then::SomebodyComesThenAgentStarts => come(&host, case.way),
        Then::PolicyTakenBack => wanted = if first { &case.next } else { &old },
    }
    open("when that has happened");
    let report = settle(&host, wanted);
    open("at rest");
    assert!(host.content(TRIAL).is_none(), "{what}: a trial is left on disk");
    let (user, key, addr) = case.way;
    match report.verdict {
        // The new state, or the old one that is wanted again.
        Verdict::Compliant => {
            assert!(host.content(PROVED).is_some(), "{what}");
            assert!(!host.lets_in_by_password("app", STRANGER), "{what}");
            if wanted == &case.next {
                assert!(host.lets_in(user, key, addr), "{what}");
                assert!(!old_way(&host, first) || case.name == "first", "{what}: an old way is open");
            }
        }
        // The new one was proved before the old one was wanted again, and nobody came by the old one.
        Verdict::Drifted if then == Then::PolicyTakenBack && host.lets_in(user, key, addr) => {
            assert!(host.content(REFUSED).is_some(), "{what}: {report:#?}");
        }
        // The old one, because nobody came.
        Verdict::Drifted => {
            assert!(host.content(REFUSED).is_some(), "{what}: {report:#?}");
            assert!(old_way(&host, first), "{what}");
            assert_eq!(host.content(DROP_IN).is_none(), first, "{what}");
            assert_eq!(host.lets_in_by_password("app", STRANGER), first, "{what}");
        }
        other => panic!("{what}: ends {other}: {report:#?}"),
    }
    // An operator asks again, and somebody comes.
    host.delete(REFUSED);
    let _ = turn(&host, wanted, Mode::Enforce);
    host.advance_ms(1000);
    let back = if wanted == &old { ("admin", MARIT, OFFICE) } else { case.way };
    come(&host, back);
    let report = settle(&host, wanted);
    assert_eq!(report.verdict, Verdict::Compliant, "{what}: {report:#?}");
    assert!(host.lets_in(back.0, back.1, back.2), "{what}");
    true
}

fn all_moments(name: &'static str, change: Change<'_>, way: (&'static str, &'static str, &'static str)) {
    let mut next = section();
    change(&mut next);
    let case = Case { name, next, way };
    for comes in [true, false] {
        for then in THEN {
            let tried = (1..60).take_while(|n| killed_at(*n, &case, comes, then)).count();
            assert!(tried >= 10, "only {tried} writes in {name} {comes} {then:?}");
        }
    }
}

// Killed before any write the host ends in the old or the new state, and never without a way in:

#[test]
fn when_logins_are_enforced_for_the_first_time() {
    all_moments("first", &|_| {}, ("admin", MARIT, OFFICE));
}

#[test]
fn when_all_sources_change() {
    let sources = |s: &mut SshAccessSection| {
        for login in s.logins.iter_mut().filter(|l| l.command.is_none()) {
            login.from = vec!["198.51.100.0/24".parse().unwrap()];
        }
    };
    all_moments("sources", &sources, ("admin", MARIT, NEW_OFFICE));
}

#[test]
fn when_all_accounts_change() {
    let account = |s: &mut SshAccessSection| {
        s.logins.iter_mut().for_each(|l| l.account = UnixUser::new("app").unwrap());
    };
    all_moments("account", &account, ("app", MARIT, OFFICE));
}

#[test]
fn when_a_key_changes() {
    all_moments("keys", &|s| s.logins[1].keys = vec![EVIL.into()], ("admin", EVIL, OFFICE));
}
