//! The canonical form is one, keeps what is meant, and keeps what people wrote beside it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::Faults;
use crate::fmt::canonical;
use crate::read::read;
use crate::read_tests::COMPLETE;
use crate::tree;

fn form(text: &str) -> String {
    canonical("fleet.yaml", text).unwrap_or_else(|faults| panic!("{faults}\n---\n{text}"))
}

#[test]
fn the_complete_example_means_the_same_in_its_canonical_form() {
    let written = |text: &str| {
        read(&BTreeMap::from([("fleet.yaml".to_owned(), text.to_owned())])).unwrap_or_else(|f| panic!("{f}"))
    };
    let once = form(COMPLETE);
    assert_eq!(written(&once), written(COMPLETE));
    assert_eq!(form(&once), once);
    assert!(
        once.lines().all(|line| line.split("  #").next().unwrap_or(line).chars().count() <= 170),
        "{once}"
    );
    for comment in COMPLETE.lines().filter_map(|line| line.split_once(" # ").map(|(_, comment)| comment)) {
        assert!(once.contains(comment), "lost: {comment}");
    }
}

#[test]
fn keys_quotes_lines_and_blanks_have_one_form() {
    let text = "\
# the head
networks: {ci: ['203.0.113.40'], office: [203.0.113.0/24,   \"2001:db8:10::/48\"]} # behind
fleet:    \"acme\"
tenure: 1
hosts:
    web1:
        site: Delft
        # its addresses
        addresses: [ 198.51.100.11 ]   # one only
        profiles: [base]
    # web2 comes later

tests:
- {to: web1, from: 192.0.2.77, drop: [ssh]}
- to: web1 # to the end
  accept:
    - https
  from: 192.0.2.77
# the end
";
    let expected = "\
tenure: 1
fleet: acme

# the head
networks:  # behind
  ci: [203.0.113.40]
  office: [203.0.113.0/24, \"2001:db8:10::/48\"]

hosts:
  web1:
    profiles: [base]
    # its addresses
    addresses: [198.51.100.11]  # one only
    site: \"Delft\"
  # web2 comes later

tests:
  - { from: 192.0.2.77, to: web1, drop: [ssh] }
  - from: 192.0.2.77
    to: web1  # to the end
    accept: [https]
# the end
";
    assert_eq!(form(text), expected);
    assert_eq!(form(expected), expected);
}

#[test]
fn a_file_of_one_value_has_the_form_of_that_value() {
    let form = |path: &str, text: &str| canonical(path, text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(
        form("hosts/web1.yaml", "{ addresses: [198.51.100.11], profiles: [base] } # one\n"),
        "profiles: [base]\naddresses: [198.51.100.11]  # one\n"
    );
    assert_eq!(form("networks/ci.yaml", "[203.0.113.40]\n"), "- 203.0.113.40\n");
    assert_eq!(form("networks/m.yaml", "names: [b.example, a.example]\n"), "names: [b.example, a.example]\n");
}

#[test]
fn what_cannot_be_read_is_not_rewritten() {
    for text in ["a: [\n", "a: on\n", "a: 1\na: 2\n", "a: &x 1\n"] {
        assert!(canonical("fleet.yaml", text).is_err(), "{text}");
    }
}

#[test]
fn quotes_stay_where_they_mean_something() {
    for (text, expected) in [
        ("a: \"12\"\n", "a: \"12\"\n"),
        ("a: 12\n", "a: 12\n"),
        ("a: \"true\"\n", "a: \"true\"\n"),
        ("a: 'null'\n", "a: \"null\"\n"),
        ("a: null\n", "a: null\n"),
        ("a: \"on\"\n", "a: \"on\"\n"),
        ("\"on\": b\n", "\"on\": b\n"),
        ("a: 'b c'\n", "a: b c\n"),
        ("a: '>= 3'\n", "a: \">= 3\"\n"),
        ("a: ' b'\n", "a: \" b\"\n"),
        ("a: 'x: y'\n", "a: \"x: y\"\n"),
        ("a: \"\\e\\u202e\"\n", "a: \"\\U0000001B\\U0000202E\"\n"),
        ("a: ''\n", "a: \"\"\n"),
        ("a: |\n  two\n  lines\n", "a: \"two\\nlines\\n\"\n"),
        ("a: |\n  # no comment\n", "a: \"# no comment\\n\"\n"),
        ("- - a\n  - b\n- []\n", "- [a, b]\n- []\n"),
        ("- - [[[a]]] # b\n  - c\n", "# b\n- - - [[a]]\n  - c\n"),
    ] {
        assert_eq!(form(text), expected, "{text}");
    }
}

/// The tree without its places.
fn meaning(text: &str) -> String {
    fn say(node: &tree::Node) -> String {
        match &node.kind {
            tree::Kind::Scalar { text, .. } => format!("{text:?}{}", node.is_null()),
            tree::Kind::List(items) => format!("[{}]", items.iter().map(say).collect::<Vec<_>>().join(",")),
            tree::Kind::Map(entries) => {
                let mut list: Vec<String> =
                    entries.iter().map(|(k, v)| format!("{:?}:{}", k.text, say(v))).collect();
                list.sort();
                format!("{{{}}}", list.join(","))
            }
            tree::Kind::Bad => "bad".to_owned(),
        }
    }
    let mut faults = Faults::new();
    let tree =
        tree::parse("fleet.yaml", text, &mut faults).unwrap_or_else(|| panic!("{faults}\n---\n{text}"));
    assert!(faults.is_empty(), "{faults}\n---\n{text}");
    say(&tree.root)
}

#[derive(Debug, Clone)]
enum Any {
    Scalar(String),
    List(Vec<(Any, Option<u8>)>),
    Map(Vec<(String, Any, Option<u8>)>),
}

fn any() -> impl Strategy<Value = Any> {
    let word = prop_oneof![
        Just("tenure"),
        Just("hosts"),
        Just("profiles"),
        Just("from"),
        Just("to"),
        Just("allow"),
        Just("a"),
        Just("b"),
        Just("mode"),
        Just("firewall"),
        Just("inbound"),
        Just("tests"),
        Just("site"),
    ];
    let scalar = prop_oneof![
        Just("x"),
        Just("12"),
        Just("\"12\""),
        Just("null"),
        Just("'on'"),
        Just("\"a # b\""),
        Just("two words"),
        Just(
            "\"long text that goes on and on and on until it does not fit into the line at all any more, so there\""
        ),
    ];
    let leaf = scalar.prop_map(|text| Any::Scalar(text.to_owned()));
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let mark = proptest::option::weighted(0.3, 0u8..6);
        let entry = (word.clone().prop_map(str::to_owned), inner.clone(), mark.clone());
        prop_oneof![
            proptest::collection::vec((inner, mark), 1..4).prop_map(Any::List),
            proptest::collection::vec(entry, 1..5).prop_map(|mut entries| {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.dedup_by(|a, b| a.0 == b.0);
                entries.reverse();
                Any::Map(entries)
            }),
        ]
    })
}

/// Writes it in some style, with comments in odd places; `next` numbers the comments.
fn write(any: &Any, indent: usize, flow: bool, next: &mut u32, out: &mut String) {
    match any {
        Any::Scalar(text) => out.push_str(text),
        Any::List(items) if flow => {
            out.push('[');
            for (number, (item, _)) in items.iter().enumerate() {
                out.push_str(if number > 0 { ", " } else { "" });
                write(item, indent, true, next, out);
            }
            out.push(']');
        }
        Any::Map(entries) if flow => {
            out.push('{');
            for (number, (key, value, _)) in entries.iter().enumerate() {
                out.push_str(if number > 0 { ", " } else { "" });
                out.push_str(&format!("{key}: "));
                write(value, indent, true, next, out);
            }
            out.push('}');
        }
        Any::List(items) => {
            for (item, mark) in items {
                above(*mark, indent, next, out);
                out.push_str(&format!("{}-", " ".repeat(indent)));
                value(item, *mark, indent, next, out);
            }
        }
        Any::Map(entries) => {
            for (key, item, mark) in entries {
                above(*mark, indent, next, out);
                out.push_str(&format!("{}{key}:", " ".repeat(indent)));
                value(item, *mark, indent, next, out);
            }
        }
    }
}

/// A comment in a line of its own, at a right or a wrong column.
fn above(mark: Option<u8>, indent: usize, next: &mut u32, out: &mut String) {
    let column = match mark {
        Some(0) => indent,
        Some(1) => indent + 3,
        Some(2) => 0,
        _ => return,
    };
    out.push_str(&format!("{}# c{next}.\n", " ".repeat(column)));
    *next += 1;
}

/// What stands behind a key or a dash, to the end of its lines.
fn value(any: &Any, mark: Option<u8>, indent: usize, next: &mut u32, out: &mut String) {
    let flow = matches!(any, Any::Scalar(_)) || mark == Some(4) || mark == Some(3);
    if flow {
        out.push(' ');
        write(any, indent, true, next, out);
    }
    if mark == Some(3) || mark == Some(5) {
        out.push_str(&format!(" #c{next}."));
        *next += 1;
    }
    out.push('\n');
    if !flow {
        write(any, indent + 2, false, next, out);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_form_is_final_and_loses_neither_meaning_nor_comment(any in any()) {
        let (mut text, mut comments) = (String::new(), 0);
        write(&any, 0, matches!(any, Any::Scalar(_)), &mut comments, &mut text);
        let once = form(&text);
        prop_assert_eq!(meaning(&once), meaning(&text), "\n{}\n---\n{}", text, once);
        prop_assert_eq!(&form(&once), &once, "\n{}\n---\n{}", text, once);
        for number in 0..comments {
            let comment = format!("c{number}.");
            prop_assert_eq!(once.matches(&comment).count(), 1, "{} of\n{}\n---\n{}", comment, text, once);
        }
    }
}
