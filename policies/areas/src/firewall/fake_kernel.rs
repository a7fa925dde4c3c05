//! The part of nf_tables that the fake host needs: loads libnftables-json(5) transactions as a whole or not at all, lists, lets
//! elements with a timeout end. Refuses what the kernel refuses (what is missing, in use, or constant).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Tables by family and name.
#[derive(Debug, Clone, Default)]
pub struct FakeKernel {
    tables: BTreeMap<(String, String), FakeTable>,
    generation: u32,
    clock_ms: u64,
}

#[derive(Debug, Clone, Default)]
struct FakeTable {
    counters: BTreeSet<String>,
    sets: BTreeMap<String, FakeSet>,
    chains: BTreeMap<String, FakeChain>,
}

#[derive(Debug, Clone, Default)]
struct FakeSet {
    body: Map<String, Value>,
    /// Element as JSON text → when it ends.
    elements: BTreeMap<String, Option<u64>>,
}

#[derive(Debug, Clone, Default)]
struct FakeChain {
    body: Map<String, Value>,
    rules: Vec<Value>,
}

type Key = (String, String);

impl FakeKernel {
    /// One transaction: all of it or, with the reason, nothing.
    ///
    /// # Errors
    /// In the kernel's words, roughly.
    pub fn load(&mut self, json: &str) -> Result<(), String> {
        let value: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let commands = value.get("nftables").and_then(Value::as_array).ok_or("no list \"nftables\"")?;
        let mut next = self.clone();
        for command in commands {
            let (verb, object) = single(command).ok_or("a command is not an object of one key")?;
            let (kind, body) = single(object).ok_or("an object is not an object of one key")?;
            next.apply(verb, kind, body).map_err(|why| format!("{verb} {kind}: {why}: {body}"))?;
        }
        next.references()?;
        next.generation = next.generation.wrapping_add(1);
        *self = next;
        Ok(())
    }

    /// Time passes; elements with a timeout end, the generation stays.
    pub fn advance(&mut self, ms: u64) {
        self.clock_ms = self.clock_ms.saturating_add(ms);
    }

    /// Changes of the ruleset so far.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// `nft -j list table <family> <name>`; `None` when there is no such table.
    pub fn list_table(&self, family: &str, name: &str) -> Option<String> {
        let table = self.tables.get(&(family.to_string(), name.to_string()))?;
        let mut objects = vec![meta(), json!({"table": {"family": family, "name": name, "handle": 1}})];
        let counter = |c: &String| json!({"counter": {"family": family, "table": name, "name": c, "handle": 2, "packets": self.clock_ms, "bytes": 7}});
        objects.extend(table.counters.iter().map(counter));
        objects.extend(table.sets.values().map(|set| self.listed_set(set)));
        objects.extend(table.chains.values().map(|chain| json!({"chain": chain.body})));
        objects.extend(table.chains.values().flat_map(|c| &c.rules).map(|rule| json!({"rule": rule})));
        Some(json!({"nftables": objects}).to_string())
    }

    /// `nft -j list set <family> <table> <name>`.
    pub fn list_set(&self, family: &str, table: &str, name: &str) -> Option<String> {
        let set = self.tables.get(&(family.to_string(), table.to_string()))?.sets.get(name)?;
        Some(json!({"nftables": [meta(), self.listed_set(set)]}).to_string())
    }

    /// `nft -j list chains`.
    pub fn list_chains(&self) -> String {
        let chains = self.tables.values().flat_map(|t| t.chains.values());
        let mut objects = vec![meta()];
        objects.extend(chains.map(|chain| json!({"chain": chain.body})));
        json!({"nftables": objects}).to_string()
    }

    fn listed_set(&self, set: &FakeSet) -> Value {
        let mut body = set.body.clone();
        let alive = |(text, end): (&String, &Option<u64>)| {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            match end {
                None => Some(value),
                Some(end) => {
                    let left = end.checked_sub(self.clock_ms).filter(|left| *left > 0)?;
                    Some(json!({"elem": {"val": value, "expires": left / 1000}}))
                }
            }
        };
        let elements: Vec<Value> = set.elements.iter().filter_map(alive).collect();
        if !elements.is_empty() {
            body.insert("elem".into(), elements.into());
        }
        json!({"set": body})
    }

    fn apply(&mut self, verb: &str, kind: &str, body: &Value) -> Result<(), String> {
        if (verb, kind) == ("flush", "ruleset") {
            self.tables.clear();
            return Ok(());
        }
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_string);
        let family = text("family").unwrap_or_else(|| "ip".into());
        let name = text("name").unwrap_or_default();
        if kind == "table" {
            return self.apply_table(verb, (family, name));
        }
        let table =
            self.tables.get_mut(&(family, text("table").unwrap_or_default())).ok_or("no such table")?;
        let clock = self.clock_ms;
        match (verb, kind) {
            ("add", "counter") => {
                table.counters.insert(name);
            }
            ("delete", "counter") => table.counters.remove(&name).then_some(()).ok_or("no such counter")?,
            ("add", "set") => table.add_set(name, body, clock)?,
            ("delete", "set") => table.sets.remove(&name).map(|_| ()).ok_or("no such set")?,
            ("add" | "delete", "element") => table.element(verb, &name, body, clock)?,
            ("add", "chain") => {
                let body = body.as_object().cloned().unwrap_or_default();
                table.chains.entry(name).or_insert_with(|| FakeChain { body, rules: vec![] });
            }
            ("flush", "chain") => table.chains.get_mut(&name).ok_or("no such chain")?.rules.clear(),
            ("delete", "chain") => {
                let chain = table.chains.remove(&name).ok_or("no such chain")?;
                chain.rules.is_empty().then_some(()).ok_or("the chain is not empty")?;
            }
            ("add" | "insert", "rule") => {
                let chain =
                    table.chains.get_mut(&text("chain").unwrap_or_default()).ok_or("no such chain")?;
                let at = if verb == "add" { chain.rules.len() } else { 0 };
                chain.rules.insert(at, body.clone());
            }
            _ => return Err("the fake kernel does not know this".into()),
        }
        Ok(())
    }

    fn apply_table(&mut self, verb: &str, key: Key) -> Result<(), String> {
        match verb {
            "add" => {
                self.tables.entry(key).or_default();
            }
            "delete" => self.tables.remove(&key).map(|_| ()).ok_or("no such table")?,
            "flush" => self
                .tables
                .get_mut(&key)
                .ok_or("no such table")?
                .chains
                .values_mut()
                .for_each(|c| c.rules.clear()),
            _ => return Err("the fake kernel does not know this".into()),
        }
        Ok(())
    }

    /// Everything that a rule names must be there when the transaction ends.
    fn references(&self) -> Result<(), String> {
        for table in self.tables.values() {
            for rule in table.chains.values().flat_map(|chain| &chain.rules) {
                let mut named = Vec::new();
                names(rule.get("expr").unwrap_or(&Value::Null), &mut named);
                for (kind, name) in named {
                    let there = match kind {
                        "set" => table.sets.contains_key(&name),
                        "counter" => table.counters.contains(&name),
                        _ => table.chains.contains_key(&name),
                    };
                    if !there {
                        return Err(format!(
                            "a rule names the {kind} {name}, which is not there or still in use"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

impl FakeTable {
    fn add_set(&mut self, name: String, body: &Value, clock: u64) -> Result<(), String> {
        let mut kept = body.as_object().cloned().unwrap_or_default();
        let elements = kept.remove("elem");
        if self.sets.contains_key(&name) {
            return Err("the set exists".into());
        }
        self.sets.insert(name.clone(), FakeSet { body: kept, elements: BTreeMap::new() });
        for element in elements.as_ref().and_then(Value::as_array).into_iter().flatten() {
            self.put_element(&name, element, clock)?;
        }
        Ok(())
    }

    fn put_element(&mut self, set: &str, element: &Value, clock: u64) -> Result<(), String> {
        let set = self.sets.get_mut(set).ok_or("no such set")?;
        let inner = element.get("elem").unwrap_or(element);
        let value = inner.get("val").unwrap_or(inner);
        let end = inner.get("timeout").and_then(Value::as_u64).map(|s| clock + s * 1000);
        set.elements.insert(value.to_string(), end);
        Ok(())
    }

    fn element(&mut self, verb: &str, set: &str, body: &Value, clock: u64) -> Result<(), String> {
        let bound = self.sets.get(set).ok_or("no such set")?;
        let constant = bound.body.get("flags").is_some_and(|flags| flags.to_string().contains("constant"));
        if constant {
            return Err("Device or resource busy".into());
        }
        for element in body.get("elem").and_then(Value::as_array).into_iter().flatten() {
            if verb == "add" {
                self.put_element(set, element, clock)?;
                continue;
            }
            let elements = &mut self.sets.get_mut(set).ok_or("no such set")?.elements;
            match elements.remove(&element.to_string()) {
                Some(end) if end.is_none_or(|end| end > clock) => {}
                _ => return Err("No such file or directory".into()),
            }
        }
        Ok(())
    }
}

fn meta() -> Value {
    json!({"metainfo": {"version": "1.0.6", "release_name": "fake", "json_schema_version": 1}})
}

fn single(value: &Value) -> Option<(&String, &Value)> {
    let object = value.as_object()?;
    (object.len() == 1).then(|| object.iter().next()).flatten()
}

/// Sets, counters and chains that an expression names.
fn names(value: &Value, out: &mut Vec<(&'static str, String)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| names(item, out)),
        Value::Object(object) => {
            for (key, inner) in object {
                match (key.as_str(), inner) {
                    ("counter", Value::String(name)) => out.push(("counter", name.clone())),
                    ("jump" | "goto", inner) => {
                        let target = inner.get("target").and_then(Value::as_str).unwrap_or_default();
                        out.push(("chain", target.to_string()));
                    }
                    ("right", Value::String(text)) if text.starts_with('@') => {
                        out.push(("set", text.trim_start_matches('@').to_string()));
                    }
                    _ => names(inner, out),
                }
            }
        }
        _ => {}
    }
}
