//! `/etc/tenure/vault.yaml`: which host this vault stands on and where its policy comes from.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenure_link::{Places, uplink};
use tenure_sys::files::{CheckedDir, FileError};
use tenure_sys::text;
use tenure_trust::HostName;

/// The configuration file.
pub const CONFIG: &str = "/etc/tenure/vault.yaml";
/// The vault's state.
pub const STATE: &str = "/var/lib/tenure-vault";
/// The anchor of trust, placed by a person.
pub const ROOT: &str = "/etc/tenure/trust/root.json";

/// Largest configuration file in bytes; a real one has a few lines.
const LIMIT: u64 = 64 * 1024;

/// The vault's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which host of the policy this is.
    pub host: HostName,
    /// Where its policy comes from.
    pub policy: PolicyFrom,
}

/// Where a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFrom {
    /// The way.
    pub from: Source,
    /// An absolute directory; none from a controller.
    #[serde(default)]
    pub path: Option<PathBuf>,
}

/// The ways a policy comes to a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A drop directory with `index.json`, `<host>.vault.json` and `admissions.json`, verified against the root.
    Bundles,
    /// Pulled from the controller that this vault was enrolled at, verified in the same way.
    Controller,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is none.
    #[error("there is no configuration at {}", text::path(path))]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
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
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } | Self::Parse { .. } => Some(
                "write `host: NAME` and `policy: { from: controller }`, or `policy: { from: bundles, path: DIR }`",
            ),
            Self::File { source: FileError::Unsafe { .. }, .. } => {
                Some("whoever can write there decides whose backups are kept")
            }
            Self::File { .. } => None,
        }
    }
}

impl Config {
    /// The directory in which index, bundle and admissions lie.
    pub fn drop_dir(&self, places: &Places) -> PathBuf {
        self.policy.path.clone().unwrap_or_else(|| uplink::directory(places))
    }

    /// Reads the configuration: root's file, in root's directories, writable by nobody else. The vault's own user may
    /// read it and not change it.
    ///
    /// # Errors
    /// [`ConfigError`], with the command that mends it where one does.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::File { path: path.into(), source };
        let file = match CheckedDir::read_file(path, LIMIT) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Err(ConfigError::Missing { path: path.into() }),
            Err(error) => return Err(failed(error)),
        };
        if file.stat.uid != 0 {
            let mend = format!("chown root: {}", text::shell_word(path));
            let why = format!("is owned by uid {} and not by root", file.stat.uid);
            return Err(failed(FileError::Unsafe { path: path.into(), why, mend }));
        }
        Self::parse(&file.bytes).map_err(|why| ConfigError::Parse { path: path.into(), why })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let config: Self = serde_yaml::from_slice(bytes).map_err(|e| plain(&e.to_string()))?;
        match (config.policy.from, &config.policy.path) {
            (Source::Bundles, Some(path)) if path.is_absolute() => Ok(config),
            (Source::Bundles, Some(path)) => {
                Err(format!("policy.path must start with /, not {}", text::path(path)))
            }
            (Source::Bundles, None) => Err("policy.path must say where the bundles lie".into()),
            (Source::Controller, Some(_)) => Err("policy.path has no meaning with a controller".into()),
            (Source::Controller, None) => Ok(config),
        }
    }
}

/// The parser's message on one line; it quotes the file, which is root's but may hold anything.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or("it cannot be read");
    text::neutral(line.as_bytes(), 300)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    const GOOD: &str = "host: vault1\npolicy: { from: bundles, path: /etc/tenure/policy }\n";

    #[test]
    fn refuses_what_it_does_not_know() {
        assert_eq!(Config::parse(GOOD.as_bytes()).unwrap().host.as_str(), "vault1");
        assert!(Config::parse(b"host: vault1\npolicy: { from: controller }\n").is_ok());
        for bad in [
            "host: vault1\n",
            "host: Vault_1\npolicy: { from: bundles, path: /p }\n",
            "host: vault1\npolicy: { from: directory, path: /p }\n",
            "host: vault1\npolicy: { from: bundles, path: p }\n",
            "host: vault1\npolicy: { from: bundles }\n",
            "host: vault1\npolicy: { from: controller, path: /p }\n",
            "host: vault1\nhots: v\npolicy: { from: bundles, path: /p }\n",
            "host: vault1\nhost: vault2\npolicy: { from: bundles, path: /p }\n",
            "\u{1b}[2J",
            "",
        ] {
            let error = Config::parse(bad.as_bytes()).expect_err(bad);
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused_with_what_mends_it() {
        let dir = tempfile::tempdir_in("/run").expect("these tests run as root");
        let path = dir.path().join("vault.yaml");
        assert!(matches!(Config::read(&path), Err(ConfigError::Missing { .. })));
        std::fs::write(&path, GOOD).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        let error = Config::read(&path).unwrap_err();
        assert!(format!("{:?}", error).contains("chmod go-w"), "{error:?}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        chown(&path, Some(4711), None).unwrap();
        assert!(matches!(Config::read(&path), Err(ConfigError::File { .. })));
        chown(&path, Some(0), None).unwrap();
        assert!(Config::read(&path).is_ok());
    }
}
