//! The policy that this machine has taken. `floor.json` is the switch: index and bundle lie beside it under their
//! version's number, durable before the floor names them, so that a machine that dies between two writes has the old
//! set or the new one, whole.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tenure_sys::files::{BaseDir, CheckedDir, Expect, FileError, Owner, Put, Roots};
use tenure_trust::index::verify_index;
use tenure_trust::statement::Bundle;
use tenure_trust::{
    Arrival, Floor, HostName, Index, Kind, PolicyVersion, Refused, Root, Verified, verify_bundle,
};

use crate::admissions::{self, Admitted};

/// Where things lie.
#[derive(Debug, Clone)]
pub struct Places {
    /// The anchor, placed by a person and never written by a program.
    pub root: PathBuf,
    /// The directory of state; ours is `policy` in it.
    pub state: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { root: "/etc/tenure/trust/root.json".into(), state: "/var/lib/tenure".into() }
    }
}

/// Why policy was not read or not taken. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nobody placed a root: this machine belongs to no fleet yet.
    #[error("no root has been placed at {}", .0.display())]
    NoRoot(PathBuf),
    /// A file could not be read or written safely.
    #[error("cannot keep the policy that was taken")]
    File(#[from] FileError),
    /// The root that a person placed is not one.
    #[error("the root at {} is refused", path.display())]
    BadRoot {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: Refused,
    },
    /// The floor cannot be read: nothing is taken until a person has looked.
    #[error("the version floor at {} cannot be read", path.display())]
    BadFloor {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: Refused,
    },
    /// What was offered is refused.
    #[error("the {what} at {} is refused", path.display())]
    Refused {
        /// `index` or `bundle`.
        what: &'static str,
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: Refused,
    },
    /// A file that should be offered is missing.
    #[error("there is no {what} at {}", path.display())]
    Missing {
        /// `index` or `bundle`.
        what: &'static str,
        /// Where it should lie.
        path: PathBuf,
    },
}

impl StoreError {
    /// The refusal in it, when there is one: what an event record names.
    pub fn refusal(&self) -> Option<&Refused> {
        match self {
            Self::BadRoot { source, .. } | Self::BadFloor { source, .. } | Self::Refused { source, .. } => {
                Some(source)
            }
            Self::NoRoot(_) | Self::File(_) | Self::Missing { .. } => None,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoRoot(_) => {
                "place root.json there by hand, owned by root, mode 0644; `tenure root create` makes it"
            }
            Self::File(_) => "check owner, mode and free space of the path named",
            Self::BadFloor { .. } => {
                "restore floor.json from a backup; without it an older policy could come back"
            }
            Self::Missing { .. } => "copy index.json and this host's bundle from one `tenure sign`",
            Self::BadRoot { source, .. } | Self::Refused { source, .. } => source.hint(),
        }
    }
}

/// A set that was taken, or had been taken before.
#[derive(Debug)]
pub struct Offered<T> {
    /// The verified bundle, with version and term of its index.
    pub policy: Verified<T>,
    /// False when the bundle is the one that was held before: version and term move on without a pass.
    pub changed: bool,
}

/// A set that was judged, with its bytes.
struct Examined<T> {
    index: Verified<Index>,
    policy: Verified<T>,
    index_bytes: Vec<u8>,
    bundle_bytes: Vec<u8>,
}

/// The policy that a machine holds.
#[derive(Debug)]
pub struct BundleStore {
    dir: PathBuf,
    writable: Roots,
    host: HostName,
    root: Verified<Root>,
    floor: Floor,
}

const FLOOR: &str = "floor.json";
/// A floor is a few hundred bytes; more is not ours.
const FLOOR_LIMIT: u64 = 4096;
/// The JSON form of the largest payload, and its signatures.
const ENVELOPE_LIMIT: u64 = (Kind::HostPolicy.max_payload() as u64) / 3 * 4 + (16 << 10);

impl BundleStore {
    /// Reads root and floor. The root must be root-owned and writable by nobody else, with every directory above it.
    ///
    /// # Errors
    /// `NoRoot` when this machine belongs to no fleet; else what is wrong with root, floor or directories.
    pub fn open(places: &Places, host: HostName) -> Result<Self, StoreError> {
        Roots::new([&places.state])?.make_dir(&places.state.join("policy"), 0o700)?;
        Self::look(places, host)
    }

    /// The same and makes no directory: for who only looks at what would be taken.
    ///
    /// # Errors
    /// As `open`.
    pub fn look(places: &Places, host: HostName) -> Result<Self, StoreError> {
        let root = match CheckedDir::read_file(&places.root, Kind::Root.max_payload() as u64 * 2) {
            Ok(file) => Root::anchor(&file.bytes)
                .map_err(|source| StoreError::BadRoot { path: places.root.clone(), source })?,
            Err(error) if error.is_missing() => return Err(StoreError::NoRoot(places.root.clone())),
            Err(error) => return Err(error.into()),
        };
        let writable = Roots::new([&places.state])?;
        let dir = places.state.join("policy");
        let floor = read_floor(&dir)?;
        Ok(Self { dir, writable, host, root, floor })
    }

    /// The root that judges what is offered.
    pub fn root(&self) -> &Verified<Root> {
        &self.root
    }

    /// Version, index and latest proved time below which nothing is taken.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Reads the policy taken last and verifies it again. None when none was taken. It is given though its time is
    /// over: whoever enforces it looks at `until`.
    ///
    /// # Errors
    /// When its files were changed or damaged; then nothing may be enforced from them.
    pub fn held<T: Bundle>(&self, now: Timestamp) -> Result<Option<Verified<T>>, StoreError> {
        if self.floor.version == PolicyVersion(0) {
            return Ok(None);
        }
        let dir = CheckedDir::open(&self.dir)?;
        let (index_name, bundle_name) = names(self.floor.version);
        let read = |what, name: &str| match dir.read(Path::new(name), ENVELOPE_LIMIT) {
            Ok(file) => Ok(file.bytes),
            Err(e) if e.is_missing() => Err(StoreError::Missing { what, path: self.dir.join(name) }),
            Err(e) => Err(e.into()),
        };
        let index = read("index", &index_name)?;
        let bundle = read("bundle", &bundle_name)?;
        let (_, policy) =
            self.verify(Arrival::Held, now, &index, &bundle, &self.dir, [&index_name, &bundle_name])?;
        Ok(Some(policy))
    }

    /// The index taken last, verified again. None when none was taken.
    ///
    /// # Errors
    /// As `held`.
    pub fn index(&self, now: Timestamp) -> Result<Option<Verified<Index>>, StoreError> {
        if self.floor.version == PolicyVersion(0) {
            return Ok(None);
        }
        let (name, _) = names(self.floor.version);
        let bytes = CheckedDir::open(&self.dir)?.read(Path::new(&name), ENVELOPE_LIMIT)?.bytes;
        let refuse = |source| StoreError::Refused { what: "index", path: self.dir.join(&name), source };
        verify_index(&self.root, &self.floor, Arrival::Held, now, &bytes).map(Some).map_err(refuse)
    }

    /// The admissions in a directory (a drop directory, or the link's), judged under this machine's root and without
    /// the keys that the index taken last revokes.
    ///
    /// # Errors
    /// When list or index cannot be read or believed.
    pub fn admissions(&self, directory: &Path, now: Timestamp) -> Result<Admitted, StoreError> {
        let index = self.index(now)?;
        let revoked = index.map(|index| index.revoked.clone()).unwrap_or_default();
        admissions::read(directory, &self.root, &revoked)
    }

    /// Takes the set in a drop directory: `index.json` and this machine's bundle of the kind. Everything is verified before
    /// anything is written; afterwards the floor stands at its version, durably.
    ///
    /// # Errors
    /// A refusal with the file it is about. Nothing was changed then: the set held before stays.
    pub fn offer<T: Bundle>(&mut self, drop: &Path, now: Timestamp) -> Result<Offered<T>, StoreError> {
        let Examined { index, policy, index_bytes, bundle_bytes } = self.examined::<T>(drop, now)?;
        let before = self.held::<T>(now).ok().flatten().map(|held| held.hash());
        let changed = before != Some(policy.hash());
        self.install(&index, &index_bytes, &bundle_bytes)?;
        Ok(Offered { policy, changed })
    }

    /// Judges the set in a drop directory as `offer` does, and takes nothing.
    ///
    /// # Errors
    /// As `offer`.
    pub fn examine<T: Bundle>(&self, drop: &Path, now: Timestamp) -> Result<Verified<T>, StoreError> {
        self.examined(drop, now).map(|examined| examined.policy)
    }

    fn examined<T: Bundle>(&self, drop: &Path, now: Timestamp) -> Result<Examined<T>, StoreError> {
        let dir = BaseDir::open(drop)?;
        // Whoever put it there does not matter: the signatures do.
        let expect = Expect { owner: Owner::Anybody, limit: ENVELOPE_LIMIT, one_link: false };
        let read = |what, name: &str| match dir.read(Path::new(name), &expect) {
            Ok(file) => Ok(file.bytes),
            Err(e) if e.is_missing() => Err(StoreError::Missing { what, path: drop.join(name) }),
            Err(e) => Err(StoreError::from(e)),
        };
        let bundle_name = T::file_name(&self.host);
        let (index_bytes, bundle_bytes) = (read("index", "index.json")?, read("bundle", &bundle_name)?);
        let (index, policy) = self.verify::<T>(
            Arrival::Offered,
            now,
            &index_bytes,
            &bundle_bytes,
            drop,
            ["index.json", &bundle_name],
        )?;
        Ok(Examined { index, policy, index_bytes, bundle_bytes })
    }

    /// Judges an index that is offered, and takes nothing.
    ///
    /// # Errors
    /// `Refused`.
    pub fn judge_index(&self, now: Timestamp, index: &[u8]) -> Result<Verified<Index>, StoreError> {
        let refuse =
            |source| StoreError::Refused { what: "index", path: self.dir.join("index.json"), source };
        verify_index(&self.root, &self.floor, Arrival::Offered, now, index).map_err(refuse)
    }

    /// Judges a bundle for this machine under an index that was judged, and takes nothing.
    ///
    /// # Errors
    /// `Refused`.
    pub fn judge_bundle<T: Bundle>(
        &self,
        index: &Verified<Index>,
        bundle: &[u8],
    ) -> Result<Verified<T>, StoreError> {
        let path = self.dir.join(T::file_name(&self.host));
        let refuse = |source| StoreError::Refused { what: "bundle", path, source };
        verify_bundle(&self.root, index, &self.floor, &self.host, bundle).map_err(refuse)
    }

    /// Remembers that it is at least this late, so that a clock set back at the next boot is noticed. A clock that runs
    /// ahead does limited harm: times after the end of the held policy are not remembered.
    ///
    /// # Errors
    /// When it cannot be written durably; the floor stays.
    pub fn remember_time(&mut self, now: Timestamp, until: Timestamp) -> Result<(), StoreError> {
        if now <= self.floor.latest || now >= until {
            return Ok(());
        }
        self.write_floor(Floor { latest: now, ..self.floor.clone() })
    }

    fn verify<T: Bundle>(
        &self,
        arrival: Arrival,
        now: Timestamp,
        index: &[u8],
        bundle: &[u8],
        dir: &Path,
        names: [&str; 2],
    ) -> Result<(Verified<Index>, Verified<T>), StoreError> {
        let refuse = |what, name: &str| {
            let path = dir.join(name);
            move |source| StoreError::Refused { what, path, source }
        };
        let index =
            verify_index(&self.root, &self.floor, arrival, now, index).map_err(refuse("index", names[0]))?;
        let bundle = verify_bundle(&self.root, &index, &self.floor, &self.host, bundle)
            .map_err(refuse("bundle", names[1]))?;
        Ok((index, bundle))
    }

    /// Files first, then the floor that names them, then away with those of other versions.
    fn install(
        &mut self,
        index: &Verified<Index>,
        index_bytes: &[u8],
        bundle: &[u8],
    ) -> Result<(), StoreError> {
        let (index_name, bundle_name) = names(index.version);
        self.put(&bundle_name, bundle)?;
        self.put(&index_name, index_bytes)?;
        self.write_floor(self.floor.raised(index))?;
        self.clean(&[&index_name, &bundle_name, FLOOR]);
        Ok(())
    }

    fn write_floor(&mut self, floor: Floor) -> Result<(), StoreError> {
        let text = serde_json::to_vec(&floor).expect("a floor is only texts and numbers");
        self.put(FLOOR, &text)?;
        self.floor = floor;
        Ok(())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        Ok(self.writable.put(&Put::own(&path, bytes, 0o600))?)
    }

    /// Removes the files of other versions. What cannot be removed now is removed with the next set: nothing reads it.
    fn clean(&self, keep: &[&str]) {
        let Ok(entries) = BaseDir::open(&self.dir).and_then(|dir| dir.list(Path::new("."), 1000)) else {
            return;
        };
        for entry in entries {
            if !keep.iter().any(|name| entry.name == **name) {
                let _ = self.writable.remove(&self.dir.join(&entry.name));
            }
        }
    }
}

fn names(version: PolicyVersion) -> (String, String) {
    (format!("index-{version}.json"), format!("bundle-{version}.json"))
}

fn read_floor(dir: &Path) -> Result<Floor, StoreError> {
    let path = dir.join(FLOOR);
    let bad = |source| StoreError::BadFloor { path: path.clone(), source };
    match CheckedDir::open(dir).and_then(|dir| dir.read(Path::new(FLOOR), FLOOR_LIMIT)) {
        Ok(file) => {
            let floor: Floor = serde_json::from_slice(&file.bytes).map_err(|e| bad(Refused::malformed(e)))?;
            match floor.schema {
                1 => Ok(floor),
                found => Err(bad(Refused::SchemaTooNew { found, known: 1 })),
            }
        }
        Err(error) if error.is_missing() => Ok(Floor::NONE),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
