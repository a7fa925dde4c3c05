//! What is wrong with a policy set: every fault with its place, its text and a hint, all at once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::nearest::nearest;

/// A place in a file of the set. Lines and columns count from 1; columns count characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// Path of the file, relative to the set.
    #[serde(serialize_with = "text")]
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

fn text<S: Serializer>(file: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(file)
}

impl Place {
    /// A place; line and column from 1.
    pub fn new(file: &str, line: u32, column: u32) -> Self {
        Self { file: Arc::from(file), line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", harmless(&self.file), self.line, self.column)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value and the place where it stands (of an entry of a map: where its key stands).
/// Two of them are equal when their values are: where something stands never changes what it means.
#[derive(Clone)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Place,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub fn new(value: T, at: Place) -> Self {
        Self { value, at }
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
impl<T: Eq> Eq for Spanned<T> {}

impl<T: fmt::Debug> fmt::Debug for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for Spanned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// The kinds of faults. Closed: each has a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The file is not YAML; nothing else of this file was read.
    Syntax,
    /// A file or the whole set is larger than the limit.
    TooLarge,
    /// More files than the limit.
    TooMany,
    /// Nested deeper than the limit.
    TooDeep,
    /// A character that does not belong into a policy: NUL, control, bidirectional, byte order mark.
    Character,
    /// A tab outside quotes.
    Tab,
    /// `&name`.
    Anchor,
    /// `*name`.
    Alias,
    /// `<<`.
    Merge,
    /// `!tag`, `!!str` too.
    Tag,
    /// `%YAML`, `%TAG` and others.
    Directive,
    /// A second document in one file.
    SecondDocument,
    /// A key that stands twice in one map.
    DuplicateKey,
    /// A key that is not a word.
    BadKey,
    /// A value that YAML 1.1 and 1.2 read differently, or a number where a text is meant.
    MustQuote,
    /// A missing, empty or null value where one is needed.
    NoValue,
    /// An empty list or an empty map.
    Empty,
    /// A file with nothing in it.
    EmptyFile,
    /// A file whose path is no part of a set.
    UnknownFile,
    /// A list was needed.
    NotAList,
    /// A map was needed.
    NotAMap,
    /// One value was needed.
    NotAValue,
    /// A key that the language does not have here.
    UnknownKey,
    /// A key that must be there is not.
    MissingKey,
    /// A value that is not of the kind that is meant here.
    BadValue,
    /// A name or a value given twice, in two places.
    DefinedTwice,
    /// A name that nothing has.
    UnknownName,
    /// A part of the language that this version cannot enforce yet.
    NotYet,
    /// One of POLICY.md's rules of meaning, other than those above; the text says which.
    Rule,
    /// A promise that the hosts cannot keep as declared.
    Unattainable,
    /// One of the set's own tests does not hold.
    TestFails,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// Which kind.
    pub code: FaultCode,
    /// What is wrong, in words.
    pub what: String,
    /// The line at the place.
    pub snippet: Option<Snippet>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What is shown of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snippet {
    /// The line, or the part of a long one around the place, made harmless.
    pub text: String,
    /// How many characters of it stand before the place.
    pub before: usize,
    /// How many characters the place covers, at least 1.
    pub length: usize,
}

impl Fault {
    /// A fault without snippet (that comes with [`Faults::with_sources`]) and without hint.
    pub fn new(place: &Place, code: FaultCode, what: impl Into<String>) -> Self {
        Self { place: place.clone(), code, what: what.into(), snippet: None, hint: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `unknown <kind> "name"` with the nearest known name, if one is near.
    pub fn unknown<'a>(
        place: &Place,
        kind: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let what = match nearest(name, known) {
            Some(near) => format!("unknown {kind} {name:?}, did you mean {near:?}?"),
            None => format!("unknown {kind} {name:?}"),
        };
        Self::new(place, FaultCode::UnknownName, what)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, harmless(&self.what))?;
        if let Some(Snippet { text, before, length }) = &self.snippet {
            let number = self.place.line.to_string();
            let margin = " ".repeat(number.len());
            write!(f, "\n  {number} | {text}\n  {margin} | {}{}", " ".repeat(*before), "^".repeat(*length))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", harmless(hint))?;
        }
        Ok(())
    }
}

/// How much of a long line is shown.
const WINDOW: usize = 100;

/// What of a line is shown around a column.
fn window(line: &str, column: u32) -> Snippet {
    let chars: Vec<char> = line.chars().collect();
    let at = (column.saturating_sub(1) as usize).min(chars.len());
    let from =
        if at > WINDOW * 2 / 3 { (at - WINDOW / 3).min(chars.len().saturating_sub(WINDOW)) } else { 0 };
    let to = chars.len().min(from + WINDOW);
    let piece =
        |range: std::ops::Range<usize>| harmless(&chars[range].iter().collect::<String>()).into_owned();
    let (left, right) = (if from > 0 { "…" } else { "" }, if to < chars.len() { "…" } else { "" });
    let before = left.chars().count() + piece(from..at).chars().count();
    let quote = chars.get(at).copied().filter(|c| matches!(c, '"' | '\''));
    let rest = &chars[at..to];
    let length = match quote {
        Some(quote) => rest.iter().skip(1).position(|c| *c == quote).map_or(1, |end| end + 2),
        None => {
            let ends = |i: usize, c: char| match c {
                ':' => rest.get(i + 1).is_none_or(|next| next.is_whitespace()),
                c => c.is_whitespace() || ",]}{[".contains(c),
            };
            (0..rest.len()).find(|i| ends(*i, rest[*i])).unwrap_or(rest.len())
        }
    };
    Snippet { text: format!("{left}{}{right}", piece(from..to)), before, length: length.clamp(1, WINDOW) }
}

/// More faults than this are not kept: nobody reads them, and a hostile set must not fill the memory.
pub const MAX_FAULTS: usize = 1000;

/// All faults of a set, sorted by file and line, never two the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// No fault yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one. After [`MAX_FAULTS`] no more are kept: the set is refused anyway.
    pub fn push(&mut self, fault: Fault) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(fault);
        }
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: Faults) {
        let room = MAX_FAULTS.saturating_sub(self.0.len());
        self.0.extend(other.0.into_iter().take(room));
    }

    /// Whether no more are kept: looking for further ones would cost time for nothing.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_FAULTS
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// Sorted, without repetition, each with the line it points at.
    #[must_use]
    pub fn with_sources(mut self, files: &BTreeMap<String, String>) -> Self {
        self.0.sort_by(|a, b| (&a.place, a.code, &a.what).cmp(&(&b.place, b.code, &b.what)));
        self.0.dedup_by(|a, b| a.place == b.place && a.code == b.code && a.what == b.what);
        let mut lines: BTreeMap<Arc<str>, Vec<&str>> = BTreeMap::new();
        for fault in &mut self.0 {
            let Some(text) = files.get(&*fault.place.file) else { continue };
            let lines = lines.entry(fault.place.file.clone()).or_insert_with(|| text.lines().collect());
            let line = (fault.place.line as usize).checked_sub(1).and_then(|number| lines.get(number));
            fault.snippet = line.map(|line| window(line.trim_end(), fault.place.column));
        }
        self
    }

    /// `value` when there is no fault, else all of them.
    ///
    /// # Errors
    /// All faults, when there is one.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The text with everything replaced that could steer a terminal or mislead a reader
/// (C0 and C1 controls, bidirectional and invisible format characters).
pub fn harmless(text: &str) -> std::borrow::Cow<'_, str> {
    let harmless = tenure_trust::neutral(text);
    if harmless == text { text.into() } else { harmless.into() }
}

/// Whether a character may steer a terminal or is invisible: controls, bidirectional controls (Unicode UAX 9),
/// zero-width and other format characters, line and paragraph separators, byte order mark, noncharacters.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xAD | 0x61C | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF
            | 0xFFF9..=0xFFFB | 0xFFFE | 0xFFFF | 0xE0000..=0xE007F)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_place_line_caret_and_hint() {
        let files =
            BTreeMap::from([("fleet.yaml".to_owned(), "people:\n  marit: { from: [offce] }\n".to_owned())]);
        let mut faults = Faults::new();
        let place = Place::new("fleet.yaml", 2, 19);
        faults.push(Fault::unknown(&place, "network", "offce", ["office"]).hint("networks are: office"));
        let text = faults.with_sources(&files).to_string();
        assert_eq!(
            text,
            "fleet.yaml:2:19 unknown network \"offce\", did you mean \"office\"?\n  \
             2 |   marit: { from: [offce] }\n    |                   ^^^^^\n  hint: networks are: office"
        );
    }

    #[test]
    fn what_a_file_says_cannot_steer_the_terminal() {
        let files = BTreeMap::from([(
            "a\u{1b}[2J".to_owned(),
            "x: \u{1b}]0;owned\u{7}\u{202e}evil\u{600}\u{fe0f}\u{1ffff}\n".to_owned(),
        )]);
        let mut faults = Faults::new();
        faults.push(Fault::new(&Place::new("a\u{1b}[2J", 1, 4), FaultCode::BadValue, "bad \u{9b}31m"));
        let text = faults.with_sources(&files).to_string();
        assert!(text.split('\n').all(|line| tenure_trust::neutral(line) == line), "{text:?}");
        assert!(text.contains("\\u{1b}"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("a: [{}here, {}]", "x, ".repeat(2000), "y, ".repeat(2000));
        let column = line.find("here").expect("is in it") as u32 + 1;
        let Snippet { text, before, length } = window(&line, column);
        assert!(text.chars().count() <= WINDOW + 2);
        assert_eq!(text.chars().skip(before).take(length).collect::<String>(), "here");
    }
}
