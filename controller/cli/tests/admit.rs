//! `tenure admit --role recovery` without a controller: what it writes is judged as a vault judges it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tenure_sys::command::{Ended, Program, capture};
use tenure_trust::{Admission, AdmissionBook, AdmissionList, HostName, MachineRole, Refused, Root, Verified};

/// A public key of OpenSSH 9.2 and its `ssh-keygen -l`.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZDi3lLasHHAdiWSi+sEEFyFYxGR7ZVCwggBQGSaokW marit@home\n";
const PRINT: &str = "SHA256:tmkF11S/jJCpTxlByQV7xzkeTQlIeh4BidiPDQ/DaUw";
/// Another, and its own.
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHcb5YbzhFoKCKWAHVzxizherNwy4mcZr4vEfTKlNYMh jeroen\n";
const OTHERS: &str = "SHA256:Nh+FYKiQ+DGTtt12lnu3F3yw3AWqdv8esWc+BAsTzHc";

struct Desk(tempfile::TempDir);

impl Desk {
    /// Marit may admit and order, jeroen may only sign policy.
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().expect("a directory"));
        desk.write("pass", "correct horse battery\n");
        fs::set_permissions(desk.path("pass"), fs::Permissions::from_mode(0o600)).expect("its own file");
        for name in ["marit", "jeroen"] {
            desk.must(&[
                "key",
                "create",
                name,
                "--dir",
                &desk.path(""),
                "--passphrase-file",
                &desk.path("pass"),
            ]);
        }
        let (marit, jeroen) = (desk.path("marit.pub"), desk.path("jeroen.pub"));
        desk.must(&[
            "root",
            "create",
            "--fleet",
            "lab",
            "--root-key",
            &marit,
            "--policy-key",
            &jeroen,
            "--admission-key",
            &marit,
            "--order-key",
            &marit,
            "--key",
            &desk.path("marit.key"),
            "--out",
            &desk.path("root.json"),
            "--passphrase-file",
            &desk.path("pass"),
        ]);
        desk.write("recovery.pub", KEY);
        desk.write("other.pub", OTHER);
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file in a directory of its own");
    }

    /// Exit code, standard output and standard error.
    fn run(&self, words: &[&str]) -> (i32, String) {
        let done = capture(&Program::new(env!("CARGO_BIN_EXE_tenure"), words)).expect("it runs");
        let code = if let Ended::Code(code) = done.ended { code } else { -1 };
        let text = [done.stdout, done.stderr].concat();
        (code, String::from_utf8(text).expect("text"))
    }

    fn must(&self, words: &[&str]) -> String {
        let (code, said) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }

    fn admit(&self, key: &str, fingerprint: &str, signer: &str, more: &[&str]) -> (i32, String) {
        let words = ["admit", "offline", "--role", "recovery", "--fingerprint", fingerprint, "--ssh-key"];
        let (key, signer) = (self.path(key), self.path(signer));
        let rest =
            ["--root", &self.path("root.json"), "--out", &self.path("admissions.json")].map(str::to_owned);
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let keys = [&key, "--key", &signer, "--passphrase-file", &self.path("pass")].map(str::to_owned);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.run(&[&words[..], &keys, &rest, more].concat())
    }

    fn root(&self) -> Verified<Root> {
        Root::anchor(&fs::read(self.path("root.json")).expect("a root")).expect("it holds")
    }

    /// The list as a vault judges it: what holds, what is refused.
    fn judged(&self) -> (Option<Admission>, Vec<Refused>) {
        let text = fs::read(self.path("admissions.json")).expect("a list");
        let list: AdmissionList = serde_json::from_slice(&text).expect("the form of a drop directory");
        let (book, refused) = AdmissionBook::judge(&self.root(), &list, &BTreeSet::new());
        let name = HostName::new("offline").expect("a name");
        (book.of(&name, MachineRole::Recovery).map(|held| held.value().clone()), refused)
    }
}

#[test]
fn a_recovery_key_is_admitted_replaced_and_revoked_in_a_list_that_a_vault_takes() {
    let desk = Desk::new();
    let reads = ["--reads", "web1", "--reads", "db1"];
    let (code, said) = desk.admit("recovery.pub", PRINT, "marit.key", &reads);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(PRINT) && said.contains("reads db1, web1"), "{said}");
    let (held, refused) = desk.judged();
    let first = held.expect("admitted");
    assert!(refused.is_empty());
    assert_eq!(KEY.rsplit_once(' ').map(|(key, _)| key), Some(first.ssh.as_str()));
    assert_eq!(first.reads.iter().map(HostName::as_str).collect::<Vec<_>>(), ["db1", "web1"]);
    assert_eq!((first.identity, first.fleet.as_str()), (first.ssh.key().expect("a key"), "lab"));

    let (code, said) = desk.admit("other.pub", OTHERS, "marit.key", &["--reads", "web1"]);
    assert_eq!(code, 0, "{said}");
    let second = desk.judged().0.expect("the later one");
    assert!(
        second.ssh.as_str() == OTHER.rsplit_once(' ').unwrap_or_default().0 && second.epoch > first.epoch
    );
    assert_eq!((second.replaces, second.reads.len()), (Some(first.identity.id()), 1));

    let revoke = ["revoke", "offline", "--role", "recovery", "--reason", "lost", "--yes", "offline", "--key"];
    let rest = ["marit.key", "pass", "admissions.json"].map(|name| desk.path(name));
    desk.must(&[&revoke[..], &[&rest[0], "--passphrase-file", &rest[1], "--out", &rest[2]]].concat());
    let (held, refused) = desk.judged();
    assert!(refused.is_empty());
    assert_eq!(held, None, "nor does the key count again that was replaced");
}

#[test]
fn what_is_not_compared_not_a_key_or_not_signed_by_who_may_admits_nothing() {
    let desk = Desk::new();
    desk.write("private", "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n");
    desk.write("rsa.pub", "ssh-rsa AAAAB3NzaC1yc2E= me\n");
    desk.write("bidi.pub", "ssh-ed25519 \u{202e}\u{1b}[2J me\n");
    let reads = ["--reads", "web1"];
    for (key, fingerprint, signer, why) in [
        ("recovery.pub", OTHERS, "marit.key", "it is another key"),
        ("recovery.pub", "SHA256:", "marit.key", "it is another key"),
        ("private", PRINT, "marit.key", "it is a private key"),
        ("rsa.pub", PRINT, "marit.key", "is not a SSH key"),
        ("bidi.pub", PRINT, "marit.key", "is not a SSH key"),
        ("recovery.pub", PRINT, "jeroen.key", "may not sign"),
    ] {
        let (code, said) = desk.admit(key, fingerprint, signer, &reads);
        assert!(code == 1 && said.contains(why), "{key} {fingerprint} {signer}: {code} {said}");
        assert!(!said.contains(['\u{202e}', '\u{1b}']), "{said:?}");
        assert!(!Path::new(&desk.path("admissions.json")).exists(), "{why}");
    }
    let (code, said) = desk.admit("recovery.pub", PRINT, "marit.key", &[]);
    assert!(code == 64 && said.contains("--reads"), "{code} {said}");
    let session = desk.path("none.json");
    for words in [
        vec!["token", "create", "offline", "--role", "recovery", "--out", "x", "--session", &session],
        vec!["admit", "web1", "--ssh-key", "x", "--key", "x", "--session", &session],
    ] {
        let (code, said) = desk.run(&words);
        assert_eq!(code, 64, "{said}");
    }
}

#[test]
fn a_list_that_is_none_is_left_as_it_is() {
    let desk = Desk::new();
    desk.write("admissions.json", "{\"admissions\":[],\"more\":1}");
    let (code, said) = desk.admit("recovery.pub", PRINT, "marit.key", &["--reads", "web1"]);
    assert!(code == 1 && said.contains("name a list that"), "{code} {said}");
    assert_eq!(
        fs::read_to_string(desk.path("admissions.json")).expect("there"),
        "{\"admissions\":[],\"more\":1}"
    );
}
