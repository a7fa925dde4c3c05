//! A line of `objects.journal`: `SEQUENCE MILLISECONDS KIND HASH SIZE CHECK`. The check binds a line to the one before
//! it, so that a torn or changed line is known from itself.

use jiff::Timestamp;
use tenure_trust::{Hash, Object, ObjectKind};

/// The longest line.
pub(super) const MAX_LINE: usize = 200;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The vault's sequence number in this generation, from 1.
    pub(super) sequence: u64,
    /// When it was taken, by the vault's clock, in whole milliseconds.
    pub(super) at: Timestamp,
    /// What.
    pub(super) what: What,
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An object is on disk.
    Object(Object),
    /// A seal was accepted (hash of its payload).
    Seal(Hash),
}

/// The check in front of the first line.
pub(super) const FIRST_CHECK: &str = "0000000000000000";

impl Entry {
    /// The line, without its line end, and its check.
    pub(super) fn line(&self, before: &str) -> (String, String) {
        let (kind, name, size) = match &self.what {
            What::Object(object) => (word(object.kind), object.name, object.size),
            What::Seal(seal) => ("seal", *seal, 0),
        };
        let body = format!("{} {} {kind} {name} {size}", self.sequence, self.at.as_millisecond());
        let check = check(before, &body);
        (format!("{body} {check}"), check)
    }

    /// Reads a line that stands behind one with this check, and gives its own check.
    pub(super) fn parse(line: &[u8], before: &str) -> Option<(Self, String)> {
        let text = std::str::from_utf8(line).ok().filter(|text| text.len() <= MAX_LINE)?;
        let (body, found) = text.rsplit_once(' ')?;
        let expected = check(before, body);
        if found != expected {
            return None;
        }
        let mut words = body.split(' ');
        let (sequence, at, kind, name, size) =
            (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
        if words.next().is_some() {
            return None;
        }
        let name: Hash = name.parse().ok()?;
        let what = match kind {
            "seal" => What::Seal(name),
            other => What::Object(Object { kind: kind_of(other)?, name, size: size.parse().ok()? }),
        };
        let at = Timestamp::from_millisecond(at.parse().ok()?).ok()?;
        let entry = Self { sequence: sequence.parse().ok()?, at, what };
        // one spelling: what does not print as it was written is no line of ours
        (entry.line(before).0 == text).then_some((entry, expected))
    }
}

fn check(before: &str, body: &str) -> String {
    Hash::of_parts([before.as_bytes(), b"\n", body.as_bytes()]).short()
}

fn word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Config => "config",
        ObjectKind::Key => "key",
        ObjectKind::Data => "data",
        ObjectKind::Index => "index",
        ObjectKind::Snapshot => "snapshot",
    }
}

fn kind_of(word: &str) -> Option<ObjectKind> {
    let all =
        [ObjectKind::Config, ObjectKind::Key, ObjectKind::Data, ObjectKind::Index, ObjectKind::Snapshot];
    all.into_iter().find(|kind| self::word(*kind) == word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(sequence: u64, size: u64, seal: bool) -> Entry {
        let name = Hash::of(&sequence.to_be_bytes());
        let what = match seal {
            true => What::Seal(name),
            false => What::Object(Object { kind: ObjectKind::Data, name, size }),
        };
        Entry { sequence, at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(), what }
    }

    proptest! {
        #[test]
        fn a_line_reads_back_behind_its_own_line_only(sequence: u64, size: u64, seal: bool, other: u64) {
            let entry = entry(sequence, size, seal);
            let (line, check) = entry.line(FIRST_CHECK);
            prop_assert!(line.len() <= MAX_LINE);
            prop_assert_eq!(Entry::parse(line.as_bytes(), FIRST_CHECK), Some((entry, check)));
            prop_assert_eq!(Entry::parse(line.as_bytes(), &format!("{other:016x}")).is_some(), other == 0);
        }

        #[test]
        fn a_changed_line_is_none(at in 0usize..100, to: u8) {
            let (line, _) = entry(7, 99, false).line(FIRST_CHECK);
            let mut changed = line.clone().into_bytes();
            let at = at % changed.len();
            changed[at] = to;
            prop_assert_eq!(Entry::parse(&changed, FIRST_CHECK).is_some(), changed == line.as_bytes());
        }

        #[test]
        fn any_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = Entry::parse(&bytes, FIRST_CHECK);
        }
    }
}
