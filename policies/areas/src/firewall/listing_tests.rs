//! The normal form ignores what changes by itself, notices everything else, and survives hostile input.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::firewall::compile::{HostBits, compile};
use crate::firewall::nft::Numbered;
use crate::firewall::samples::web;
use crate::firewall::table::Table;

fn table() -> Table {
    compile(&web(), &HostBits::assumed(&web())).unwrap()
}

fn listed(change: impl FnOnce(&mut Vec<Value>)) -> Listing {
    let table = table();
    let mut objects = render(&Shown::Confirmed(Numbered::new(12, &table)));
    change(&mut objects);
    Listing::parse(json!({"nftables": objects}).to_string().as_bytes()).unwrap()
}

fn differences(change: impl FnOnce(&mut Vec<Value>)) -> Vec<String> {
    listed(change).differences(&listed(|_| {}), 10)
}

fn at<'a>(objects: &'a mut [Value], kind: &str, name: &str) -> &'a mut Value {
    let is = |o: &Value| o[kind]["name"] == name || (kind == "rule" && o[kind]["chain"] == name);
    let index = objects.iter().position(is).unwrap();
    &mut objects[index][kind]
}

fn position(objects: &[Value], kind: &str, name: &str) -> usize {
    objects
        .iter()
        .position(|o| o[kind]["name"] == name || (kind == "rule" && o[kind]["chain"] == name))
        .unwrap()
}

#[test]
fn handles_counts_and_order_of_objects_do_not_matter() {
    let changed = listed(|objects| {
        at(objects, "counter", "d_input")["packets"] = 7.into();
        at(objects, "chain", "input")["handle"] = 99.into();
        at(objects, "rule", "g12_input")["handle"] = 98.into();
        objects.insert(0, json!({"metainfo": {"version": "1.0.6"}}));
        let set = position(objects, "set", "g12_n_office_4");
        let moved = objects.remove(set);
        objects.insert(1, moved);
        // the same addresses, split
        at(objects, "set", "g12_n_office_4")["elem"] = json!([{"prefix": {"addr": "203.0.113.128", "len": 25}}, {"range": ["203.0.113.0", "203.0.113.127"]}]);
    });
    assert_eq!(changed, listed(|_| {}));
}

#[test]
fn what_is_wanted_is_neutralised_and_cut_too() {
    let name = format!("a\u{1b}[2J\u{feff}{}", "x".repeat(5000));
    let hostile = Table { counters: [name].into(), ..Table::default() };
    let wanted = Listing::expected(&Shown::Confirmed(Numbered::new(12, &hostile)));
    for line in Listing::default().differences(&wanted, 10) {
        assert_eq!(tenure_trust::neutral(&line), line);
        assert!(line.chars().count() <= MAX_DIFFERENCE);
    }
}

#[test]
fn every_kind_of_change_is_named() {
    let inserted = json!({"rule": {"family": "inet", "table": "tenure", "chain": "g12_input", "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 4444}}, {"accept": null}]}});
    assert_eq!(differences(|o| o.push(inserted.clone())), ["rule added in g12_input: tcp dport 4444 accept"]);
    assert_eq!(
        differences(|o| {
            let last = o.iter().rposition(|x| x["rule"]["chain"] == "g12_input").unwrap();
            o.remove(last);
        }),
        ["rule removed from g12_input: counter drop comment \"default:input\""]
    );
    assert_eq!(
        differences(|o| {
            let first = position(o, "rule", "g12_input");
            o.swap(first, first + 1);
        }),
        ["rules of g12_input in another order"]
    );
    assert_eq!(
        differences(|o| at(o, "chain", "input")["policy"] = "accept".into()),
        [
            "chain input is \"type filter hook input prio 0 policy accept\" instead of \"type filter hook input prio 0 policy drop\""
        ]
    );
    assert_eq!(
        differences(|o| {
            o.retain(|x| x["chain"]["name"] != "g12_output" && x["rule"]["chain"] != "g12_output");
        }),
        ["chain g12_output missing"]
    );
    assert_eq!(
        differences(|o| at(o, "set", "g12_n_office_6")["elem"] = json!(["::1"])),
        ["elements of set g12_n_office_6 changed"]
    );
    assert_eq!(
        differences(|o| at(o, "set", "g12_n_office_6")["flags"] = json!(["interval"])),
        ["set g12_n_office_6 is \"ipv6_addr interval\" instead of \"ipv6_addr constant,interval\""]
    );
    assert_eq!(
        differences(|o| o[0]["table"]["flags"] = json!(["dormant"])),
        ["a flag set on the table: it may be dormant and judge nothing"]
    );
    assert_eq!(differences(|o| o.retain(|x| x["counter"]["name"] != "d_input")), ["counter d_input missing"]);
    let map = json!({"map": {"family": "inet", "table": "tenure", "name": "m\u{1b}[2J", "type": "mark", "map": "verdict"}});
    assert_eq!(differences(|o| o.push(map)), ["map m\\u{1b}[2J added"]);
    let many =
        (0..30).map(|i| json!({"counter": {"family": "inet", "table": "tenure", "name": format!("x{i}")}}));
    let told = differences(|o| o.extend(many));
    assert_eq!((told.len(), told.last().unwrap().as_str()), (11, "and 20 more differences"));
}

#[test]
fn protocols_are_equal_by_name_and_by_number() {
    // a host without /etc/protocols lists 6 where others list tcp
    let named = listed(|o| {
        let rule = o
            .iter_mut()
            .find(|x| x.to_string().contains("tcp reset") && x.to_string().contains("default:output"));
        rule.unwrap()["rule"]["expr"][0]["match"]["right"] = "tcp".into();
    });
    assert_eq!(named, listed(|_| {}));
}

#[test]
fn other_tables_are_not_ours() {
    let other =
        json!({"rule": {"family": "ip", "table": "tenure", "chain": "input", "expr": [{"accept": null}]}});
    assert_eq!(listed(|o| o.push(other)), listed(|_| {}));
}

#[test]
fn the_live_set_counts_families() {
    let set = |elem: Value| {
        json!({"nftables": [{"metainfo": {}}, {"set": {"name": "g1_live", "elem": elem}}]}).to_string()
    };
    let both = json!([{"elem": {"val": "ipv4", "timeout": 60, "expires": 3}}, {"elem": {"val": "ipv6", "expires": 3}}]);
    assert_eq!(live_families(set(both).as_bytes()).unwrap().len(), 2);
    let one = json!([{"elem": {"val": "ipv6", "timeout": 60, "expires": 3}}]);
    assert_eq!(live_families(set(one).as_bytes()).unwrap().len(), 1);
    assert!(live_families(br#"{"nftables":[{"set":{"name":"g1_live"}}]}"#).unwrap().is_empty());
    assert!(live_families(b"[]").is_err());
}

proptest! {
    #[test]
    fn nothing_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Listing::parse(&bytes);
        let _ = live_families(&bytes);
    }

    /// Hostile JSON of the right outline: any value in any place.
    #[test]
    fn nothing_panics_on_json(kind in "table|set|chain|rule|counter|map|x", key in "elem|expr|flags|comment|chain|type", value in any_json()) {
        let mut body = json!({"family": "inet", "table": "tenure", "name": "n", "chain": "c"});
        body[key] = value;
        let text = json!({"nftables": [{kind: body}]}).to_string();
        if let Ok(listing) = Listing::parse(text.as_bytes()) {
            let told = listing.differences(&Listing::default(), 5);
            prop_assert!(told.iter().all(|line| !line.contains(|c: char| c.is_control())), "{:?}", told);
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[\\x00-\\x7f]{0,8}".prop_map(Value::from),
        Just(json!({"prefix": {"addr": "::", "len": 300}})),
        Just(json!({"range": ["::1", "1.2.3.4"]})),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            ("set|match|counter|left|right|op|elem|val|goto|meta|payload", inner)
                .prop_map(|(key, value)| json!({key: value})),
        ]
    })
}
