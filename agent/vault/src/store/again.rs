//! A closed generation is looked at again before an older copy is given up for it: is every object there, has it its size,
//! does it hash to its name? Read from the disk and not from memory, outside every lock, for as long as it takes.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use tenure_sys::text;
use tenure_trust::{GenerationId, Hash};

use super::fault::Fault;
use super::place;
use super::seal::hash_file;
use super::series::Series;
use crate::ring::Found;

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// Everything up to this seal was looked at. Of what is spoilt it says what is wrong first.
    Seen(Hash, Found, Option<String>),
    /// It was told to stop, or has nothing that was accepted.
    Stopped,
}

impl Series {
    /// Looks at everything that the last seal of a generation counts, as long as `go_on` says so.
    ///
    /// # Errors
    /// When the disk does not let us look, which says nothing of what is there.
    pub fn look_again(&self, id: GenerationId, go_on: impl Fn() -> bool) -> Result<Again, Fault> {
        let known = self.with_ring(|ring| {
            let generation = ring.get(id)?;
            generation.last_sealed().map(|last| (last.clone(), generation.recipients.clone()))
        });
        let Some((last, recipients)) = known else { return Ok(Again::Stopped) };
        let spoilt = |what: String| Ok(Again::Seen(last.seal, Found::Spoilt, Some(what)));
        let books = match self.books(id) {
            Ok(books) => books,
            Err(fault @ Fault::Damaged { .. }) => return spoilt(fault.to_string()),
            Err(fault) => return Err(fault),
        };
        if books.root(last.upto) != (last.root, last.objects, last.bytes) {
            return spoilt("its books name other objects than were accepted".into());
        }
        let dir = self.place(id);
        for recipient in &recipients {
            let path = dir.join("escrow").join(format!("{recipient}.age"));
            if size(&path)?.is_none_or(|size| size == 0) {
                return spoilt(format!("{} is not there", text::path(&path)));
            }
        }
        let objects = books.objects(last.upto);
        // What is plainly lost is found at once, and not after hours of reading.
        for (object, _) in &objects {
            let path = dir.join("repo").join(place::beneath(object));
            match size(&path)? {
                Some(size) if size == object.size => {}
                Some(size) => {
                    let path = text::path(&path);
                    return spoilt(format!("{path} has {size} bytes, and {} were accepted", object.size));
                }
                None => return spoilt(format!("{} is not there", text::path(&path))),
            }
        }
        for (object, _) in &objects {
            if !go_on() {
                return Ok(Again::Stopped);
            }
            let path = dir.join("repo").join(place::beneath(object));
            forget(&path);
            match hash_file(&path) {
                Ok((hash, size)) if (hash, size) == (object.name, object.size) => {}
                Ok(_) => return spoilt(format!("{} is not what was accepted", text::path(&path))),
                Err(Fault::Disk { source, .. }) if is_lost(&source) => {
                    return spoilt(format!("{} cannot be read: {source}", text::path(&path)));
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(Again::Seen(last.seal, Found::Whole, None))
    }
}

/// The size of a plain file; none when there is none.
fn size(path: &Path) -> Result<Option<u64>, Fault> {
    match fs::symlink_metadata(path) {
        Ok(data) => Ok(data.is_file().then_some(data.len())),
        Err(error) if is_lost(&error) => Ok(None),
        Err(error) => Err(Fault::disk("look at", path)(error)),
    }
}

/// Does this say that what was written is not there to be had?
fn is_lost(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lost = [Errno::NOENT, Errno::NOTDIR, Errno::IO, Errno::UCLEAN, Errno::BADMSG];
    Errno::from_io_error(error).is_some_and(|errno| lost.contains(&errno))
}

/// Lets the kernel forget what it holds of a file in memory: what it wrote says nothing of what the disk gives back.
fn forget(path: &Path) {
    // It is advice; where it cannot be given, the file is read all the same.
    if let Ok(file) = fs::File::open(path) {
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
    }
}
