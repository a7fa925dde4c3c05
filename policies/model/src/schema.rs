//! The JSON Schema (draft 2020-12) of the language, from the same declarations as its types and its reader.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::shape::{FromNode, ScalarKind, ScalarShape, Section, Shape};
use crate::written::Written;

/// The schema of a whole policy, as one file may hold it.
pub fn json_schema() -> Value {
    let mut parts = BTreeMap::new();
    let top = shape(Written::shape(), &mut parts);
    let definitions: Map<String, Value> =
        parts.into_iter().map(|(name, part)| (name, part.unwrap_or_default())).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tenure policy",
        "description": "One file, or one part, of a policy set. The program's own reader is stricter: it also refuses \
                        anchors, tags, duplicate keys and values that YAML 1.1 and 1.2 read differently.",
        "$ref": top["$ref"],
        "$defs": definitions,
    })
}

/// Sections by their names; `None` while one is being written.
type Parts = BTreeMap<String, Option<Value>>;

fn shape(shape_of: Shape, parts: &mut Parts) -> Value {
    match shape_of {
        Shape::Scalar(scalar_shape) => scalar(scalar_shape),
        Shape::List(inner) => json!({ "type": "array", "minItems": 1, "items": shape(inner(), parts) }),
        Shape::Map(key, inner) => json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "description": key.what },
            "additionalProperties": shape(inner(), parts),
        }),
        Shape::OneOf(options) => {
            json!({ "anyOf": options.iter().map(|option| shape(option(), parts)).collect::<Vec<_>>() })
        }
        Shape::Nullable(inner) => json!({ "anyOf": [shape(inner(), parts), { "type": "null" }] }),
        Shape::Section(section) => {
            let name = definition(section.name);
            if !parts.contains_key(&name) {
                parts.insert(name.clone(), None);
                let value = self::section(section, parts);
                parts.insert(name.clone(), Some(value));
            }
            json!({ "$ref": format!("#/$defs/{name}") })
        }
    }
}

fn scalar(shape: &ScalarShape) -> Value {
    let mut value = match shape.kind {
        ScalarKind::Text if shape.words.is_empty() => json!({ "type": "string" }),
        ScalarKind::Text => json!({ "enum": shape.words }),
        ScalarKind::Integer => json!({ "type": "integer" }),
        ScalarKind::Bool => json!({ "type": "boolean" }),
        ScalarKind::Literal => json!({ "type": ["string", "integer", "boolean"] }),
    };
    value["description"] = json!(shape.what);
    value
}

fn section(section: &Section, parts: &mut Parts) -> Value {
    let properties: Map<String, Value> = section
        .fields
        .iter()
        .map(|field| {
            let mut value = shape((field.shape)(), parts);
            value["description"] = json!(said(field.doc));
            (field.key.to_owned(), value)
        })
        .collect();
    // The sections of a policy may stand in other files of the set.
    let whole = section.name == Written::SECTION.name;
    let required: Vec<&str> =
        section.fields.iter().filter(|field| !whole && !(field.optional)()).map(|field| field.key).collect();
    json!({
        "type": "object",
        "description": said(section.doc),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
        "minProperties": 1,
    })
}

fn said(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

/// `a backup set` → `backup-set`.
pub(crate) fn definition(name: &str) -> String {
    let words: Vec<&str> =
        name.split(' ').filter(|word| !matches!(*word, "a" | "an" | "the" | "of" | "in" | "by")).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Faults;
    use crate::read_tests::COMPLETE;
    use crate::tree::{self, Kind, Node};

    /// A validator for the words that our schema uses; any other word fails.
    fn check(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
        for (word, want) in schema.as_object().ok_or("a schema is an object")? {
            let fail = |why: String| Err(format!("{at}: {why}"));
            match word.as_str() {
                "$schema" | "title" | "description" | "$defs" | "propertyNames" => {}
                "$ref" => {
                    let path = want.as_str().and_then(|w| w.strip_prefix('#')).ok_or("a local reference")?;
                    check(
                        value,
                        root.pointer(path).ok_or_else(|| format!("{path} is not there"))?,
                        root,
                        at,
                    )?;
                }
                "type" => {
                    let is = |kind: &Value| match kind.as_str() {
                        Some("object") => value.is_object(),
                        Some("array") => value.is_array(),
                        Some("string") => value.is_string(),
                        Some("integer") => value.is_i64(),
                        Some("boolean") => value.is_boolean(),
                        Some("null") => value.is_null(),
                        _ => false,
                    };
                    if !want.as_array().map_or_else(|| is(want), |kinds| kinds.iter().any(is)) {
                        return fail(format!("{value} is not {want}"));
                    }
                }
                "enum" if !want.as_array().is_some_and(|words| words.contains(value)) => {
                    return fail(format!("{value} is none of {want}"));
                }
                "minItems" | "minProperties" => {
                    let size = value.as_array().map(Vec::len).or(value.as_object().map(Map::len));
                    if size == Some(0) {
                        return fail("empty".to_owned());
                    }
                }
                "items" => {
                    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                        check(item, want, root, &format!("{at}/{number}"))?;
                    }
                }
                "required" => {
                    for key in want.as_array().into_iter().flatten().filter_map(Value::as_str) {
                        if value.get(key).is_none() {
                            return fail(format!("{key} is missing"));
                        }
                    }
                }
                "properties" | "additionalProperties" => {
                    for (key, inner) in value.as_object().into_iter().flatten() {
                        let known = schema.get("properties").and_then(|p| p.get(key));
                        match (known, &schema["additionalProperties"]) {
                            (Some(known), _) => check(inner, known, root, &format!("{at}/{key}"))?,
                            (None, Value::Bool(false)) => return fail(format!("{key} is unknown")),
                            (None, other) => check(inner, other, root, &format!("{at}/{key}"))?,
                        }
                    }
                }
                "anyOf" => {
                    let options = want.as_array().ok_or("a list")?;
                    let tried: Vec<String> =
                        options.iter().filter_map(|option| check(value, option, root, at).err()).collect();
                    if tried.len() == options.len() {
                        return fail(format!("none of: {}", tried.join("; ")));
                    }
                }
                "enum" => {}
                other => return fail(format!("the schema uses {other}, which this test does not know")),
            }
        }
        Ok(())
    }

    fn value(node: &Node) -> Value {
        match &node.kind {
            Kind::Scalar { text, plain: true } => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
            Kind::Scalar { text, plain: false } => json!(text),
            Kind::List(items) => items.iter().map(value).collect(),
            Kind::Map(entries) => entries.iter().map(|(key, node)| (key.text.clone(), value(node))).collect(),
            Kind::Bad => Value::Null,
        }
    }

    fn verdict(text: &str) -> Result<(), String> {
        let mut faults = Faults::new();
        let tree = tree::parse("fleet.yaml", text, &mut faults).expect("is good YAML");
        let schema = json_schema();
        check(&value(&tree.root), &schema, &schema, "")
    }

    #[test]
    fn the_complete_example_is_valid_and_broken_ones_are_not() {
        assert_eq!(verdict(COMPLETE), Ok(()));
        for (from, to, why) in [
            ("ring: weekday ", "rings: weekday ", "rings is unknown"),
            ("firewall: enforce, access", "firewall: on-fire, access", "none of"),
            ("port: 8441", "port: \"8441\"", "is not \"integer\""),
            ("{ allow: [postgresql], from: [web] }", "{ allow: [postgresql] }", "from is missing"),
            ("{ allow: [postgresql], from: [web] }", "{ allow: [postgresql], from: [] }", "empty"),
            ("sudo: all", "sudo: some", "none of"),
        ] {
            assert_eq!(COMPLETE.matches(from).count(), 1, "{from}");
            let verdict = verdict(&COMPLETE.replace(from, to)).expect_err(to);
            assert!(verdict.contains(why), "{verdict}");
        }
    }

    #[test]
    fn every_section_has_a_name_of_its_own_and_every_key_a_sentence() {
        fn walk(shape: Shape, seen: &mut BTreeMap<String, &'static str>) {
            match shape {
                Shape::Scalar(_) => {}
                Shape::List(inner) | Shape::Map(_, inner) | Shape::Nullable(inner) => walk(inner(), seen),
                Shape::OneOf(options) => options.iter().for_each(|option| walk(option(), seen)),
                Shape::Section(section) => {
                    let keys = section.fields[0].key;
                    match seen.insert(definition(section.name), keys) {
                        Some(before) => assert_eq!(before, keys, "{} stands for two sections", section.name),
                        None => {
                            for field in section.fields {
                                let no = ["on", "yes", "no", "off", "y", "n"];
                                assert!(!no.contains(&field.key), "{} is no key (rule 20)", field.key);
                                assert!(!field.doc.is_empty(), "{}.{} says nothing", section.name, field.key);
                                walk((field.shape)(), seen);
                            }
                        }
                    }
                }
            }
        }
        let mut seen = BTreeMap::new();
        walk(Written::shape(), &mut seen);
        assert!(seen.len() > 30, "{seen:?}");
    }
}
