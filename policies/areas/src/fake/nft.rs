//! A small nftables: transactions in libnftables-json(5), whole or not at all, and the listings that nft 1.0.6 makes.
//!
//! Errors are the ones that nft 1.0.6 with kernel 6 gives (measured); what it does not know it refuses by name.

use serde_json::{Map, Value, json};

use crate::port::{PortError, PortResult};

mod elements;
use elements::Element;
pub(super) use elements::overlap;

/// Why a transaction is refused; nothing of it has happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NftError {
    /// ENOENT.
    #[error("internal:0:0-0: Error: Could not process rule: No such file or directory ({0})")]
    NotFound(String),
    /// EEXIST.
    #[error("internal:0:0-0: Error: Could not process rule: File exists ({0})")]
    Exists(String),
    /// EBUSY.
    #[error("internal:0:0-0: Error: Could not process rule: Device or resource busy ({0})")]
    Busy(String),
    /// Overlapping intervals in one set.
    #[error("internal:0:0-0: Error: conflicting intervals specified ({0})")]
    Overlap(String),
    /// Not the JSON that it takes, or something that this fake does not know.
    #[error("internal:0:0-0: Error: {0}")]
    Syntax(String),
}

type Result<T> = std::result::Result<T, NftError>;

/// All tables.
#[derive(Debug, Clone, Default)]
pub(super) struct Ruleset {
    generation: u32,
    handles: u64,
    pub(super) tables: Vec<Table>,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) family: String,
    name: String,
    handle: u64,
    counters: Vec<Object>,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<Chain>,
}

#[derive(Debug, Clone)]
struct Object {
    name: String,
    handle: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) name: String,
    handle: u64,
    body: Map<String, Value>,
    pub(super) elements: Vec<Element>,
}

#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) name: String,
    handle: u64,
    pub(super) body: Map<String, Value>,
    pub(super) rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    handle: u64,
    comment: Option<Value>,
    pub(super) expr: Vec<Value>,
}

impl Ruleset {
    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Carries a whole transaction out or changes nothing.
    pub(super) fn transact(&mut self, json: &str, now_ms: u64) -> Result<()> {
        let syntax = |why: &str| NftError::Syntax(why.to_owned());
        let whole: Value =
            serde_json::from_str(json).map_err(|e| NftError::Syntax(format!("JSON parsing: {e}")))?;
        let commands = whole["nftables"].as_array().ok_or_else(|| syntax("no array \"nftables\""))?;
        let mut next = self.clone();
        next.lapse(now_ms);
        let mut changes = false;
        for command in commands {
            let (verb, body) = only_entry(command)?;
            match verb {
                "metainfo" => continue,
                // nft makes of it what there is to delete.
                "flush" if body.get("ruleset").is_some() && next.tables.is_empty() => continue,
                "add" | "create" | "insert" | "delete" | "flush" => next.command(verb, body, now_ms)?,
                "table" | "chain" | "rule" | "set" | "counter" | "element" => {
                    next.command("add", command, now_ms)?;
                }
                other => return Err(NftError::Syntax(format!("the fake nft does not know {other}"))),
            }
            changes = true;
        }
        if changes {
            next.generation = self.generation.wrapping_add(1);
            *self = next;
        }
        Ok(())
    }

    pub(super) fn list_ruleset(&self, now_ms: u64) -> Value {
        listing(self.tables.iter().flat_map(|table| table.list(now_ms)))
    }

    pub(super) fn list_table(&self, family: &str, name: &str, now_ms: u64) -> PortResult<Value> {
        let table = self.find(family, name).map_err(|_| absent(&format!("table {family} {name}")))?;
        Ok(listing(table.list(now_ms)))
    }

    pub(super) fn list_set(&self, family: &str, table: &str, name: &str, now_ms: u64) -> PortResult<Value> {
        let gone = || absent(&format!("set {family} {table} {name}"));
        let table = self.find(family, table).map_err(|_| gone())?;
        let set = table.sets.iter().find(|s| s.name == name).ok_or_else(gone)?;
        Ok(listing([set.list(table, now_ms)]))
    }

    pub(super) fn list_chains(&self) -> Value {
        listing(self.tables.iter().flat_map(|table| table.chains.iter().map(|chain| chain.list(table))))
    }

    fn command(&mut self, verb: &str, body: &Value, now_ms: u64) -> Result<()> {
        let (kind, body) = only_entry(body)?;
        if kind == "ruleset" && verb == "flush" {
            self.tables.clear();
            return Ok(());
        }
        let body = body
            .as_object()
            .ok_or_else(|| NftError::Syntax(format!("{kind} is not described by an object")))?;
        let family = text(body, "family")?;
        if kind == "table" {
            return self.table(verb, family, text(body, "name")?);
        }
        let handle = self.handles + 1;
        let table = self.find_mut(family, text(body, "table")?)?;
        match kind {
            "counter" => table.counter(verb, text(body, "name")?, handle)?,
            "set" => table.set(verb, body, handle, now_ms)?,
            "element" => table.element(verb, body, now_ms)?,
            "chain" => table.chain(verb, body, handle)?,
            "rule" => table.rule(verb, body, handle)?,
            other => return Err(NftError::Syntax(format!("the fake nft does not know {other}"))),
        }
        self.handles = handle;
        Ok(())
    }

    fn table(&mut self, verb: &str, family: &str, name: &str) -> Result<()> {
        let what = format!("table {family} {name}");
        let found = self.tables.iter().position(|t| t.family == family && t.name == name);
        match (verb, found) {
            ("add", Some(_)) => {}
            ("create", Some(_)) => return Err(NftError::Exists(what)),
            ("add" | "create", None) => {
                self.handles += 1;
                self.tables.push(Table {
                    family: family.into(),
                    name: name.into(),
                    handle: self.handles,
                    counters: Vec::new(),
                    sets: Vec::new(),
                    chains: Vec::new(),
                });
            }
            ("delete", Some(at)) => drop(self.tables.remove(at)),
            ("flush", Some(at)) => self.tables[at].chains.iter_mut().for_each(|chain| chain.rules.clear()),
            ("delete" | "flush", None) => return Err(NftError::NotFound(what)),
            _ => return Err(unsupported(verb, "table")),
        }
        Ok(())
    }

    fn find(&self, family: &str, name: &str) -> Result<&Table> {
        let same = |t: &&Table| t.family == family && t.name == name;
        self.tables.iter().find(same).ok_or_else(|| NftError::NotFound(format!("table {family} {name}")))
    }

    fn find_mut(&mut self, family: &str, name: &str) -> Result<&mut Table> {
        let same = |t: &&mut Table| t.family == family && t.name == name;
        let missing = || NftError::NotFound(format!("table {family} {name}"));
        self.tables.iter_mut().find(same).ok_or_else(missing)
    }

    /// Elements whose time has come are gone; that is no new generation.
    fn lapse(&mut self, now_ms: u64) {
        for set in self.tables.iter_mut().flat_map(|t| &mut t.sets) {
            set.elements.retain(|e| e.lives(now_ms));
        }
    }
}

impl Table {
    fn counter(&mut self, verb: &str, name: &str, handle: u64) -> Result<()> {
        let found = self.counters.iter().position(|c| c.name == name);
        match (verb, found) {
            ("add", Some(_)) => {}
            ("create", Some(_)) => return Err(NftError::Exists(name.into())),
            ("add" | "create", None) => self.counters.push(Object { name: name.into(), handle }),
            ("delete", Some(_)) if self.refers(&Reference::Counter(name)) => {
                return Err(NftError::Busy(name.into()));
            }
            ("delete", Some(at)) => drop(self.counters.remove(at)),
            ("delete", None) => return Err(NftError::NotFound(name.into())),
            _ => return Err(unsupported(verb, "counter")),
        }
        Ok(())
    }

    fn set(&mut self, verb: &str, body: &Map<String, Value>, handle: u64, now_ms: u64) -> Result<()> {
        let name = text(body, "name")?;
        let found = self.sets.iter().position(|s| s.name == name);
        match (verb, found) {
            ("create", Some(_)) => Err(NftError::Exists(name.into())),
            ("add" | "create", _) => {
                if found.is_none() {
                    let mut kept = body.clone();
                    for key in ["family", "table", "name", "elem", "handle"] {
                        kept.remove(key);
                    }
                    if !kept.contains_key("type") {
                        return Err(NftError::Syntax(format!("set {name} has no type")));
                    }
                    self.sets.push(Set { name: name.into(), handle, body: kept, elements: Vec::new() });
                }
                match body.get("elem") {
                    Some(_) => self.element_of("add", name, body, now_ms),
                    None => Ok(()),
                }
            }
            ("delete", Some(_)) if self.refers(&Reference::Set(name)) => Err(NftError::Busy(name.into())),
            ("delete", Some(at)) => {
                self.sets.remove(at);
                Ok(())
            }
            ("flush", Some(at)) => {
                self.sets[at].elements.clear();
                Ok(())
            }
            ("delete" | "flush", None) => Err(NftError::NotFound(name.into())),
            _ => Err(unsupported(verb, "set")),
        }
    }

    fn element(&mut self, verb: &str, body: &Map<String, Value>, now_ms: u64) -> Result<()> {
        let name = text(body, "name")?.to_owned();
        self.element_of(verb, &name, body, now_ms)
    }

    fn element_of(&mut self, verb: &str, name: &str, body: &Map<String, Value>, now_ms: u64) -> Result<()> {
        let bound = self.refers(&Reference::Set(name));
        let missing = || NftError::NotFound(name.into());
        let set = self.sets.iter_mut().find(|s| s.name == name).ok_or_else(missing)?;
        let given = match body.get("elem") {
            Some(Value::Array(list)) => list.clone(),
            Some(one) => vec![one.clone()],
            None => return Err(NftError::Syntax("element without elem".into())),
        };
        if bound && set.has_flag("constant") {
            return Err(NftError::Busy(format!("{name} is constant")));
        }
        for value in given {
            let element = Element::parse(&value, now_ms)?;
            let found = set.elements.iter().position(|e| e.value == element.value);
            match (verb, found) {
                ("add", Some(_)) => {}
                ("create", Some(_)) => return Err(NftError::Exists(name.into())),
                ("add" | "create", None) => {
                    if element.timeout_s.is_some() && !set.has_flag("timeout") {
                        return Err(NftError::Syntax(format!("{name} takes no timeout")));
                    }
                    if set.has_flag("interval")
                        && set.elements.iter().any(|e| overlap(&e.value, &element.value))
                    {
                        return Err(NftError::Overlap(name.into()));
                    }
                    set.elements.push(element);
                }
                ("delete", Some(at)) => drop(set.elements.remove(at)),
                ("delete", None) => return Err(NftError::NotFound(format!("element of {name}"))),
                _ => return Err(unsupported(verb, "element")),
            }
        }
        set.elements.sort_by_key(|e| elements::rank(&e.value));
        Ok(())
    }

    fn chain(&mut self, verb: &str, body: &Map<String, Value>, handle: u64) -> Result<()> {
        let name = text(body, "name")?;
        let found = self.chains.iter().position(|c| c.name == name);
        let mut kept = body.clone();
        for key in ["family", "table", "name", "handle"] {
            kept.remove(key);
        }
        match (verb, found) {
            ("create", Some(_)) => return Err(NftError::Exists(name.into())),
            ("add", Some(at)) => {
                let chain = &mut self.chains[at];
                let differs = |key: &str| kept.get(key).is_some_and(|v| chain.body.get(key) != Some(v));
                if ["type", "hook", "prio"].into_iter().any(differs) {
                    return Err(NftError::Exists(name.into()));
                }
                if let Some(policy) = kept.remove("policy") {
                    chain.body.insert("policy".into(), policy);
                }
            }
            ("add" | "create", None) => {
                self.chains.push(Chain { name: name.into(), handle, body: kept, rules: Vec::new() });
            }
            ("delete", Some(_)) if self.refers_elsewhere(name) => return Err(NftError::Busy(name.into())),
            ("delete", Some(at)) => drop(self.chains.remove(at)),
            ("flush", Some(at)) => self.chains[at].rules.clear(),
            ("delete" | "flush", None) => return Err(NftError::NotFound(name.into())),
            _ => return Err(unsupported(verb, "chain")),
        }
        Ok(())
    }

    fn rule(&mut self, verb: &str, body: &Map<String, Value>, handle: u64) -> Result<()> {
        let name = text(body, "chain")?.to_owned();
        let missing = || NftError::NotFound(format!("chain {name}"));
        let at = self.chains.iter().position(|c| c.name == name).ok_or_else(missing)?;
        if verb == "delete" {
            let wanted = body.get("handle").and_then(Value::as_u64);
            let rules = &mut self.chains[at].rules;
            let gone = || NftError::NotFound(format!("rule of {name}"));
            let found = rules.iter().position(|r| Some(r.handle) == wanted).ok_or_else(gone)?;
            rules.remove(found);
            return Ok(());
        }
        if body.contains_key("index") || body.contains_key("handle") {
            return Err(NftError::Syntax("the fake nft does not place rules by index or handle".into()));
        }
        let expr = body.get("expr").and_then(Value::as_array);
        let expr = expr.ok_or_else(|| NftError::Syntax(format!("a rule of {name} has no expr")))?;
        let mut references = Vec::new();
        expr.iter().for_each(|e| collect(e, &mut references));
        if let Some(reference) = references.iter().find(|r| !self.has(r)) {
            return Err(NftError::NotFound(format!("{reference:?}")));
        }
        let expr = expr.iter().cloned().map(as_listed).collect();
        let rule = Rule { handle, comment: body.get("comment").cloned(), expr };
        let rules = &mut self.chains[at].rules;
        match verb {
            "add" => rules.push(rule),
            "insert" => rules.insert(0, rule),
            _ => return Err(unsupported(verb, "rule")),
        }
        Ok(())
    }

    fn has(&self, reference: &Reference<'_>) -> bool {
        match reference {
            Reference::Chain(name) => self.chains.iter().any(|c| c.name == *name),
            Reference::Set(name) => self.sets.iter().any(|s| s.name == *name),
            Reference::Counter(name) => self.counters.iter().any(|c| c.name == *name),
        }
    }

    fn refers(&self, to: &Reference<'_>) -> bool {
        self.chains.iter().any(|chain| chain.refers(to))
    }

    fn refers_elsewhere(&self, chain: &str) -> bool {
        self.chains.iter().any(|c| c.name != chain && c.refers(&Reference::Chain(chain)))
    }

    fn list(&self, now_ms: u64) -> Vec<Value> {
        let own = json!({"table": {"family": self.family, "name": self.name, "handle": self.handle}});
        let counters = self.counters.iter().map(|c| {
            json!({"counter": {"family": self.family, "name": c.name, "table": self.name, "handle": c.handle,
                "packets": 0, "bytes": 0}})
        });
        let sets = self.sets.iter().map(|set| set.list(self, now_ms));
        let chains = self.chains.iter().map(|chain| chain.list(self));
        let rules = self.chains.iter().flat_map(|c| c.rules.iter().map(|rule| rule.list(self, &c.name)));
        std::iter::once(own).chain(counters).chain(sets).chain(chains).chain(rules).collect()
    }
}

impl Set {
    fn has_flag(&self, flag: &str) -> bool {
        match self.body.get("flags") {
            Some(Value::Array(flags)) => flags.iter().any(|f| f == flag),
            Some(Value::String(one)) => one == flag,
            _ => false,
        }
    }

    fn list(&self, table: &Table, now_ms: u64) -> Value {
        let mut body = self.body.clone();
        if let Some(Value::String(one)) = body.get("flags") {
            let list = json!([one]);
            body.insert("flags".into(), list);
        }
        let own =
            json!({"family": table.family, "name": self.name, "table": table.name, "handle": self.handle});
        body.extend(own.as_object().cloned().unwrap_or_default());
        let living: Vec<Value> =
            self.elements.iter().filter(|e| e.lives(now_ms)).map(|e| e.list(now_ms)).collect();
        if !living.is_empty() {
            body.insert("elem".into(), Value::Array(living));
        }
        json!({ "set": body })
    }
}

impl Chain {
    fn refers(&self, to: &Reference<'_>) -> bool {
        let mut found = Vec::new();
        self.rules.iter().flat_map(|rule| &rule.expr).for_each(|e| collect(e, &mut found));
        found.contains(to)
    }

    fn list(&self, table: &Table) -> Value {
        let mut body = self.body.clone();
        let own =
            json!({"family": table.family, "table": table.name, "name": self.name, "handle": self.handle});
        body.extend(own.as_object().cloned().unwrap_or_default());
        json!({ "chain": body })
    }
}

impl Rule {
    fn list(&self, table: &Table, chain: &str) -> Value {
        let mut body = json!({"family": table.family, "table": table.name, "chain": chain,
            "handle": self.handle, "expr": self.expr});
        if let Some(comment) = &self.comment {
            body["comment"] = comment.clone();
        }
        json!({ "rule": body })
    }
}

/// The listing without handles: what two rulesets are compared by.
pub fn without_handles(mut listing: Value) -> Value {
    for object in listing["nftables"].as_array_mut().into_iter().flatten() {
        for body in object.as_object_mut().into_iter().flat_map(Map::values_mut) {
            body.as_object_mut().map(|body| body.remove("handle"));
        }
    }
    listing
}

#[derive(Debug, PartialEq)]
enum Reference<'a> {
    Chain(&'a str),
    Set(&'a str),
    Counter(&'a str),
}

/// What an expression refers to.
fn collect<'a>(value: &'a Value, into: &mut Vec<Reference<'a>>) {
    match value {
        Value::String(text) => into.extend(text.strip_prefix('@').map(Reference::Set)),
        Value::Array(list) => list.iter().for_each(|v| collect(v, into)),
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    ("goto" | "jump", target) => {
                        into.extend(target["target"].as_str().map(Reference::Chain));
                    }
                    ("counter", Value::String(name)) => into.push(Reference::Counter(name)),
                    (_, value) => collect(value, into),
                }
            }
        }
        _ => {}
    }
}

/// As nft lists it: an anonymous counter has figures, a protocol its name in /etc/protocols.
fn as_listed(expr: Value) -> Value {
    match expr {
        Value::Object(map) if map.get("counter") == Some(&Value::Null) => {
            json!({"counter": {"packets": 0, "bytes": 0}})
        }
        Value::Object(mut map) if map.get("match").is_some_and(|m| m["left"]["meta"]["key"] == "l4proto") => {
            match map["match"]["right"].as_u64() {
                Some(6) => map["match"]["right"] = "tcp".into(),
                Some(17) => map["match"]["right"] = "udp".into(),
                _ => {}
            }
            Value::Object(map)
        }
        other => other,
    }
}

fn listing(objects: impl IntoIterator<Item = Value>) -> Value {
    let meta = json!({"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}});
    json!({ "nftables": std::iter::once(meta).chain(objects).collect::<Vec<_>>() })
}

fn only_entry(value: &Value) -> Result<(&str, &Value)> {
    let map = value.as_object().filter(|map| map.len() == 1);
    let map = map.ok_or_else(|| NftError::Syntax("a command is an object with one entry".into()))?;
    let (key, value) = map.iter().next().expect("it has one entry");
    Ok((key, value))
}

fn text<'a>(body: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    body.get(key).and_then(Value::as_str).ok_or_else(|| NftError::Syntax(format!("no text {key:?}")))
}

fn unsupported(verb: &str, kind: &str) -> NftError {
    NftError::Syntax(format!("the fake nft does not know {verb} {kind}"))
}

fn absent(what: &str) -> PortError {
    PortError::Absent { what: what.into() }
}
