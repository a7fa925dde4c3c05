//! One pass over the YAML parser's events: a tree with places, and every fault of POLICY.md rule 2 at once.
//!
//! Nothing of YAML beyond scalars, lists and maps gets through: no anchors, aliases, merges, tags, directives,
//! second documents, duplicate keys, tabs, and no value that two parsers read differently.

use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, Span};

use crate::fault::{Fault, FaultCode, Faults, Place, is_hostile};
use crate::plain;

/// The largest file, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// The deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 32;

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it starts.
    pub at: Place,
    /// Line and column just behind it, from 1.
    pub end: (u32, u32),
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One value. `plain`: it stands without quotes.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Without quotes, and not a block of text.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file; no key stands twice.
    Map(Vec<(Key, Node)>),
    /// Something that was refused; its fault is reported already.
    Bad,
}

impl Kind {
    /// In words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "one value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Bad => "nothing that can be read",
        }
    }
}

/// The key of a map's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it stands.
    pub at: Place,
    /// The text.
    pub text: String,
}

impl Node {
    /// Whether it is the unquoted word `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if text == "null")
    }
}

/// A comment of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What stands behind `#`, without trailing blanks.
    pub text: String,
}

/// A file as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Its one document.
    pub root: Node,
    /// Its comments in order.
    pub comments: Vec<Comment>,
}

/// Reads one file. All faults go to `faults`; `None` when nothing of the file can be used
/// (a fault of syntax, a limit, an empty file).
pub fn parse(file: &str, text: &str, faults: &mut Faults) -> Option<Tree> {
    let name: Arc<str> = Arc::from(file);
    let place = |line: usize, column: usize| Place {
        file: name.clone(),
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    };
    if text.len() > MAX_FILE {
        let what = format!("the file has {} bytes, at most {MAX_FILE} are read", text.len());
        faults.push(Fault::new(&place(1, 1), FaultCode::TooLarge, what));
        return None;
    }
    if refuse_characters(text, &place, faults) {
        return None;
    }
    let text = refuse_directives(text, &place, faults);
    let mut builder = Builder {
        place: &place,
        faults,
        open: Vec::new(),
        root: None,
        comments: Vec::new(),
        quoted: Vec::new(),
    };
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
        max_buffered_comment_events: MAX_FILE,
    };
    for next in Parser::new_from_str_with_options(&text, options) {
        match next {
            Ok((event, span)) => {
                builder.take(event, &span)?;
            }
            Err(error) => {
                let at = error.marker();
                let tab = tab_in_indentation(&text, at.line());
                let fault = match (tab, error.kind()) {
                    (Some((line, column)), _) => tab_fault(&place(line, column)),
                    (None, ErrorKind::DirectiveDisallowed) => {
                        directive_fault(&place(at.line(), at.col() + 1))
                    }
                    (None, _) => {
                        let what = format!("not YAML: {}", error.info());
                        Fault::new(&place(at.line(), at.col() + 1), FaultCode::Syntax, what)
                            .hint("nothing else of this file was checked")
                    }
                };
                builder.faults.push(fault);
                return None;
            }
        }
    }
    let Builder { root, comments, quoted, faults, .. } = builder;
    refuse_tabs(&text, &quoted, &comments, &place, faults);
    match root {
        Some(root) => Some(Tree { root, comments }),
        None => {
            let fault = Fault::new(&place(1, 1), FaultCode::EmptyFile, "the file has nothing in it");
            faults.push(fault.hint("write its section, or remove the file"));
            None
        }
    }
}

/// From a line and column up to another, lines from 1, columns from 0.
type Range = ((usize, usize), (usize, usize));

/// A list or map that is still open.
enum Open {
    List {
        at: Place,
        items: Vec<Node>,
        bad: bool,
    },
    Map {
        at: Place,
        entries: Vec<(Key, Node)>,
        seen: BTreeMap<String, u32>,
        key: Option<KeyState>,
        bad: bool,
    },
}

/// What stood before the colon.
enum KeyState {
    Good(Key),
    /// Refused already; its value is read for faults and dropped.
    Dropped,
}

struct Builder<'a, P: Fn(usize, usize) -> Place> {
    place: &'a P,
    faults: &'a mut Faults,
    open: Vec<Open>,
    root: Option<Node>,
    comments: Vec<Comment>,
    /// Places (line, column) from … to of quoted values: tabs may stand there.
    quoted: Vec<Range>,
}

impl<P: Fn(usize, usize) -> Place> Builder<'_, P> {
    fn at(&self, marker: &Marker) -> Place {
        (self.place)(marker.line(), marker.col() + 1)
    }

    fn fault(&mut self, marker: &Marker, code: FaultCode, what: impl Into<String>, hint: &str) {
        let fault = Fault::new(&self.at(marker), code, what);
        self.faults.push(if hint.is_empty() { fault } else { fault.hint(hint) });
    }

    /// Takes one event; `None` ends the file.
    fn take(&mut self, event: Event<'_>, span: &Span) -> Option<()> {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(..) => {
                if self.root.is_some() {
                    let hint = "write it into a file of its own";
                    self.fault(&span.start, FaultCode::SecondDocument, "a second document in one file", hint);
                    return None;
                }
            }
            Event::Comment(text, _) => self.comments.push(Comment {
                line: u32::try_from(span.start.line()).unwrap_or(u32::MAX),
                column: u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX),
                text: text.trim_end().to_owned(),
            }),
            Event::Anchor(_, name) => {
                let hint = "write the value out where it is meant";
                self.fault(&span.start, FaultCode::Anchor, format!("anchor &{name} is refused"), hint);
            }
            Event::Alias(_) => {
                self.fault(
                    &span.start,
                    FaultCode::Alias,
                    "an alias is refused",
                    "write the value out where it is meant",
                );
                self.put(Node { at: self.at(&span.start), end: end(span), kind: Kind::Bad });
            }
            Event::UnresolvedAlias(name) => {
                let hint = "a value that starts with * must be quoted";
                self.fault(&span.start, FaultCode::Alias, format!("alias *{name} is refused"), hint);
                self.put(Node { at: self.at(&span.start), end: end(span), kind: Kind::Bad });
            }
            Event::Scalar(text, style, _, tag) => {
                let tagged = self.refuse_tag(tag.is_some(), span);
                let plain = style == ScalarStyle::Plain;
                // The parser says "~" for a value that is not there.
                let absent = plain && span.start.index() == span.end.index();
                if !plain {
                    self.quoted
                        .push(((span.start.line(), span.start.col()), (span.end.line(), span.end.col())));
                }
                self.scalar(if absent { "" } else { &text }, plain, tagged, span);
            }
            Event::SequenceStart(_, _, tag) => {
                let bad = self.refuse_tag(tag.is_some(), span);
                let at = self.opening(span)?;
                self.open.push(Open::List { at, items: Vec::new(), bad });
            }
            Event::MappingStart(_, _, tag) => {
                let bad = self.refuse_tag(tag.is_some(), span);
                let at = self.opening(span)?;
                self.open.push(Open::Map { at, entries: Vec::new(), seen: BTreeMap::new(), key: None, bad });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            _ => {
                self.fault(&span.start, FaultCode::Syntax, "a part of YAML that is not known here", "");
                return None;
            }
        }
        Some(())
    }

    fn refuse_tag(&mut self, tagged: bool, span: &Span) -> bool {
        if tagged {
            let at = span.tag_start.unwrap_or(span.start);
            self.fault(
                &at,
                FaultCode::Tag,
                "a tag is refused",
                "the language says what each value is: leave the tag out",
            );
        }
        tagged
    }

    fn opening(&mut self, span: &Span) -> Option<Place> {
        if self.open.len() >= MAX_DEPTH {
            let what = format!("nested deeper than {MAX_DEPTH} levels");
            self.fault(&span.start, FaultCode::TooDeep, what, "");
            return None;
        }
        Some(self.at(&span.start))
    }

    fn scalar(&mut self, text: &str, plain: bool, tagged: bool, span: &Span) {
        let at = self.at(&span.start);
        if let Some(Open::Map { key: key @ None, .. }) = self.open.last_mut() {
            *key = Some(KeyState::Dropped);
            let state = self.key(text, plain, tagged, at);
            if let Some(Open::Map { key, .. }) = self.open.last_mut() {
                *key = Some(state);
            }
            return;
        }
        let mut kind = Kind::Scalar { text: text.to_owned(), plain };
        if tagged {
            kind = Kind::Bad;
        } else if plain && text.is_empty() {
            let what = match self.open.last() {
                Some(Open::Map { key: Some(KeyState::Good(key)), .. }) => {
                    format!("{:?} has no value", key.text)
                }
                _ => "a value is missing".to_owned(),
            };
            // The document of an empty file is no value at all.
            if self.open.is_empty() {
                return;
            }
            self.faults.push(
                Fault::new(&at, FaultCode::NoValue, what)
                    .hint("nothing absent means everything: write what is meant, or leave the key out where it is optional"),
            );
            kind = Kind::Bad;
        } else if let Some(why) = plain.then(|| plain::ambiguous(text)).flatten() {
            let what = format!("{text} must be quoted: {why}");
            self.faults.push(Fault::new(&at, FaultCode::MustQuote, what).hint(format!("write \"{text}\"")));
            kind = Kind::Bad;
        }
        self.put(Node { at, end: end(span), kind });
    }

    fn key(&mut self, text: &str, plain: bool, tagged: bool, at: Place) -> KeyState {
        let fault = if tagged {
            return KeyState::Dropped;
        } else if plain && text == "<<" {
            Fault::new(&at, FaultCode::Merge, "a merge (<<) is refused")
                .hint("write the values out, or use a profile")
        } else if plain && text.is_empty() {
            Fault::new(&at, FaultCode::BadKey, "a key is missing before the colon")
        } else if let Some(why) = plain.then(|| plain::ambiguous(text)).flatten() {
            Fault::new(&at, FaultCode::MustQuote, format!("key {text} must be quoted: {why}"))
                .hint(format!("write \"{text}\""))
        } else if plain
            && (matches!(text, "true" | "false" | "null") || plain::is_integer(text) || plain::is_float(text))
        {
            Fault::new(&at, FaultCode::MustQuote, format!("key {text} must be quoted: keys are texts"))
                .hint(format!("write \"{text}\""))
        } else if let Some(first) = self.seen(text, at.line) {
            let shown: String = text.chars().take(60).collect();
            Fault::new(
                &at,
                FaultCode::DuplicateKey,
                format!("key {shown:?} stands here twice, first in line {first}"),
            )
        } else {
            return KeyState::Good(Key { at, text: text.to_owned() });
        };
        self.faults.push(fault);
        KeyState::Dropped
    }

    /// The line where this key of the open map stood before.
    fn seen(&mut self, text: &str, line: u32) -> Option<u32> {
        let Some(Open::Map { seen, .. }) = self.open.last_mut() else { return None };
        match seen.get(text) {
            Some(first) => Some(*first),
            None => {
                seen.insert(text.to_owned(), line);
                None
            }
        }
    }

    fn close(&mut self, span: &Span) {
        let (at, kind) = match self.open.pop() {
            Some(Open::List { at, items, bad }) => (at, if bad { Kind::Bad } else { Kind::List(items) }),
            Some(Open::Map { at, entries, bad, .. }) => {
                (at, if bad { Kind::Bad } else { Kind::Map(entries) })
            }
            None => return,
        };
        self.put(Node { at, end: end(span), kind });
    }

    /// Puts a whole node where it belongs.
    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { key, entries, .. }) => match key.take() {
                Some(KeyState::Good(name)) => entries.push((name, node)),
                Some(KeyState::Dropped) => {}
                None => {
                    *key = Some(KeyState::Dropped);
                    if node.kind != Kind::Bad {
                        let what = format!("a key is a word, not {}", node.kind.name());
                        self.faults.push(Fault::new(&node.at, FaultCode::BadKey, what));
                    }
                }
            },
        }
    }
}

fn end(span: &Span) -> (u32, u32) {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (number(span.end.line()), number(span.end.col() + 1))
}

/// Whether the file is full of what no text has; each kind of character is reported where it stands first.
fn refuse_characters(text: &str, place: &impl Fn(usize, usize) -> Place, faults: &mut Faults) -> bool {
    let mut reported: Vec<char> = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        for (column, c) in line.chars().enumerate() {
            if c == '\t' || !is_hostile(c) || reported.contains(&c) {
                continue;
            }
            reported.push(c);
            let fault = Fault::new(&place(number + 1, column + 1), FaultCode::Character, character(c));
            let hint = match c {
                '\r' => "save the file with Unix line ends (LF)",
                '\u{feff}' => "save the file as UTF-8 without a byte order mark",
                _ => "what a reader cannot see does not belong into a policy",
            };
            faults.push(fault.hint(hint));
            if reported.len() == 20 {
                return true;
            }
        }
    }
    !reported.is_empty()
}

fn character(c: char) -> String {
    let kind = match c {
        '\0' => "a NUL character",
        '\r' => "a carriage return",
        '\u{feff}' => "a byte order mark",
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            "a character that turns the direction of text"
        }
        c if c.is_control() => "a control character",
        _ => "an invisible character",
    };
    format!("{kind} (U+{:04X}) is refused", u32::from(c))
}

fn directive_fault(at: &Place) -> Fault {
    Fault::new(at, FaultCode::Directive, "a directive (%) is refused")
        .hint("leave the line out: a policy is YAML 1.2")
}

/// Reports directives before the document and turns them into comments, so that the rest is checked too.
fn refuse_directives(text: &str, place: &impl Fn(usize, usize) -> Place, faults: &mut Faults) -> String {
    let mut out = String::with_capacity(text.len());
    let mut head = true;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        head = head && (line.starts_with(['%', '#']) || line.trim().is_empty());
        match line.strip_prefix('%') {
            Some(rest) if head => {
                faults.push(directive_fault(&place(number + 1, 1)));
                out.push('#');
                out.push_str(rest);
            }
            _ => out.push_str(line),
        }
    }
    out
}

fn tab_fault(at: &Place) -> Fault {
    Fault::new(at, FaultCode::Tab, "a tab outside quotes").hint("indent with two spaces")
}

/// A tab among the blanks before the first character of this line or the one before.
fn tab_in_indentation(text: &str, line: usize) -> Option<(usize, usize)> {
    let from = line.saturating_sub(2);
    text.split('\n').enumerate().skip(from).take(line + 1 - from).find_map(|(number, line)| {
        let blank = line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t')?;
        Some((number + 1, blank + 1))
    })
}

fn refuse_tabs(
    text: &str,
    quoted: &[Range],
    comments: &[Comment],
    place: &impl Fn(usize, usize) -> Place,
    faults: &mut Faults,
) {
    if !text.contains('\t') {
        return;
    }
    // Both lists are in the order of the file.
    let comment_in = |line: usize| {
        let next = comments.partition_point(|comment| (comment.line as usize) < line);
        comments.get(next).filter(|c| c.line as usize == line).map_or(usize::MAX, |c| c.column as usize - 1)
    };
    let is_quoted = |at: (usize, usize)| {
        let next = quoted.partition_point(|(_, end)| *end <= at);
        quoted.get(next).is_some_and(|(start, _)| *start <= at)
    };
    for (number, line) in (1..).zip(text.split('\n')).filter(|(_, line)| line.contains('\t')) {
        let comment = comment_in(number);
        let mut tabs = line.chars().enumerate().filter(|(_, c)| *c == '\t').map(|(column, _)| column);
        if let Some(column) = tabs.find(|column| *column < comment && !is_quoted((number, *column))) {
            faults.push(tab_fault(&place(number, column + 1)));
        }
    }
}
