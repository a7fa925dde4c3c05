//! `user password|remove|list`: makes an account or gives it another generated password, takes one away, shows them.

use std::path::Path;

use jiff::Timestamp;
use tenure_sys::clock;

use super::output::Output;
use super::{Exit, Failure, block_on, who};
use crate::app::Places;
use crate::password;
use crate::store::{Access, Store};

/// Gives an account a new password.
pub(super) fn password(places: &Places, name: &str, file: &Path, out: Output) -> Result<Exit, Failure> {
    check_name(name)?;
    who::into_secret_file(
        file,
        || who::become_owner(&places.state),
        || {
            block_on(async {
                let store = Store::open(&places.state).await?;
                let password = generate()?;
                keep(&store, name, &password, clock::wall()).await?;
                store.close().await;
                Ok(format!("{password}\n"))
            })
        },
    )?;
    out.line(&format!("account {name}; its password is in {}; its sessions have ended", file.display()));
    out.document(&serde_json::json!({ "account": name, "password_file": file }));
    Ok(Exit::Clean)
}

/// Takes an account away; its sessions and tokens end at once.
pub(super) fn remove(places: &Places, name: &str, out: Output) -> Result<Exit, Failure> {
    who::become_owner(&places.state)?;
    let (removed, left) = block_on(async {
        let store = Store::open(&places.state).await?;
        let removed = store.remove_user(&Access::Local, name).await?;
        let left = store.user_count(&Access::Local).await?;
        store.close().await;
        Ok((removed, left))
    })?;
    if !removed {
        return Err(Failure::new(format!("there is no account {name:?}"))
            .hint("`tenure-controller user list` names them"));
    }
    out.line(&format!(
        "account {name} is removed; its sessions and tokens have ended; {left} accounts are left"
    ));
    if left == 0 {
        out.note("nobody can log in now: `tenure-controller user password NAME` makes an account");
    }
    out.document(&serde_json::json!({ "account": name, "accounts_left": left }));
    Ok(Exit::Clean)
}

/// Shows the accounts.
pub(super) fn list(places: &Places, out: Output) -> Result<Exit, Failure> {
    who::become_owner(&places.state)?;
    let users = block_on(async {
        let store = Store::open(&places.state).await?;
        let users = store.users(&Access::Local).await?;
        store.close().await;
        Ok(users)
    })?;
    users.iter().for_each(|user| out.line(user));
    out.document(&serde_json::json!({ "accounts": users }));
    Ok(Exit::Clean)
}

/// An account's name is a plain word.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(plain) {
        return Err(Failure::new(format!("{name:?} is no name for an account"))
            .hint("lower-case letters, digits and hyphens, at most 63"));
    }
    Ok(())
}

/// 120 random bits in letters that are not mistaken for each other, in groups.
pub(super) fn generate() -> Result<String, Failure> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz234567893";
    let mut bytes = [0u8; 24];
    getrandom::fill(&mut bytes).map_err(|e| Failure::of("cannot get randomness", &e))?;
    let letters = bytes.iter().map(|b| char::from(LETTERS[usize::from(b & 31)]));
    let mut out = String::new();
    for (n, letter) in letters.enumerate() {
        if n > 0 && n % 6 == 0 {
            out.push('-');
        }
        out.push(letter);
    }
    Ok(out)
}

/// Keeps the hash of the password.
pub(super) async fn keep(store: &Store, name: &str, text: &str, now: Timestamp) -> Result<(), Failure> {
    let hash = password::hash(text).await.map_err(|e| Failure::of("cannot keep the password", &e))?;
    Ok(store.put_user(&Access::Local, name, &hash, now).await?)
}
