//! The `locks` of one view in one session: in memory, few and small, gone with the session. restic 0.14 waits for ever
//! without a place for them.

use std::collections::BTreeMap;

/// The most files.
const FILES: usize = 32;
/// The most bytes of one; restic's have some hundred.
const BYTES: usize = 4096;

/// The files.
#[derive(Debug, Default)]
pub(super) struct Locks {
    files: BTreeMap<String, Vec<u8>>,
}

/// Why something was not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// There is no such file.
    Missing,
    /// There is one already.
    Exists,
    /// Too many or too large.
    Full,
}

impl Locks {
    /// Makes a file, or empties it.
    pub(super) fn make(&mut self, name: &str, only_new: bool) -> Result<(), NotDone> {
        let full = self.files.len() >= FILES;
        match self.files.get_mut(name) {
            Some(_) if only_new => Err(NotDone::Exists),
            Some(bytes) => {
                bytes.clear();
                Ok(())
            }
            None if full => Err(NotDone::Full),
            None => {
                self.files.insert(name.to_owned(), Vec::new());
                Ok(())
            }
        }
    }

    pub(super) fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> Result<(), NotDone> {
        let bytes = self.files.get_mut(name).ok_or(NotDone::Missing)?;
        let start = usize::try_from(offset).map_err(|_| NotDone::Full)?;
        let end = start.checked_add(data.len()).filter(|end| *end <= BYTES).ok_or(NotDone::Full)?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(data);
        Ok(())
    }

    pub(super) fn read(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// Renames, over another one too if `replace` says so.
    pub(super) fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<(), NotDone> {
        if !replace && self.files.contains_key(to) {
            return Err(NotDone::Exists);
        }
        let bytes = self.files.remove(from).ok_or(NotDone::Missing)?;
        self.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), NotDone> {
        self.files.remove(name).map(drop).ok_or(NotDone::Missing)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_few_and_small_and_can_be_renamed() {
        let mut locks = Locks::default();
        locks.make("a", true).unwrap();
        assert_eq!(locks.make("a", true), Err(NotDone::Exists));
        locks.write("a", 0, b"lock").unwrap();
        locks.write("a", 6, b"!").unwrap();
        assert_eq!(locks.read("a"), Some(&b"lock\0\0!"[..]));
        assert_eq!(locks.write("a", 4090, b"1234567"), Err(NotDone::Full));
        assert_eq!(locks.write("a", u64::MAX, b"1"), Err(NotDone::Full));
        locks.make("b", true).unwrap();
        assert_eq!(locks.rename("a", "b", false), Err(NotDone::Exists));
        locks.rename("a", "b", true).unwrap();
        assert_eq!(locks.iter().collect::<Vec<_>>(), [("b", 7)]);
        for n in 0..31 {
            locks.make(&n.to_string(), true).unwrap();
        }
        assert_eq!(locks.make("one more", true), Err(NotDone::Full));
        locks.remove("b").unwrap();
        assert_eq!(locks.remove("b"), Err(NotDone::Missing));
    }
}
