//! Admits a recovery key: a person's own SSH key that reads the copies of named hosts when they are dead. It does not
//! enrol; its public half is a file, compared with what the person's own machine says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use tenure_trust::{
    Admission, AdmissionBook, AdmissionList, Epoch, Hash, HostName, MachineRole, PublicKey, Root, SshKeyText,
    Verified, neutral,
};

use super::{Args, asked};
use crate::cmd_root::{self, whole_seconds};
use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::{clock, files};

/// A line of a public key has about 100 bytes.
const LIMIT: u64 = 4096;
/// What stands before the 32 bytes of the key in a SubjectPublicKeyInfo (RFC 8410 §4).
const SPKI: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\0";

/// Compares, signs, brings.
pub(super) fn run(args: &Args, doing: &str, out: &mut Output) -> Result<Exit, Failure> {
    let (Some(file), Some(root)) = (&args.ssh_key, &args.root) else {
        return Err(Failure::because(doing, "--ssh-key and --root are needed").exit(Exit::Usage));
    };
    let root = cmd_root::read(root)?;
    let ssh = read(file)?;
    let unusable = |fault: tenure_trust::KeyFault| Failure::new(doing, &fault);
    let identity = ssh.key().map_err(unusable)?;
    let fingerprint = ssh.fingerprint().map_err(unusable)?;
    let shown = match &args.fingerprint {
        Some(given) => given.clone(),
        None => {
            let prompt = "Fingerprint as `ssh-keygen -lf` shows it where the key was made: ";
            asked(out, doing, prompt, "give --fingerprint SHA256:…")?
        }
    };
    if bare(&shown) != bare(&fingerprint) {
        let why = format!("the person's machine shows {shown:?}, the file holds {fingerprint}");
        let hint = "it is another key: have the public half brought again over a way that you trust";
        return Err(Failure::because(doing, why).hint(hint));
    }
    let list = args.way.list(doing)?;
    if !args.way.is_offline() {
        known(&args.reads, args, doing)?;
    }
    let held = args.way.held(&args.name, MachineRole::Recovery, doing)?;
    let admission = admission(args, &root, ssh, identity, held.as_ref());
    args.way.admit(&args.keys.sign(&admission)?, Some(&root), doing)?;
    args.keep(doing)?;
    let vaults = vaults(&root, &list);
    out.value(&serde_json::json!({
        "name": admission.name, "role": admission.role, "fingerprint": fingerprint, "reads": admission.reads,
        "identity": admission.identity.id(), "replaces": admission.replaces, "vaults": vaults,
    }));
    let reads: Vec<&str> = admission.reads.iter().map(HostName::as_str).collect();
    out.line(format_args!("compared {fingerprint}"));
    out.line(format_args!("admitted {} as recovery, reads {}", admission.name, reads.join(", ")));
    for (name, key) in &vaults {
        out.line(format_args!("vault    {name} {key}   for known_hosts, behind [ADDRESS]:PORT"));
    }
    Ok(Exit::Clean)
}

/// The public half as its file has it; the comment is dropped.
fn read(path: &Path) -> Result<SshKeyText, Failure> {
    let doing = || format!("read the SSH key {}", path.display());
    let bytes = files::read(path, LIMIT)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("PRIVATE KEY") {
        let hint = "name the file that ends in .pub; the private half stays where it was made";
        return Err(Failure::because(doing(), "it is a private key").hint(hint));
    }
    let words: Vec<&str> = text.split_ascii_whitespace().take(2).collect();
    SshKeyText::new(words.join(" "))
        .map_err(|error| Failure::new(doing(), &error).hint("`ssh-keygen -t ed25519` makes one"))
}

/// A recovery key signs nothing: that it is named by itself lets it be revoked like any other.
fn admission(
    args: &Args,
    root: &Verified<Root>,
    ssh: SshKeyText,
    identity: PublicKey,
    held: Option<&Admission>,
) -> Admission {
    Admission {
        schema: 1,
        fleet: root.fleet.clone(),
        name: args.name.clone(),
        role: MachineRole::Recovery,
        identity,
        ssh,
        tls: Hash::of(&[&SPKI[..], identity.as_bytes()].concat()),
        // No chain begins with it: the number only says which is the later one.
        epoch: held.map_or(Epoch(1), |before| Epoch(before.epoch.0.saturating_add(1))),
        replaces: held.map(|before| before.identity.id()).filter(|key| *key != identity.id()),
        reads: args.reads.iter().cloned().collect(),
        issued: whole_seconds(clock::now()),
    }
}

#[derive(Deserialize)]
struct Policy {
    hosts: BTreeSet<HostName>,
}

/// A name that no policy has would be found out when the host is dead.
fn known(reads: &[HostName], args: &Args, doing: &str) -> Result<(), Failure> {
    let policy: Policy = args.way.remote.get(doing, "/api/v1/policy")?;
    // Before the first policy nobody knows any name.
    let unknown = reads.iter().find(|host| !policy.hosts.is_empty() && !policy.hosts.contains(*host));
    match unknown {
        None => Ok(()),
        Some(host) => {
            let names: Vec<&str> = policy.hosts.iter().map(HostName::as_str).collect();
            let hint = format!("the published policy has {}", names.join(", "));
            Err(Failure::because(doing, format!("the policy has no host {host}")).hint(hint))
        }
    }
}

/// The host keys of the vaults, as the admissions that hold have them: what ssh must find there.
fn vaults(root: &Verified<Root>, list: &AdmissionList) -> BTreeMap<HostName, SshKeyText> {
    let (book, _) = AdmissionBook::judge(root, list, &BTreeSet::new());
    let vaults = book.iter().filter(|admission| admission.role == MachineRole::Vault);
    vaults.map(|admission| (admission.name.clone(), admission.ssh.clone())).collect()
}

fn bare(fingerprint: &str) -> String {
    let text = neutral(fingerprint.trim());
    text.strip_prefix("SHA256:").unwrap_or(&text).trim_end_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_compared_with_and_without_its_kind() {
        assert_eq!(bare(" SHA256:abC/d\n"), bare("abC/d="));
        assert_ne!(bare("SHA256:abC"), bare("SHA256:abc"), "base64 tells capitals apart");
    }
}
