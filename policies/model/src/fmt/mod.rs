//! The one canonical form of a file (POLICY.md rule 20): order of keys, quotes, indentation. Comments are kept.
//!
//! A value without comments inside, at most two levels deep, that fits into the line stands in one line; everything
//! else is indented. Sections at the top are always indented. Names and lists keep the order in which they were written.

mod comments;
mod print;

use crate::fault::{Faults, is_hostile};
use crate::plain;
use crate::read::{self, Role};
use crate::scalars::Text;
use crate::shape::{Scalar, ScalarShape, Shape};
use crate::tree::{self, Key, Kind, Node};

/// The canonical form of one file of a set.
///
/// # Errors
/// The faults of the file: what cannot be read is not rewritten.
pub fn canonical(path: &str, text: &str) -> Result<String, Faults> {
    let mut faults = Faults::new();
    let tree = tree::parse(path, text, &mut faults);
    let tree = faults.or(tree)?;
    let lines: Vec<&str> = text.split('\n').collect();
    let shape = read::shape_of(read::role(path).unwrap_or(Role::Part));
    let mut root = Entry::new(None, &tree.root, Some(shape), &lines, 1);
    comments::attach(&mut root, &tree.comments);
    root.sort();
    comments::settle(&mut root);
    Ok(print::whole(&root))
}

/// A value with its key (or its place in a list) and the comments that belong to it.
struct Entry {
    key: Option<String>,
    /// Where its key stands in the table of its section.
    rank: usize,
    value: Value,
    /// Whether it is written in brackets.
    flow: bool,
    /// Lines above.
    leading: Vec<String>,
    /// Behind it, in its line.
    trailing: Vec<String>,
    /// Lines below, at its own indentation.
    below: Vec<String>,
    /// Line and column where it starts.
    start: (u32, u32),
    /// Line and column just behind its last character.
    end: (u32, u32),
    /// The column of its key, or of its dash.
    column: u32,
}

enum Value {
    Scalar(String),
    List(Vec<Entry>),
    Map(Vec<Entry>),
}

impl Entry {
    fn new(key: Option<&Key>, node: &Node, shape: Option<Shape>, lines: &[&str], column: u32) -> Self {
        let shape = shape.and_then(|shape| choose(shape, node));
        let flow = matches!(character(lines, node), Some('[' | '{'));
        let value = match &node.kind {
            Kind::Scalar { text, plain } => Value::Scalar(scalar(text, *plain, shape)),
            Kind::Bad => Value::Scalar("null".to_owned()),
            Kind::List(items) => {
                let column = |item: &Node| if flow { item.at.column } else { node.at.column };
                Value::List(
                    items
                        .iter()
                        .map(|item| Self::new(None, item, inner(shape), lines, column(item)))
                        .collect(),
                )
            }
            Kind::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let (rank, shape) = field(shape, &key.text);
                        Self { rank, ..Self::new(Some(key), value, shape, lines, key.at.column) }
                    })
                    .collect(),
            ),
        };
        let end = match &value {
            Value::List(inner) | Value::Map(inner) if !flow => {
                inner.last().map_or(node.end, |entry| entry.end)
            }
            _ => node.end,
        };
        let at = key.map_or(&node.at, |key| &key.at);
        Self {
            key: key.map(|key| quoted_unless_plain(&key.text)),
            rank: 0,
            value,
            flow,
            leading: Vec::new(),
            trailing: Vec::new(),
            below: Vec::new(),
            start: (at.line, at.column),
            end,
            column,
        }
    }

    /// The entries inside, none of a single value.
    fn inner(&self) -> &[Entry] {
        match &self.value {
            Value::Scalar(_) => &[],
            Value::List(inner) | Value::Map(inner) => inner,
        }
    }

    fn inner_mut(&mut self) -> &mut [Entry] {
        match &mut self.value {
            Value::Scalar(_) => &mut [],
            Value::List(inner) | Value::Map(inner) => inner,
        }
    }

    /// Puts keys of sections into the order of their tables.
    fn sort(&mut self) {
        if let Value::Map(inner) = &mut self.value {
            inner.sort_by_key(|entry| entry.rank);
        }
        for entry in self.inner_mut() {
            entry.sort();
        }
    }
}

/// The character at which a node starts.
fn character(lines: &[&str], node: &Node) -> Option<char> {
    let line = lines.get((node.at.line as usize).checked_sub(1)?)?;
    line.chars().nth((node.at.column as usize).checked_sub(1)?)
}

/// Which of several shapes a node has.
fn choose(shape: Shape, node: &Node) -> Option<Shape> {
    match shape {
        Shape::Nullable(inner) => choose(inner(), node),
        Shape::OneOf(options) => {
            let fits = |option: &Shape| match (&node.kind, option) {
                (Kind::Map(entries), Shape::Section(section)) => {
                    1 + entries
                        .iter()
                        .filter(|(key, _)| section.fields.iter().any(|f| f.key == key.text))
                        .count()
                }
                (Kind::Map(_), Shape::Map(..)) | (Kind::List(_), Shape::List(_)) => 1,
                (Kind::Scalar { .. }, Shape::Scalar(_)) => 1,
                _ => 0,
            };
            let best = options.iter().map(|option| option()).max_by_key(fits)?;
            (fits(&best) > 0).then_some(best)
        }
        other => Some(other),
    }
}

/// The shape of a list's items.
fn inner(shape: Option<Shape>) -> Option<Shape> {
    match shape {
        Some(Shape::List(inner)) => Some(inner()),
        _ => None,
    }
}

/// Rank and shape of a map's entry. Unknown keys stand last.
fn field(shape: Option<Shape>, key: &str) -> (usize, Option<Shape>) {
    match shape {
        Some(Shape::Section(section)) => match section.fields.iter().position(|field| field.key == key) {
            Some(rank) => (rank, Some((section.fields[rank].shape)())),
            None => (section.fields.len(), None),
        },
        Some(Shape::Map(_, inner)) => (0, Some(inner())),
        _ => (0, None),
    }
}

/// A value as it is written: sentences of people always in quotes, other texts only where YAML asks for them.
fn scalar(text: &str, plain: bool, shape: Option<Shape>) -> String {
    let sentence = |shape: &ScalarShape| shape.what == Text::SHAPE.what;
    match shape {
        _ if plain && is_word_of_yaml(text) => text.to_owned(),
        Some(Shape::Scalar(shape)) if sentence(shape) => quoted(text),
        _ => quoted_unless_plain(text),
    }
}

/// What means a number, a truth value or nothing when it stands without quotes.
fn is_word_of_yaml(text: &str) -> bool {
    matches!(text, "true" | "false" | "null") || plain::is_integer(text) || plain::is_float(text)
}

fn quoted_unless_plain(text: &str) -> String {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | '@' | '+');
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/'));
    let words = text.split(' ').all(|word| !word.is_empty() && word.chars().all(inner));
    let plain = first && words && !is_word_of_yaml(text) && plain::ambiguous(text).is_none();
    if plain { text.to_owned() } else { quoted(text) }
}

/// In double quotes (YAML 1.2.2 section 7.3.1), with escapes for what a reader cannot see.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_hostile(c) => out.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
