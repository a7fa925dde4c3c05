//! Passwords: argon2id (RFC 9106), judged in the same time whether the account exists or not, and few at once.

use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::secret::same;

/// Memory in KiB, passes and lanes (OWASP's second choice for argon2id).
const COST: Cost = (19 * 1024, 2, 1);
/// Memory in KiB, passes, lanes.
type Cost = (u32, u32, u32);

/// Hashes at once: each takes the memory above.
const AT_ONCE: usize = 2;
/// The longest password in bytes.
pub const LONGEST: usize = 256;
/// The shortest.
pub const SHORTEST: usize = 12;

static TURN: Semaphore = Semaphore::const_new(AT_ONCE);

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error("a password has {SHORTEST} to {LONGEST} bytes")]
    Length,
    /// No randomness, or no memory.
    #[error("the password cannot be hashed: {0}")]
    Failed(String),
}

/// The hash of a new password, with a salt of its own.
///
/// # Errors
/// When it is too short or long, or the machine has no randomness or memory.
pub async fn hash(password: &str) -> Result<String, PasswordError> {
    if !(SHORTEST..=LONGEST).contains(&password.len()) {
        return Err(PasswordError::Length);
    }
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt).map_err(|e| PasswordError::Failed(e.to_string()))?;
    let tag = tag(password, salt, COST).await.map_err(PasswordError::Failed)?;
    let (memory, passes, lanes) = COST;
    Ok(format!("argon2id${memory}${passes}${lanes}${}${tag}", hex::encode(salt)))
}

/// Is this the password of the account whose hash is kept? Without an account the same work is done.
pub async fn is_right(password: &str, kept: Option<&str>) -> bool {
    if password.len() > LONGEST {
        return false;
    }
    let parsed = kept.and_then(parse);
    let (cost, salt, expected) = parsed.unwrap_or((COST, [0; 16], ""));
    let found = tag(password, salt, cost).await;
    found.is_ok_and(|found| same(&found, expected))
}

fn parse(kept: &str) -> Option<(Cost, [u8; 16], &str)> {
    let mut parts = kept.split('$');
    let mut next = || parts.next();
    if next() != Some("argon2id") {
        return None;
    }
    let cost = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
    let salt = hex::decode(next()?).ok()?.try_into().ok()?;
    Some((cost, salt, next()?))
}

async fn tag(password: &str, salt: [u8; 16], cost: Cost) -> Result<String, String> {
    let _turn = TURN.acquire().await.map_err(|e| e.to_string())?;
    let password = password.to_owned();
    let work = move || {
        let params = Params::new(cost.0, cost.1, cost.2, Some(32)).map_err(|e| e.to_string())?;
        let mut out = [0u8; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &salt, &mut out)
            .map_err(|e| e.to_string())?;
        Ok(hex::encode(out))
    };
    tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let kept = hash("a long enough one").await.unwrap();
        assert!(!kept.contains("long"));
        assert!(is_right("a long enough one", Some(&kept)).await);
        assert!(!is_right("a long enough onE", Some(&kept)).await);
        assert!(!is_right("a long enough one", None).await);
        assert!(!is_right("", Some("argon2id$1$1$1$$")).await);
        assert!(!is_right("", Some("")).await);
        assert!(matches!(hash("short").await, Err(PasswordError::Length)));
        assert_ne!(kept, hash("a long enough one").await.unwrap(), "each has its own salt");
    }
}
