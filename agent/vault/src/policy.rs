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
    /// Why what was taken before is not kept.
    unheld: Option<String>,
}

/// Is the fault of what was taken that it cannot be believed (a new root does not know its keys), and not that this
/// machine cannot read? Then the vault goes without a policy, and takes the next one that is as new.
pub(crate) fn is_unheld(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused { .. } | StoreError::Missing { .. })
}

impl Source {
    /// Takes over what was taken before a restart. What cannot be believed any more, as under a new root, is told with the
    /// first look, and the vault waits for what comes next.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(
        store: BundleStore,
        drop: PathBuf,
        host: HostName,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let (policy, unheld) = match store.held::<VaultPolicy>(now) {
            Ok(policy) => (policy, None),
            Err(error) if is_unheld(&error) => {
                (None, Some(format!("the policy that was taken is not kept: {}", say(&error))))
            }
            Err(error) => return Err(error),
        };
        let book = AdmissionBook::default();
        Ok(Self { store, drop, host, policy, book, seen: None, told: Vec::new(), unheld })
    }

    /// The latest time that a signature has proved.
    pub fn proved(&self) -> Timestamp {
        self.store.floor().latest
    }

    /// Was a policy taken before that is not believed now?
    pub fn is_unheld(&self) -> bool {
        self.unheld.is_some()
    }

    /// Looks whether something else is offered. What holds now, if that is another than before; and what was refused
    /// for the first time.
    pub fn look(&mut self, now: Timestamp) -> (Option<Arc<InForce>>, Vec<String>) {
        let stamp = self.stamp();
        if self.seen == Some(stamp) {
            return (None, Vec::new());
        }
        self.seen = Some(stamp);
        let mut refused: Vec<String> = self.unheld.iter().cloned().collect();
        let offered = stamp[0].is_some() || stamp[1].is_some();
        if offered {
            match self.store.offer::<VaultPolicy>(&self.drop, now) {
                Ok(offered) => (self.policy, self.unheld) = (Some(offered.policy), None),
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
