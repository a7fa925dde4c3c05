//! The firewall's own transactions, other people's tables and changes, elements that end by themselves.

#[path = "../../../../policies/areas/src/firewall/samples.rs"]
#[allow(dead_code, reason = "the samples serve several tests; this one takes two")]
mod samples;

use tenure_areas::fake::FakeHost;
use tenure_areas::firewall::nft::{Numbered, Shown, live_name};
use tenure_areas::firewall::{HostBits, Table, compile, transaction};
use tenure_areas::port::{Command, Query};
use tenure_policy::names::UnixUser;
use tenure_policy::resolved::FirewallSection;

use crate::script::Script;

pub(crate) fn situations() -> Script {
    let mut script = crate::fresh("nft");
    // The generation first: the others are counted from it.
    look(&mut script);
    let (open, first, second) = (Table::open(), compiled(&samples::web()), compiled(&samples::web_wider()));
    let (zero, one, two) = (Numbered::new(0, &open), Numbered::new(1, &first), Numbered::new(2, &second));

    for (what, json) in [
        ("connection tracking is hooked", transaction::warm()),
        ("a first trial", transaction::first_trial(zero, one, 60)),
        ("it is confirmed", transaction::confirm(zero, one)),
        ("another is staged", transaction::stage(one, two)),
        ("staged again: refused", transaction::stage(one, two)),
        ("unstaged", transaction::unstage(one, two)),
        ("unstaged again: refused", transaction::unstage(one, two)),
        ("staged anew", transaction::stage(one, two)),
        ("on trial", transaction::switch(one, two, 60)),
        ("abandoned", transaction::abandon(one, two)),
        ("a trial in one go", transaction::replace(&Shown::Trial { old: one, new: two, seconds: 60 })),
        ("confirmed", transaction::confirm(one, two)),
    ] {
        step(&mut script, what, json);
    }
    lapse(&mut script, one, two);
    refused(&mut script);
    restored(&mut script, one);
    others(&mut script);
    step(&mut script, "lifted", transaction::lift());
    step(&mut script, "lifted twice", transaction::lift());
    outsider(&mut script, "flush ruleset", r#"{"flush":{"ruleset":null}}"#);
    script
}

fn compiled(section: &FirewallSection) -> Table {
    let uids =
        [("app", 1002), ("deploy", 1001)].map(|(name, uid)| (UnixUser::new(name).expect("a literal"), uid));
    let host = HostBits { uids: uids.into(), without_forward: false };
    compile(section, &host).expect("the samples compile")
}

/// Everything that can be asked about the ruleset.
fn look(script: &mut Script) {
    script.ask(Query::NftGeneration);
    script.ask(Query::NftOwnTable);
    for number in [1, 2] {
        script.ask(Query::NftSet { name: live_name(number) });
    }
    script.ask(Query::NftChains);
    for since in [0, 5] {
        script.ask(Query::NftChanges { since });
    }
}

fn step(script: &mut Script, what: &str, json: String) {
    script.situation(what, "true", |_| {});
    script.tell(Command::NftLoad { json });
    look(script);
}

/// A trial that nobody confirms ends by itself, without a new generation, and cannot be confirmed any more.
fn lapse(script: &mut Script, one: Numbered<'_>, two: Numbered<'_>) {
    let trial = Shown::Trial { old: two, new: one, seconds: 2 };
    step(script, "a short trial", transaction::replace(&trial));
    script.situation("its time has passed", "sleep 2.5", |fake| fake.advance_ms(2_500));
    look(script);
    script.tell(Command::NftLoad { json: transaction::confirm(two, one) });
    look(script);
    script.tell(Command::NftLoad { json: transaction::abandon(two, one) });
    look(script);
}

/// Whole or not at all: good commands before a bad one leave nothing.
fn refused(script: &mut Script) {
    let good = r#"{"add":{"table":{"family":"inet","name":"half"}}}"#;
    for bad in [
        r#"{"delete":{"table":{"family":"inet","name":"nobody"}}}"#,
        r#"{"delete":{"chain":{"family":"inet","table":"tenure","name":"nobody"}}}"#,
        r#"{"delete":{"set":{"family":"inet","table":"tenure","name":"nobody"}}}"#,
        r#"{"create":{"table":{"family":"inet","name":"tenure"}}}"#,
        r#"{"add":{"rule":{"family":"inet","table":"tenure","chain":"nobody","expr":[{"accept":null}]}}}"#,
        r#"{"add":{"element":{"family":"inet","table":"tenure","name":"nobody","elem":["10.0.0.1"]}}}"#,
        r#"{"add":{"rule":{"family":"inet","table":"tenure","chain":"input","expr":[{"goto":{"target":"nobody"}}]}}}"#,
        r#"{"no-such-verb":{"table":{"family":"inet","name":"x"}}}"#,
        r#"{"add":{"table":{"family":"inet"}}}"#,
    ] {
        step(script, bad, format!(r#"{{"nftables":[{good},{bad}]}}"#));
    }
    for bad in ["", "{", "nonsense", "[]", "{}", r#"{"nftables":{}}"#] {
        step(script, bad, bad.into());
    }
    step(script, "nothing to do", r#"{"nftables":[]}"#.into());
    let bad = r#"{"nftables":[{"delete":{"table":{"family":"inet","name":"nobody"}}}]}"#;
    script.tell(Command::NftRestore { json: bad.into(), hash: "none".into() });
    for name in ["", "a b", "nobody", "with-dash", "g1_live; flush ruleset"] {
        script.ask(Query::NftSet { name: name.into() });
    }
}

/// The second restore of the same is by a prepared batch on the real host: it must make the same.
fn restored(script: &mut Script, one: Numbered<'_>) {
    let json = transaction::replace(&Shown::Confirmed(one));
    for what in ["restored", "restored by what was recorded"] {
        outsider(script, "flush ruleset", r#"{"flush":{"ruleset":null}}"#);
        script.situation(what, "true", |_| {});
        script.tell(Command::NftRestore { json: json.clone(), hash: one.hash.to_string() });
        look(script);
    }
}

fn others(script: &mut Script) {
    for (nft, json) in [
        (
            "insert rule inet tenure input accept",
            r#"{"insert":{"rule":{"family":"inet","table":"tenure","chain":"input","expr":[{"accept":null}]}}}"#,
        ),
        (
            "add rule inet tenure input tcp dport 4444 counter accept comment planted",
            r#"{"add":{"rule":{"family":"inet","table":"tenure","chain":"input","comment":"planted","expr":[
                {"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":4444}},
                {"counter":null},{"accept":null}]}}}"#,
        ),
        (
            "flush chain inet tenure input",
            r#"{"flush":{"chain":{"family":"inet","table":"tenure","name":"input"}}}"#,
        ),
        (
            "add chain inet tenure input { policy accept ; }",
            r#"{"add":{"chain":{"family":"inet","table":"tenure","name":"input","policy":"accept"}}}"#,
        ),
        (
            "add chain inet tenure more",
            r#"{"add":{"chain":{"family":"inet","table":"tenure","name":"more"}}}"#,
        ),
        (
            "add set inet tenure more { type ipv4_addr ; flags interval ; elements = { 10.0.0.0/8, 192.0.2.1 } ; }",
            r#"{"add":{"set":{"family":"inet","table":"tenure","name":"more","type":"ipv4_addr","flags":["interval"],
                "elem":[{"prefix":{"addr":"10.0.0.0","len":8}},"192.0.2.1"]}}}"#,
        ),
        ("add table ip other", r#"{"add":{"table":{"family":"ip","name":"other"}}}"#),
        (
            "add chain ip other out { type nat hook postrouting priority 100 ; policy accept ; }",
            r#"{"add":{"chain":{"family":"ip","table":"other","name":"out","type":"nat","hook":"postrouting","prio":100,
                "policy":"accept"}}}"#,
        ),
        (
            "add chain ip other in { type filter hook input priority -5 ; policy drop ; }",
            r#"{"add":{"chain":{"family":"ip","table":"other","name":"in","type":"filter","hook":"input","prio":-5,
                "policy":"drop"}}}"#,
        ),
        ("add chain ip other plain", r#"{"add":{"chain":{"family":"ip","table":"other","name":"plain"}}}"#),
        ("delete table ip other", r#"{"delete":{"table":{"family":"ip","name":"other"}}}"#),
    ] {
        outsider(script, nft, json);
    }
    let shell = "nft add table ip6 quick; nft delete table ip6 quick";
    script.situation("two changes in a row", shell, |fake| {
        let table = r#"{"table":{"family":"ip6","name":"quick"}}"#;
        by_nft(fake, &format!(r#"{{"add":{table}}}"#));
        by_nft(fake, &format!(r#"{{"delete":{table}}}"#));
    });
    look(script);
}

/// Somebody else's nft, in its own language on the real host.
fn outsider(script: &mut Script, nft: &str, json: &'static str) {
    script.situation(nft, format!("nft '{nft}'"), move |fake| by_nft(fake, json));
    look(script);
}

fn by_nft(fake: &FakeHost, command: &str) {
    fake.nft_as(4711, "nft", &format!(r#"{{"nftables":[{command}]}}"#)).expect("nft took the same");
}
