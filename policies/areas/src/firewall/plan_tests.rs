//! What the area does, told as a person would: first enforcement, trial, confirmation, lapse, drift, fights, findings, lift.

use tenure_policy::names::UnixUser;
use tenure_policy::resolved::{FirewallSection, Mode, Users};

use super::crash_tests::{confirm, listing, read, settle, turn};
use super::listing::Listing;
use super::nft::Shown;
use super::samples::{network, web, web_wider};
use super::state::{self, Confirmed, Refused, Trial};
use super::{Action, Firewall, Purpose, guard};
use crate::area::{AreaSpec, Weight};
use crate::fake::FakeHost;
use crate::pass::{Report, Verdict, pass};
use crate::port::{Flow, HostWrite};

pub(super) fn confirmed() -> FakeHost {
    let host = FakeHost::debian();
    settle(&host, &web());
    host.advance_ms(1000);
    confirm(&host);
    settle(&host, &web());
    host
}

pub(super) fn kinds(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|f| f.kind.as_str()).collect()
}

pub(super) const FLUSH: &str = r#"{"nftables":[{"flush":{"ruleset":null}}]}"#;

#[test]
fn a_ruleset_that_does_not_open_where_sshd_listens_is_not_tried() {
    let host = FakeHost::debian();
    host.write_as("/etc/ssh/sshd_config.d/port.conf", "Port 2222\n", 0, 0o644);
    host.reload_sshd();
    let report = turn(&host, &web());
    assert_eq!(report.refusal.expect("refused").kind, "ssh-listens-elsewhere");
    assert_eq!((host.writes(), host.reaches("203.0.113.9", 2222)), (0, true));
    host.write_as("/etc/ssh/sshd_config.d/port.conf", "Port 22\n", 0, 0o644);
    host.reload_sshd();
    assert_eq!(turn(&host, &web()).refusal, None);
}

#[test]
fn a_first_enforcement_warms_tries_and_waits_for_a_person() {
    let host = FakeHost::debian();
    let report = turn(&host, &web());
    assert_eq!(report.verdict, Verdict::Pending, "{report:#?}");
    assert!(host.is_warmed());
    let pending = report.pending.unwrap();
    assert_eq!(pending.what, "firewall trial g1");
    assert_eq!(pending.until, "2026-11-22T12:01:00Z".parse().unwrap());
    assert!(!host.nft_listing().contains("tenure_warm"), "the warm-up table is left");
    assert!(turn(&host, &web()).done.is_empty(), "a second pass does something");
    host.advance_ms(1000);
    confirm(&host);
    let report = turn(&host, &web());
    assert_eq!(report.verdict, Verdict::Remediated, "{report:#?}");
    assert_eq!(turn(&host, &web()).verdict, Verdict::Compliant);
    let kept = read::<Confirmed>(&host, state::CONFIRMED).unwrap();
    assert_eq!(listing(&host), Some(Listing::expected(&Shown::Confirmed(kept.ruleset.numbered()))));
    for gone in [state::TRIAL, state::CONFIRM] {
        assert!(host.content(gone).is_none(), "{gone}");
    }
}

#[test]
fn a_trial_that_nobody_confirms_ends_and_is_not_repeated_until_somebody_asks() {
    let host = confirmed();
    assert_eq!(turn(&host, &web_wider()).verdict, Verdict::Pending);
    host.advance_ms(60_000);
    let report = turn(&host, &web_wider());
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Drifted, vec!["trial-expired"]));
    let kept = read::<Confirmed>(&host, state::CONFIRMED).unwrap();
    assert_eq!(listing(&host), Some(Listing::expected(&Shown::Confirmed(kept.ruleset.numbered()))));
    for _ in 0..3 {
        let again = turn(&host, &web_wider());
        assert_eq!(
            (again.verdict, again.done.len(), kinds(&again)),
            (Verdict::Drifted, 0, vec!["trial-expired"])
        );
    }
    assert_eq!(read::<Refused>(&host, state::REFUSED).unwrap().number, 2);
    host.delete(state::REFUSED);
    assert_eq!(turn(&host, &web_wider()).verdict, Verdict::Pending);
    assert_eq!(read::<Trial>(&host, state::TRIAL).unwrap().new.number, 2);
}

#[test]
fn a_late_an_early_and_a_foreign_confirmation_do_not_count() {
    let host = confirmed();
    turn(&host, &web_wider());
    confirm(&host);
    let stale = host.content(state::CONFIRM).unwrap();
    let other = String::from_utf8(stale).unwrap().replace("\"number\":2", "\"number\":1");
    host.write_as(state::CONFIRM, other, 0, 0o600);
    let report = turn(&host, &web_wider());
    assert_eq!(report.verdict, Verdict::Pending);
    assert!(host.content(state::CONFIRM).is_none(), "the wrong confirmation stays");
    host.advance_ms(59_999);
    confirm(&host);
    host.advance_ms(1);
    let report = turn(&host, &web_wider());
    assert_eq!(report.verdict, Verdict::Drifted, "confirmed in time, seen after the kernel fell back");
    let early = r#"{"number":3,"hash":"HASH","by":"marit","at":"2026-11-22T11:00:00Z"}"#;
    host.delete(state::REFUSED);
    turn(&host, &web_wider());
    let trial = read::<Trial>(&host, state::TRIAL).unwrap();
    let early =
        early.replace("HASH", &trial.new.hash.to_string()).replace('3', &trial.new.number.to_string());
    host.write_as(state::CONFIRM, early, 0, 0o600);
    assert_eq!(turn(&host, &web_wider()).verdict, Verdict::Pending, "a confirmation from before the switch");
}

#[test]
fn a_prolonged_live_set_does_not_prolong_the_trial() {
    let host = confirmed();
    turn(&host, &web_wider());
    let longer = r#"{"nftables":[{"delete":{"element":{"family":"inet","table":"tenure","name":"g2_live","elem":["ipv4","ipv6"]}}},
        {"add":{"element":{"family":"inet","table":"tenure","name":"g2_live","elem":[
            {"elem":{"val":"ipv4","timeout":86400}},{"elem":{"val":"ipv6","timeout":86400}}]}}}]}"#;
    host.nft_as(4711, "nft", longer).unwrap();
    host.advance_ms(60_000);
    let report = turn(&host, &web_wider());
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Drifted, vec!["trial-expired"]));
    assert!(!host.nft_listing().contains("g2_"), "the new ruleset is still there");
}

#[test]
fn a_live_set_that_somebody_emptied_ends_the_trial_at_once() {
    let host = confirmed();
    turn(&host, &web_wider());
    let one = r#"{"nftables":[{"delete":{"element":{"family":"inet","table":"tenure","name":"g2_live","elem":["ipv6"]}}}]}"#;
    host.nft_as(4711, "nft", one).unwrap();
    host.advance_ms(1000);
    confirm(&host);
    let report = turn(&host, &web_wider());
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Drifted, vec!["trial-expired"]));
    assert!(!host.nft_listing().contains("g2_"), "the new ruleset is still there");
}

#[test]
fn a_trial_that_somebody_gives_up_ends_and_cuts() {
    let host = confirmed();
    host.write_as("/proc/net/fib_trie", "     |-- 198.51.100.11\n        /32 host LOCAL\n", 0, 0o444);
    turn(&host, &web_wider());
    let trial = read::<Trial>(&host, state::TRIAL).unwrap();
    let opened = Flow {
        protocol: 6,
        src: "203.0.113.9".parse().unwrap(),
        dst: "198.51.100.11".parse().unwrap(),
        sport: 50_000,
        dport: 8443,
    };
    host.set_flows(vec![opened]);
    let given_up =
        Refused { number: 2, hash: trial.new.hash, why: "somebody gave it up".into(), at: host.now().wall };
    host.write_as(state::REFUSED, serde_json::to_vec(&given_up).unwrap(), 0, 0o600);
    let report = turn(&host, &web_wider());
    assert!(report.findings[0].what.contains("somebody gave it up"), "{report:#?}");
    assert!(!host.nft_listing().contains("g2_"), "the new ruleset is still there");
    let flows = crate::port::HostRead::ask(&host, &crate::port::Query::Flows).unwrap();
    assert!(flows.is_empty(), "what the trial opened is still open");
}

#[test]
fn a_flushed_ruleset_is_restored_and_the_process_named() {
    let host = confirmed();
    let before = listing(&host);
    host.advance_ms(5000);
    host.nft_as(4711, "nft", FLUSH).unwrap();
    let report = turn(&host, &web());
    assert_eq!(report.verdict, Verdict::Remediated, "{report:#?}");
    let [mended] = report.mended.as_slice() else { panic!("{:#?}", report.mended) };
    assert_eq!((mended.what.as_str(), mended.weight), ("the table is gone", Weight::Drift));
    let by = mended.by.clone().unwrap();
    assert_eq!((by.pid, by.comm.as_str(), mended.at), (4711, "nft", Some(host.now().wall)));
    assert_eq!(listing(&host), before);
    assert!(report.done.iter().all(|d| d.error.is_none()));
}

#[test]
fn an_inserted_rule_is_told_and_taken_away() {
    let host = confirmed();
    let before = listing(&host);
    let insert = r#"{"nftables":[{"insert":{"rule":{"family":"inet","table":"tenure","chain":"g1_input","expr":[
        {"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":4444}},{"accept":null}]}}}]}"#;
    host.advance_ms(1);
    host.nft_as(99, "e\u{1b}[2Jvil", insert).unwrap();
    let report = turn(&host, &web());
    assert_eq!(report.verdict, Verdict::Remediated);
    assert_eq!(report.mended[0].what, "rule added in g1_input: tcp dport 4444 accept");
    assert_eq!(report.mended[0].by.as_ref().unwrap().comm, "e\\u{1b}[2Jvil");
    assert_eq!(listing(&host), before);
}

#[test]
fn drift_during_a_trial_is_restored_without_prolonging_it() {
    let host = confirmed();
    turn(&host, &web_wider());
    host.advance_ms(20_000);
    host.nft_as(4711, "nft", FLUSH).unwrap();
    let report = turn(&host, &web_wider());
    assert_eq!(report.verdict, Verdict::Pending, "{report:#?}");
    assert!(host.nft_listing().contains("\"timeout\":40"), "not the 40 s that were left");
    host.advance_ms(40_000);
    let report = turn(&host, &web_wider());
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Drifted, vec!["trial-expired"]));
    let kept = read::<Confirmed>(&host, state::CONFIRMED).unwrap();
    assert_eq!(listing(&host), Some(Listing::expected(&Shown::Confirmed(kept.ruleset.numbered()))));
}

#[test]
fn a_policy_that_changes_during_a_trial_takes_its_place() {
    let host = confirmed();
    turn(&host, &web_wider());
    let mut third = web_wider();
    third.inbound.pop();
    third.outbound.pop();
    let report = settle(&host, &third);
    assert_eq!(report.verdict, Verdict::Pending);
    host.advance_ms(1000);
    confirm(&host);
    assert_eq!(turn(&host, &third).verdict, Verdict::Remediated);
    assert!(host.content(state::REFUSED).is_none(), "a withdrawn ruleset counts as refused");
}

#[test]
fn what_a_trial_opened_is_cut_when_it_ends_and_what_a_confirmed_ruleset_takes_away_too() {
    let proc = "Local:\n     |-- 198.51.100.11\n        /32 host LOCAL\n";
    let flow = |src: &str, dst: &str, sport, dport| Flow {
        protocol: 6,
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        sport,
        dport,
    };
    let here = "198.51.100.11";
    let ssh = flow("203.0.113.9", here, 50_000, 22);
    let entered = flow(here, "203.0.113.9", 22, 50_001);
    let widened = flow("203.0.113.9", here, 50_000, 8443);
    let mirror = flow(here, "192.0.2.1", 40_000, 80);
    let leak = flow(here, "192.0.2.1", 40_000, 4444);
    let all = vec![ssh.clone(), entered.clone(), widened.clone(), mirror.clone(), leak];
    let left = |host: &FakeHost| {
        let bytes = crate::port::HostRead::ask(host, &crate::port::Query::Flows).unwrap();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect::<Vec<Flow>>()
    };
    let host = confirmed();
    host.write_as("/proc/net/fib_trie", proc, 0, 0o444);
    turn(&host, &web_wider());
    host.set_flows(all.clone());
    assert!(turn(&host, &web_wider()).done.is_empty());
    host.advance_ms(60_000);
    turn(&host, &web_wider());
    assert_eq!(left(&host), vec![ssh.clone(), entered.clone(), mirror.clone()], "after the lapse");
    host.delete(state::REFUSED);
    turn(&host, &web_wider());
    host.set_flows(all);
    host.advance_ms(1000);
    confirm(&host);
    turn(&host, &web_wider());
    assert_eq!(left(&host), vec![ssh, entered, widened, mirror], "after the confirmation");
}

#[test]
fn a_cut_management_path_is_refused_before_anything_is_loaded() {
    let host = confirmed();
    let before = (host.nft_listing(), host.all_files());
    let mut bad = web();
    bad.blocks.push(network("office"));
    let report = turn(&host, &bad);
    let refusal = report.refusal.clone().unwrap();
    assert_eq!(
        (refusal.kind.as_str(), refusal.rule.as_deref()),
        ("management-path-cut", Some("block:office"))
    );
    assert_eq!((report.verdict, report.done.len()), (Verdict::Drifted, 0));
    assert_eq!((host.nft_listing(), host.all_files()), before);
    // and what is in force is still kept
    host.nft_as(1, "nft", FLUSH).unwrap();
    turn(&host, &bad);
    assert_eq!(host.nft_listing(), before.0);
}

#[test]
fn an_account_that_does_not_exist_is_named_and_nothing_is_loaded() {
    let host = confirmed();
    let before = host.nft_listing();
    let mut bad = web();
    bad.outbound[1].users = Users::Named(vec![UnixUser::new("nobody-here").unwrap()]);
    let report = turn(&host, &bad);
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Drifted, vec!["unknown-user"]));
    assert_eq!(report.findings[0].place, "web/outbound/1");
    assert_eq!(host.nft_listing(), before);
}

#[test]
fn containers_leave_the_forward_hook_alone_and_say_so() {
    let host = FakeHost::debian();
    host.set_interfaces(&["lo", "eth0", "docker0", "br-acme"]);
    let report = turn(&host, &web());
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Pending, vec!["forward-not-enforced"]));
    assert_eq!(report.findings[0].weight, Weight::Note);
    confirm(&host);
    settle(&host, &web());
    let seen = listing(&host).unwrap();
    assert!(!seen.chains.contains_key("forward") && seen.chains.contains_key("prerouting"));
    // the engine goes: the hook comes, by a trial like every change
    host.set_interfaces(&["lo", "eth0"]);
    settle(&host, &web());
    confirm(&host);
    assert_eq!(settle(&host, &web()).verdict, Verdict::Compliant);
    assert!(listing(&host).unwrap().chains.contains_key("forward"));
}

#[test]
fn a_host_that_passes_packets_on_is_told_what_its_forward_hook_drops() {
    for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        let host = FakeHost::debian();
        let switch = format!("/proc/sys/net/{family}");
        host.write_as(&switch, "1\n", 0, 0o644);
        let report = turn(&host, &web());
        assert_eq!((report.verdict, kinds(&report)), (Verdict::Pending, vec!["forwards-for-others"]));
        assert_eq!(report.findings[0].weight, Weight::Note, "it is the policy's word all the same");
        host.write_as(&switch, "0\n", 0, 0o644);
        assert_eq!(kinds(&turn(&host, &web())), Vec::<&str>::new());
    }
}

#[test]
fn tables_of_others_are_findings_unless_named_as_neighbours() {
    let host = confirmed();
    let table = |name: &str| {
        format!(
            r#"{{"nftables":[{{"add":{{"table":{{"family":"ip","name":"{name}"}}}}}},{{"add":{{"chain":{{"family":"ip","table":"{name}",
            "name":"in","type":"filter","hook":"input","prio":-10,"policy":"accept"}}}}}}]}}"#
        )
    };
    host.nft_as(7, "nft", &table("docker")).unwrap();
    assert_eq!(turn(&host, &web()).verdict, Verdict::Compliant);
    host.nft_as(7, "nft", &table("evil")).unwrap();
    let report = turn(&host, &web());
    assert_eq!((report.verdict, kinds(&report)), (Verdict::Drifted, vec!["foreign-table"]));
    assert_eq!(report.findings[0].place, "table ip evil");
}

/// Loads the table that a first trial has for a moment, as whoever broke it off or somebody else leaves it.
fn leave_warm(host: &FakeHost) {
    host.nft_as(7, "nft", &super::transaction::warm()).unwrap();
}

#[test]
fn the_table_of_a_warm_up_is_told_and_taken_away_whoever_left_it() {
    let host = confirmed();
    leave_warm(&host);
    let mut named = web();
    named.neighbours.push("tenure_warm".into());
    let seen = pass::<Firewall>(&named, Mode::Observe, &host, &host, &|| host.now());
    assert_eq!((seen.verdict, kinds(&seen)), (Verdict::Drifted, vec!["warm-up-left"]));
    let report = turn(&host, &web());
    assert_eq!(
        (report.verdict, report.mended[0].place.as_str()),
        (Verdict::Remediated, "table inet tenure_warm")
    );
    assert!(!host.nft_listing().contains("tenure_warm"));
    assert_eq!(turn(&host, &web()).verdict, Verdict::Compliant);
    // beside more tables of others than are told
    leave_warm(&host);
    for n in 0..super::facts::MAX_FOREIGN + 5 {
        let (table, chain) =
            (format!("a{n}"), r#""type":"filter","hook":"input","prio":1,"policy":"accept""#);
        let json = format!(
            r#"{{"nftables":[{{"add":{{"table":{{"family":"inet","name":"{table}"}}}}}},
            {{"add":{{"chain":{{"family":"inet","table":"{table}","name":"in",{chain}}}}}}}]}}"#
        );
        host.nft_as(7, "nft", &json).unwrap();
    }
    let _ = turn(&host, &web());
    assert!(!host.nft_listing().contains("tenure_warm"));
}

#[test]
fn a_first_trial_broken_off_after_its_warm_up_and_lifted_leaves_nothing() {
    let host = FakeHost::debian();
    host.kill_before_write(2);
    let _ = turn(&host, &web());
    host.revive();
    assert!(host.nft_listing().contains("tenure_warm") && listing(&host).is_none());
    let plan = Firewall::lift(&web(), &Firewall::observe(&host, &web()).unwrap());
    for step in &plan.steps {
        step.carry_out(&host).unwrap();
    }
    assert!(!host.nft_listing().contains("tenure"), "{}", host.nft_listing());
}

#[test]
fn two_programs_restoring_against_each_other_slow_down_and_are_told() {
    let host = confirmed();
    let mut held = 0;
    for _ in 0..650 {
        host.nft_as(4711, "rival", FLUSH).unwrap();
        let report = turn(&host, &web());
        if report.done.is_empty() {
            held += 1;
            assert!(kinds(&report).contains(&"restored-too-often"), "{report:#?}");
            assert_eq!(report.verdict, Verdict::Drifted);
        }
        host.advance_ms(20);
    }
    assert!((30..60).contains(&held), "{held} restores were held back");
    host.nft_as(4711, "rival", FLUSH).unwrap();
    host.advance_ms(1000);
    assert_eq!(turn(&host, &web()).verdict, Verdict::Remediated, "slower, not never");
}

/// A ruleset that was refused, one that does not compile, one that the guard does not let through.
fn cannot_be_tried() -> [(&'static str, FirewallSection); 3] {
    let (mut unknown, mut cut) = (web_wider(), web_wider());
    unknown.outbound[1].users = Users::Named(vec![UnixUser::new("nobody-here").unwrap()]);
    cut.blocks.push(network("office"));
    [("refused", web_wider()), ("does not compile", unknown), ("cuts the management path", cut)]
}

/// An enforced host whose confirmed ruleset is gone from disk, with the policy's refused where it is that one.
pub(super) fn lost_with(what: &str, section: &FirewallSection) -> FakeHost {
    let host = confirmed();
    if what == "refused" {
        settle(&host, section);
        host.advance_ms(60_000);
        settle(&host, section);
        assert!(host.content(state::REFUSED).is_some());
    }
    host.delete(state::CONFIRMED);
    host
}

#[test]
fn an_enforced_host_that_lost_its_state_is_closed_whatever_the_policy_wants() {
    for (what, section) in cannot_be_tried() {
        for stranger in [FLUSH, r#"{"nftables":[{"flush":{"table":{"family":"inet","name":"tenure"}}}]}"#] {
            let host = lost_with(what, &section);
            host.nft_as(4711, "nft", stranger).unwrap();
            assert!(stranger != FLUSH || host.reaches("192.0.2.1", 443), "{what}: not open to begin with");
            let report = turn(&host, &section);
            assert_eq!(report.verdict, Verdict::Drifted, "{what}: {report:#?}");
            assert!(kinds(&report).contains(&"state-lost"), "{what}: {report:#?}");
            for from in ["192.0.2.1", "2001:db8:ffff::1"] {
                assert!(!host.reaches(from, 443) && !host.reaches(from, 22), "{what}: open to {from}");
            }
            assert!(host.reaches("203.0.113.9", 22) && host.reaches("2001:db8:10::9", 22), "{what}: cut");
            let again = turn(&host, &section);
            assert_eq!((again.verdict, again.done.len()), (Verdict::Drifted, 0), "{what}: {again:#?}");
            assert_eq!(again.refusal.is_some(), what.starts_with("cuts"), "{what}: {again:#?}");
            // the policy that can be tried comes
            host.delete(state::REFUSED);
            assert_eq!(turn(&host, &web()).verdict, Verdict::Pending, "{what}");
            host.advance_ms(1000);
            confirm(&host);
            assert_eq!(settle(&host, &web()).verdict, Verdict::Compliant, "{what}");
        }
    }
}

#[test]
fn a_baseline_that_would_cut_the_management_path_is_not_loaded() {
    for (what, section) in cannot_be_tried() {
        let host = lost_with(what, &section);
        host.write_as("/etc/ssh/sshd_config.d/port.conf", "Port 2222\n", 0, 0o644);
        host.reload_sshd();
        host.nft_as(4711, "nft", FLUSH).unwrap();
        let report = turn(&host, &section);
        assert_eq!(report.refusal.expect("refused").kind, "ssh-listens-elsewhere", "{what}");
        assert!(report.done.is_empty() && host.reaches("203.0.113.9", 2222), "{what}");
    }
    // Where the policy names nobody, everybody comes by SSH, where it listens.
    let mut nobody = web();
    nobody.management.clear();
    assert!(guard::baseline_stays(&nobody, &[22]).is_ok() && guard::baseline_stays(&nobody, &[]).is_ok());
    assert_eq!(guard::baseline_stays(&nobody, &[2222]).unwrap_err().kind, "no-management-path");
}

#[test]
fn a_host_that_never_enforced_is_not_closed_by_a_policy_that_cannot_be_tried() {
    for (what, section) in cannot_be_tried().into_iter().skip(1) {
        let host = FakeHost::debian();
        let _ = turn(&host, &section);
        assert!(listing(&host).is_none() && host.writes() == 0, "{what}");
    }
}

#[test]
fn observing_changes_nothing_and_plans_the_same() {
    let host = FakeHost::debian();
    let before = (host.nft_listing(), host.all_files(), host.writes());
    let look = |mode| pass::<Firewall>(&web(), mode, &host, &host, &|| host.now());
    let seen = look(Mode::Observe);
    assert_eq!((host.nft_listing(), host.all_files(), host.writes()), before);
    assert_eq!(seen.verdict, Verdict::Drifted);
    let done = look(Mode::Enforce);
    assert_eq!(seen.plan, done.plan, "what is printed is what is done");
}

#[test]
fn facts_judged_elsewhere_give_the_same_verdict() {
    let host = confirmed();
    let elsewhere = |report: &Report| {
        let facts = report.facts_of::<Firewall>().unwrap();
        let plan = Firewall::plan(&web(), &facts, &host.now());
        (plan.steps.is_empty(), plan.findings)
    };
    let report = turn(&host, &web());
    assert_eq!(elsewhere(&report), (true, vec![]));
    host.nft_as(4711, "nft", FLUSH).unwrap();
    let report = pass::<Firewall>(&web(), Mode::Observe, &host, &host, &|| host.now());
    let (quiet, findings) = elsewhere(&report);
    assert!(!quiet);
    assert_eq!(findings, report.findings);
    let facts = report.facts_of::<Firewall>().unwrap();
    let plan = Firewall::plan(&web(), &facts, &host.now());
    assert_eq!((plan.steps[0].purpose, &plan.steps[0].action), (Purpose::Restore, &Action::OnlyOnHost));
}

#[test]
fn lifting_leaves_nothing_of_ours_and_everything_of_others() {
    let host = confirmed();
    let other = r#"{"nftables":[{"add":{"table":{"family":"ip","name":"other"}}}]}"#;
    host.nft_as(7, "nft", other).unwrap();
    let facts = Firewall::observe(&host, &web()).unwrap();
    let plan = Firewall::lift(&web(), &facts);
    for step in &plan.steps {
        match &step.action {
            Action::Tell(command) => host.tell(command).unwrap(),
            Action::Remove(path) => host.remove(path).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    assert!(listing(&host).is_none());
    assert!(host.nft_listing().contains("other") && !host.nft_listing().contains("tenure"));
    assert!(
        !host.all_files().keys().any(|path| path.contains("/tenure/firewall/")),
        "{:?}",
        host.all_files().keys()
    );
}

#[test]
fn a_kernel_that_does_not_answer_is_unknown() {
    let host = confirmed();
    host.refuse_to_answer("NftOwnTable", "Resource temporarily unavailable");
    assert_eq!(turn(&host, &web()).verdict, Verdict::Unknown);
    host.answer();
    assert_eq!(turn(&host, &web()).verdict, Verdict::Compliant);
}
