//! A session on disk: where the controller is, how it is known, and the token that a login gave. Only its owner reads it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::http::Place;
use crate::failure::Failure;
use crate::output::Exit;
use crate::{clock, files, surroundings};

const LIMIT: u64 = 256 << 10;
const NAME: &str = "session.json";

/// A session.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    schema: u32,
    server: String,
    name: String,
    ca: String,
    /// Whose.
    pub(crate) user: String,
    token: String,
    /// When it ends.
    pub(crate) until: Timestamp,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({} at {}, token not shown)", self.user, self.server)
    }
}

/// The session's file: the one that was named, or the one in the state directory.
pub(super) fn path(given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => surroundings::state_dir().map(|dir| dir.join(NAME)).ok_or_else(|| {
            Failure::because("find the session", "there is no home directory").hint("give --session FILE")
        }),
    }
}

impl Session {
    /// A new one.
    pub(crate) fn new(place: Place, user: String, token: String, until: Timestamp) -> Self {
        let Place { server, name, ca } = place;
        Self { schema: 1, server, name, ca, user, token, until }
    }

    /// Where the controller is.
    pub(crate) fn place(&self) -> Place {
        Place { server: self.server.clone(), name: self.name.clone(), ca: self.ca.clone() }
    }

    /// Its token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Reads one that holds.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let doing = || format!("use the session {}", path.display());
        let login = |failure: Failure| failure.hint("`tenure login` begins one");
        let about = path.metadata().map_err(|error| login(Failure::new(doing(), &error)))?;
        if about.mode() & 0o077 != 0 {
            let why = format!("others can read it (mode {:04o})", about.mode() & 0o7777);
            let hint = format!("chmod 600 {}", path.display());
            return Err(Failure::because(doing(), why).hint(hint).exit(Exit::Config));
        }
        let bytes = files::read(path, LIMIT)?;
        let session: Self =
            serde_json::from_slice(&bytes).map_err(|error| login(Failure::new(doing(), &error)))?;
        if session.until <= clock::now() {
            return Err(login(Failure::because(doing(), format!("it ended {}", session.until))));
        }
        Ok(session)
    }

    /// Writes it down for its owner alone.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            files::make_dir(dir)?;
        }
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::new(format_args!("write {}", path.display()), &error))?;
        files::replace(path, format!("{text}\n").as_bytes(), 0o600)
    }
}
