//! Entries as lines.

use crate::fmt::{Entry, Value};

/// The longest line, comments not counted.
const WIDTH: usize = 110;
/// The deepest value that stands in one line.
const FLAT: usize = 2;

/// The whole file, with a blank line around each section that takes more than a line.
pub(super) fn whole(root: &Entry) -> String {
    let mut out: Vec<String> = Vec::new();
    match &root.value {
        Value::Map(entries) if !entries.is_empty() => {
            let mut tall = false;
            for (number, entry) in entries.iter().enumerate() {
                let mut lines = Vec::new();
                map_entry(entry, 0, true, &mut lines);
                if number > 0 && (tall || lines.len() > 1) {
                    out.push(String::new());
                }
                tall = lines.len() > 1 + entry.leading.len();
                out.append(&mut lines);
            }
        }
        Value::List(items) if !items.is_empty() => list(items, 0, &mut out),
        _ => out.push(flat(&root.value, 0).unwrap_or_default()),
    }
    out.extend(root.leading.iter().cloned());
    if let Some(last) = out.last_mut() {
        *last = with_comment(std::mem::take(last), &root.trailing);
    }
    out.extend(root.below.iter().cloned());
    let mut text = out.join("\n");
    text.push('\n');
    text
}

/// `key: value`. `top`: a section, which is indented even when it would fit into the line.
fn map_entry(entry: &Entry, indent: usize, top: bool, out: &mut Vec<String>) {
    let pad = " ".repeat(indent);
    let key = entry.key.as_deref().unwrap_or("null");
    out.extend(entry.leading.iter().map(|comment| format!("{pad}{comment}")));
    let maps = entry.inner().iter().any(|inner| matches!(inner.value, Value::Map(_) | Value::List(_)));
    let head = format!("{pad}{key}:");
    match one_line(&entry.value, head.chars().count() + 1).filter(|_| !(top && maps)) {
        Some(text) => out.push(with_comment(format!("{head} {text}"), &entry.trailing)),
        None => {
            out.push(with_comment(head, &entry.trailing));
            inside(&entry.value, indent + 2, out);
        }
    }
    out.extend(entry.below.iter().map(|comment| format!("{pad}{comment}")));
}

fn inside(value: &Value, indent: usize, out: &mut Vec<String>) {
    match value {
        Value::Scalar(text) => out.push(format!("{}{text}", " ".repeat(indent))),
        Value::Map(entries) => entries.iter().for_each(|entry| map_entry(entry, indent, false, out)),
        Value::List(items) => list(items, indent, out),
    }
}

fn list(items: &[Entry], indent: usize, out: &mut Vec<String>) {
    let pad = " ".repeat(indent);
    for item in items {
        out.extend(item.leading.iter().map(|comment| format!("{pad}{comment}")));
        match one_line(&item.value, indent + 2) {
            Some(text) => out.push(with_comment(format!("{pad}- {text}"), &item.trailing)),
            None => {
                // Behind a value of several lines there is no place for it: it goes above. So do the comments with
                // which the value itself begins: the dash stands before its first key.
                out.extend(item.trailing.iter().map(|comment| format!("{pad}{comment}")));
                let mut lines = Vec::new();
                inside(&item.value, indent + 2, &mut lines);
                let comments = lines.iter().take_while(|line| line.trim_start().starts_with('#')).count();
                out.extend(lines.drain(..comments).map(|line| format!("{pad}{}", line.trim_start())));
                if let Some(line) = lines.first_mut() {
                    *line = format!("{pad}- {}", line.trim_start());
                }
                out.append(&mut lines);
            }
        }
        out.extend(item.below.iter().map(|comment| format!("{pad}{comment}")));
    }
}

/// A value in one line, when it may stand so behind `before` characters.
fn one_line(value: &Value, before: usize) -> Option<String> {
    // Rules, logins, tests: each in a line of its own.
    let of_maps =
        matches!(value, Value::List(items) if items.iter().any(|item| matches!(item.value, Value::Map(_))));
    let text = flat(value, 0).filter(|_| !of_maps)?;
    (matches!(value, Value::Scalar(_)) || before + text.chars().count() <= WIDTH).then_some(text)
}

/// A value in brackets, when nothing in it has comments and it is not too deep.
fn flat(value: &Value, depth: usize) -> Option<String> {
    let entries = match value {
        Value::Scalar(text) => return Some(text.clone()),
        Value::List(entries) | Value::Map(entries) => entries,
    };
    if depth == FLAT && !entries.is_empty() {
        return None;
    }
    let mut parts = Vec::with_capacity(entries.len());
    for entry in entries {
        if !(entry.leading.is_empty() && entry.trailing.is_empty() && entry.below.is_empty()) {
            return None;
        }
        let text = flat(&entry.value, depth + 1)?;
        parts.push(match &entry.key {
            Some(key) => format!("{key}: {text}"),
            None => text,
        });
    }
    Some(match (value, parts.is_empty()) {
        (Value::Map(_), true) => "{}".to_owned(),
        (Value::Map(_), false) => format!("{{ {} }}", parts.join(", ")),
        _ => format!("[{}]", parts.join(", ")),
    })
}

fn with_comment(line: String, comments: &[String]) -> String {
    if comments.is_empty() { line } else { format!("{line}  {}", comments.join(" ")) }
}
