//! The operator at the office: a key, a root, signed policy, and what is carried to web1.

use tenure_lab::Output;

use crate::admissions;
use crate::agent::SOON;
use crate::fleet::Fleet;
use crate::{Policy, Result};

/// The operator's folder on `office`: key, root, set, signed files.
pub const DESK: &str = "/root/operator";
/// Where web1 takes signed bundles from.
pub const DROP: &str = "/etc/tenure/policy";
/// Where web1's anchor of trust stands.
pub const ROOT: &str = "/etc/tenure/trust/root.json";
/// The passphrase of every operator's key.
pub const PASSPHRASE: &str = "a long enough passphrase";
/// Prints an operator's secret key (DER in hexadecimal digits); arguments: the desk, the operator's name.
pub(crate) const KEY_OF: &str =
    "cd \"$0\" && openssl pkey -in \"$1.key\" -passin file:pass -outform DER | od -An -v -tx1 | tr -d ' \\n'";

impl Fleet {
    /// Runs `tenure` at the operator's desk.
    ///
    /// # Errors
    /// When the lab fails; what the program said is in the output.
    pub fn tenure(&self, words: &[&str]) -> Result<Output> {
        let line = "cd \"$0\" && exec tenure \"$@\"";
        Ok(self.office.exec_fed(&[&["sh", "-c", line, DESK], words].concat(), None, 60)?)
    }

    /// The same, and it has to end with 0.
    ///
    /// # Errors
    /// When it does not.
    pub fn tenure_must(&self, words: &[&str]) -> Result<String> {
        let output = self.tenure(words)?;
        if output.ok() { Ok(output.stdout) } else { Err(format!("tenure {words:?}: {output:?}").into()) }
    }

    /// Makes an operator's key called `name` and a root `NAME-root.json` of fleet `fleet` that trusts it.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn make_operator(&self, name: &str, fleet: &str) -> Result<()> {
        self.office.put(&format!("{DESK}/pass"), PASSPHRASE.as_bytes(), "600")?;
        let (secret, public, root) =
            (format!("{name}.key"), format!("{name}.pub"), format!("{name}-root.json"));
        self.tenure_must(&["key", "create", name, "--passphrase-file", "pass"])?;
        self.office.put(
            &format!("{DESK}/lab-admits.pub"),
            admissions::admitting_public().as_bytes(),
            "644",
        )?;
        let keys = ["--root-key", &public, "--policy-key", &public, "--key", &secret];
        let more = ["--admission-key", &public, "--admission-key", "lab-admits.pub", "--order-key", &public];
        let rest = ["--out", &root, "--passphrase-file", "pass"];
        self.tenure_must(&[&["root", "create", "--fleet", fleet], keys.as_slice(), &more, &rest].concat())?;
        Ok(())
    }

    /// Puts a set on the operator's desk as folder `set`.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn write_set(&self, policy: &Policy) -> Result<()> {
        self.office.must(&["rm", "-rf", &format!("{DESK}/set")])?;
        for (name, text) in &policy.files {
            self.office.put(&format!("{DESK}/set/{name}"), text.as_bytes(), "644")?;
        }
        Ok(())
    }

    /// Signs a set with an operator's key as `version` into folder `signed` of the desk.
    ///
    /// # Errors
    /// When the tool refuses.
    pub fn sign(&self, operator: &str, policy: &Policy, version: u32) -> Result<String> {
        self.write_set(policy)?;
        self.office.must(&["rm", "-rf", &format!("{DESK}/signed")])?;
        let (key, root, version) =
            (format!("{operator}.key"), format!("{operator}-root.json"), version.to_string());
        self.tenure_must(&[
            "sign",
            "set",
            "--key",
            &key,
            "--root",
            &root,
            "--version",
            &version,
            "--out",
            "signed",
            "--passphrase-file",
            "pass",
        ])
    }

    /// Carries a root to web1, by hand as a person does.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn place_root(&self, operator: &str) -> Result<()> {
        let root = self.office.get(&format!("{DESK}/{operator}-root.json"))?;
        Ok(self.web1.put(ROOT, root.as_bytes(), "644")?)
    }

    /// Carries what was signed last to web1's drop directory.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn deliver(&self) -> Result<()> {
        for name in ["web1.bundle.json", "index.json"] {
            let bytes = self.office.get(&format!("{DESK}/signed/{name}"))?;
            self.web1.put(&format!("{DROP}/{name}"), bytes.as_bytes(), "644")?;
        }
        Ok(())
    }

    /// Tells the agent on web1 to take its policy from signed bundles.
    ///
    /// # Errors
    /// When the lab fails.
    pub fn configure_signed(&self) -> Result<()> {
        self.web1.must(&["install", "-d", "-m", "755", DROP])?;
        let text = format!("host: web1\npolicy: {{ from: bundles, path: {DROP} }}\n");
        Ok(self.web1.put("/etc/tenure/agent.yaml", text.as_bytes(), "600")?)
    }

    /// Waits until `status` says why an offered policy was not taken, in words that contain `word`.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn await_refusal(&self, word: &str) -> Result<String> {
        let mut said = String::new();
        let told = tenure_lab::wait_for(&format!("a refusal that says {word:?}"), SOON, || {
            let fault = self.agent_json(&["status"]).unwrap_or_default()["board"]["policy_fault"].clone();
            said = fault.as_str().unwrap_or_default().to_owned();
            said.contains(word)
        });
        told.map_err(|why| format!("{why}, but {said:?}\n{}", self.journal()))?;
        Ok(said)
    }
}
