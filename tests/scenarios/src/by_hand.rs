//! What `tenure sign` refuses, signed all the same with the operator's own key: a host has to refuse it by itself.

use tenure_policy::names::NetworkName;
use tenure_policy::resolved::HostPolicy;
use tenure_trust::{HostName, Index, PolicyVersion, Signed, SigningKey};

use crate::operator::{DESK, KEY_OF};
use crate::{Fleet, Result};

impl Fleet {
    /// Changes what was signed last for web1, and signs it and its index anew as `version`, in folder `signed` of the desk.
    ///
    /// # Errors
    /// When the lab fails, or the key or what was signed cannot be read.
    pub fn sign_by_hand(
        &self,
        operator: &str,
        version: u64,
        change: impl FnOnce(&mut HostPolicy),
    ) -> Result<()> {
        let key = SigningKey::from_seed(&self.secret_seed(operator)?);
        let place = |name: &str| format!("{DESK}/signed/{name}");
        let read = |name: &str| self.office.get(&place(name));
        let mut policy =
            Signed::<HostPolicy>::parse(read("web1.bundle.json")?.trim_end().as_bytes())?.unverified()?;
        change(&mut policy);
        let bundle = Signed::new(&policy, &[&key]);
        let mut index = Signed::<Index>::parse(read("index.json")?.trim_end().as_bytes())?.unverified()?;
        index.version = PolicyVersion(version);
        index.machines.insert(HostName::new("web1")?, bundle.hash());
        let index = Signed::new(&index, &[&key]);
        for (name, text) in [("web1.bundle.json", bundle.to_json()), ("index.json", index.to_json())] {
            self.office.put(&place(name), format!("{text}\n").as_bytes(), "644")?;
        }
        Ok(())
    }

    /// The same, with a policy that blocks the office, from which management comes.
    ///
    /// # Errors
    /// As [`Fleet::sign_by_hand`].
    pub fn sign_a_cut(&self, operator: &str, version: u64) -> Result<()> {
        let office = NetworkName::new("office")?;
        let mut blocked = false;
        self.sign_by_hand(operator, version, |policy| {
            if let Some(firewall) = &mut policy.firewall {
                firewall.blocks.push(office);
                blocked = true;
            }
        })?;
        if blocked { Ok(()) } else { Err("web1's policy has no firewall section".into()) }
    }

    /// The operator's secret key, as openssl opens it with the passphrase.
    ///
    /// # Errors
    /// When it does not.
    pub fn secret_seed(&self, operator: &str) -> Result<[u8; 32]> {
        let hex = self.office.must(&["sh", "-c", KEY_OF, DESK, operator])?;
        let hex = hex.trim();
        // PKCS#8 of an Ed25519 key (RFC 8410) ends with its 32 bytes.
        let seed = hex.len().checked_sub(64).and_then(|at| hex.get(at..)).ok_or("openssl gave no key")?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(seed.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
        }
        Ok(bytes)
    }
}
