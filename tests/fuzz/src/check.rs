//! What must hold of anything that is made from hostile bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tenure_areas::area::{AreaSpec, Finding, Now};
use tenure_areas::port::HostRead;
use tenure_trust::{Payload, neutral};

/// A text that goes to a terminal, a log or a page: nothing in it steers one, and it is no longer than `most` bytes.
pub fn printable(text: &str, most: usize) {
    assert_eq!(neutral(text), text, "it would reach a terminal as it is");
    assert!(text.len() <= most, "{} bytes where {most} are the most: {text}", text.len());
}

/// As [`printable`] for every text inside a value, keys too.
pub fn all_printable(value: &Value, most: usize) {
    match value {
        Value::String(text) => printable(text, most),
        Value::Array(items) => items.iter().for_each(|item| all_printable(item, most)),
        Value::Object(entries) => entries.iter().for_each(|(key, value)| {
            printable(key, most);
            all_printable(value, most);
        }),
        _ => {}
    }
}

/// What is written reads back as itself.
pub fn reads_back<T: Serialize + DeserializeOwned>(value: &T) -> Value {
    let written = serde_json::to_vec(value).expect("plain data");
    let back: T = serde_json::from_slice(&written).expect("what was written is read");
    assert_eq!(serde_json::to_vec(&back).expect("plain data"), written, "it reads back as something else");
    serde_json::from_slice(&written).expect("JSON")
}

/// Lets an area look, decide and guard: the same answers give the same facts, facts fit into a record, and what people
/// read of it is printable. `raw`: keys of the facts that carry a file's text as it is, for giving it back.
pub fn area<A: AreaSpec>(host: &dyn HostRead, section: &A::Section, now: &Now, raw: &[&str]) {
    let desired = A::desired(section);
    let facts = match A::observe(host, &desired) {
        Ok(facts) => facts,
        Err(unknown) => {
            printable(&unknown.doing, 600);
            return printable(&unknown.reason, 2400);
        }
    };
    assert!(A::observe(host, &desired).as_ref() == Ok(&facts), "looking twice shows two things");
    let mut value = reads_back(&facts);
    assert!(value.to_string().len() <= Payload::MAX, "the facts do not fit into a record");
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, _| !raw.contains(&key.as_str()));
    }
    all_printable(&value, 20_000);
    let plan = A::plan(&desired, &facts, now);
    plan.findings.iter().for_each(finding);
    plan.steps.iter().for_each(|step| printable(&step.to_string(), 4000));
    if let Some(pending) = &plan.pending {
        printable(&pending.what, 2000);
    }
    if let Err(refusal) = A::guard(&desired, plan, &facts) {
        printable(&refusal.to_string(), 4000);
    }
    A::lift(&desired, &facts).steps.iter().for_each(|step| printable(&step.to_string(), 4000));
    for file in A::memory(&desired, &facts, now) {
        assert!(file.path.as_str().starts_with("/var/lib/tenure/"), "{}", file.path.as_str());
    }
}

fn finding(finding: &Finding) {
    printable(&finding.kind, 100);
    printable(&finding.place, 2400);
    printable(&finding.what, 20_000);
}
