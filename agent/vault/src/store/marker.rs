//! Which store is this vault's: a marker in the store, made at its first use and remembered beside the vault's state. By
//! it an empty mount point, or another vault's disk, is told from the store before anything is written there.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tenure_sys::files::{CheckedDir, FileError, Put, Roots};
use tenure_trust::{Hash, VaultName};

use super::fault::Fault;
use super::{own_dir, place};

/// The stores that this vault has used, in its directory of state.
const REMEMBERED: &str = "stores.json";
const LIMIT: u64 = 64 << 10;

/// What stands in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    schema: u32,
    vault: VaultName,
    /// Drawn at its first use.
    id: Hash,
}

/// What is remembered: for each path the marker that stood there.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    schema: u32,
    stores: BTreeMap<String, Marker>,
}

/// Makes sure that this is the store that the vault used before, or begins to use it; to be called before it is opened.
/// Nothing is written in one that is refused.
///
/// # Errors
/// `NotOurs` when it has no marker, or another than the one remembered; the disk.
pub fn claim(state: &Path, root: &Path, vault: &VaultName) -> Result<(), Fault> {
    let not_ours = |why: &str| Fault::NotOurs { path: root.into(), why: why.into() };
    let memory = state.join(REMEMBERED);
    let mut remembered = match read(&memory)? {
        None => Remembered { schema: 1, stores: BTreeMap::new() },
        Some(bytes) => serde_json::from_slice(&bytes)
            .map_err(|_| FileError::BadPath { path: memory, why: "its content is not a list of stores" })?,
    };
    let found: Option<Marker> = match CheckedDir::open(root) {
        Ok(_) => match read(&root.join(place::MARKER))? {
            None => None,
            Some(bytes) => {
                Some(serde_json::from_slice(&bytes).map_err(|_| not_ours("has a marker that is none"))?)
            }
        },
        Err(e) if e.is_missing() => None,
        Err(e) => return Err(e.into()),
    };
    let path = root.display().to_string();
    match (remembered.stores.get(&path), found) {
        (Some(known), Some(found)) if *known == found => return Ok(()),
        (_, Some(found)) if found.vault != *vault => {
            return Err(not_ours(&format!("belongs to the vault {}", found.vault)));
        }
        (Some(_), Some(_)) => return Err(not_ours("has the marker of another store")),
        (Some(_), None) => return Err(not_ours("has no marker")),
        // The vault was set up anew on its old disk, or its store was moved.
        (None, Some(found)) => drop(remembered.stores.insert(path, found)),
        // The first use; the marker is durable before it is remembered.
        (None, None) => {
            own_dir(root)?;
            let mut id = [0; 32];
            getrandom::fill(&mut id).map_err(|e| Fault::disk("draw a random mark for", root)(e.into()))?;
            let made = Marker { schema: 1, vault: vault.clone(), id: Hash::from_bytes(id) };
            write(root, place::MARKER, &made)?;
            remembered.stores.insert(path, made);
        }
    }
    write(state, REMEMBERED, &remembered)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match CheckedDir::read_file(path, LIMIT) {
        Ok(file) => Ok(Some(file.bytes)),
        Err(e) if e.is_missing() => Ok(None),
        Err(e) => Err(e),
    }
}

fn write<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<(), Fault> {
    let path = dir.join(name);
    let not_written = |e: serde_json::Error| Fault::disk("write", &path)(e.into());
    let bytes = serde_json::to_vec(value).map_err(not_written)?;
    Ok(Roots::new([dir])?.put(&Put::own(&path, &bytes, 0o600))?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::store::Store;

    struct Place {
        _dir: tempfile::TempDir,
        state: PathBuf,
        root: PathBuf,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
            let (state, root) = (dir.path().join("state"), dir.path().join("store"));
            fs::create_dir(&state).unwrap();
            Self { _dir: dir, state, root }
        }

        fn start(&self, name: &str) -> Result<(), Fault> {
            let vault = VaultName::new(name).unwrap();
            claim(&self.state, &self.root, &vault)?;
            Store::open(&self.root, vault).map(|_| ())
        }

        fn refused(&self, name: &str) -> String {
            let before = names(&self.root);
            let fault = self.start(name).unwrap_err();
            assert!(matches!(fault, Fault::NotOurs { .. }), "{fault}");
            assert!(fault.hint().contains("stores.json"), "{}", fault.hint());
            assert_eq!(names(&self.root), before, "nothing is written in what is not ours");
            fault.to_string()
        }

        /// Puts the store away, as when its disk is not mounted.
        fn part(&self) -> PathBuf {
            let away = self.root.with_extension("away");
            fs::rename(&self.root, &away).unwrap();
            away
        }
    }

    fn names(dir: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_first_start_marks_the_store_and_every_later_one_finds_it_again() {
        let place = Place::new();
        place.start("vault1").unwrap();
        let marker = fs::read(place.root.join(place::MARKER)).unwrap();
        place.start("vault1").unwrap();
        assert_eq!(fs::read(place.root.join(place::MARKER)).unwrap(), marker);
        // A start that was killed between marker and memory is a first one still.
        fs::remove_file(place.state.join(REMEMBERED)).unwrap();
        place.start("vault1").unwrap();
        assert_eq!(fs::read(place.root.join(place::MARKER)).unwrap(), marker);
        place.part();
        place.refused("vault1");
    }

    #[test]
    fn a_disk_that_is_not_mounted_is_not_a_new_store() {
        let place = Place::new();
        place.start("vault1").unwrap();
        let away = place.part();
        assert!(place.refused("vault1").contains("is the disk mounted?"), "the mount point is gone too");
        fs::create_dir(&place.root).unwrap();
        assert!(place.refused("vault1").contains("is the disk mounted?"), "an empty mount point");
        fs::remove_dir(&place.root).unwrap();
        fs::rename(away, &place.root).unwrap();
        place.start("vault1").unwrap();
    }

    #[test]
    fn another_store_is_refused_and_one_that_moved_is_known() {
        let (ours, other) = (Place::new(), Place::new());
        ours.start("vault1").unwrap();
        other.start("vault1").unwrap();
        let away = ours.part();
        fs::rename(&other.root, &ours.root).unwrap();
        assert!(ours.refused("vault1").contains("another store"), "of the same name, but not the one");
        fs::remove_dir_all(&ours.root).unwrap();
        fs::rename(away, &ours.root).unwrap();
        let unknown = Place { root: ours.root.clone(), ..Place::new() };
        assert!(unknown.refused("vault2").contains("belongs to the vault vault1"));
        unknown.start("vault1").unwrap();
        // What stands in the marker counts, and that alone.
        fs::write(ours.root.join(place::MARKER), "{}").unwrap();
        assert!(ours.refused("vault1").contains("a marker that is none"));
    }
}
