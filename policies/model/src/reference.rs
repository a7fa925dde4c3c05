//! Every key of the language as a page, from the same declarations as its types: the second half of docs/policy.md.

use std::fmt::Write as _;

use crate::schema::definition;
use crate::shape::{FromNode, ScalarKind, ScalarShape, Section, Shape};
use crate::written::Written;

/// The page, as Markdown: one table for each section, in the order in which they are met.
pub fn reference() -> String {
    let mut sections: Vec<&'static Section> = Vec::new();
    collect(Written::shape(), &mut sections);
    let mut out = String::new();
    for section in sections {
        let _ = write!(out, "\n### {}\n\n{}.\n\n", definition(section.name), sentence(section.doc));
        out.push_str("| key | value | meaning |\n|---|---|---|\n");
        for field in section.fields {
            let need = if (field.optional)() { "" } else { " **needed**" };
            let _ = writeln!(
                out,
                "| `{}`{need} | {} | {} |",
                field.key,
                value((field.shape)()),
                sentence(field.doc).replace('|', "\\|")
            );
        }
    }
    out
}

/// Sections in the order of their keys, outer before inner.
fn collect(shape: Shape, sections: &mut Vec<&'static Section>) {
    match shape {
        Shape::Scalar(_) => {}
        Shape::List(inner) | Shape::Map(_, inner) | Shape::Nullable(inner) => collect(inner(), sections),
        Shape::OneOf(options) => options.iter().for_each(|option| collect(option(), sections)),
        Shape::Section(section) => {
            if sections.iter().all(|known| known.name != section.name) {
                sections.push(section);
                for field in section.fields {
                    collect((field.shape)(), sections);
                }
            }
        }
    }
}

fn value(shape: Shape) -> String {
    match shape {
        Shape::Scalar(shape) => scalar(shape),
        Shape::List(inner) => format!("list: {}", value(inner())),
        Shape::Map(key, inner) => format!("{} → {}", key.what, value(inner())),
        Shape::OneOf(options) => options.iter().map(|o| value(o())).collect::<Vec<_>>().join("; or "),
        Shape::Nullable(inner) => format!("{}; or `null`", value(inner())),
        Shape::Section(section) => format!("[{0}](#{0})", definition(section.name)),
    }
}

fn scalar(shape: &ScalarShape) -> String {
    match shape.kind {
        ScalarKind::Text if !shape.words.is_empty() => {
            shape.words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
        }
        _ => shape.what.replace('|', "\\|"),
    }
}

fn sentence(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const PAGE: &str = include_str!("../../../docs/policy.md");

    #[test]
    fn the_page_in_docs_has_every_key() {
        assert!(
            PAGE.ends_with(&reference()),
            "write what `tenure schema --reference` prints to the end of docs/policy.md"
        );
    }

    #[test]
    fn the_example_in_docs_is_a_set_fit_to_be_signed() {
        let example =
            PAGE.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("has an example");
        let files = BTreeMap::from([("fleet.yaml".to_owned(), example.to_owned())]);
        let set = crate::load(&files).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(set.tests().len() >= 4 && !set.promises().is_empty());
        assert_eq!(crate::fmt::canonical("fleet.yaml", example).as_deref(), Ok(example));
    }
}
