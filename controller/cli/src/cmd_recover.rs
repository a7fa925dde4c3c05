//! `tenure recover`: opens the escrow of a generation when its host is gone, and says how stock restic restores it. It
//! speaks with nobody: files in, a password file and two commands out.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::armor::ArmoredReader;
use age::x25519;
use tenure_trust::{VaultName, View};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files;
use crate::output::{Exit, Output};

/// The largest identity and escrow files.
const LIMIT: u64 = 64 << 10;
/// The largest password.
const PASSWORD: u64 = 4096;

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
    /// The escrow as it was fetched from the view; without it the command that fetches it is printed
    #[arg(long, value_name = "FILE")]
    escrow: Option<PathBuf>,
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
            identities.iter().map(|id| ssh.fetch(&view, &id.to_public().to_string())).collect();
        out.value(&serde_json::json!({ "fetch": fetch }));
        out.line(format_args!("fetch the escrow, then name it with --escrow:"));
        fetch.iter().for_each(|line| out.line(format_args!("  {line}")));
        return Ok(Exit::Clean);
    };
    let password = opened(escrow, &identities)?;
    files::write_new(&args.out, password.as_bytes(), 0o600)?;
    let restic = ssh.restic(&view);
    out.value(&serde_json::json!({ "password_file": args.out, "restic": restic }));
    out.line(format_args!("password  {}   remove it when you are done", args.out.display()));
    out.line(format_args!("restore with stock restic:"));
    out.line(format_args!("  {restic} restore latest --target DIR"));
    Ok(Exit::Clean)
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

    fn fetch(&self, view: &View, recipient: &str) -> String {
        let (address, port) = self.place();
        let path = format!("{}/escrow/{recipient}.age", view.path());
        let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        format!(
            "sftp -P {} {} {} escrow.age",
            word(port),
            self.options(),
            word(&format!("tenure@{address}:{path}"))
        )
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
