//! As whom a command works: never as root. Root's commands become the controller's own user before they touch its state.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, geteuid, setgid, setgroups, setuid};

use super::Failure;
use crate::config::USER;

/// A new file for a secret, made as whoever ran the command, before root's rights are given up.
#[derive(Debug)]
pub(super) struct SecretFile {
    path: PathBuf,
    file: File,
}

impl SecretFile {
    /// Makes it; it must not exist yet.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| {
            Failure::of(&format!("cannot make {}", path.display()), &e)
                .hint("name a file that does not exist yet, in a directory that does")
        })?;
        Ok(Self { path: path.into(), file })
    }

    /// Writes it durably.
    pub(super) fn write(mut self, text: &str) -> Result<(), Failure> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|e| Failure::of(&format!("cannot write {}", self.path.display()), &e))
    }

    /// Takes it away again when there is nothing to write into it.
    pub(super) fn discard(self) {
        // An empty file of nobody's harm may stay when it cannot be removed any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes what `work` gives into a new file of the caller's; without it no file is left.
pub(super) fn into_secret_file(
    path: &Path,
    become_user: impl FnOnce() -> Result<(), Failure>,
    work: impl FnOnce() -> Result<String, Failure>,
) -> Result<(), Failure> {
    let file = SecretFile::create(path)?;
    match become_user().and_then(|()| work()) {
        Ok(text) => file.write(&text),
        Err(failure) => {
            file.discard();
            Err(failure)
        }
    }
}

/// Makes the directory of state for the controller's user, when root asks, and becomes that user.
pub(super) fn prepare(state: &Path) -> Result<(), Failure> {
    let failed = |e: &dyn std::error::Error| Failure::of(&format!("cannot make {}", state.display()), e);
    if !state.exists() {
        std::fs::create_dir(state).map_err(|e| failed(&e))?;
        std::fs::set_permissions(state, std::fs::Permissions::from_mode(0o700)).map_err(|e| failed(&e))?;
        if geteuid().is_root()
            && let Some(user) = user()?
        {
            chown(state, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(|e| failed(&e))?;
        }
    }
    become_owner(state)
}

/// Gives root's rights up for those of the owner of the state. Whoever is not root stays who he is.
pub(super) fn become_owner(state: &Path) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(state).map_err(|e| {
        Failure::of(&format!("cannot look at {}", state.display()), &e).hint("run `tenure-controller init`")
    })?;
    if owner.uid() == 0 {
        // A controller whose state is root's own: a test, or a container with one user.
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    let became = setgroups(&[gid]).and_then(|()| setgid(gid)).and_then(|()| setuid(uid));
    became.map_err(|e| Failure::of(&format!("cannot become the user {uid}"), &e))
}

fn user() -> Result<Option<User>, Failure> {
    User::from_name(USER).map_err(|e| Failure::of(&format!("cannot look up the user {USER}"), &e))
}
