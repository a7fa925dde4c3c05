//! Turns nft's JSON into short text for a finding. What it reads may be hostile: everything is neutralised and cut.

use serde_json::Value;
use tenure_trust::text::neutral_bytes;

/// Longest description of one rule, in characters.
const MAX_TEXT: usize = 160;

/// A text from the host, safe for terminals and logs, cut to 160 characters.
pub(super) fn text(raw: &str) -> String {
    neutral_bytes(raw.as_bytes(), MAX_TEXT)
}

/// A value as text: a string as it is, everything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        other => text(&other.to_string()),
    }
}

/// A rule in the normal form of `listing`, much as nft writes it: `tcp dport 22 accept`.
pub(super) fn rule(canonical: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(canonical) else { return text(canonical) };
    let mut parts: Vec<String> = Vec::new();
    for expression in value.get("expr").and_then(Value::as_array).into_iter().flatten() {
        let Some((kind, body)) = expression.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        parts.push(match kind.as_str() {
            "match" => matched(body),
            "jump" | "goto" => format!("{kind} {}", plain(body.get("target").unwrap_or(&Value::Null))),
            "accept" | "drop" | "return" | "continue" => kind.clone(),
            "counter" => "counter".into(),
            "limit" => "limit".into(),
            "log" => "log".into(),
            "reject" => "reject".into(),
            other => format!("{other} {}", side(body)),
        });
    }
    if let Some(comment) = value.get("comment").and_then(Value::as_str) {
        parts.push(format!("comment {comment:?}"));
    }
    text(&parts.join(" "))
}

fn matched(body: &Value) -> String {
    let null = Value::Null;
    let op = match body.get("op").and_then(Value::as_str) {
        Some("==" | "in") | None => String::new(),
        Some(other) => format!("{other} "),
    };
    format!("{} {op}{}", side(body.get("left").unwrap_or(&null)), side(body.get("right").unwrap_or(&null)))
}

fn side(value: &Value) -> String {
    let get = |key: &str| value.get(key);
    if let Some(payload) = get("payload") {
        let part = |key: &str| payload.get(key).and_then(Value::as_str).unwrap_or("?");
        return format!("{} {}", part("protocol"), part("field"));
    }
    if let Some(meta) = get("meta") {
        return format!("meta {}", meta.get("key").and_then(Value::as_str).unwrap_or("?"));
    }
    if let Some(ct) = get("ct") {
        return format!("ct {}", ct.get("key").and_then(Value::as_str).unwrap_or("?"));
    }
    if let Some(prefix) = get("prefix") {
        let address = prefix.get("addr").and_then(Value::as_str).unwrap_or("?");
        return format!("{address}/{}", prefix.get("len").and_then(Value::as_u64).unwrap_or_default());
    }
    if let Some([first, last]) = get("range").and_then(Value::as_array).map(Vec::as_slice) {
        return format!("{}-{}", plain(first), plain(last));
    }
    if let Some(items) = get("set").and_then(Value::as_array).or_else(|| value.as_array()) {
        let items: Vec<String> = items.iter().take(16).map(side).collect();
        return format!("{{ {} }}", items.join(", "));
    }
    plain(value)
}
