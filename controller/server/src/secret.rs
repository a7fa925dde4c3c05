//! Secrets that are handed out once and kept as hashes: tokens, sessions.

use tenure_trust::Hash;

/// 256 random bits as 64 hexadecimal digits. Shows nothing of itself.
pub struct Secret(String);

impl Secret {
    /// A fresh one.
    ///
    /// # Errors
    /// When the kernel has no randomness.
    pub fn fresh() -> Result<Self, getrandom::Error> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// One that somebody brought, if it has the form of one.
    pub fn brought(text: &str) -> Option<Self> {
        let hexadecimal = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 64 && text.bytes().all(hexadecimal)).then(|| Self(text.to_owned()))
    }

    /// What is kept of it. It has 256 bits, so that a plain hash gives nothing away.
    pub fn hash(&self) -> Hash {
        Hash::of(self.0.as_bytes())
    }

    /// A second secret that follows from this one, for forms of a session.
    pub fn derived(&self, purpose: &str) -> String {
        Hash::of_parts([purpose.as_bytes(), b"\n", self.0.as_bytes()]).to_string()
    }

    /// Its text, to be handed out.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Compares two texts in a time that depends on their length alone.
pub fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_64_digits_and_shows_nothing() {
        let secret = Secret::fresh().unwrap();
        assert_eq!(Secret::brought(secret.text()).unwrap().hash(), secret.hash());
        assert!(!format!("{secret:?}").contains(secret.text()));
        for bad in ["", "00", &"G".repeat(64), &"A".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert!(Secret::brought(bad).is_none(), "{bad}");
        }
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab"));
    }
}
