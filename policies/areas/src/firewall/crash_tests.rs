//! The agent dies before any write of any change, and what then happens to the host happens: it ends in the old or the new ruleset,
//! the kernel never shows a third thing on the way, and the management path stays open.

use tenure_policy::resolved::{FirewallSection, Mode};

use super::boot::{self, Boot};
use super::compile::{HostBits, compile};
use super::listing::Listing;
use super::nft::Shown;
use super::samples::{web, web_wider};
use super::state::{self, ConfirmRequest, Confirmed, Kept, Ruleset, Trial};
use super::table::Table;
use super::{Firewall, guard, transaction};
use crate::area::AreaSpec;
use crate::fake::FakeHost;
use crate::pass::{Report, pass};
use crate::port::{Command, HostRead, HostWrite, PortError, Query};

pub(super) fn turn(host: &FakeHost, section: &FirewallSection) -> Report {
    pass::<Firewall>(&Firewall::desired(section), Mode::Enforce, host, host, &|| host.now())
}

/// Passes until nothing more is done.
pub(crate) fn settle(host: &FakeHost, section: &FirewallSection) -> Report {
    for _ in 0..8 {
        let report = turn(host, section);
        if report.done.is_empty() {
            return report;
        }
    }
    panic!("does not settle");
}

pub(super) fn read<T: serde::de::DeserializeOwned>(host: &FakeHost, path: &str) -> Option<T> {
    match state::parse(&host.content(path)?) {
        Kept::Some(value) => Some(value),
        _ => panic!("{path} is broken"),
    }
}

/// What `tenure-agent confirm` writes.
pub(crate) fn confirm(host: &FakeHost) {
    let Some(trial) = read::<Trial>(host, state::TRIAL) else { return };
    let request = ConfirmRequest {
        number: trial.new.number,
        hash: trial.new.hash,
        by: "marit".into(),
        at: host.now().wall,
    };
    host.write_as(state::CONFIRM, serde_json::to_vec(&request).unwrap(), 0, 0o600);
}

pub(super) fn listing(host: &FakeHost) -> Option<Listing> {
    match host.ask(&Query::NftOwnTable) {
        Ok(bytes) => Some(Listing::parse(&bytes).unwrap()),
        Err(PortError::Absent { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// The machine restarts and its boot unit does what it does.
fn restart(host: &FakeHost, section: &FirewallSection) {
    host.reboot();
    host.revive();
    let enforced = host.content(state::ENFORCED).is_some();
    match boot::choose(Ok(host.content(state::CONFIRMED)), enforced, Some(section)) {
        Boot::Confirmed { json, .. } | Boot::Baseline { json, .. } => {
            host.tell(&Command::NftLoad { json }).unwrap();
        }
        Boot::Nothing => {}
    }
}

fn compiled(section: &FirewallSection) -> Table {
    let uids = [("deploy", 1001)].map(|(n, uid)| (tenure_policy::names::UnixUser::new(n).unwrap(), uid));
    compile(section, &HostBits { uids: uids.into(), without_forward: false }).unwrap()
}

/// A host before a change: nothing enforced, or the old policy confirmed.
fn start(old: Option<&FirewallSection>) -> FakeHost {
    let host = FakeHost::debian();
    if let Some(old) = old {
        settle(&host, old);
        host.advance_ms(1000);
        confirm(&host);
        settle(&host, old);
        assert!(read::<Confirmed>(&host, state::CONFIRMED).is_some());
    }
    host
}

/// Which of the things that it may show does the kernel show? Going back to the old policy is a change like any other, so the old
/// ruleset may also be staged or on trial over the new one.
fn shows(host: &FakeHost, old: Option<&FirewallSection>, new: &FirewallSection) -> &'static str {
    let Some(seen) = listing(host) else {
        assert!(old.is_none(), "the old ruleset is gone");
        return "nothing";
    };
    let numbers: Vec<u32> = (0..20).filter(|n| seen.chains.contains_key(&format!("g{n}_input"))).collect();
    let (fresh, stale) = (compiled(new), old.map_or_else(Table::open, compiled));
    let live = seen.sets.keys().any(|name| name.ends_with("_live"));
    let is = |shown: Shown<'_>| {
        let could = match shown {
            Shown::Confirmed(_) => numbers.len() == 1,
            Shown::Staged { .. } => numbers.len() == 2 && !live,
            Shown::Trial { .. } => numbers.len() == 2 && live,
        };
        could && seen == Listing::expected(&shown)
    };
    for a in &numbers {
        let (fresh, stale) = (Ruleset::new(*a, fresh.clone()), Ruleset::new(*a, stale.clone()));
        if is(Shown::Confirmed(fresh.numbered())) {
            return "new";
        }
        if is(Shown::Confirmed(stale.numbered())) {
            return "old";
        }
        for b in numbers.iter().filter(|b| *b != a) {
            let (fresh_over, stale_over) =
                (Ruleset::new(*b, fresh.table.clone()), Ruleset::new(*b, stale.table.clone()));
            for (old, new) in
                [(stale.numbered(), fresh_over.numbered()), (fresh.numbered(), stale_over.numbered())]
            {
                if is(Shown::Staged { old, new }) {
                    return "staged";
                }
                if is(Shown::Trial { old, new, seconds: 0 }) {
                    return "trial";
                }
            }
        }
    }
    panic!("the kernel shows a third thing: {seen:#?}");
}

/// What may happen to a host after its agent died.
#[derive(Debug, Clone, Copy)]
enum Then {
    AgentStarts,
    AgentStartsLate,
    HostRestarts,
    ConfirmedThenAgentStarts,
    PolicyTakenBack,
}

const THEN: [Then; 5] = [
    Then::AgentStarts,
    Then::AgentStartsLate,
    Then::HostRestarts,
    Then::ConfirmedThenAgentStarts,
    Then::PolicyTakenBack,
];

/// Goes from `old` to `new`, confirming or not, killed before the `n`-th write. Returns false when no write was the `n`-th.
fn killed_at(
    n: u64,
    old: Option<&FirewallSection>,
    new: &FirewallSection,
    confirms: bool,
    then: Then,
) -> bool {
    let case = format!("write {n}, first {}, confirms {confirms}, then {then:?}", old.is_none());
    let host = start(old);
    host.kill_before_write(n);
    turn(&host, new);
    shows(&host, old, new);
    host.advance_ms(2000);
    if confirms {
        confirm(&host);
    } else {
        host.advance_ms(61_000);
    }
    turn(&host, new);
    turn(&host, new);
    let at_death = shows(&host, old, new);
    if !host.revive() {
        return false;
    }
    let mut wanted = new;
    match then {
        Then::AgentStarts => {}
        Then::AgentStartsLate => host.advance_ms(3_600_000),
        Then::HostRestarts => restart(&host, new),
        Then::ConfirmedThenAgentStarts => confirm(&host),
        Then::PolicyTakenBack => wanted = old.unwrap_or(new),
    }
    shows(&host, old, new);
    settle(&host, wanted);
    shows(&host, old, new);
    // whatever trial runs now ends by itself
    host.advance_ms(120_000);
    let report = settle(&host, wanted);
    let end = shows(&host, old, new);
    let allowed: &[&str] = if old.is_none() { &["nothing", "new"] } else { &["old", "new"] };
    assert!(allowed.contains(&end), "{case}: ends with {end}");
    if at_death == "new" && !matches!(then, Then::HostRestarts | Then::PolicyTakenBack) {
        assert_eq!(end, "new", "{case}: what was in force for good was taken back");
    }
    assert!(host.content(state::TRIAL).is_none(), "{case}: a trial is left on disk");
    assert!(host.content(state::NEXT).is_none(), "{case}: what was to be confirmed is left on disk");
    assert!(!host.nft_listing().contains("tenure_warm"), "{case}: the warm-up table is left");
    let kept = read::<Confirmed>(&host, state::CONFIRMED);
    match end {
        "nothing" => assert!(kept.is_none(), "{case}"),
        "new" => assert_eq!(kept.unwrap().ruleset.hash, compiled(new).hash(), "{case}"),
        _ => assert_eq!(kept.unwrap().ruleset.hash, compiled(old.unwrap()).hash(), "{case}"),
    }
    assert!(turn(&host, wanted).done.is_empty(), "{case}: not at rest: {report:?}");
    true
}

#[test]
fn killed_before_any_write_the_host_ends_in_the_old_or_the_new_ruleset() {
    let (old, new) = (web(), web_wider());
    for section in [&old, &new] {
        guard::management_stays(section, &compiled(section), &[]).unwrap();
    }
    for before in [None, Some(&old)] {
        for confirms in [true, false] {
            for then in THEN {
                let tried = (1..40).take_while(|n| killed_at(*n, before, &new, confirms, then)).count();
                assert!(tried >= 6, "only {tried} writes in {before:?} {confirms} {then:?}");
            }
        }
    }
}

/// Every combination of what can stand on disk and in the kernel, with the same boot and another one, trial running and over.
#[test]
fn every_combination_of_disk_and_kernel_converges() {
    let (old, new) = (web(), web_wider());
    let mut combinations = 0;
    for first in [true, false] {
        for trial_on_disk in [false, true] {
            for kernel in ["absent", "old", "staged", "trial", "new", "stranger"] {
                for confirmed in ["none", "old", "new", "broken"] {
                    for moment in ["at once", "late", "other boot"] {
                        converges(first, trial_on_disk, kernel, confirmed, moment, &old, &new);
                        combinations += 1;
                    }
                }
            }
        }
    }
    assert_eq!(combinations, 288);
}

fn converges(
    first: bool,
    trial_on_disk: bool,
    kernel: &str,
    confirmed: &str,
    moment: &str,
    old: &FirewallSection,
    new: &FirewallSection,
) {
    let case = format!(
        "first {first}, trial.json {trial_on_disk}, kernel {kernel}, confirmed.json {confirmed}, {moment}"
    );
    let over = if first { Ruleset::new(0, Table::open()) } else { Ruleset::new(1, compiled(old)) };
    let next = Ruleset::new(2, compiled(new));
    let host = FakeHost::debian();
    let now = host.now();
    let load = |json: String| host.tell(&Command::NftLoad { json }).unwrap();
    let (o, n) = (over.numbered(), next.numbered());
    match kernel {
        "absent" => {}
        "old" => load(transaction::replace(&Shown::Confirmed(o))),
        "staged" => load(transaction::replace(&Shown::Staged { old: o, new: n })),
        "trial" => load(transaction::replace(&Shown::Trial { old: o, new: n, seconds: 60 })),
        "new" => load(transaction::replace(&Shown::Confirmed(n))),
        _ => load(r#"{"nftables":[{"add":{"table":{"family":"inet","name":"tenure"}}}]}"#.into()),
    }
    if trial_on_disk {
        let trial = Trial {
            new: next.clone(),
            over: over.clone(),
            from: now.wall,
            until: now.wall.checked_add(jiff::SignedDuration::from_secs(60)).unwrap(),
            until_boot_ms: now.since_boot_ms + 60_000,
            boot_id: now.boot_id,
        };
        host.write_as(state::TRIAL, serde_json::to_vec(&trial).unwrap(), 0, 0o600);
    }
    let keep = |ruleset: Ruleset| {
        let kept = Confirmed { at: host.now().wall, ruleset };
        host.write_as(state::CONFIRMED, serde_json::to_vec(&kept).unwrap(), 0, 0o600);
        host.write_as(state::ENFORCED, "1", 0, 0o600);
    };
    match confirmed {
        "old" => keep(Ruleset::new(1, compiled(old))),
        "new" => keep(next.clone()),
        "broken" => {
            keep(next.clone());
            host.write_as(state::CONFIRMED, "{\"at\":", 0, 0o600);
        }
        _ => {}
    }
    match moment {
        "late" => host.advance_ms(600_000),
        "other boot" => restart(&host, new),
        _ => {}
    }
    settle(&host, new);
    host.advance_ms(120_000);
    settle(&host, new);
    // nobody came: who enforced once is closed all the same, and the management path is open
    let stranger = ["192.0.2.1", "2001:db8:ffff::1"].iter().any(|from| host.reaches(from, 22));
    assert!(!stranger || host.content(state::ENFORCED).is_none(), "{case}: open while nothing is confirmed");
    assert!(host.reaches("203.0.113.9", 22) && host.reaches("2001:db8:10::9", 22), "{case}: cut");
    // an operator asks again, and confirms
    host.delete(state::REFUSED);
    settle(&host, new);
    host.advance_ms(1000);
    confirm(&host);
    let report = settle(&host, new);
    let kept = read::<Confirmed>(&host, state::CONFIRMED)
        .unwrap_or_else(|| panic!("{case}: nothing confirmed: {report:#?}"));
    assert_eq!(kept.ruleset.hash, next.hash, "{case}");
    let expected = Listing::expected(&Shown::Confirmed(kept.ruleset.numbered()));
    assert_eq!(listing(&host), Some(expected), "{case}");
    assert!(host.content(state::TRIAL).is_none() && host.content(state::CONFIRM).is_none(), "{case}");
    assert_eq!(report.verdict, crate::pass::Verdict::Compliant, "{case}: {report:#?}");
}
