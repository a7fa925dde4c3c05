//! Tables from a hostile controller: wherever an answer can hold a text of anybody's, it steers no terminal.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tenure_obligations::view::{BackupsView, DriftView, HostsView, ObligationsView, PatchesView};
use tenure_trust::neutral;

use crate::{cmd_backups, cmd_drift, cmd_hosts, cmd_obligations, cmd_patches};

/// A whole judgement, as the controller's own tests have it.
const JUDGEMENT: &str = include_str!("../../server/tests/judgement.json");
const HOSTILE: &str = "\u{1b}[2J\u{202e}toor\r\nmet  all of it\u{9b}\u{200b}\u{2066}";

/// The ways to every text in a value.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(n, one)| texts(one, &format!("{at}/{n}"), found));
        }
        Value::Object(all) => all.iter().for_each(|(key, one)| texts(one, &format!("{at}/{key}"), found)),
        _ => {}
    }
}

/// The answer with hostile text wherever its form allows any; how often that is.
fn poisoned<T: Serialize + DeserializeOwned>() -> (T, usize) {
    // Only what the table has: what else stands in a judgement would be counted and never shown.
    let mut value = serde_json::to_value(serde_json::from_str::<T>(JUDGEMENT).unwrap()).unwrap();
    let mut found = Vec::new();
    texts(&value, "", &mut found);
    let mut count = 0;
    for at in found {
        let before = value.pointer(&at).cloned().unwrap();
        *value.pointer_mut(&at).unwrap() = HOSTILE.into();
        match serde_json::from_value::<T>(value.clone()) {
            Ok(_) => count += 1,
            // A name, a time or a closed word: nothing else is read there.
            Err(_) => *value.pointer_mut(&at).unwrap() = before,
        }
    }
    (serde_json::from_value(value).unwrap(), count)
}

fn harmless(what: &str, lines: &[String], poisoned: usize) {
    assert!(poisoned > 0, "{what}: no text of it is anybody's");
    assert!(lines.iter().any(|line| line.contains("\\u{1b}")), "{what}: none of it is shown: {lines:#?}");
    for line in lines {
        assert_eq!(&neutral(line), line, "{what}");
    }
}

#[test]
fn no_table_lets_a_text_steer_the_terminal() {
    let (view, count) = poisoned::<ObligationsView>();
    harmless("obligations", &cmd_obligations::lines(&view, true), count);
    let (view, count) = poisoned::<HostsView>();
    harmless("hosts", &cmd_hosts::lines(&view), count);
    let (view, count) = poisoned::<DriftView>();
    harmless("drift", &cmd_drift::lines(&view), count);
    let (view, count) = poisoned::<PatchesView>();
    harmless("patches", &cmd_patches::lines(&view), count);
    let (view, count) = poisoned::<BackupsView>();
    let lines = cmd_backups::lines(&view, true);
    harmless("backups", &lines, count);
    let shown = lines.iter().filter(|line| line.contains("\\u{1b}")).count();
    assert_eq!(shown, 3, "a row's, a slot's and a vault's: {lines:#?}");
}
