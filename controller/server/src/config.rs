//! `/etc/tenure/controller.yaml`: which host this is, where it listens, under which names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenure_sys::files::{CheckedDir, FileError};
use tenure_sys::text;
use tenure_trust::HostName;

/// Where it stands.
pub const CONFIG: &str = "/etc/tenure/controller.yaml";
/// The anchor of trust, placed by a person.
pub const ROOT: &str = "/etc/tenure/trust/root.json";
/// The controller's state.
pub const STATE: &str = "/var/lib/tenure-controller";
/// The user that it works as.
pub const USER: &str = "tenure-controller";
/// Largest configuration file in bytes; a real one has a few lines.
const LIMIT: u64 = 64 * 1024;

/// The controller's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which host of the policy this is: its duty book is for it.
    pub host: HostName,
    /// Where machines connect.
    pub machines: Machines,
    /// Where people and programs connect.
    pub people: People,
    /// A directory that signed policy is put into by hand, beside uploads.
    #[serde(default)]
    pub policy: Option<Drop>,
}

/// The machines' listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machines {
    /// Address and port.
    pub listen: SocketAddr,
    /// Names and addresses under which machines and people reach it; they stand in its certificate. The first is the
    /// name that invitations carry; machines try all of them in this order.
    pub names: Vec<String>,
}

/// The people's listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// Address and port.
    pub listen: SocketAddr,
}

/// The drop directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drop {
    /// An absolute directory with what `tenure sign` wrote.
    pub path: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read or is not to be trusted.
    #[error("cannot use the configuration {}", text::path(path))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// It does not parse.
    #[error("{} is not a configuration: {why}", text::path(path))]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        why: String,
    },
}

impl ConfigError {
    /// What to do next.
    pub const fn hint(&self) -> &'static str {
        "write `host: NAME`, `machines: { listen: \"[::]:8441\", names: [NAME] }` and \
         `people: { listen: \"[::]:8443\" }`, readable by the user tenure-controller and writable by root alone"
    }
}

impl Config {
    /// Reads the configuration. The file and every directory above it must be root's (or this user's) and writable by
    /// nobody else.
    ///
    /// # Errors
    /// [`ConfigError`], with the command that mends it where one does.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = CheckedDir::read_file(path, LIMIT)
            .map_err(|source| ConfigError::File { path: path.into(), source })?;
        Self::parse(&file.bytes).map_err(|why| ConfigError::Parse { path: path.into(), why })
    }

    /// Reads its text.
    ///
    /// # Errors
    /// What is wrong, in one line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let config: Self = serde_yaml::from_slice(bytes).map_err(|e| {
            let message = e.to_string();
            text::neutral(message.lines().next().unwrap_or("it cannot be read").as_bytes(), 300)
        })?;
        let names = &config.machines.names;
        if names.is_empty() || names.len() > 16 {
            return Err("machines.names must have one to 16 names or addresses".into());
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
        if let Some(bad) =
            names.iter().find(|name| name.is_empty() || name.len() > 253 || !name.bytes().all(plain))
        {
            return Err(format!(
                "machines.names: {:?} is no name and no address",
                text::neutral(bad.as_bytes(), 60)
            ));
        }
        if let Some(drop) = &config.policy
            && !drop.path.is_absolute()
        {
            return Err(format!("policy.path must start with /, not {}", text::path(&drop.path)));
        }
        Ok(config)
    }

    /// `HOST:PORT` of every name, as invitations carry them.
    pub fn places(&self) -> Vec<String> {
        let port = self.machines.listen.port();
        let place = |name: &String| match name.parse::<std::net::Ipv6Addr>() {
            Ok(v6) => format!("[{v6}]:{port}"),
            Err(_) => format!("{name}:{port}"),
        };
        self.machines.names.iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "host: ctl1\nmachines: { listen: \"[::]:8441\", names: [ctl1, 2001:db8::1, 198.51.100.2] }\n\
                        people: { listen: \"127.0.0.1:8443\" }\n";

    #[test]
    fn reads_what_an_administrator_writes() {
        let config = Config::parse(GOOD.as_bytes()).expect("good");
        assert_eq!(config.places(), ["ctl1:8441", "[2001:db8::1]:8441", "198.51.100.2:8441"]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (bad, word) in [
            (GOOD.replace("ctl1, 2001:db8::1, 198.51.100.2", ""), "names"),
            (GOOD.replace("198.51.100.2", "\"a b\""), "no name"),
            (GOOD.replace("host: ctl1", "host: Ctl_1"), "host name"),
            (format!("{GOOD}policy: {{ path: p }}\n"), "start with /"),
            (format!("{GOOD}polic: 1\n"), "polic"),
            (GOOD.replace("8443", "99999"), ""),
            ("\u{1b}[2J".into(), ""),
        ] {
            let error = Config::parse(bad.as_bytes()).expect_err(&bad);
            assert!(error.contains(word), "{bad:?} gave {error:?}");
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
    }
}
