//! `tenure admit`: a person compares the fingerprint that the machine shows with the one that this tool computes from
//! what the controller got, and signs that the name has these keys. `tenure revoke` takes that back.

mod recovery;
mod way;

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use serde::Deserialize;
use tenure_trust::admission::verify_machine;
use tenure_trust::enrol::{Enrolment, fingerprint};
use tenure_trust::{
    Admission, HostName, KeyId, MachineRole, Order, OrderKind, Signed, SigningKey, Statement, neutral,
};

use crate::cmd_root::{self, whole_seconds};
use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::passphrase::Source;
use crate::remote::escaped;
use crate::{clock, files, keyfile};
pub(crate) use way::LIST;
use way::Way;

/// What keys are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// An agent
    Host,
    /// A vault
    Vault,
    /// A person's key to read copies when a host is dead; it does not enrol
    Recovery,
}

impl From<Role> for MachineRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Host => Self::Host,
            Role::Vault => Self::Vault,
            Role::Recovery => Self::Recovery,
        }
    }
}

/// Keys to sign with.
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    /// Secret key to sign with; once for each
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: Source,
}

impl Keys {
    fn open(&self) -> Result<Vec<SigningKey>, Failure> {
        let keys = self.key.iter().enumerate();
        keys.map(|(number, path)| keyfile::open(path, &self.passphrase, number)).collect()
    }

    pub(crate) fn sign<T: Statement>(&self, statement: &T) -> Result<Signed<T>, Failure> {
        let keys = self.open()?;
        Ok(Signed::new(statement, &keys.iter().collect::<Vec<_>>()))
    }
}

/// Arguments of `admit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The machine's name in the policy; of a recovery key a name of its own
    name: HostName,
    /// What it enrolled as, or that it is a recovery key
    #[arg(long, value_enum, default_value_t = Role::Host)]
    role: Role,
    /// The fingerprint as the machine's own screen shows it, or ssh-keygen -l where the recovery key was made; without
    /// it you are asked
    #[arg(long, value_name = "TEXT")]
    fingerprint: Option<String>,
    /// Of a recovery key: its public half, as ssh-keygen -t ed25519 wrote it
    #[arg(long, value_name = "FILE", required_if_eq("role", "recovery"))]
    ssh_key: Option<PathBuf>,
    /// Of a recovery key: a host whose copies it may read; once for each
    #[arg(long, value_name = "HOST", required_if_eq("role", "recovery"))]
    reads: Vec<HostName>,
    /// The root that machines have: says at once whether they will take it
    #[arg(long, value_name = "FILE", required_if_eq("role", "recovery"))]
    root: Option<PathBuf>,
    /// Keep the list of all admissions here too: `tenure recover` verifies a host's seals with it when controller and host
    /// are gone
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    way: Way,
}

/// Arguments of `revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// The machine's name in the policy
    name: HostName,
    /// In which role
    #[arg(long, value_enum, default_value_t = Role::Host)]
    role: Role,
    /// Why, in your words
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The name once more, instead of being asked for it
    #[arg(long, value_name = "NAME")]
    yes: Option<String>,
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    way: Way,
}

/// An enrolment as the controller hands it out.
#[derive(Deserialize)]
struct Enrolled {
    enrolment: String,
    address: String,
    received_at: jiff::Timestamp,
}

impl Args {
    /// Writes the list down as it is now.
    fn keep(&self, doing: &str) -> Result<(), Failure> {
        let Some(path) = &self.keep else { return Ok(()) };
        let list = serde_json::to_vec(&self.way.list(doing)?).map_err(|error| Failure::new(doing, &error))?;
        files::replace(path, &list, 0o644)
    }
}

/// Compares, signs, brings.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let role = MachineRole::from(args.role);
    let doing = format!("admit {} as {role}", args.name);
    if role == MachineRole::Recovery {
        return recovery::run(args, &doing, out);
    }
    if args.ssh_key.is_some() || !args.reads.is_empty() {
        let why = "a machine states its own keys when it enrols: --ssh-key and --reads are for recovery keys";
        return Err(Failure::because(doing, why).exit(Exit::Usage));
    }
    let candidates = enrolments(args, role, &doing)?;
    let shown = match &args.fingerprint {
        Some(given) => given.clone(),
        None => asked(
            out,
            &doing,
            &format!("Fingerprint on the screen of {}: ", args.name),
            "give --fingerprint TEXT as the machine's screen shows it",
        )?,
    };
    // Our own computation over the signed bytes; what the controller says of it counts for nothing.
    let matching =
        candidates.iter().find(|(_, signed, _)| compared(&fingerprint(&signed.hash())) == compared(&shown));
    let Some((enrolment, signed, from)) = matching else {
        let ours: Vec<String> = candidates.iter().map(|(_, signed, _)| fingerprint(&signed.hash())).collect();
        let why = format!("the machine shows {shown:?}, the controller holds {}", ours.join(" and "));
        let hint = "somebody stands between: make a new token and enrol again over a way that you trust";
        return Err(Failure::because(doing, why).hint(hint));
    };
    let held = args.way.held(&args.name, role, &doing)?;
    let before = held.as_ref().map(|admission| admission.identity.id());
    let admission = Admission {
        schema: Admission::SCHEMA,
        fleet: enrolment.fleet.clone(),
        name: enrolment.name.clone(),
        role,
        identity: enrolment.identity,
        ssh: enrolment.ssh.clone(),
        tls: enrolment.tls,
        epoch: enrolment.epoch,
        replaces: before.filter(|key| *key != enrolment.identity.id()),
        reads: Default::default(),
        issued: whole_seconds(clock::now()),
    };
    let root = args.root.as_deref().map(cmd_root::read).transpose()?;
    args.way.admit(&args.keys.sign(&admission)?, root.as_ref(), &doing)?;
    args.keep(&doing)?;
    let said = fingerprint(&signed.hash());
    out.value(&serde_json::json!({
        "name": admission.name, "role": role, "epoch": admission.epoch, "fingerprint": said,
        "identity": admission.identity.id(), "replaces": admission.replaces,
    }));
    out.line(format_args!("compared {said}, enrolled from {}", neutral(from)));
    out.line(format_args!("admitted {} as {role}, epoch {}", admission.name, admission.epoch));
    Ok(Exit::Clean)
}

type Candidate = (Enrolment, Signed<Enrolment>, String);

/// What the controller holds for this name and role, newest first, each signed by the very key that it states.
fn enrolments(args: &Args, role: MachineRole, doing: &str) -> Result<Vec<Candidate>, Failure> {
    let path = format!("/api/v1/enrolments?name={}", escaped(args.name.as_str()));
    let mut all: Vec<Enrolled> = args.way.remote.get(doing, &path)?;
    all.sort_by_key(|one| std::cmp::Reverse(one.received_at));
    let mut candidates = Vec::new();
    for one in all {
        let signed = Signed::<Enrolment>::parse(one.enrolment.as_bytes());
        let Ok(signed) = signed else { continue };
        let Ok(stated) = signed.unverified() else { continue };
        let proved = verify_machine::<Enrolment>(&stated.identity, one.enrolment.as_bytes());
        if proved.is_ok() && stated.name == args.name && stated.role == role {
            candidates.push((stated, signed, one.address));
        }
    }
    match candidates.is_empty() {
        false => Ok(candidates),
        true => {
            let why = "the controller holds no enrolment of it in this role";
            let hint = "`tenure token create` makes an invitation; the machine enrols with it";
            Err(Failure::because(doing, why).hint(hint))
        }
    }
}

/// As people type it: without hyphens and blanks, in either case.
fn compared(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}

/// A line that the person types.
fn asked(out: &mut Output, doing: &str, prompt: &str, hint: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::because(doing, "there is nobody to ask").hint(hint).exit(Exit::Usage));
    }
    out.prompt(prompt);
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::new(doing, &error))?;
    Ok(line.trim().to_owned())
}

/// Shows what it will do, asks for the name, signs, brings.
pub(crate) fn revoke(args: &RevokeArgs, out: &mut Output) -> Result<Exit, Failure> {
    let role = MachineRole::from(args.role);
    let doing = format!("revoke the keys of {} as {role}", args.name);
    let Some(admission) = args.way.held(&args.name, role, &doing)? else {
        let why = format!("{} holds no admission of it in this role", args.way.holder());
        return Err(Failure::because(doing, why));
    };
    let key: KeyId = admission.identity.id();
    out.line(format_args!(
        "key {} of {} as {role}, epoch {}: its records, connections and backups count no longer from here on",
        key.short(),
        args.name,
        admission.epoch
    ));
    let typed = match &args.yes {
        Some(name) => name.clone(),
        None => asked(out, &doing, "Type the name to go on: ", "give --yes NAME")?,
    };
    if typed != args.name.as_str() {
        return Err(Failure::because(doing, "the name was not typed; nothing was done").exit(Exit::Usage));
    }
    let order = Order {
        schema: Order::SCHEMA,
        fleet: admission.fleet.clone(),
        issued: whole_seconds(clock::now()),
        what: OrderKind::Revoke { name: args.name.clone(), role, key },
        reason: args.reason.clone(),
    };
    args.way.revoke(&args.keys.sign(&order)?, &doing)?;
    out.value(&serde_json::json!({ "name": args.name, "role": role, "key": key }));
    out.line(format_args!("revoked {} as {role}", args.name));
    Ok(Exit::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_compared_as_people_type_it() {
        assert_eq!(compared("k5qx-2mtr"), compared("K5QX 2MTR"));
        assert_ne!(compared("K5QX-2MTR"), compared("K5QX-2MTS"));
    }
}
