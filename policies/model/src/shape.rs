//! One table for the language: each section is declared once, and from that come its type, its reader,
//! its place in the JSON Schema and the order of its keys in the canonical form.

use std::collections::BTreeMap;

use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::nearest::nearest;
use crate::tree::{Kind, Node};

/// What may stand at a place of the language.
#[derive(Clone, Copy)]
pub enum Shape {
    /// One value.
    Scalar(&'static ScalarShape),
    /// A list that is not empty, of this.
    List(fn() -> Shape),
    /// Names → this.
    Map(&'static ScalarShape, fn() -> Shape),
    /// Fixed keys.
    Section(&'static Section),
    /// One of these.
    OneOf(&'static [fn() -> Shape]),
    /// This, or the word `null`.
    Nullable(fn() -> Shape),
}

/// One value of the language.
#[derive(Debug)]
pub struct ScalarShape {
    /// In words, with an example.
    pub what: &'static str,
    /// How YAML reads it.
    pub kind: ScalarKind,
    /// The only words, when they are few.
    pub words: &'static [&'static str],
}

/// How YAML reads a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarKind {
    /// A text; what looks like a number must be quoted.
    Text,
    /// A whole number, not quoted.
    Integer,
    /// `true` or `false`.
    Bool,
    /// Any of these.
    Literal,
}

/// A map with fixed keys.
pub struct Section {
    /// Its name in the schema.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static [&'static str],
    /// Its keys in canonical order.
    pub fields: &'static [Field],
}

/// One key of a section.
pub struct Field {
    /// The key as written.
    pub key: &'static str,
    /// What it means.
    pub doc: &'static [&'static str],
    /// Whether it may be left out.
    pub optional: fn() -> bool,
    /// What stands there.
    pub shape: fn() -> Shape,
}

/// What can be read from a node of the tree. Every fault is reported; `None` says that one was.
/// An entry of a map or list that cannot be read is reported and left out, so that the rest is checked in the same
/// run; such a value never leaves [`crate::read`] as a good one, because there are faults.
pub trait FromNode: Sized {
    /// Reads it.
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self>;

    /// What it means to leave the key out; `None`: it must be there.
    fn absent() -> Option<Self> {
        None
    }

    /// What may stand there.
    fn shape() -> Shape;
}

/// One value.
pub trait Scalar: Sized {
    /// Kind, words and description.
    const SHAPE: ScalarShape;

    /// Reads a text of the kind that [`Self::SHAPE`] says.
    ///
    /// # Errors
    /// Why not.
    fn parse(text: &str) -> Result<Self, Why>;
}

/// Why a text is not of the kind that is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Why {
    /// A whole sentence; left out: `"text" is not <what>`.
    pub sentence: Option<String>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Why {
    /// A sentence and what to write instead.
    pub fn new(sentence: impl std::fmt::Display, hint: String) -> Self {
        Self { sentence: Some(sentence.to_string()), hint: Some(hint) }
    }

    /// What to write instead.
    pub fn hint(hint: impl Into<String>) -> Self {
        Self { sentence: None, hint: Some(hint.into()) }
    }
}

/// Names → values, each with the place of its name.
pub type Map<K, V> = BTreeMap<K, Spanned<V>>;

/// A list that is never empty (POLICY.md rule 1: nothing absent opens anything).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonEmpty<T>(Vec<T>);

impl<T> NonEmpty<T> {
    /// The list, when it has something in it.
    pub fn new(list: Vec<T>) -> Option<Self> {
        (!list.is_empty()).then_some(Self(list))
    }
}

impl<T> std::ops::Deref for NonEmpty<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T> IntoIterator for &'a NonEmpty<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Scalar> FromNode for T {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        let shape = const { &T::SHAPE };
        let (text, plain) = match &node.kind {
            Kind::Bad => return None,
            Kind::Scalar { text, plain } => (text.as_str(), *plain),
            Kind::List(_) | Kind::Map(_) => {
                let what = format!("expected {}, found {}", shape.what, node.kind.name());
                faults.push(Fault::new(&node.at, FaultCode::NotAValue, what));
                return None;
            }
        };
        if node.is_null() {
            faults.push(Fault::new(
                &node.at,
                FaultCode::NoValue,
                format!("null where {} must stand", shape.what),
            ));
            return None;
        }
        let number = crate::plain::is_integer(text);
        let word = matches!(text, "true" | "false");
        match shape.kind {
            ScalarKind::Text
                if plain && (number || word || crate::plain::is_float(text)) && T::parse(text).is_ok() =>
            {
                let what = format!("{text} must be quoted here, where a text is meant ({})", shape.what);
                faults
                    .push(Fault::new(&node.at, FaultCode::MustQuote, what).hint(format!("write \"{text}\"")));
                return None;
            }
            ScalarKind::Integer if !(plain && number) => {
                let what = format!("{text:?} is not {}", shape.what);
                faults.push(
                    Fault::new(&node.at, FaultCode::BadValue, what).hint("a whole number without quotes"),
                );
                return None;
            }
            ScalarKind::Bool if !(plain && word) => {
                let what = format!("{text:?} is not {}", shape.what);
                faults.push(
                    Fault::new(&node.at, FaultCode::BadValue, what)
                        .hint("write true or false, without quotes"),
                );
                return None;
            }
            _ => {}
        }
        parse_here(text, node, faults)
    }

    fn shape() -> Shape {
        Shape::Scalar(const { &T::SHAPE })
    }
}

fn parse_here<T: Scalar>(text: &str, node: &Node, faults: &mut Faults) -> Option<T> {
    match T::parse(text) {
        Ok(value) => Some(value),
        Err(why) => {
            faults.push(bad_value(&node.at, text, const { &T::SHAPE }, why));
            None
        }
    }
}

fn bad_value(at: &Place, text: &str, shape: &ScalarShape, why: Why) -> Fault {
    let mut what = match why.sentence {
        Some(sentence) => cut(&sentence, 160),
        None => format!("{:?} is not {}", cut(text, 60), shape.what),
    };
    if let Some(near) = nearest(text, shape.words.iter().copied()) {
        what = format!("{what}, did you mean {near:?}?");
    }
    let fault = Fault::new(at, FaultCode::BadValue, what);
    match why.hint {
        Some(hint) => fault.hint(cut(&hint, 300)),
        None if shape.words.is_empty() => fault,
        None => fault.hint(format!("one of: {}", shape.words.join(", "))),
    }
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl<T: FromNode> FromNode for Spanned<T> {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        Some(Spanned::new(T::from_node(node, faults)?, node.at.clone()))
    }

    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: FromNode> FromNode for Option<T> {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        T::from_node(node, faults).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn shape() -> Shape {
        T::shape()
    }
}

/// A value or the word `null`, which must be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nullable<T>(pub Option<T>);

impl<T: FromNode> FromNode for Nullable<T> {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        if node.is_null() {
            Some(Self(None))
        } else {
            T::from_node(node, faults).map(|value| Self(Some(value)))
        }
    }

    fn shape() -> Shape {
        Shape::Nullable(T::shape)
    }
}

/// A list that must be there and must not be empty.
impl<T: FromNode> FromNode for NonEmpty<T> {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        let items = match &node.kind {
            Kind::Bad => return None,
            Kind::List(items) => items,
            _ if node.is_null() => {
                faults.push(Fault::new(&node.at, FaultCode::NoValue, "null where a list must stand"));
                return None;
            }
            other => {
                let what = format!("expected a list, found {}", other.name());
                faults.push(
                    Fault::new(&node.at, FaultCode::NotAList, what)
                        .hint("lists are always lists: write [ … ]"),
                );
                return None;
            }
        };
        if items.is_empty() {
            let hint = "nothing absent means everything: name what is meant, or leave the key out where it is optional";
            faults.push(Fault::new(&node.at, FaultCode::Empty, "empty list").hint(hint));
            return None;
        }
        Self::new(items.iter().filter_map(|item| T::from_node(item, faults)).collect())
    }

    fn shape() -> Shape {
        Shape::List(T::shape)
    }
}

/// A list that may be left out; written, it must not be empty.
impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        NonEmpty::from_node(node, faults).map(|list| list.0)
    }

    fn absent() -> Option<Self> {
        Some(Vec::new())
    }

    fn shape() -> Shape {
        Shape::List(T::shape)
    }
}

/// Names → values; may be left out; written, it must not be empty.
impl<K: Scalar + Ord, V: FromNode> FromNode for Map<K, V> {
    fn from_node(node: &Node, faults: &mut Faults) -> Option<Self> {
        let entries = entries(node, faults)?;
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let name = match K::parse(&key.text) {
                Ok(name) => Some(name),
                Err(why) => {
                    faults.push(bad_value(&key.at, &key.text, const { &K::SHAPE }, why));
                    None
                }
            };
            if let (Some(name), Some(value)) = (name, V::from_node(value, faults)) {
                map.insert(name, Spanned::new(value, key.at.clone()));
            }
        }
        Some(map)
    }

    fn absent() -> Option<Self> {
        Some(BTreeMap::new())
    }

    fn shape() -> Shape {
        Shape::Map(const { &K::SHAPE }, V::shape)
    }
}

/// The entries of a map that must not be empty.
pub(crate) fn entries<'a>(node: &'a Node, faults: &mut Faults) -> Option<&'a [(crate::tree::Key, Node)]> {
    let fault = match &node.kind {
        Kind::Bad => return None,
        Kind::Map(entries) if entries.is_empty() => Fault::new(&node.at, FaultCode::Empty, "empty map")
            .hint("leave the key out, or say what is meant"),
        Kind::Map(entries) => return Some(entries),
        _ if node.is_null() => Fault::new(&node.at, FaultCode::NoValue, "null where a map must stand"),
        other => Fault::new(
            &node.at,
            FaultCode::NotAMap,
            format!("expected a map (key: value), found {}", other.name()),
        ),
    };
    faults.push(fault);
    None
}

/// Reports keys that a section does not have; says which one may be meant.
pub(crate) fn refuse_unknown(node: &Node, section: &Section, faults: &mut Faults) {
    let Kind::Map(entries) = &node.kind else { return };
    for (key, _) in entries {
        if section.fields.iter().all(|field| field.key != key.text) {
            let known = section.fields.iter().map(|field| field.key);
            let what = match nearest(&key.text, known.clone()) {
                Some(near) => {
                    format!("unknown key {:?} in {}, did you mean {near:?}?", key.text, section.name)
                }
                None => format!("unknown key {:?} in {}", key.text, section.name),
            };
            let all = known.collect::<Vec<_>>().join(", ");
            faults.push(Fault::new(&key.at, FaultCode::UnknownKey, what).hint(format!("keys are: {all}")));
        }
    }
}

/// Reads one key of a section, or says that it is missing.
pub(crate) fn field<T: FromNode>(
    node: &Node,
    section: &Section,
    key: &str,
    faults: &mut Faults,
) -> Option<T> {
    let Kind::Map(entries) = &node.kind else { return None };
    if let Some((_, value)) = entries.iter().find(|(k, _)| k.text == key) {
        // what was read wrongly is reported; its neighbours are still looked at
        return T::from_node(value, faults).or_else(T::absent);
    }
    let absent = T::absent();
    if absent.is_none() {
        faults.push(Fault::new(
            &node.at,
            FaultCode::MissingKey,
            format!("{} needs the key {key:?}", section.name),
        ));
    }
    absent
}

/// Declares a section: type, reader, schema and order of keys in one place.
macro_rules! section {
    ($(#[doc = $doc:literal])* $name:ident = $shown:literal {
        $( $(#[doc = $field_doc:literal])* $field:ident / $key:literal : $kind:ty, )+
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $kind, )+
        }

        impl $name {
            /// Its keys.
            pub const SECTION: $crate::shape::Section = $crate::shape::Section {
                name: $shown,
                doc: &[$($doc),*],
                fields: &[$( $crate::shape::Field {
                    key: $key,
                    doc: &[$($field_doc),*],
                    optional: || <$kind as $crate::shape::FromNode>::absent().is_some(),
                    shape: <$kind as $crate::shape::FromNode>::shape,
                } ),+],
            };
        }

        impl $crate::shape::FromNode for $name {
            fn from_node(node: &$crate::tree::Node, faults: &mut $crate::fault::Faults) -> Option<Self> {
                let section = const { &Self::SECTION };
                $crate::shape::entries(node, faults)?;
                $crate::shape::refuse_unknown(node, section, faults);
                $( let $field = $crate::shape::field::<$kind>(node, section, $key, faults); )+
                Some(Self { $( $field: $field?, )+ })
            }

            fn shape() -> $crate::shape::Shape {
                $crate::shape::Shape::Section(const { &Self::SECTION })
            }
        }
    };
}
pub(crate) use section;

/// Declares a closed choice of words.
macro_rules! words {
    ($(#[doc = $doc:literal])* $name:ident = $shown:literal { $( $(#[doc = $word_doc:literal])* $variant:ident / $word:literal, )+ }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[doc = $word_doc])* #[serde(rename = $word)] $variant, )+
        }

        impl $name {
            /// The word as written.
            pub fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::shape::Scalar for $name {
            const SHAPE: $crate::shape::ScalarShape = $crate::shape::ScalarShape {
                what: $shown,
                kind: $crate::shape::ScalarKind::Text,
                words: &[$($word),+],
            };
            fn parse(text: &str) -> Result<Self, $crate::shape::Why> {
                match text {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err($crate::shape::Why::default()),
                }
            }
        }
    };
}
pub(crate) use words;
