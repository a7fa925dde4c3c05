//! What every handler works with: configuration, root, database, authority, book of admissions, shelf of policy.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tenure_sys::files::{CheckedDir, FileError};
use tenure_trust::admission::verify_admission;
use tenure_trust::enrol::Invitation;
use tenure_trust::{
    Arrival, Epoch, Floor, HostName, Kind, MachineRole, PolicyVersion, Refused, Root, Verified,
};
use tokio::sync::Mutex;

use crate::authority::{Authority, AuthorityError};
use crate::book::Book;
use crate::config::Config;
use crate::ingest::Ingest;
use crate::journal;
use crate::judging::Judging;
use crate::limits::Limits;
use crate::machines::Gate;
use crate::secret::Secret;
use crate::shelf::{NotTaken, Set, Shelf};
use crate::store::{Access, PolicyFiles, Store, StoreError};

/// Where things stand. Tests put them elsewhere.
#[derive(Debug, Clone)]
pub struct Places {
    /// The anchor of trust, placed by a person.
    pub root: PathBuf,
    /// The directory of state.
    pub state: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { root: crate::config::ROOT.into(), state: crate::config::STATE.into() }
    }
}

/// Why the controller cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The root cannot be read.
    #[error("cannot read the root of trust")]
    RootFile(#[source] FileError),
    /// The root is refused.
    #[error("the root of trust at {} is refused", path.display())]
    Root {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: Refused,
    },
    /// It was never prepared.
    #[error("this controller was never prepared: there is no certificate authority in {}", .0.display())]
    NotPrepared(PathBuf),
    /// Its own certificates cannot be made.
    #[error("cannot use the controller's own certificates")]
    Authority(#[from] AuthorityError),
    /// Its database cannot be used.
    #[error("cannot use the controller's database")]
    Store(#[from] StoreError),
}

impl AppError {
    /// What a person can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::RootFile(_) => "place root.json there by hand, owned by root, mode 0644".into(),
            Self::Root { source, .. } => source.hint().into(),
            Self::NotPrepared(_) => "run `tenure-controller init`".into(),
            Self::Authority(_) => {
                "restore ca.key and ca.crt from a backup; without them all machines enrol anew".into()
            }
            Self::Store(error) => error.hint().into(),
        }
    }
}

/// What follows when the held set is not believed.
pub const NOT_HANDED_ON: &str = "no policy is handed on and nothing is judged until `tenure publish` brings a set, of \
                                 this version or a later one, signed with keys that root.json names";

/// That the held set is not believed under the root that was placed.
pub fn not_believed(held: &Floor, refused: &NotTaken) -> String {
    format!(
        "the policy held, version {}, is refused under this root: {}",
        held.version,
        journal::chain(refused)
    )
}

/// The controller.
#[derive(Debug)]
pub struct App {
    /// Its configuration.
    pub config: Config,
    /// The root that judges everything signed by people.
    pub root: Verified<Root>,
    /// The bytes of the root, as invitations carry them.
    pub root_text: String,
    /// The database.
    pub store: Store,
    /// The certificate authority.
    pub authority: Authority,
    /// Whose key is whose.
    pub book: Book,
    /// The policy that is handed on.
    pub shelf: Shelf,
    /// The way records go into the database.
    pub ingest: Ingest,
    /// How many of the machines' requests with records are read at once.
    pub gate: Arc<Gate>,
    /// What is borne with.
    pub limits: Limits,
    /// What was judged last.
    pub judging: Judging,
    floor: Mutex<Floor>,
    clock: fn() -> Timestamp,
}

/// Reads the root that a person placed.
///
/// # Errors
/// When it is missing, could be changed by others, or is refused.
pub fn read_root(path: &Path) -> Result<(Verified<Root>, String), AppError> {
    let limit = Kind::Root.max_payload() as u64 * 2;
    let file = CheckedDir::read_file(path, limit).map_err(AppError::RootFile)?;
    let root = Root::anchor(&file.bytes).map_err(|source| AppError::Root { path: path.into(), source })?;
    Ok((root, String::from_utf8_lossy(&file.bytes).trim().to_owned()))
}

impl App {
    /// Opens everything and starts the writer of records.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn open(
        config: Config,
        places: &Places,
        clock: fn() -> Timestamp,
        limits: Limits,
    ) -> Result<Arc<Self>, AppError> {
        let (root, root_text) = read_root(&places.root)?;
        let authority =
            Authority::read(&places.state)?.ok_or_else(|| AppError::NotPrepared(places.state.clone()))?;
        let store = Store::open(&places.state).await?;
        let shelf = Shelf::default();
        let mut floor = Floor::NONE;
        if let Some((files, held)) = store.policy(&Access::Itself).await? {
            // Under another root the set may be none any more. Then nothing is handed on until one is published that is;
            // nothing older than the one held is taken all the same.
            match Set::verify(&root, &held, Arrival::Held, clock(), &config.host, files) {
                Ok(set) => shelf.put(set),
                Err(refused) => {
                    journal::error(&format!("{}; {NOT_HANDED_ON}", not_believed(&held, &refused)))
                }
            }
            floor = held;
        }
        let ingest = Ingest::start(store.clone(), limits, clock);
        let app = Arc::new(Self {
            config,
            root,
            root_text,
            store,
            authority,
            book: Book::default(),
            shelf,
            ingest,
            gate: Gate::new(),
            limits,
            judging: Judging::default(),
            floor: Mutex::new(floor),
            clock,
        });
        app.judge_admissions().await?;
        Ok(app)
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Judges all admissions and revocations again, after one was added or the index changed.
    ///
    /// # Errors
    /// The database.
    pub async fn judge_admissions(&self) -> Result<(), StoreError> {
        let list = self.store.admission_list(&Access::Itself).await?;
        let refused = self.book.judge(&self.root, &list, &self.shelf.revoked());
        if refused > 0 {
            journal::warning(&format!("{refused} admissions or revocations in the database are refused"));
        }
        Ok(())
    }

    /// Takes a policy set: verified whole, durable, then handed on. True when it is another than the one held.
    ///
    /// # Errors
    /// `Ok(Err)` when it is refused; `Err` when the database fails. Nothing was changed then.
    pub async fn take_policy(
        &self,
        access: &Access,
        files: PolicyFiles,
    ) -> Result<Result<PolicyVersion, NotTaken>, StoreError> {
        access.operator("publish policy")?;
        let mut floor = self.floor.lock().await;
        let now = self.now();
        let set = match Set::verify(&self.root, &floor, Arrival::Offered, now, &self.config.host, files) {
            Ok(set) => set,
            Err(refused) => return Ok(Err(refused)),
        };
        let raised = floor.raised(&set.index);
        let known = self.store.series_since(access).await?;
        let series = set.series_since(&known, self.shelf.get().as_deref(), now);
        self.store.put_policy(access, &set.files, &raised, &series).await?;
        *floor = raised;
        let version = set.index.version;
        self.shelf.put(set);
        drop(floor);
        self.judge_admissions().await?;
        journal::notice(&format!("policy version {version} is handed on, published by {}", access.label()));
        Ok(Ok(version))
    }

    /// Makes a one-time token and what a machine needs beside it.
    ///
    /// # Errors
    /// `Denied`, no randomness, or the database.
    pub async fn invite(
        &self,
        access: &Access,
        name: &HostName,
        role: MachineRole,
        minutes: u32,
    ) -> Result<Invitation, StoreError> {
        invite(
            &self.store,
            &self.config,
            (&self.root, &self.root_text),
            &self.authority,
            access,
            (name, role),
            (self.now(), minutes),
        )
        .await
    }
}

/// Makes a one-time token where no controller runs yet.
///
/// # Errors
/// `Denied`, no randomness, or the database.
pub async fn invite(
    store: &Store,
    config: &Config,
    (root, root_text): (&Verified<Root>, &str),
    authority: &Authority,
    access: &Access,
    (name, role): (&HostName, MachineRole),
    (now, minutes): (Timestamp, u32),
) -> Result<Invitation, StoreError> {
    let secret = Secret::fresh().map_err(|_| StoreError::Damaged("source of randomness"))?;
    let until = now.saturating_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(now);
    let list = store.admission_list(access).await?;
    let admitted = list.admissions.iter().filter_map(|text| verify_admission(root, text.as_bytes()).ok());
    let own = admitted.filter(|admission| admission.name == *name && admission.role == role);
    let epoch = own.map(|admission| admission.epoch.0.saturating_add(1)).max().map_or(Epoch(1), Epoch);
    store.add_token(access, secret.hash(), name, role, now, until).await?;
    Ok(Invitation {
        schema: 1,
        fleet: root.fleet.clone(),
        name: name.clone(),
        role,
        controllers: config.places(),
        server_name: config.machines.names[0].clone(),
        ca: authority.certificate().to_owned(),
        root: root_text.to_owned(),
        secret: secret.text().to_owned(),
        until,
        epoch,
    })
}
