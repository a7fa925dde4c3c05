//! `tenure sign SET`: checks a policy set as `tenure check` does, resolves it, and writes one signed index and one
//! signed bundle for each machine: hosts, vaults and the controller.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use tenure_policy::Set;
use tenure_policy::bundles::{DutyBook, VaultPolicy};
use tenure_policy::resolve::Note;
use tenure_policy::resolved::HostPolicy;
use tenure_trust::{
    Arrival, Bundle, Floor, Hash, HostName, Index, KeyId, KeyName, NamedKey, PolicyVersion, Refused, Role,
    RoleKeys, Root, RootVersion, Signed, SigningKey, Verified, neutral, verify_bundle, verify_index,
};

use crate::failure::Failure;
use crate::output::{Exit, Output, progress};
use crate::passphrase::Source;
use crate::{checked, clock, cmd_root, files, keyfile};

/// The JSON form of the largest envelope.
const LIMIT: u64 = 16 << 20;
const INDEX: &str = "index.json";

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The policy's file, or its directory
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// Secret key to sign with; once for each
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    /// Directory for index.json and the machines' bundles
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The index signed before; without it the one in --out, if there is one
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Number of this version; without it one more than the previous
    #[arg(long, value_name = "N")]
    version: Option<PolicyVersion>,
    /// The root that hosts have: says at once whether they will take it
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Add a signature to what somebody else signed from the same set
    #[arg(long, conflicts_with_all = ["previous", "version"])]
    add: bool,
    #[command(flatten)]
    passphrase: Source,
}

/// A set ready to be written.
struct Signing {
    index: Signed<Index>,
    bundles: Bundles,
}

/// The bundles of all machines, by kind.
#[derive(Clone)]
struct Bundles {
    hosts: BTreeMap<HostName, Signed<HostPolicy>>,
    vaults: BTreeMap<HostName, Signed<VaultPolicy>>,
    controllers: BTreeMap<HostName, Signed<DutyBook>>,
}

impl Bundles {
    /// Resolves a set and signs what each machine gets of it.
    fn of(set: &Set, keys: &[&SigningKey]) -> Self {
        let hosts = set.hosts().filter_map(|host| Some((host.clone(), set.host_policy(host)?)));
        let controllers = set.duty_book().into_iter().map(|book| (book.host.clone(), book));
        Self {
            hosts: hosts.map(|(host, policy)| (host, Signed::new(&policy, keys))).collect(),
            vaults: signed(set.vault_policies(), keys),
            controllers: controllers.map(|(host, book)| (host, Signed::new(&book, keys))).collect(),
        }
    }

    /// Every bundle's file, hash and text.
    fn files(&self) -> Vec<(String, Hash, String)> {
        let hosts = self.hosts.iter().map(|(host, b)| (HostPolicy::file_name(host), b.hash(), b.to_json()));
        let vaults =
            self.vaults.iter().map(|(host, b)| (VaultPolicy::file_name(host), b.hash(), b.to_json()));
        let books =
            self.controllers.iter().map(|(host, b)| (DutyBook::file_name(host), b.hash(), b.to_json()));
        hosts.chain(vaults).chain(books).collect()
    }

    fn add_signature(&mut self, key: &SigningKey) {
        self.hosts.values_mut().for_each(|bundle| bundle.add_signature(key));
        self.vaults.values_mut().for_each(|bundle| bundle.add_signature(key));
        self.controllers.values_mut().for_each(|bundle| bundle.add_signature(key));
    }

    /// Only these keys' signatures.
    fn only_by(&self, keys: &[SigningKey]) -> Self {
        Self {
            hosts: self.hosts.iter().map(|(host, b)| (host.clone(), b.only_by(keys))).collect(),
            vaults: self.vaults.iter().map(|(host, b)| (host.clone(), b.only_by(keys))).collect(),
            controllers: self.controllers.iter().map(|(host, b)| (host.clone(), b.only_by(keys))).collect(),
        }
    }

    /// Reads every bundle as its machine will.
    fn taken(&self, root: &Verified<Root>, index: &Verified<Index>) -> Result<(), Refused> {
        self.hosts.iter().try_for_each(|(host, bundle)| take_bundle(bundle, root, index, host))?;
        self.vaults.iter().try_for_each(|(host, bundle)| take_bundle(bundle, root, index, host))?;
        self.controllers.iter().try_for_each(|(host, bundle)| take_bundle(bundle, root, index, host))
    }
}

fn signed<T: Bundle>(of: BTreeMap<HostName, T>, keys: &[&SigningKey]) -> BTreeMap<HostName, Signed<T>> {
    of.into_iter().map(|(host, bundle)| (host, Signed::new(&bundle, keys))).collect()
}

/// Checks, signs and writes.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let root = args.root.as_deref().map(cmd_root::read).transpose()?;
    let Some(checked) = checked::load(&args.set, out)? else { return Ok(Exit::Config) };
    let now = cmd_root::whole_seconds(clock::now());
    let keys = (args.key.iter().enumerate())
        .map(|(number, path)| keyfile::open(path, &args.passphrase, number))
        .collect::<Result<Vec<_>, _>>()?;
    let before = previous(args)?;
    let doing = progress("signing one bundle for each machine");
    let signing = match args.add {
        false => sign(&checked.set, args, before.as_ref(), now, &keys)?,
        true => add(&checked.set, &args.out, before.as_ref(), &keys)?,
    };
    doing.say("reading back what was signed, as every machine will");
    prove(&signing, &keys, now)?;
    let missing = root.as_ref().map(|root| will_be_taken(&signing, root, now)).transpose()?.flatten();
    doing.say("writing the bundles");
    write(&args.out, &signing, before.as_ref())?;
    drop(doing);
    out.line(format_args!("checked {} files, {} tests", checked.files, checked.set.tests().len()));
    let notes = checked.set.notes(now);
    notes.iter().for_each(|note| out.line(neutral(&note.to_string())));
    let before = before.as_ref().filter(|_| !args.add);
    tell(&signing, before, root.as_ref(), missing.as_ref(), &notes, &args.out, out)?;
    Ok(Exit::Clean)
}

/// The index signed before, for its number and hashes only: who signed it is the hosts' question.
fn previous(args: &Args) -> Result<Option<Index>, Failure> {
    let path = args.previous.clone().unwrap_or_else(|| args.out.join(INDEX));
    let bytes = match args.previous {
        Some(_) => Some(files::read(&path, LIMIT)?),
        None => files::read_if_there(&path, LIMIT)?,
    };
    let read = |bytes: Vec<u8>| Signed::<Index>::parse(&bytes).and_then(|signed| signed.unverified());
    bytes.map(read).transpose().map_err(|refused| {
        Failure::refused(format_args!("read the previous index {}", path.display()), &refused)
    })
}

fn sign(
    set: &Set,
    args: &Args,
    before: Option<&Index>,
    now: Timestamp,
    keys: &[SigningKey],
) -> Result<Signing, Failure> {
    let old = before.map_or(PolicyVersion(0), |before| before.version);
    let version = args.version.unwrap_or(PolicyVersion(old.0.saturating_add(1)));
    if version <= old {
        let why = format!("version {version} is not above version {old}, which was signed before");
        return Err(Failure::because("sign the set", why).hint("leave --version out").exit(Exit::Usage));
    }
    if let Some(before) = before.filter(|before| before.fleet != *set.fleet()) {
        let why = format!("the previous index is of the fleet {}, the set of {}", before.fleet, set.fleet());
        return Err(Failure::because("sign the set", why).hint("give another --out").exit(Exit::Config));
    }
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let bundles = Bundles::of(set, &keys);
    let index = Index {
        schema: 1,
        fleet: set.fleet().clone(),
        version,
        issued: now,
        expires: set.expires(now),
        machines: hashes(&bundles.hosts),
        vaults: hashes(&bundles.vaults),
        controllers: hashes(&bundles.controllers),
        revoked: before.map(|before| before.revoked.clone()).unwrap_or_default(),
    };
    Ok(Signing { index: Signed::new(&index, &keys), bundles })
}

/// Adds signatures to what lies there, after resolving the set anew: a person signs what she has read, not what a file
/// says that it is.
fn add(set: &Set, directory: &Path, before: Option<&Index>, keys: &[SigningKey]) -> Result<Signing, Failure> {
    let doing = || format!("add a signature to {}", directory.display());
    let Some(before) = before else {
        return Err(Failure::because(doing(), "there is no index.json").hint("sign without --add first"));
    };
    let fresh = Bundles::of(set, &[]);
    let same = fresh.files().iter().map(|(name, hash, _)| (name.clone(), *hash)).collect::<BTreeMap<_, _>>();
    let named = named_files(before);
    if same != named || before.fleet != *set.fleet() {
        let different = different(&same, &named).join(", ");
        let why = format!("it was not signed from this set; different: {}", neutral(&different));
        return Err(
            Failure::because(doing(), why).hint("compare your copy of the set with the first signer's")
        );
    }
    let read = |name: &str| files::read(&directory.join(name), LIMIT);
    let refused = |refused: Refused| Failure::refused(doing(), &refused);
    let mut index = Signed::<Index>::parse(&read(INDEX)?).map_err(refused)?;
    let mut bundles = fresh;
    read_signed(directory, &mut bundles.hosts)?;
    read_signed(directory, &mut bundles.vaults)?;
    read_signed(directory, &mut bundles.controllers)?;
    for key in keys {
        if index.envelope().claimed_keys().any(|id| id == key.public().id()) {
            return Err(Failure::because(doing(), "this key has signed it already"));
        }
        index.add_signature(key);
        bundles.add_signature(key);
    }
    Ok(Signing { index, bundles })
}

/// Reads everything back as a host would, under a root of just these keys: what does not come back is not written.
fn prove(signing: &Signing, keys: &[SigningKey], now: Timestamp) -> Result<(), Failure> {
    let refused = |refused| Failure::refused("read back what was signed", &refused);
    let index = signing.index.unverified().map_err(refused)?;
    let name = |number: usize| KeyName::new(format!("key-{number}")).expect("it is a label");
    let named =
        keys.iter().enumerate().map(|(number, key)| NamedKey { name: name(number), key: key.public() });
    let role = RoleKeys { threshold: 1, keys: named.collect() };
    let root = Root {
        schema: 1,
        version: RootVersion(1),
        fleet: index.fleet.clone(),
        issued: now,
        expires: now.checked_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX),
        roles: BTreeMap::from([(Role::Root, role.clone()), (Role::Policy, role)]),
    };
    let root = Root::anchor_signed(&Signed::new(&root, &keys.iter().collect::<Vec<_>>())).map_err(refused)?;
    // Others' signatures are theirs to prove: here only ours are looked at.
    let index = take_index(&signing.index.only_by(keys), &root, now).map_err(refused)?;
    signing.bundles.only_by(keys).taken(&root, &index).map_err(refused)
}

/// Whether hosts with this root will take it: nothing missing, or the signatures that are still missing.
fn will_be_taken(
    signing: &Signing,
    root: &Verified<Root>,
    now: Timestamp,
) -> Result<Option<Refused>, Failure> {
    let judge = || {
        let index = take_index(&signing.index, root, now)?;
        signing.bundles.taken(root, &index)
    };
    match judge() {
        Ok(()) => Ok(None),
        Err(missing @ Refused::ThresholdNotMet { .. }) => Ok(Some(missing)),
        Err(refused) => Err(Failure::refused("sign for the hosts of this root", &refused)),
    }
}

fn take_index(
    index: &Signed<Index>,
    root: &Verified<Root>,
    now: Timestamp,
) -> Result<Verified<Index>, Refused> {
    verify_index(root, &Floor::NONE, Arrival::Offered, now, index.to_json().as_bytes())
}

fn take_bundle<T: Bundle>(
    bundle: &Signed<T>,
    root: &Verified<Root>,
    index: &Verified<Index>,
    host: &HostName,
) -> Result<(), Refused> {
    verify_bundle::<T>(root, index, &Floor::NONE, host, bundle.to_json().as_bytes()).map(drop)
}

/// Bundles first, the index that names them last; then away with the bundles of machines that are in it no longer.
fn write(directory: &Path, signing: &Signing, before: Option<&Index>) -> Result<(), Failure> {
    files::make_dir(directory)?;
    let written = signing.bundles.files();
    for (name, _, text) in &written {
        files::replace(&directory.join(name), format!("{text}\n").as_bytes(), 0o644)?;
    }
    files::replace(&directory.join(INDEX), format!("{}\n", signing.index.to_json()).as_bytes(), 0o644)?;
    let kept: BTreeSet<&String> = written.iter().map(|(name, _, _)| name).collect();
    for name in before.map(named_files).unwrap_or_default().keys().filter(|name| !kept.contains(name)) {
        files::remove(&directory.join(name))?;
    }
    Ok(())
}

fn tell(
    signing: &Signing,
    before: Option<&Index>,
    root: Option<&Verified<Root>>,
    missing: Option<&Refused>,
    notes: &[Note],
    directory: &Path,
    out: &mut Output,
) -> Result<(), Failure> {
    let index = signing.index.unverified().map_err(|r| Failure::refused("read the index back", &r))?;
    let named = named_files(&index);
    let changed = different(&named, &before.map(named_files).unwrap_or_default());
    let by: Vec<_> = signing.index.envelope().claimed_keys().map(|id| name_of(root, id)).collect();
    out.value(&serde_json::json!({
        "fleet": index.fleet, "version": index.version, "issued": index.issued, "expires": index.expires,
        "machines": index.machines, "vaults": index.vaults, "controllers": index.controllers, "changed": changed, "by": by, "index": signing.index.hash(),
        "missing": missing.map(ToString::to_string), "notes": notes,
    }));
    out.line(format_args!("version {} of {}, until {}", index.version, index.fleet, index.expires));
    out.line(format_args!(
        "bundles {}, changed: {}",
        named.len(),
        match changed.as_slice() {
            [] => "none".to_owned(),
            some => some.join(", "),
        }
    ));
    out.line(format_args!("signed  by {}", by.join(", ")));
    out.line(format_args!("written {}", neutral(&directory.display().to_string())));
    if let Some(missing) = missing {
        out.fault(format_args!(
            "not yet taken by hosts: {missing}; next: another operator runs `tenure sign --add`"
        ));
    }
    Ok(())
}

/// The name that the root gives a key; without a root its id.
fn name_of(root: Option<&Verified<Root>>, id: KeyId) -> String {
    let named = root.and_then(|root| root.name_of(id));
    named.map_or_else(|| id.short(), |named| named.name.to_string())
}

/// Reads the signed bundles of a kind that lie in a directory; each must be the one resolved here.
fn read_signed<T: Bundle>(
    directory: &Path,
    bundles: &mut BTreeMap<HostName, Signed<T>>,
) -> Result<(), Failure> {
    for (host, fresh) in bundles {
        let doing = || format!("add a signature to {}", directory.display());
        let bytes = files::read(&directory.join(T::file_name(host)), LIMIT)?;
        let read = Signed::<T>::parse(&bytes).map_err(|refused| Failure::refused(doing(), &refused))?;
        if read.hash() != fresh.hash() {
            let why = format!("the bundle of {host} is not the one that the index names");
            return Err(Failure::because(doing(), why).hint("take all files from one signing"));
        }
        *fresh = read;
    }
    Ok(())
}

/// The files that an index stands for, with the hash of each.
fn named_files(index: &Index) -> BTreeMap<String, Hash> {
    let hosts = index.machines.iter().map(|(host, hash)| (HostPolicy::file_name(host), *hash));
    let vaults = index.vaults.iter().map(|(host, hash)| (VaultPolicy::file_name(host), *hash));
    let books = index.controllers.iter().map(|(host, hash)| (DutyBook::file_name(host), *hash));
    hosts.chain(vaults).chain(books).collect()
}

fn hashes<T: Bundle>(bundles: &BTreeMap<HostName, Signed<T>>) -> BTreeMap<HostName, Hash> {
    bundles.iter().map(|(host, bundle)| (host.clone(), bundle.hash())).collect()
}

/// Names that stand in one of the two only, or with another hash.
fn different(a: &BTreeMap<String, Hash>, b: &BTreeMap<String, Hash>) -> Vec<String> {
    let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).map(|name| machine_of(name)).collect()
}

/// `web1` for a host's bundle, `vault1 (vault)` for a vault's, as people speak of them.
fn machine_of(file: &str) -> String {
    let stem = file.trim_end_matches(".json");
    match stem.rsplit_once('.') {
        Some((host, "bundle")) => host.to_owned(),
        Some((host, kind)) => format!("{host} ({kind})"),
        None => stem.to_owned(),
    }
}
