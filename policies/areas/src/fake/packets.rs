//! One packet through the fake's ruleset as it stands: the first of a TCP connection from elsewhere to this host.
//! Written from nft(8) and apart from the compiler's own evaluator, so that the two can disagree.

use std::net::IpAddr;

use serde_json::Value;

use super::nft::{Chain, Ruleset, Table};

/// A first packet that arrives on eth0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syn {
    pub(super) src: IpAddr,
    pub(super) port: u16,
    pub(super) now_ms: u64,
}

enum End {
    Accept,
    Drop,
    Continue,
}

/// Does it reach a socket? Every base chain at both hooks must let it pass.
///
/// # Errors
/// Names an expression that this does not know: a test must not pass by its ignorance.
pub(super) fn arrives(ruleset: &Ruleset, syn: Syn) -> Result<bool, String> {
    for hook in ["prerouting", "input"] {
        let mut bases: Vec<(&Table, &Chain)> = ruleset
            .tables
            .iter()
            .flat_map(|table| table.chains.iter().map(move |chain| (table, chain)))
            .filter(|(table, chain)| {
                chain.body.get("hook").is_some_and(|h| h == hook) && sees(table, syn.src)
            })
            .collect();
        bases.sort_by_key(|(_, chain)| chain.body.get("prio").and_then(Value::as_i64));
        for (table, chain) in bases {
            let policy = chain.body.get("policy").is_some_and(|p| p == "drop");
            let dropped = match walk(table, chain, syn, 0)? {
                End::Accept => false,
                End::Drop => true,
                End::Continue => policy,
            };
            if dropped {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn sees(table: &Table, src: IpAddr) -> bool {
    match table.family.as_str() {
        "ip" => src.is_ipv4(),
        "ip6" => src.is_ipv6(),
        family => family == "inet",
    }
}

fn walk(table: &Table, chain: &Chain, syn: Syn, depth: u8) -> Result<End, String> {
    if depth > 16 {
        return Err("chains go round".into());
    }
    'rules: for rule in &chain.rules {
        for expression in &rule.expr {
            let (kind, body) =
                expression.as_object().and_then(|e| e.iter().next()).ok_or("an empty expression")?;
            match kind.as_str() {
                "match" if holds(table, body, syn)? => {}
                "match" => continue 'rules,
                // A single packet is within every limit.
                "counter" | "log" | "limit" => {}
                "accept" => return Ok(End::Accept),
                "drop" | "reject" => return Ok(End::Drop),
                "goto" | "jump" => {
                    let name = body["target"].as_str().ok_or("a jump to nowhere")?;
                    let next = table.chains.iter().find(|c| c.name == name).ok_or("a jump to nowhere")?;
                    match (walk(table, next, syn, depth + 1)?, kind.as_str()) {
                        (End::Continue, "jump") => {}
                        (end, _) => return Ok(end),
                    }
                }
                other => return Err(format!("the fake host does not know the statement {other}")),
            }
        }
    }
    Ok(End::Continue)
}

fn holds(table: &Table, body: &Value, syn: Syn) -> Result<bool, String> {
    let left = &body["left"];
    let unknown = || Err(format!("the fake host does not know the match {left}"));
    let text = |at: &str, key: &str| left[at][key].as_str().unwrap_or_default().to_owned();
    let address = Value::String(syn.src.to_string());
    // `None`: the packet has no such field, so that no comparison holds.
    let value = if left.get("meta").is_some() {
        match text("meta", "key").as_str() {
            "nfproto" => Some(Value::from(if syn.src.is_ipv4() { "ipv4" } else { "ipv6" })),
            "iifname" => Some(Value::from("eth0")),
            "l4proto" => Some(Value::from(6)),
            _ => return unknown(),
        }
    } else if left.get("payload").is_some() {
        match (text("payload", "protocol").as_str(), text("payload", "field").as_str()) {
            ("ip", "saddr") => syn.src.is_ipv4().then_some(address),
            ("ip6", "saddr") => syn.src.is_ipv6().then_some(address),
            ("tcp" | "th", "dport") => Some(Value::from(syn.port)),
            ("ip6", "hoplimit") => syn.src.is_ipv6().then(|| Value::from(64)),
            ("udp" | "icmp" | "icmpv6", _) => None,
            _ => return unknown(),
        }
    } else if left.get("ct").is_some() {
        match text("ct", "key").as_str() {
            "state" => Some(Value::from("new")),
            "status" => Some(Value::from("confirmed")),
            _ => return unknown(),
        }
    } else if left.get("fib").is_some() {
        Some(Value::from("local"))
    } else {
        return unknown();
    };
    let Some(value) = value else { return Ok(false) };
    let inside = within(table, &value, &body["right"], syn.now_ms)?;
    match body["op"].as_str() {
        Some("==" | "in") => Ok(inside),
        Some("!=") => Ok(!inside),
        _ => unknown(),
    }
}

fn within(table: &Table, value: &Value, right: &Value, now_ms: u64) -> Result<bool, String> {
    match right {
        Value::String(text) if text.starts_with('@') => {
            let set = table.sets.iter().find(|s| s.name == text[1..]).ok_or("a set that is not there")?;
            let living = set.elements.iter().filter(|e| e.lives(now_ms));
            Ok(living.map(|e| &e.value).any(|e| super::nft::overlap(e, value)))
        }
        Value::Array(list) => any(table, value, list, now_ms),
        Value::Object(map) => match (map.get("set"), map.get("range")) {
            (Some(Value::Array(list)), _) => any(table, value, list, now_ms),
            (None, Some(range)) if value.is_number() => {
                let number = |v: &Value| v.as_u64().ok_or("a range of no numbers");
                Ok((number(&range[0])?..=number(&range[1])?).contains(&number(value)?))
            }
            (None, _) => Ok(super::nft::overlap(right, value)),
            _ => Err(format!("the fake host does not know {right}")),
        },
        // Protocols may stand by name.
        Value::String(text) if value == 6 => Ok(text == "tcp"),
        other => Ok(other == value || super::nft::overlap(other, value)),
    }
}

fn any(table: &Table, value: &Value, list: &[Value], now_ms: u64) -> Result<bool, String> {
    for one in list {
        if within(table, value, one, now_ms)? {
            return Ok(true);
        }
    }
    Ok(false)
}
