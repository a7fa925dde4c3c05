//! Renders what the kernel should show as nft's JSON (libnftables-json(5)), in the form that nft 1.0.6 lists back.
//! Made by hand and not with the `nftables` crate's types: those cannot express a set of `nf_proto` (the live set of a trial),
//! keep set flags in random order, and the crate can start processes.

use serde_json::{Map, Value, json};
use tenure_trust::Hash;

use super::table::{AddressSet, Family, Hook, Match, Rule, Table, Then};

/// Our table's name, family `inet`.
pub const TABLE: &str = "tenure";

/// A table under its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// Ruleset number; 0 is what stood there before the first trial.
    pub number: u32,
    /// Content.
    pub table: &'a Table,
    /// [`Table::hash`] of the content: stands in the comments of the base chains.
    pub hash: Hash,
}

impl<'a> Numbered<'a> {
    /// A table under a number.
    pub fn new(number: u32, table: &'a Table) -> Self {
        Self { number, table, hash: table.hash() }
    }
}

/// What our table in the kernel can look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// One ruleset, in force.
    Confirmed(Numbered<'a>),
    /// The old one in force, the new one beside it with nothing pointing at it.
    Staged {
        /// In force.
        old: Numbered<'a>,
        /// Not reached by any packet.
        new: Numbered<'a>,
    },
    /// The new one while the live set's elements last, then the old one.
    Trial {
        /// What the kernel falls back to.
        old: Numbered<'a>,
        /// On trial.
        new: Numbered<'a>,
        /// Seconds that the elements of the live set get.
        seconds: u32,
    },
}

/// Every object of the table in a loadable order: table, counters, sets, chains, rules.
pub fn render(shown: &Shown<'_>) -> Vec<Value> {
    let mut out = vec![table_object()];
    let (rulesets, trial) = match *shown {
        Shown::Confirmed(only) => (vec![only], None),
        Shown::Staged { old, new } => (vec![old, new], None),
        Shown::Trial { old, new, seconds } => (vec![old, new], Some((new, seconds))),
    };
    let mut counters: Vec<&String> = rulesets.iter().flat_map(|r| &r.table.counters).collect();
    counters.sort_unstable();
    counters.dedup();
    out.extend(counters.into_iter().map(|name| counter_object(name)));
    for ruleset in &rulesets {
        out.extend(set_objects(*ruleset));
    }
    if let Some((new, seconds)) = trial {
        out.push(live_set(new.number, seconds));
    }
    for ruleset in &rulesets {
        out.extend(chain_objects(*ruleset));
    }
    for hook in hooks(shown) {
        out.push(base_chain(hook));
    }
    for ruleset in &rulesets {
        out.extend(rule_objects(*ruleset));
    }
    for hook in hooks(shown) {
        out.extend(base_rules(shown, hook));
    }
    out
}

/// The hooks that have a base chain: those that any ruleset in force or on trial judges.
pub fn hooks(shown: &Shown<'_>) -> Vec<Hook> {
    let has = |hook: &Hook| match *shown {
        Shown::Confirmed(only) => only.table.has(*hook),
        // staging touches no base chain
        Shown::Staged { old, .. } => old.table.has(*hook),
        Shown::Trial { old, new, .. } => old.table.has(*hook) || new.table.has(*hook),
    };
    Hook::ALL.into_iter().filter(has).collect()
}

/// The table itself.
pub(super) fn table_object() -> Value {
    json!({"table": {"family": "inet", "name": TABLE}})
}

pub(super) fn counter_object(name: &str) -> Value {
    json!({"counter": {"family": "inet", "table": TABLE, "name": name}})
}

/// The name of a trial's live set.
pub fn live_name(number: u32) -> String {
    format!("g{number}_live")
}

/// The live set: an element per family, each gone after `seconds`.
pub(super) fn live_set(number: u32, seconds: u32) -> Value {
    let element = |family: &str| json!({"elem": {"val": family, "timeout": seconds}});
    json!({"set": {
        "family": "inet", "table": TABLE, "name": live_name(number), "type": "nf_proto", "flags": ["timeout"],
        "elem": [element("ipv4"), element("ipv6")],
    }})
}

pub(super) fn set_objects(ruleset: Numbered<'_>) -> Vec<Value> {
    let number = ruleset.number;
    let object = |(name, set): (&String, &AddressSet)| {
        let (kind, elements): (&str, Vec<Value>) = match set {
            AddressSet::V4(nets) => (
                "ipv4_addr",
                nets.iter().map(|n| element(n.network().to_string(), n.prefix_len(), 32)).collect(),
            ),
            AddressSet::V6(nets) => (
                "ipv6_addr",
                nets.iter().map(|n| element(n.network().to_string(), n.prefix_len(), 128)).collect(),
            ),
        };
        // constant: others' element changes answer EBUSY
        json!({"set": {
            "family": "inet", "table": TABLE, "name": format!("g{number}_{name}"), "type": kind,
            "flags": ["constant", "interval"], "elem": elements,
        }})
    };
    ruleset.table.sets.iter().map(object).collect()
}

pub(super) fn chain_objects(ruleset: Numbered<'_>) -> Vec<Value> {
    ruleset.table.chains.keys().map(|name| chain_object(&format!("g{}_{name}", ruleset.number))).collect()
}

pub(super) fn rule_objects(ruleset: Numbered<'_>) -> Vec<Value> {
    let number = ruleset.number;
    let rules =
        ruleset.table.chains.iter().flat_map(|(chain, rules)| rules.iter().map(move |rule| (chain, rule)));
    rules
        .map(|(chain, rule)| {
            rule_object(&format!("g{number}_{chain}"), expressions(number, rule), rule.comment.as_deref())
        })
        .collect()
}

pub(super) fn base_chain(hook: Hook) -> Value {
    json!({"chain": {
        "family": "inet", "table": TABLE, "name": hook.name(),
        "type": "filter", "hook": hook.name(), "prio": hook.priority(), "policy": "drop",
    }})
}

/// The rules of a base chain: nothing but where to go, and a comment that says which ruleset that is.
pub(super) fn base_rules(shown: &Shown<'_>, hook: Hook) -> Vec<Value> {
    let fixed = |ruleset: Numbered<'_>| {
        rule_object(hook.name(), vec![target(ruleset, hook)], Some(&state(ruleset, "confirmed")))
    };
    match *shown {
        Shown::Confirmed(only) => vec![fixed(only)],
        Shown::Staged { old, .. } => vec![fixed(old)],
        Shown::Trial { old, new, .. } => {
            let alive = json!({"match": {
                "op": "==", "left": {"meta": {"key": "nfproto"}}, "right": format!("@{}", live_name(new.number)),
            }});
            let tried = rule_object(hook.name(), vec![alive, target(new, hook)], Some(&state(new, "trial")));
            vec![tried, fixed(old)]
        }
    }
}

/// A ruleset that does not judge a hook lets it pass.
fn target(ruleset: Numbered<'_>, hook: Hook) -> Value {
    if ruleset.table.has(hook) {
        json!({"goto": {"target": format!("g{}_{hook}", ruleset.number)}})
    } else {
        json!({"accept": null})
    }
}

fn state(ruleset: Numbered<'_>, word: &str) -> String {
    format!("tenure gen={} policy={} state={word}", ruleset.number, ruleset.hash.short())
}

fn chain_object(name: &str) -> Value {
    json!({"chain": {"family": "inet", "table": TABLE, "name": name}})
}

fn rule_object(chain: &str, expr: Vec<Value>, comment: Option<&str>) -> Value {
    let at =
        [("family", "inet".into()), ("table", TABLE.into()), ("chain", chain.into()), ("expr", expr.into())];
    let mut rule: Map<String, Value> = at.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
    if let Some(comment) = comment {
        rule.insert("comment".into(), comment.into());
    }
    object([("rule", Value::Object(rule))])
}

/// An object of values that are moved: `json!` would copy each of them through a serializer, level by level.
pub(super) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

fn element(address: String, length: u8, full: u8) -> Value {
    if length == full { Value::String(address) } else { json!({"prefix": {"addr": address, "len": length}}) }
}

fn expressions(number: u32, rule: &Rule) -> Vec<Value> {
    let mut out: Vec<Value> = rule.matches.iter().map(|m| expression(number, m)).collect();
    if let Some(counter) = &rule.counter {
        out.push(json!({"counter": counter}));
    }
    out.push(match &rule.then {
        Then::Accept => json!({"accept": null}),
        Then::Drop => json!({"drop": null}),
        Then::RejectReset => json!({"reject": {"type": "tcp reset"}}),
        Then::RejectProhibited => json!({"reject": {"type": "icmpx", "expr": "admin-prohibited"}}),
        Then::Jump(chain) => json!({"jump": {"target": format!("g{number}_{chain}")}}),
        Then::Log(what) => json!({"log": {"prefix": format!("tenure g{number} {what} "), "group": 64}}),
    });
    out
}

fn expression(number: u32, m: &Match) -> Value {
    let matched = |op: &str, left: Value, right: Value| {
        object([("match", object([("op", op.into()), ("left", left), ("right", right)]))])
    };
    let is = |left: Value, right: Value| matched("==", left, right);
    let within = |left: Value, right: Value| matched("in", left, right);
    let meta = |key: &str| json!({"meta": {"key": key}});
    let ct = |key: &str| json!({"ct": {"key": key}});
    let field = |protocol: &str, field: &str| json!({"payload": {"protocol": protocol, "field": field}});
    let family = |set: &str| if set.ends_with("_6") { "ip6" } else { "ip" };
    match m {
        Match::InLoopback => is(meta("iifname"), "lo".into()),
        Match::OutLoopback => is(meta("oifname"), "lo".into()),
        Match::CtKnown => within(ct("state"), json!(["established", "related"])),
        Match::CtInvalid => within(ct("state"), "invalid".into()),
        Match::CtDnat => within(ct("status"), "dnat".into()),
        Match::Family(Family::V4) => is(meta("nfproto"), "ipv4".into()),
        Match::Family(Family::V6) => is(meta("nfproto"), "ipv6".into()),
        Match::NotLocal => json!({"match": {
            "op": "!=", "left": {"fib": {"result": "type", "flags": ["daddr"]}}, "right": "local",
        }}),
        Match::Protocol(protocol) => is(meta("l4proto"), (*protocol).into()),
        Match::Icmp(Family::V4, types) => {
            is(field("icmp", "type"), one_or_set(types.iter().map(|t| t.name.as_str().into()).collect()))
        }
        Match::Icmp(Family::V6, types) => {
            is(field("icmpv6", "type"), one_or_set(types.iter().map(|t| t.name.as_str().into()).collect()))
        }
        Match::HopLimit(limit) => is(field("ip6", "hoplimit"), (*limit).into()),
        Match::SourceIn(set) => is(field(family(set), "saddr"), format!("@g{number}_{set}").into()),
        Match::DestinationIn(set) => is(field(family(set), "daddr"), format!("@g{number}_{set}").into()),
        Match::SourceV6(nets) => is(field("ip6", "saddr"), networks6(nets)),
        Match::DestinationV6(nets) => is(field("ip6", "daddr"), networks6(nets)),
        Match::SourcePort(transport, port) => is(field(transport.name(), "sport"), (*port).into()),
        Match::DestinationPorts(transport, ranges) => {
            let range = |(first, last): &(u16, u16)| {
                if first == last { Value::from(*first) } else { json!({"range": [first, last]}) }
            };
            is(field(transport.name(), "dport"), one_or_set(ranges.iter().map(range).collect()))
        }
        Match::Uids(uids) => is(meta("skuid"), one_or_set(uids.iter().map(|uid| (*uid).into()).collect())),
        Match::Limit { rate, burst } => json!({"limit": {"rate": rate, "burst": burst, "per": "second"}}),
    }
}

fn networks6(nets: &[ipnet::Ipv6Net]) -> Value {
    one_or_set(nets.iter().map(|net| element(net.network().to_string(), net.prefix_len(), 128)).collect())
}

/// nft lists an anonymous set of one as the element itself.
fn one_or_set(mut values: Vec<Value>) -> Value {
    if values.len() == 1 { values.remove(0) } else { object([("set", values.into())]) }
}
