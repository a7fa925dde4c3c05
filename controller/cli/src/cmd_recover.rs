//! `tenure recover`: opens the escrow of a generation when its host is gone, verifies that the host itself sealed what the
//! vault shows, and says how stock restic restores it. It speaks with nobody: files in, a password file and commands out.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::armor::ArmoredReader;
use age::x25519;
use tenure_trust::own_seal::MAX_SEALS;
use tenure_trust::{AdmissionList, NoSeal, OwnSeal, Seal, VaultName, View, own_seal};
use zeroize::Zeroizing;

use crate::cmd_admit::LIST;
use crate::failure::Failure;
use crate::output::{Exit, Output};
use crate::{cmd_root, files};

/// The largest identity and escrow files.
const LIMIT: u64 = 64 << 10;
/// The largest password.
const PASSWORD: u64 = 4096;
/// The largest seal.
const SEAL: u64 = 64 << 10;

/// Arguments of `recover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which copy: /OWNER/HOST/SET/GENERATION@last-seal (or @SEQUENCE, or @TIME of the vault)
    view: String,
    /// Your age identity, the offline half of a recipient of the policy
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Where the vault is reached, as ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS", default_value = "VAULT")]
    vault: String,
    /// The SSH key that was admitted to read this host's copies
    #[arg(long, value_name = "FILE", default_value = "recovery.key")]
    ssh_key: PathBuf,
    /// The vault's host key as its admission has it, in a file for ssh
    #[arg(long, value_name = "FILE", default_value = "known_hosts")]
    known_hosts: PathBuf,
    /// The escrow as it was fetched from the view; without it the commands that fetch it and the seals are printed
    #[arg(long, value_name = "FILE")]
    escrow: Option<PathBuf>,
    /// The directory of the host's seals as it was fetched from the view
    #[arg(long, value_name = "DIR", requires = "escrow")]
    seals: Option<PathBuf>,
    /// The root under which the host was admitted
    #[arg(long, value_name = "FILE", requires = "seals")]
    root: Option<PathBuf>,
    /// The admissions, as `tenure admit --keep` or `--out` wrote them: they say which key is the host's
    #[arg(long, value_name = "FILE", requires = "seals")]
    admissions: Option<PathBuf>,
    /// Do not look whether the host sealed it: whoever has the vault may have made it all
    #[arg(long, conflicts_with = "seals")]
    believe_vault: bool,
    /// Where the password goes, for restic's --password-file; it must not exist
    #[arg(long, value_name = "FILE", default_value = "restic.password")]
    out: PathBuf,
}

/// Opens an escrow, or says where it is.
pub(crate) fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    // Of a view only the path counts here; whose vault it is says the address.
    let any = VaultName::new("vault").map_err(|e| Failure::new("read the view", &e))?;
    let view = View::from_path(any, &args.view).map_err(|e| Failure::new("read the view", &e))?;
    let identities = identities(&args.identity)?;
    let ssh = Ssh { args };
    let Some(escrow) = &args.escrow else {
        let fetch: Vec<String> =
            identities.iter().map(|id| ssh.escrow(&view, &id.to_public().to_string())).collect();
        let seals = ssh.seals(&view);
        out.value(&serde_json::json!({ "fetch": fetch, "fetch_seals": seals }));
        out.line(format_args!("fetch the escrow and the seals:"));
        fetch.iter().chain([&seals]).for_each(|line| out.line(format_args!("  {line}")));
        out.line(format_args!(
            "then name them: --escrow escrow.age --seals seals --root ROOT --admissions ADMISSIONS"
        ));
        return Ok(Exit::Clean);
    };
    // Nothing is opened of what its host did not seal.
    let own = sealed(args, &view)?;
    let password = opened(escrow, &identities)?;
    files::write_new(&args.out, password.as_bytes(), 0o600)?;
    let restic = ssh.restic(&view);
    let snapshot = own.as_ref().map_or_else(|| "latest".to_owned(), |own| own.seal.snapshot.to_string());
    out.value(&serde_json::json!({
        "password_file": args.out, "restic": restic, "snapshot": snapshot,
        "sealed": own.as_ref().map(|own| serde_json::json!({
            "slot": own.seal.slot, "ended": own.seal.ended, "unreadable": own.seal.claims.unreadable,
            "key": own.key, "key_revoked": own.revoked,
        })),
    }));
    match &own {
        Some(own) => told(own, out),
        None => out
            .line(format_args!("seal      not looked at: that the host made this copy is the vault's word")),
    }
    out.line(format_args!("password  {}   remove it when you are done", args.out.display()));
    out.line(format_args!("restore with stock restic:"));
    out.line(format_args!("  {restic} restore {snapshot} --target DIR"));
    Ok(Exit::Clean)
}

fn told(own: &OwnSeal, out: &mut Output) {
    let Seal { slot, ended, claims, .. } = &own.seal;
    let host = &slot.series.host;
    out.line(format_args!(
        "seal      {host} sealed {} {} itself, at {ended} by its clock",
        slot.date, slot.at
    ));
    if claims.unreadable > 0 {
        out.line(format_args!("          {} files could not be read then", claims.unreadable));
    }
    if let Some(at) = own.revoked {
        let key = own.key.short();
        out.line(format_args!(
            "          its key {key} was taken back at {at}: whoever has that key can have made this copy"
        ));
    }
}

/// The host's own seal of what the view shows; none when the vault is to be believed.
fn sealed(args: &Args, view: &View) -> Result<Option<OwnSeal>, Failure> {
    if args.believe_vault {
        return Ok(None);
    }
    let doing = || format!("verify that {} sealed this copy", view.series.host);
    let (Some(dir), Some(root), Some(admissions)) = (&args.seals, &args.root, &args.admissions) else {
        let why = "--seals, --root and --admissions are needed";
        let hint = "run `tenure recover` without --escrow: it names what fetches the seals; without root or \
                    admissions --believe-vault goes on, and nothing says then who made the copy";
        return Err(Failure::because(doing(), why).hint(hint).exit(Exit::Usage));
    };
    let root = cmd_root::read(root)?;
    let list: AdmissionList = serde_json::from_slice(&files::read(admissions, LIST)?)
        .map_err(|error| Failure::new(format!("read the admissions {}", admissions.display()), &error))?;
    let texts = texts(dir)?;
    own_seal(&root, &list, view, texts.iter().map(Vec::as_slice)).map(Some).map_err(|why| {
        let hint = "the vault shows what this host did not make: restore nothing of it; an earlier \
                    generation may have the host's seal";
        Failure::new(doing(), &why).hint(match why {
            NoSeal::NotAdmitted => {
                "name the fleet's root, and a list that is not older than the host's admission"
            }
            NoSeal::NotItsOwn(_) | NoSeal::Elsewhere => hint,
        })
    })
}

/// What lies in the directory of seals, unverified.
fn texts(dir: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let failed = |error: std::io::Error| Failure::file("list", dir, &error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)?.take(MAX_SEALS) {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|end| end == "dsse") {
            paths.push(path);
        }
    }
    paths.iter().map(|path| files::read(path, SEAL)).collect()
}

fn identities(path: &Path) -> Result<Vec<x25519::Identity>, Failure> {
    let text = Zeroizing::new(files::read(path, LIMIT)?);
    let doing = || format!("read the identity {}", path.display());
    let text = std::str::from_utf8(&text).map_err(|e| Failure::new(doing(), &e))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // What is no identity is not quoted: it may be half of one.
    let read =
        lines.map(|line| x25519::Identity::from_str(line).map_err(|why| Failure::because(doing(), why)));
    let found = read.collect::<Result<Vec<_>, _>>()?;
    match found.is_empty() {
        true => Err(Failure::because(doing(), "it has no line AGE-SECRET-KEY-1…")),
        false => Ok(found),
    }
}

fn opened(path: &Path, identities: &[x25519::Identity]) -> Result<Zeroizing<String>, Failure> {
    let doing = || format!("open the escrow {}", path.display());
    let bytes = files::read(path, LIMIT)?;
    let file =
        age::Decryptor::new(ArmoredReader::new(bytes.as_slice())).map_err(|e| Failure::new(doing(), &e))?;
    let ours = identities.iter().map(|identity| identity as &dyn age::Identity);
    let hint = "it is for another recipient: fetch the one that `tenure recover` names without --escrow";
    let reader = file.decrypt(ours).map_err(|e| Failure::new(doing(), &e).hint(hint))?;
    let mut password = Zeroizing::new(String::new());
    reader.take(PASSWORD).read_to_string(&mut password).map_err(|e| Failure::file("read", path, &e))?;
    Ok(password)
}

/// The commands that a person types.
struct Ssh<'a> {
    args: &'a Args,
}

impl Ssh<'_> {
    fn place(&self) -> (&str, &str) {
        match self.args.vault.rsplit_once(':') {
            // Two colons and more are an IPv6 address without a port.
            Some((address, port)) if !address.contains(':') || address.ends_with(']') => {
                (address.trim_matches(['[', ']']), port)
            }
            _ => (self.args.vault.as_str(), "8022"),
        }
    }

    fn options(&self) -> String {
        let files =
            (word(&self.args.ssh_key.to_string_lossy()), word(&self.args.known_hosts.to_string_lossy()));
        format!(
            "-i {} -o UserKnownHostsFile={} -o StrictHostKeyChecking=yes -o BatchMode=yes",
            files.0, files.1
        )
    }

    fn escrow(&self, view: &View, recipient: &str) -> String {
        self.sftp("", &format!("{}/escrow/{recipient}.age", view.path()), "escrow.age")
    }

    /// sftp makes the directory, or adds to the one that is there.
    fn seals(&self, view: &View) -> String {
        self.sftp("-r ", &format!("{}/seals", view.path()), ".")
    }

    fn sftp(&self, how: &str, from: &str, to: &str) -> String {
        let (address, port) = self.place();
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let from = word(&format!("tenure@{address}:{from}"));
        format!("sftp {how}-P {} {} {from} {to}", word(port), self.options())
    }

    fn restic(&self, view: &View) -> String {
        let (address, port) = self.place();
        let ssh = format!(
            "ssh -p {} {} {} -s sftp",
            word(port),
            self.options(),
            word(&format!("tenure@{address}"))
        );
        format!(
            "restic -o {} -r {} --password-file {} --no-cache",
            word(&format!("sftp.command={ssh}")),
            word(&format!("sftp:tenure@{address}:{}", view.path())),
            word(&self.args.out.to_string_lossy())
        )
    }
}

/// As a shell takes one word.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use age::armor::{ArmoredWriter, Format};

    use super::*;

    #[test]
    fn an_escrow_opens_with_its_identity_only_and_words_are_quoted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        let key = ours.to_public();
        let encryptor =
            age::Encryptor::with_recipients(std::iter::once(&key as &dyn age::Recipient)).unwrap();
        let mut text = Vec::new();
        let armor = ArmoredWriter::wrap_output(&mut text, Format::AsciiArmor).unwrap();
        let mut writer = encryptor.wrap_output(armor).unwrap();
        writer.write_all(b"a password").unwrap();
        writer.finish().and_then(ArmoredWriter::finish).unwrap();
        let escrow = dir.path().join("escrow.age");
        std::fs::write(&escrow, &text).unwrap();
        assert_eq!(&**opened(&escrow, &[other.clone(), ours]).expect("opens"), "a password");
        assert!(opened(&escrow, &[other]).is_err());
        std::fs::write(&escrow, &text[..text.len() / 2]).unwrap();
        assert!(opened(&escrow, &[x25519::Identity::generate()]).is_err());
        assert_eq!(
            (word("a/b@c"), word("it's a"), word("")),
            ("a/b@c".into(), r"'it'\''s a'".into(), "''".into())
        );
        std::fs::write(dir.path().join("id"), "# created\nAGE-SECRET-KEY-1NONSENSE\n").unwrap();
        assert!(identities(&dir.path().join("id")).is_err());
    }
}
