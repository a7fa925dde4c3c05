//! Where the policy comes from: a drop directory of signed bundles and admissions, looked at every second by size and
//! time. What is refused changes nothing, and is told once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tenure_link::{BundleStore, StoreError, admissions};
use tenure_policy::bundles::VaultPolicy;
use tenure_sys::files::BaseDir;
use tenure_sys::text;
use tenure_trust::statement::Bundle;
use tenure_trust::{AdmissionBook, HostName, Verified};

use crate::in_force::InForce;
use crate::journal;

/// Size, time and inode of the files that are looked at; absent is a state as well.
type Stamp = [Option<(u64, Timestamp, (u64, u64))>; 3];

/// The source.
#[derive(Debug)]
pub struct Source {
    store: BundleStore,
    drop: PathBuf,
    host: HostName,
    policy: Option<Verified<VaultPolicy>>,
    book: AdmissionBook,
    seen: Option<Stamp>,
    told: Vec<String>,
}

impl Source {
    /// Takes over what was taken before a restart.
    ///
    /// # Errors
    /// When what was taken cannot be believed any more.
    pub fn open(
        store: BundleStore,
        drop: PathBuf,
        host: HostName,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let policy = store.held::<VaultPolicy>(now)?;
        Ok(Self { store, drop, host, policy, book: AdmissionBook::default(), seen: None, told: Vec::new() })
    }

    /// The latest time that a signature has proved.
    pub fn proved(&self) -> Timestamp {
        self.store.floor().latest
    }

    /// Looks whether something else is offered. What holds now, if that is another than before; and what was refused
    /// for the first time.
    pub fn look(&mut self, now: Timestamp) -> (Option<Arc<InForce>>, Vec<String>) {
        let stamp = self.stamp();
        if self.seen == Some(stamp) {
            return (None, Vec::new());
        }
        self.seen = Some(stamp);
        let mut refused = Vec::new();
        let offered = stamp[0].is_some() || stamp[1].is_some();
        if offered {
            match self.store.offer::<VaultPolicy>(&self.drop, now) {
                Ok(offered) => self.policy = Some(offered.policy),
                Err(error) => refused.push(say(&error)),
            }
        }
        // Without a list the keys known before stay; the index that was taken may revoke some of them.
        if stamp[2].is_some() {
            match self.store.admissions(&self.drop, now) {
                Ok(admitted) => {
                    refused
                        .extend(admitted.refused.iter().map(|why| format!("an admission is refused: {why}")));
                    self.book = admitted.book;
                }
                Err(error) => refused.push(say(&error)),
            }
        }
        let in_force = self.policy.clone().and_then(|policy| {
            InForce::new(policy, self.book.clone(), self.store.root().clone())
                .map_err(|error| refused.push(format!("the policy cannot be kept: {error}")))
                .ok()
        });
        let news: Vec<String> = refused.iter().filter(|why| !self.told.contains(why)).cloned().collect();
        self.told = refused;
        (in_force.map(Arc::new), news)
    }

    fn stamp(&self) -> Stamp {
        let dir = BaseDir::open(&self.drop).ok();
        let names =
            ["index.json".to_owned(), VaultPolicy::file_name(&self.host), admissions::FILE.to_owned()];
        names.map(|name| {
            let stat = dir.as_ref()?.stat(Path::new(&name)).ok()?;
            Some((stat.size, stat.modified, stat.id))
        })
    }
}

fn say(error: &StoreError) -> String {
    text::neutral(format!("{}; {}", journal::chain(error), error.hint()).as_bytes(), 1000)
}
