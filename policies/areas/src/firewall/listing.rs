//! Reads `nft -j list table inet tenure` and what we emit into one normal form, and says how two of them differ.
//! The input may be shaped by whoever is root on the host: it is bounded, nothing in it panics, and texts are neutralised.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;
use tenure_trust::{Hash, neutral_bytes};

use super::describe;
use super::nft::{Shown, TABLE, object, render};

/// Largest listing that is read: 65,536 intervals take about 8 MiB.
pub const MAX_LISTING: usize = 64 * 1024 * 1024;
/// Longest line about a difference, in characters.
const MAX_DIFFERENCE: usize = 600;

/// Why a listing cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// Larger than [`MAX_LISTING`].
    #[error("the listing has {0} bytes, more than {MAX_LISTING}")]
    TooLarge(usize),
    /// Not JSON.
    #[error("the listing is not JSON")]
    Json(String),
    /// JSON, but not what `nft -j list` writes.
    #[error("the listing is not nft's: {0}")]
    Shape(&'static str),
}

/// The table in normal form: no handles, counts, ages or generation; order kept only where it means something (rules of a chain).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// The table has a flag: `dormant` switches it off, `owner` ties it to a process. We set none. (nft 1.0.6 lists a flag's name
    /// wrongly in JSON, as whatever stands in memory: seen.)
    pub flagged: bool,
    /// Named counters.
    pub counters: BTreeSet<String>,
    /// Sets: type and flags in words, elements merged.
    pub sets: BTreeMap<String, SetShape>,
    /// Chains.
    pub chains: BTreeMap<String, ChainShape>,
    /// Objects of kinds that we never make (maps, quotas, flow tables …), as `kind name`.
    pub others: BTreeSet<String>,
}

/// A set in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetShape {
    /// Type, flags and other properties in words.
    pub kind: String,
    /// Address ranges, merged and sorted.
    pub ranges: Vec<(IpAddr, IpAddr)>,
    /// Elements that are not addresses; those of a live set are left out (they end by themselves).
    pub elements: BTreeSet<String>,
}

/// A chain in normal form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainShape {
    /// Type, hook, priority and policy of a base chain, in words; empty otherwise.
    pub base: String,
    /// Rules as canonical JSON of expressions and comment, in order.
    pub rules: Vec<String>,
}

impl Listing {
    /// Reads what `nft -j list table inet tenure` wrote.
    ///
    /// # Errors
    /// [`ListingError`] when it is too large or not what nft writes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ListingError> {
        if bytes.len() > MAX_LISTING {
            return Err(ListingError::TooLarge(bytes.len()));
        }
        let mut value: Value =
            serde_json::from_slice(bytes).map_err(|error| ListingError::Json(error.to_string()))?;
        let Some(Value::Array(objects)) = value.get_mut("nftables").map(Value::take) else {
            return Err(ListingError::Shape("no list \"nftables\""));
        };
        Self::of(objects)
    }

    /// What the kernel should show.
    pub fn expected(shown: &Shown<'_>) -> Self {
        // Everything that we render is an object of a known kind.
        Self::of(render(shown)).unwrap_or_default()
    }

    /// SHA-256 of the normal form.
    pub fn hash(&self) -> Hash {
        Hash::of(format!("{self:?}").as_bytes())
    }

    fn of(objects: Vec<Value>) -> Result<Self, ListingError> {
        let mut listing = Self::default();
        for object in objects {
            let Value::Object(object) = object else {
                return Err(ListingError::Shape("an entry is not an object"));
            };
            for (kind, body) in object {
                if kind != "metainfo" && ours(&body) {
                    listing.take(&kind, body)?;
                }
            }
        }
        Ok(listing)
    }

    fn take(&mut self, kind: &str, mut body: Value) -> Result<(), ListingError> {
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_string();
        match kind {
            "table" => self.flagged |= body.get("flags").is_some(),
            "counter" => {
                self.counters.insert(name);
            }
            "set" => {
                self.sets.insert(name, set_shape(&mut body));
            }
            "chain" => {
                let base = ["type", "hook", "prio", "policy", "dev"].iter().filter_map(|key| {
                    let value = body.get(key)?;
                    Some(format!("{key} {}", describe::plain(value)))
                });
                self.chains.entry(name).or_default().base = base.collect::<Vec<_>>().join(" ");
            }
            "rule" => {
                let Some(chain) = body.get("chain").and_then(Value::as_str).map(str::to_string) else {
                    return Err(ListingError::Shape("a rule without a chain"));
                };
                let mut expr = body.get_mut("expr").map(Value::take).unwrap_or_default();
                canonical(&mut expr);
                let comment = body.get_mut("comment").map(Value::take).unwrap_or_default();
                let rule = object([("comment", comment), ("expr", expr)]);
                self.chains.entry(chain).or_default().rules.push(rule.to_string());
            }
            other => {
                self.others.insert(format!("{} {}", describe::text(other), describe::text(&name)));
            }
        }
        Ok(())
    }

    /// How `self` (as seen) differs from `wanted`, one short sentence each, at most `limit` and a last one that counts the rest.
    pub fn differences(&self, wanted: &Self, limit: usize) -> Vec<String> {
        let mut out = Vec::new();
        if self.flagged && !wanted.flagged {
            out.push("a flag set on the table: it may be dormant and judge nothing".into());
        }
        let (seen_chains, wanted_chains) = (&self.chains, &wanted.chains);
        for name in wanted_chains.keys().filter(|name| !seen_chains.contains_key(*name)) {
            out.push(format!("chain {name} missing"));
        }
        for (name, seen) in seen_chains {
            match wanted_chains.get(name) {
                None => out.push(format!("chain {} added", describe::text(name))),
                Some(wanted) => chain_differences(name, seen, wanted, &mut out),
            }
        }
        set_differences(&self.sets, &wanted.sets, &mut out);
        for name in wanted.counters.difference(&self.counters) {
            out.push(format!("counter {name} missing"));
        }
        for name in self.counters.difference(&wanted.counters) {
            out.push(format!("counter {} added", describe::text(name)));
        }
        for other in self.others.difference(&wanted.others) {
            out.push(format!("{other} added"));
        }
        if out.len() > limit {
            let rest = out.len() - limit;
            out.truncate(limit);
            out.push(format!("and {rest} more differences"));
        }
        // names of what is wanted come from a state file: a person reads these lines all the same
        out.iter().map(|line| neutral_bytes(line.as_bytes(), MAX_DIFFERENCE)).collect()
    }
}

/// Does a trial's live set still hold both families? From `nft -j list set inet tenure g<N>_live`.
///
/// # Errors
/// [`ListingError`] when it is not what nft writes.
pub fn live_families(bytes: &[u8]) -> Result<BTreeSet<String>, ListingError> {
    if bytes.len() > MAX_LISTING {
        return Err(ListingError::TooLarge(bytes.len()));
    }
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| ListingError::Json(error.to_string()))?;
    let objects = value.get("nftables").and_then(Value::as_array);
    let objects = objects.ok_or(ListingError::Shape("no list \"nftables\""))?;
    let elements = objects.iter().filter_map(|object| object.get("set")?.get("elem")?.as_array()).flatten();
    let family = |element: &Value| {
        let value = element.get("elem").and_then(|e| e.get("val")).unwrap_or(element);
        value.as_str().filter(|text| matches!(*text, "ipv4" | "ipv6")).map(str::to_string)
    };
    Ok(elements.filter_map(family).collect())
}

fn ours(body: &Value) -> bool {
    let named = |key: &str| body.get(key).and_then(Value::as_str);
    named("family") == Some("inet") && named("table").or_else(|| named("name")) == Some(TABLE)
}

fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_string).collect(),
        _ => vec![],
    }
}

fn set_shape(body: &mut Value) -> SetShape {
    let mut flags = words(body.get("flags"));
    flags.sort_unstable();
    let live = body.get("type").and_then(Value::as_str) == Some("nf_proto");
    let mut kind =
        format!("{} {}", describe::plain(body.get("type").unwrap_or(&Value::Null)), flags.join(","));
    for key in ["timeout", "size", "policy", "gc-interval", "map"] {
        if let Some(value) = body.get(key) {
            kind = format!("{kind} {key} {}", describe::plain(value));
        }
    }
    let mut shape = SetShape { kind, ..SetShape::default() };
    let Some(Value::Array(elements)) = body.get_mut("elem").map(Value::take) else { return shape };
    if live {
        return shape;
    }
    for element in elements {
        match range(&element) {
            Some(range) => shape.ranges.push(range),
            None => {
                shape.elements.insert(describe::plain(&element));
            }
        }
    }
    shape.ranges = merged(std::mem::take(&mut shape.ranges));
    shape
}

/// An element of an address set as its first and last address.
fn range(element: &Value) -> Option<(IpAddr, IpAddr)> {
    if let Some(text) = element.as_str() {
        let address = text.parse().ok()?;
        return Some((address, address));
    }
    if let Some(prefix) = element.get("prefix") {
        let address: IpAddr = prefix.get("addr")?.as_str()?.parse().ok()?;
        let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
        let net = ipnet::IpNet::new(address, length).ok()?;
        return Some((net.network(), net.broadcast()));
    }
    match element.get("range")?.as_array()?.as_slice() {
        [first, last] => {
            let (first, last): (IpAddr, IpAddr) =
                (first.as_str()?.parse().ok()?, last.as_str()?.parse().ok()?);
            (first.is_ipv4() == last.is_ipv4() && first <= last).then_some((first, last))
        }
        _ => None,
    }
}

fn merged(mut ranges: Vec<(IpAddr, IpAddr)>) -> Vec<(IpAddr, IpAddr)> {
    ranges.sort_unstable();
    let mut out: Vec<(IpAddr, IpAddr)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(previous) if follows(previous.1, first) => previous.1 = previous.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

/// Does a range that begins at `first` overlap or touch one that ends at `end`?
fn follows(end: IpAddr, first: IpAddr) -> bool {
    match (end, first) {
        (IpAddr::V4(end), IpAddr::V4(first)) => {
            first <= end || end.to_bits().checked_add(1).map(Ipv4Addr::from_bits) == Some(first)
        }
        (IpAddr::V6(end), IpAddr::V6(first)) => {
            first <= end || end.to_bits().checked_add(1).map(Ipv6Addr::from_bits) == Some(first)
        }
        _ => false,
    }
}

/// Brings expressions into one form: counts of anonymous counters away, unordered lists sorted, TCP and UDP as numbers
/// (nft takes those names from /etc/protocols, which a host may lack).
fn canonical(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(canonical),
        Value::Object(object) => {
            object.remove("handle");
            if let Some(Value::Object(counter)) = object.get_mut("counter") {
                counter.clear();
            }
            object.values_mut().for_each(canonical);
            if let Some(Value::Array(items)) = object.get_mut("set") {
                items.sort_by_cached_key(Value::to_string);
            }
            if let Some(Value::Object(matched)) = object.get_mut("match") {
                let key = matched.get("left").and_then(|left| left.get("meta")?.get("key")?.as_str());
                let on_protocol = key == Some("l4proto");
                if matched.get("op").and_then(Value::as_str) == Some("in")
                    && let Some(Value::Array(items)) = matched.get_mut("right")
                {
                    items.sort_by_cached_key(Value::to_string);
                }
                if on_protocol && let Some(right) = matched.get_mut("right") {
                    numbered(right);
                }
            }
        }
        _ => {}
    }
}

fn numbered(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(numbered),
        Value::Object(object) => object.values_mut().for_each(numbered),
        Value::String(name) => match name.as_str() {
            "tcp" => *value = 6.into(),
            "udp" => *value = 17.into(),
            _ => {}
        },
        _ => {}
    }
}

fn chain_differences(name: &str, seen: &ChainShape, wanted: &ChainShape, out: &mut Vec<String>) {
    if seen.base != wanted.base {
        out.push(format!(
            "chain {name} is \"{}\" instead of \"{}\"",
            describe::text(&seen.base),
            wanted.base
        ));
    }
    if seen.rules == wanted.rules {
        return;
    }
    let mut left: BTreeMap<&str, i64> = BTreeMap::new();
    for rule in &wanted.rules {
        *left.entry(rule).or_default() -= 1;
    }
    for rule in &seen.rules {
        *left.entry(rule).or_default() += 1;
    }
    let mut moved = true;
    for (rule, count) in left {
        for _ in 0..count.unsigned_abs().min(8) {
            moved = false;
            let what = if count > 0 { "added in" } else { "removed from" };
            out.push(format!("rule {what} {name}: {}", describe::rule(rule)));
        }
    }
    if moved {
        out.push(format!("rules of {name} in another order"));
    }
}

fn set_differences(
    seen: &BTreeMap<String, SetShape>,
    wanted: &BTreeMap<String, SetShape>,
    out: &mut Vec<String>,
) {
    for name in wanted.keys().filter(|name| !seen.contains_key(*name)) {
        out.push(format!("set {name} missing"));
    }
    for (name, seen) in seen {
        match wanted.get(name) {
            None => out.push(format!("set {} added", describe::text(name))),
            Some(wanted) if wanted == seen => {}
            Some(wanted) if wanted.kind != seen.kind => {
                out.push(format!(
                    "set {name} is \"{}\" instead of \"{}\"",
                    describe::text(&seen.kind),
                    wanted.kind
                ));
            }
            Some(_) => out.push(format!("elements of set {name} changed")),
        }
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
