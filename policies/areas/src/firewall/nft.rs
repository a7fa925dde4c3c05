//! Renders what the kernel should show as nft's JSON (libnftables-json(5)), in the form that nft 1.0.6 lists back.
//! Built from the `nftables` crate's types. What those cannot say, or say in another way than nft, stands at the end of this file:
//! [`live_set`], [`set_named`] and [`written`]. Of the crate only the types are used: this file starts nothing.

use nftables::expr::{
    CT, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload, PayloadField, Prefix,
    Range, SetItem,
};
use nftables::schema::{self, NfListObject, SetFlag, SetType, SetTypeValue};
use nftables::stmt::{self, JumpTarget, Log, Operator, Reject, RejectType, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook, RejectCode};
use serde_json::{Value, json};
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
    let mut out = vec![table_object(TABLE)];
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

/// A table of ours.
pub(super) fn table_object(name: &str) -> Value {
    written(NfListObject::Table(schema::Table { family: NfFamily::INet, name: name.into(), handle: None }))
}

pub(super) fn counter_object(name: &str) -> Value {
    written(NfListObject::Counter(schema::Counter {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: name.into(),
        handle: None,
        packets: None,
        bytes: None,
    }))
}

/// The name of a trial's live set.
pub fn live_name(number: u32) -> String {
    format!("g{number}_live")
}

/// The elements of a trial's live set, to delete them.
pub(super) fn live_elements(number: u32) -> Value {
    let families: Vec<Expression<'_>> = ["ipv4", "ipv6"].map(text).into();
    written(NfListObject::Element(schema::Element {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: live_name(number).into(),
        elem: families.into(),
    }))
}

pub(super) fn set_objects(ruleset: Numbered<'_>) -> Vec<Value> {
    let number = ruleset.number;
    let object = |(name, set): (&String, &AddressSet)| {
        let (kind, elements): (SetType, Vec<Expression<'_>>) = match set {
            AddressSet::V4(nets) => (
                SetType::Ipv4Addr,
                nets.iter().map(|n| element(n.network().to_string(), n.prefix_len(), 32)).collect(),
            ),
            AddressSet::V6(nets) => (
                SetType::Ipv6Addr,
                nets.iter().map(|n| element(n.network().to_string(), n.prefix_len(), 128)).collect(),
            ),
        };
        written(NfListObject::Set(Box::new(schema::Set {
            family: NfFamily::INet,
            table: TABLE.into(),
            name: format!("g{number}_{name}").into(),
            set_type: SetTypeValue::Single(kind),
            // constant: others' element changes answer EBUSY
            flags: Some([SetFlag::Constant, SetFlag::Interval].into()),
            elem: Some(elements.into()),
            ..schema::Set::default()
        })))
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
            let chain = format!("g{number}_{chain}");
            rule_object(TABLE, &chain, statements(number, rule), rule.comment.as_deref())
        })
        .collect()
}

pub(super) fn base_chain(hook: Hook) -> Value {
    let at = match hook {
        Hook::Prerouting => NfHook::Prerouting,
        Hook::Input => NfHook::Input,
        Hook::Forward => NfHook::Forward,
        Hook::Output => NfHook::Output,
    };
    hooked(TABLE, hook.name(), at, hook.priority(), NfChainPolicy::Drop)
}

/// A base chain.
pub(super) fn hooked(table: &str, name: &str, hook: NfHook, priority: i32, policy: NfChainPolicy) -> Value {
    written(NfListObject::Chain(schema::Chain {
        family: NfFamily::INet,
        table: table.into(),
        name: name.into(),
        _type: Some(NfChainType::Filter),
        hook: Some(hook),
        prio: Some(priority),
        policy: Some(policy),
        ..schema::Chain::default()
    }))
}

/// A chain that other chains go to; also the name of any chain of our table, to flush or delete it.
pub(super) fn chain_object(name: &str) -> Value {
    written(NfListObject::Chain(schema::Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: name.into(),
        ..schema::Chain::default()
    }))
}

/// The rules of a base chain: nothing but where to go, and a comment that says which ruleset that is.
pub(super) fn base_rules(shown: &Shown<'_>, hook: Hook) -> Vec<Value> {
    let base = |statements, comment: String| rule_object(TABLE, hook.name(), statements, Some(&comment));
    let fixed = |ruleset: Numbered<'_>| base(vec![target(ruleset, hook)], state(ruleset, "confirmed"));
    match *shown {
        Shown::Confirmed(only) => vec![fixed(only)],
        Shown::Staged { old, .. } => vec![fixed(old)],
        Shown::Trial { old, new, .. } => {
            let alive = is(meta(MetaKey::Nfproto), text(format!("@{}", live_name(new.number))));
            vec![base(vec![alive, target(new, hook)], state(new, "trial")), fixed(old)]
        }
    }
}

/// A rule of a chain of a table of ours.
pub(super) fn rule_object(
    table: &str,
    chain: &str,
    statements: Vec<Statement<'_>>,
    comment: Option<&str>,
) -> Value {
    written(NfListObject::Rule(schema::Rule {
        family: NfFamily::INet,
        table: table.into(),
        chain: chain.into(),
        expr: statements.into(),
        comment: comment.map(Into::into),
        ..schema::Rule::default()
    }))
}

/// Connection tracking calls the packet so.
pub(super) fn tracked(word: &'static str) -> Statement<'static> {
    within("state", text(word))
}

/// A ruleset that does not judge a hook lets it pass.
fn target(ruleset: Numbered<'_>, hook: Hook) -> Statement<'static> {
    if ruleset.table.has(hook) {
        Statement::Goto(JumpTarget { target: format!("g{}_{hook}", ruleset.number).into() })
    } else {
        Statement::Accept(None)
    }
}

fn state(ruleset: Numbered<'_>, word: &str) -> String {
    format!("tenure gen={} policy={} state={word}", ruleset.number, ruleset.hash.short())
}

/// What a rule consists of: all that must hold, the counter, and what then.
fn statements(number: u32, rule: &Rule) -> Vec<Statement<'_>> {
    let mut out: Vec<Statement<'_>> = rule.matches.iter().map(|m| condition(number, m)).collect();
    if let Some(counter) = &rule.counter {
        out.push(Statement::Counter(stmt::Counter::Named(counter.into())));
    }
    out.push(match &rule.then {
        Then::Accept => Statement::Accept(None),
        Then::Drop => Statement::Drop(None),
        Then::RejectReset => Statement::Reject(Some(Reject::new(Some(RejectType::TCPReset), None))),
        Then::RejectProhibited => {
            Statement::Reject(Some(Reject::new(Some(RejectType::ICMPX), Some(RejectCode::AdminProhibited))))
        }
        Then::Jump(chain) => Statement::Jump(JumpTarget { target: format!("g{number}_{chain}").into() }),
        Then::Log(what) => Statement::Log(Some(Log {
            prefix: Some(format!("tenure g{number} {what} ").into()),
            ..Log::new(Some(64))
        })),
    });
    out
}

fn condition(number: u32, m: &Match) -> Statement<'_> {
    let family = |set: &str| if set.ends_with("_6") { "ip6" } else { "ip" };
    let named = |set: &str| text(format!("@g{number}_{set}"));
    let integer = |n: u16| Expression::Number(n.into());
    match m {
        Match::InLoopback => is(meta(MetaKey::Iifname), text("lo")),
        Match::OutLoopback => is(meta(MetaKey::Oifname), text("lo")),
        Match::CtKnown => within("state", Expression::List(["established", "related"].map(text).into())),
        Match::CtInvalid => tracked("invalid"),
        Match::CtDnat => within("status", text("dnat")),
        Match::Family(Family::V4) => is(meta(MetaKey::Nfproto), text("ipv4")),
        Match::Family(Family::V6) => is(meta(MetaKey::Nfproto), text("ipv6")),
        Match::NotLocal => {
            // One flag, so the order of the crate's hash set does not matter.
            let kind = Fib { result: FibResult::Type, flags: [FibFlag::Daddr].into() };
            matched(Operator::NEQ, Expression::Named(NamedExpression::Fib(kind)), text("local"))
        }
        Match::Protocol(protocol) => is(meta(MetaKey::L4proto), integer((*protocol).into())),
        Match::Icmp(family, types) => {
            let protocol = match family {
                Family::V4 => "icmp",
                Family::V6 => "icmpv6",
            };
            is(field(protocol, "type"), one_or_set(types.iter().map(|t| text(t.name.as_str())).collect()))
        }
        Match::HopLimit(limit) => is(field("ip6", "hoplimit"), integer((*limit).into())),
        Match::SourceIn(set) => is(field(family(set), "saddr"), named(set)),
        Match::DestinationIn(set) => is(field(family(set), "daddr"), named(set)),
        Match::SourceV6(nets) => is(field("ip6", "saddr"), networks6(nets)),
        Match::DestinationV6(nets) => is(field("ip6", "daddr"), networks6(nets)),
        Match::SourcePort(transport, port) => is(field(transport.name(), "sport"), integer(*port)),
        Match::DestinationPorts(transport, ranges) => {
            let range = |&(first, last): &(u16, u16)| {
                if first == last {
                    return integer(first);
                }
                Expression::Range(Box::new(Range { range: [integer(first), integer(last)] }))
            };
            is(field(transport.name(), "dport"), one_or_set(ranges.iter().map(range).collect()))
        }
        Match::Uids(uids) => {
            is(meta(MetaKey::Skuid), one_or_set(uids.iter().map(|uid| Expression::Number(*uid)).collect()))
        }
        Match::Limit { rate, burst } => Statement::Limit(stmt::Limit {
            rate: *rate,
            rate_unit: None,
            per: Some("second".into()),
            burst: Some(*burst),
            burst_unit: None,
            inv: None,
        }),
    }
}

fn matched<'a>(op: Operator, left: Expression<'a>, right: Expression<'a>) -> Statement<'a> {
    Statement::Match(stmt::Match { left, right, op })
}

fn is<'a>(left: Expression<'a>, right: Expression<'a>) -> Statement<'a> {
    matched(Operator::EQ, left, right)
}

/// Connection tracking's `key` has one of these bits.
fn within<'a>(key: &'a str, bits: Expression<'a>) -> Statement<'a> {
    let tracked = CT { key: key.into(), family: None, dir: None };
    matched(Operator::IN, Expression::Named(NamedExpression::CT(tracked)), bits)
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn field<'a>(protocol: &'a str, field: &'a str) -> Expression<'a> {
    let field = PayloadField { protocol: protocol.into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn text<'a>(text: impl Into<std::borrow::Cow<'a, str>>) -> Expression<'a> {
    Expression::String(text.into())
}

fn element(address: String, length: u8, full: u8) -> Expression<'static> {
    if length == full {
        return text(address);
    }
    let prefix = Prefix { addr: Box::new(text(address)), len: length.into() };
    Expression::Named(NamedExpression::Prefix(prefix))
}

fn networks6(nets: &[ipnet::Ipv6Net]) -> Expression<'static> {
    one_or_set(nets.iter().map(|net| element(net.network().to_string(), net.prefix_len(), 128)).collect())
}

/// nft lists an anonymous set of one as the element itself.
fn one_or_set(mut values: Vec<Expression<'_>>) -> Expression<'_> {
    if values.len() == 1 {
        return values.remove(0);
    }
    Expression::Named(NamedExpression::Set(values.into_iter().map(SetItem::Element).collect()))
}

/// The live set: an element per family, each gone after `seconds`.
/// By hand: the crate knows no sets of type `nf_proto`, and writes an element's absent properties as null.
pub(super) fn live_set(number: u32, seconds: u32) -> Value {
    let element = |family: &str| json!({"elem": {"val": family, "timeout": seconds}});
    json!({"set": {
        "family": "inet", "table": TABLE, "name": live_name(number), "type": "nf_proto", "flags": ["timeout"],
        "elem": [element("ipv4"), element("ipv6")],
    }})
}

/// The name of a set, to delete it. By hand: the crate's sets always have a type.
pub(super) fn set_named(name: &str) -> Value {
    json!({"set": {"family": "inet", "table": TABLE, "name": name}})
}

/// As JSON. Two corrections: the crate keeps flags in a hash set, so that their order differs from run to run, and writes a
/// counter's absent bytes as null.
fn written(object: NfListObject<'_>) -> Value {
    let mut value = serde_json::to_value(object).expect("the crate's types are plain data with text keys");
    if let Some(Value::Array(flags)) = value.pointer_mut("/set/flags") {
        flags.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    if let Some(Value::Object(counter)) = value.get_mut("counter")
        && counter.get("bytes").is_some_and(Value::is_null)
    {
        counter.remove("bytes");
    }
    value
}

/// An object of values that are moved: `json!` would copy each of them through a serializer, level by level.
pub(super) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

#[cfg(test)]
#[path = "nft_tests.rs"]
mod tests;
