//! Foreign judge of the area `firewall`: real nft 1.0.6 and the real kernel, in network namespaces of this machine.
//! Every transaction loads, what nft lists is what we emit, a lapsed trial cannot be confirmed, and packets agree with the evaluator.

mod net;
#[path = "../../../../policies/areas/src/firewall/samples.rs"]
mod samples;

use std::net::IpAddr;
use std::time::Duration;

use proptest::test_runner::{Config, TestRunner};
use tenure_areas::firewall::evaluate::{self, Decision, Packet, Sender};
use tenure_areas::firewall::listing::Listing;
use tenure_areas::firewall::nft::{Numbered, Shown, live_name};
use tenure_areas::firewall::table::Hook;
use tenure_areas::firewall::{HostBits, Table, boot, compile, transaction};
use tenure_lab::wait_for;
use tenure_policy::names::UnixUser;
use tenure_policy::resolved::{FirewallSection, Protocol};

use net::{BEHIND, HOST, Net, is_v4};
use samples::{any_section, web, web_wider};

fn host_bits(without_forward: bool) -> HostBits {
    let uids = [("app", 1002), ("deploy", 1001)]
        .map(|(name, uid)| (UnixUser::new(name).expect("a valid literal"), uid));
    HostBits { uids: uids.into(), without_forward }
}

fn compiled(section: &FirewallSection) -> Table {
    compile(section, &host_bits(false)).expect("it compiles")
}

/// What nft lists equals what we say it should, to the last rule.
fn shows(net: &Net, shown: &Shown<'_>) {
    let seen = net.listing().expect("our table is there");
    let wanted = Listing::expected(shown);
    assert_eq!(seen.differences(&wanted, 20), Vec::<String>::new());
    assert_eq!(seen, wanted);
}

/// The whole life of a ruleset over another: warm, first trial, confirm, stage, switch, confirm or abandon, restore.
fn lives(net: &Net, first: &Table, second: &Table, third: &Table) {
    let open = Table::open();
    let nothing = Numbered::new(0, &open);
    let (a, b, c) = (Numbered::new(1, first), Numbered::new(2, second), Numbered::new(3, third));
    net.load(&transaction::warm()).expect("it loads");
    net.load(&transaction::first_trial(nothing, a, 60)).expect("it loads");
    assert!(!net.nft(&["list", "tables"]).stdout.contains("tenure_warm"));
    shows(net, &Shown::Trial { old: nothing, new: a, seconds: 60 });
    net.load(&transaction::confirm(nothing, a)).expect("it loads");
    shows(net, &Shown::Confirmed(a));
    net.load(&transaction::stage(a, b)).expect("it loads");
    shows(net, &Shown::Staged { old: a, new: b });
    net.load(&transaction::switch(a, b, 60)).expect("it loads");
    shows(net, &Shown::Trial { old: a, new: b, seconds: 60 });
    net.load(&transaction::abandon(a, b)).expect("it loads");
    shows(net, &Shown::Confirmed(a));
    net.load(&transaction::stage(a, b)).expect("it loads");
    net.load(&transaction::unstage(a, b)).expect("it loads");
    shows(net, &Shown::Confirmed(a));
    net.load(&transaction::stage(a, b)).expect("it loads");
    net.load(&transaction::switch(a, b, 60)).expect("it loads");
    net.load(&transaction::confirm(a, b)).expect("it loads");
    shows(net, &Shown::Confirmed(b));
    net.load(&transaction::replace(&Shown::Trial { old: b, new: c, seconds: 30 })).expect("it loads");
    shows(net, &Shown::Trial { old: b, new: c, seconds: 30 });
    net.load(&transaction::confirm(b, c)).expect("it loads");
    shows(net, &Shown::Confirmed(c));
    net.load(&transaction::replace(&Shown::Confirmed(a))).expect("it loads");
    shows(net, &Shown::Confirmed(a));
    net.load(&transaction::lift()).expect("it loads");
    assert!(net.listing().is_none());
}

#[test]
fn every_transaction_loads_and_lists_back_as_emitted() {
    let net = Net::new(&[]);
    let without = |section: &FirewallSection| compile(section, &host_bits(true)).expect("it compiles");
    lives(&net, &compiled(&web()), &compiled(&web_wider()), &compiled(&web()));
    // the forward hook goes and comes
    lives(&net, &without(&web()), &compiled(&web_wider()), &without(&web()));
    lives(&net, &boot::baseline(Some(&web())).table, &compiled(&web()), &boot::baseline(None).table);
}

#[test]
fn any_section_loads_and_lists_back_as_emitted() {
    let net = Net::new(&[]);
    let sections = (any_section(), any_section(), any_section());
    let mut runner = TestRunner::new(Config {
        cases: 24,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let result = runner.run(&sections, |(a, b, c)| {
        // lives() asserts; a panic is a failed case
        lives(&net, &compiled(&a), &compiled(&b), &compiled(&c));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_lapsed_trial_cannot_be_confirmed_and_changes_nothing() {
    let net = Net::new(&[]);
    let (first, second) = (compiled(&web()), compiled(&web_wider()));
    let (old, new) = (Numbered::new(1, &first), Numbered::new(2, &second));
    net.load(&transaction::replace(&Shown::Confirmed(old))).expect("it loads");
    net.load(&transaction::stage(old, new)).expect("it loads");
    net.load(&transaction::switch(old, new, 1)).expect("it loads");
    net.lapse(&live_name(2));
    let refused = net.load(&transaction::confirm(old, new)).unwrap_err();
    assert!(refused.contains("No such file or directory"), "{refused}");
    shows(&net, &Shown::Trial { old, new, seconds: 1 });
    net.load(&transaction::abandon(old, new)).expect("it loads");
    shows(&net, &Shown::Confirmed(old));
}

#[test]
fn foreign_changes_are_seen_and_named_and_sets_are_constant() {
    let net = Net::new(&[]);
    let table = compiled(&web());
    let shown = Shown::Confirmed(Numbered::new(12, &table));
    let wanted = Listing::expected(&shown);
    let changes: [(&[&str], &str); 7] = [
        (
            &["insert", "rule", "inet", "tenure", "g12_input", "tcp", "dport", "4444", "accept"],
            "rule added in g12_input: tcp dport 4444 accept",
        ),
        (&["add", "rule", "inet", "tenure", "input", "accept"], "rule added in input: accept"),
        (&["flush", "chain", "inet", "tenure", "input"], "rule removed from input: goto g12_input"),
        (
            &["chain", "inet", "tenure", "input", "{ policy accept ; }"],
            "chain input is \"type filter hook input prio 0 policy accept\"",
        ),
        (&["add", "chain", "inet", "tenure", "back_door"], "chain back_door added"),
        (&["add", "set", "inet", "tenure", "s", "{ type ipv4_addr ; }"], "set s added"),
        (&["add", "table", "inet", "tenure", "{ flags dormant ; }"], "a flag set on the table"),
    ];
    for (words, told) in changes {
        net.load(&transaction::replace(&shown)).expect("it loads");
        let output = net.nft(words);
        assert!(output.ok(), "{words:?}: {}", output.said());
        let differences = net.listing().unwrap().differences(&wanted, 10);
        assert!(differences.iter().any(|line| line.starts_with(told)), "{words:?}: {differences:?}");
    }
    net.load(&transaction::replace(&shown)).expect("it loads");
    let output = net.nft(&["add", "element", "inet", "tenure", "g12_n_office_4", "{ 192.0.2.99 }"]);
    assert!(output.said().contains("Device or resource busy"), "{}", output.said());
    shows(&net, &shown);
}

const CALLERS: [&str; 6] =
    ["203.0.113.9", "2001:db8:10::9", "192.0.2.77", "2001:db8:77::77", "192.0.2.66", "2001:db8:bad::1"];

#[test]
fn real_packets_come_in_as_the_evaluator_says() {
    let net = Net::new(&CALLERS);
    let table = compiled(&web());
    net.load(&transaction::replace(&Shown::Confirmed(Numbered::new(1, &table)))).expect("it loads");
    let mut reached = 0;
    for caller in CALLERS {
        let own = HOST[usize::from(!is_v4(caller))];
        for port in [22, 80, 443, 5432] {
            let said = evaluate::inbound(&table, ip(caller), ip(own), Protocol::Tcp, port);
            assert_eq!(net.comes_in(caller, port), said.accept, "{caller} to port {port}: {said:?}");
            reached += usize::from(said.accept);
        }
    }
    assert_eq!(reached, 10);
}

#[test]
fn real_packets_go_out_as_the_evaluator_says() {
    let far = [
        "198.51.100.53",
        "2001:db8:53::53",
        "192.0.2.77",
        "2001:db8:77::77",
        "192.0.2.66",
        "2001:db8:bad::1",
    ];
    let net = Net::new(&far);
    net.silence_far();
    let table = compiled(&web());
    net.load(&transaction::replace(&Shown::Confirmed(Numbered::new(1, &table)))).expect("it loads");
    let mut left = 0;
    for to in far {
        let own = HOST[usize::from(!is_v4(to))];
        for (port, uid) in [(53, 1000), (80, 1001), (80, 1000), (443, 1001)] {
            let said = evaluate::outbound(&table, ip(own), ip(to), Protocol::Tcp, port, Sender::Uid(uid));
            assert_eq!(net.goes_out(to, port, uid), said.accept, "uid {uid} to {to} port {port}: {said:?}");
            left += usize::from(said.accept);
        }
    }
    assert_eq!(left, 6);
}

/// How long neighbours may look for each other, on cables that were just plugged.
const READY: Duration = Duration::from_secs(20);

#[test]
fn real_packets_for_others_are_passed_on_as_the_evaluator_says() {
    let net = Net::with_behind(&CALLERS);
    let table = compiled(&web());
    let passed = || CALLERS.map(|caller| net.passes(caller, 443));
    wait_for("the way", READY, || passed() == [true; 6]).expect("it is there");
    net.load(&transaction::replace(&Shown::Confirmed(Numbered::new(1, &table)))).expect("it loads");
    let said = CALLERS.map(|caller| {
        let to = BEHIND[usize::from(!is_v4(caller))];
        let packet = evaluate::first_packet(ip(caller), ip(to), Protocol::Tcp, 443, Sender::Nobody);
        then(&table, &packet, Hook::Forward, &packet).accept
    });
    assert_eq!((passed(), said), ([false; 6], [false; 6]));
}

/// What somebody else's table makes of connections to the host: some go to another host, some to another port of this one.
const TRANSLATIONS: &str = "table inet published { chain in { type nat hook prerouting priority -100; \
    meta nfproto ipv4 tcp dport { 443, 9999 } dnat ip to 198.51.100.130:5432; \
    meta nfproto ipv6 tcp dport { 443, 9999 } dnat ip6 to [2001:db8:2::130]:5432; \
    tcp dport 80 redirect to :5432; tcp dport 9998 redirect to :443; }; }";
/// The port that is asked for, the hook that comes after, and the port that it becomes. The policy lists 80 and 443.
const TRANSLATED: [(u16, Hook, u16); 4] = [
    (443, Hook::Forward, 5432),
    (9999, Hook::Forward, 5432),
    (80, Hook::Input, 5432),
    (9998, Hook::Input, 443),
];

#[test]
fn real_packets_whose_destination_is_translated_go_by_the_port_that_was_asked_for() {
    let net = Net::with_behind(&CALLERS);
    let output = net.nft(&[TRANSLATIONS]);
    assert!(output.ok(), "{}", output.said());
    let reached = || -> Vec<(&str, u16)> {
        let tries = CALLERS.iter().flat_map(|caller| TRANSLATED.map(|(port, ..)| (*caller, port)));
        tries.filter(|(caller, port)| net.comes_in(caller, *port)).collect()
    };
    wait_for("the ways", READY, || reached().len() == CALLERS.len() * TRANSLATED.len())
        .expect("they are there");
    let table = compiled(&web());
    net.load(&transaction::replace(&Shown::Confirmed(Numbered::new(1, &table)))).expect("it loads");
    let got = reached();
    for caller in CALLERS {
        let own = HOST[usize::from(!is_v4(caller))];
        for (port, hook, becomes) in TRANSLATED {
            let first = evaluate::first_packet(ip(caller), ip(own), Protocol::Tcp, port, Sender::Nobody);
            let asked = Packet { local: true, ..first };
            let translated = Packet { dport: becomes, dnat: true, local: hook == Hook::Input, ..first };
            let said = then(&table, &asked, hook, &translated);
            assert_eq!(got.contains(&(caller, port)), said.accept, "{caller} to port {port}: {said:?}");
        }
    }
    // Whoever is not blocked, by the listed ports alone, wherever the others lead.
    assert_eq!(got.len(), 8, "{got:?}");
    assert!(got.iter().all(|(_, port)| matches!(port, 443 | 80)), "{got:?}");
    net.silence_behind();
    assert!(
        !net.comes_in(CALLERS[0], 443) && !net.comes_in(CALLERS[1], 443),
        "it was the other host that answered"
    );
}

/// Before translation, and again at the hook that comes after it.
fn then(table: &Table, asked: &Packet, hook: Hook, translated: &Packet) -> Decision {
    match evaluate::walk(table, Hook::Prerouting, asked) {
        Decision { accept: true, .. } => evaluate::walk(table, hook, translated),
        refused => refused,
    }
}

#[test]
fn the_kernel_falls_back_by_itself_on_both_families() {
    let net = Net::new(&CALLERS);
    let (first, second) = (compiled(&web()), compiled(&web_wider()));
    let (old, new) = (Numbered::new(1, &first), Numbered::new(2, &second));
    net.load(&transaction::replace(&Shown::Confirmed(old))).expect("it loads");
    net.load(&transaction::stage(old, new)).expect("it loads");
    let office = ["203.0.113.9", "2001:db8:10::9"];
    let wider = || office.map(|caller| net.comes_in(caller, 8443));
    assert_eq!(wider(), [false, false], "staged, not switched");
    net.load(&transaction::switch(old, new, 4)).expect("it loads");
    assert_eq!(wider(), [true, true], "on trial");
    net.lapse(&live_name(2));
    assert_eq!(wider(), [false, false], "lapsed");
    assert_eq!(office.map(|caller| net.comes_in(caller, 22)), [true, true], "management stays");
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
