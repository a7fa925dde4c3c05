//! `tenure clear` without a controller: what it writes is judged as a vault judges it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tenure_sys::command::{Ended, Program, capture};
use tenure_trust::order::verify_clear;
use tenure_trust::{Clear, OrderList, Refused, Root, VaultName};

struct Desk(tempfile::TempDir);

impl Desk {
    /// Marit may order, jeroen may only sign policy.
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().expect("a directory"));
        fs::write(desk.path("pass"), "correct horse battery\n").expect("its own file");
        fs::set_permissions(desk.path("pass"), fs::Permissions::from_mode(0o600)).expect("its own file");
        for name in ["marit", "jeroen"] {
            desk.must(&["key", "create", name, "--dir", &desk.path("")]);
        }
        let [marit, jeroen, key, root] =
            ["marit.pub", "jeroen.pub", "marit.key", "root.json"].map(|name| desk.path(name));
        let keys = ["--root-key", &marit, "--policy-key", &jeroen, "--order-key", &marit, "--key", &key];
        desk.must(&[&["root", "create", "--fleet", "lab", "--out", &root][..], &keys].concat());
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    /// Exit code, and standard output with standard error.
    fn run(&self, words: &[&str]) -> (i32, String) {
        let pass = self.path("pass");
        let words = [words, &["--passphrase-file", &pass]].concat();
        let done = capture(&Program::new(env!("CARGO_BIN_EXE_tenure"), &words)).expect("it runs");
        let code = if let Ended::Code(code) = done.ended { code } else { -1 };
        (code, String::from_utf8([done.stdout, done.stderr].concat()).expect("text"))
    }

    fn must(&self, words: &[&str]) {
        let (code, said) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {said}");
    }

    fn clear(&self, series: &str, generation: &str, signer: &str, more: &[&str]) -> (i32, String) {
        let [key, root, out] = [signer, "root.json", "orders.json"].map(|name| self.path(name));
        let words = ["clear", series, generation, "--key", &key, "--root", &root, "--out", &out];
        self.run(&[&words[..], more].concat())
    }

    /// The list as a vault of this name judges it.
    fn judged(&self, vault: &str) -> Vec<Result<Clear, Refused>> {
        let root = Root::anchor(&fs::read(self.path("root.json")).expect("a root")).expect("it holds");
        let text = fs::read(self.path("orders.json")).expect("a list");
        let list: OrderList = serde_json::from_slice(&text).expect("the form of a drop directory");
        let vault = VaultName::new(vault).expect("a name");
        let now = tenure_sys::clock::wall();
        list.orders.iter().map(|text| verify_clear(&root, Some(&vault), now, text.as_bytes())).collect()
    }
}

const GOOD: [&str; 4] = ["--vault", "vault1", "--reason", "half of it was logs"];

#[test]
fn an_order_is_signed_for_one_vault_and_one_copy_and_added_to_the_list() {
    let desk = Desk::new();
    let (code, said) = desk.clear("acme/web1/server", "2026-11-23.1", "marit.key", &GOOD);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ordered vault1 to take acme/web1/server 2026-11-23.1"), "{said}");
    let more = [&GOOD[..], &["--days", "2", "--json"]].concat();
    let (code, said) = desk.clear("web1/web1/nightly", "2026-11-24.2", "marit.key", &more);
    assert!(code == 0 && said.contains("\"generation\": \"2026-11-24.2\""), "{said}");
    let judged = desk.judged("vault1");
    let [Ok(first), Ok(second)] = judged.as_slice() else { panic!("{judged:?}") };
    assert_eq!((first.series.path().as_str(), first.reason.as_str()), ("acme/web1/server", GOOD[3]));
    assert_eq!(second.generation.to_string(), "2026-11-24.2");
    assert!(second.until < first.until, "two days and a week");
    let elsewhere = desk.judged("vault2");
    assert!(elsewhere.iter().all(|one| matches!(one, Err(Refused::WrongVault { .. }))), "{elsewhere:?}");
}

#[test]
fn what_nobody_may_order_is_not_written() {
    let desk = Desk::new();
    let cases: [(&str, &str, &[&str], i32, &str); 8] = [
        ("acme/web1/server", "jeroen.key", &GOOD, 1, "may not sign"),
        ("acme/web1/weekly", "marit.key", &GOOD, 64, "OWNER/HOST/SET"),
        ("acme/web1", "marit.key", &GOOD, 64, "OWNER/HOST/SET"),
        ("acme/web1/server", "marit.key", &["--vault", "vault1", "--reason", "  "], 64, "--reason"),
        ("acme/web1/server", "marit.key", &["--vault", "vault1"], 64, "--reason"),
        ("acme/web1/server", "marit.key", &["--reason", "so"], 64, "--vault"),
        ("acme/web1/server", "marit.key", &["--reason", "so", "--vault", "v1", "--days", "32"], 64, "32"),
        ("acme/web1/server", "marit.key", &["--reason", "so", "--vault", "v1", "--days", "0"], 64, "0"),
    ];
    for (series, signer, more, exit, why) in cases {
        let (code, said) = desk.clear(series, "2026-11-23.1", signer, more);
        assert!(code == exit && said.contains(why), "{series} {signer} {more:?}: {code} {said}");
        assert!(!std::path::Path::new(&desk.path("orders.json")).exists(), "{why}");
    }
    let (code, said) = desk.clear("acme/web1/server", "yesterday", "marit.key", &GOOD);
    assert_eq!(code, 64, "{said}");
    fs::write(desk.path("orders.json"), "{\"admissions\":[]}").expect("written");
    let (code, said) = desk.clear("acme/web1/server", "2026-11-23.1", "marit.key", &GOOD);
    assert!(code == 1 && said.contains("name a list that"), "{code} {said}");
    let left = fs::read_to_string(desk.path("orders.json")).expect("there");
    assert_eq!(left, "{\"admissions\":[]}", "a file that is none is left as it is");
}
