//! `/etc/tenure/agent.yaml`: which host this is and where its policy comes from.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenure_link::uplink;
use tenure_sys::files::{CheckedDir, FileError};
use tenure_sys::text;
use tenure_trust::HostName;

use crate::paths::STATE;

/// Largest configuration file in bytes; a real one has a few lines.
const LIMIT: u64 = 64 * 1024;

/// The agent's configuration.
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
    /// Signed or not.
    pub from: Source,
    /// An absolute directory; the link's own, when the policy comes from the controller.
    #[serde(default)]
    pub path: PathBuf,
}

/// The ways a policy comes to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A drop directory with `index.json` and `<host>.bundle.json`, verified against the root.
    Bundles,
    /// The administrator's own policy set, unsigned: root's directory is its authority (mode `standalone`).
    Directory,
    /// The controller that this host has enrolled with; verified against the root like a drop directory.
    Controller,
}

impl Source {
    /// The word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bundles => "bundles",
            Self::Directory => "directory",
            Self::Controller => "controller",
        }
    }
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
    pub fn hint(&self) -> String {
        const SHAPE: &str = "write `host: NAME` and `policy: { from: bundles, path: /etc/tenure/policy }`";
        match self {
            Self::Missing { path } => {
                format!("{SHAPE} into {}, or name a policy with --policy DIR --host NAME", text::path(path))
            }
            Self::Parse { .. } => SHAPE.into(),
            Self::File { source, .. } => source.hint().into(),
        }
    }
}

impl Config {
    /// Reads the configuration. The file and every directory above it must be root's and writable by nobody else.
    ///
    /// # Errors
    /// [`ConfigError`], with the command that mends it where one does.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = CheckedDir::read_file(path, LIMIT).map_err(|source| {
            if source.is_missing() {
                ConfigError::Missing { path: path.into() }
            } else {
                ConfigError::File { path: path.into(), source }
            }
        })?;
        Self::parse(&file.bytes).map_err(|why| ConfigError::Parse { path: path.into(), why })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut config: Self = serde_yaml::from_slice(bytes).map_err(|e| plain(&e.to_string()))?;
        if config.policy.from == Source::Controller {
            if config.policy.path != Path::new("") {
                return Err("policy.path is not for a policy from the controller: leave it out".into());
            }
            config.policy.path = Path::new(STATE).join(uplink::DIRECTORY);
        }
        if !config.policy.path.is_absolute() {
            return Err(format!("policy.path must start with /, not {}", text::path(&config.policy.path)));
        }
        Ok(config)
    }
}

/// The parser's message on one line; it quotes the file, which is root's but may hold anything.
fn plain(message: &str) -> String {
    let line = message.lines().next().unwrap_or("it cannot be read");
    text::neutral(line.as_bytes(), 300)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "host: web1\npolicy: { from: bundles, path: /etc/tenure/policy }\n";

    #[test]
    fn reads_both_sources() {
        let config = Config::parse(GOOD.as_bytes()).expect("good");
        assert_eq!(config.host.as_str(), "web1");
        assert_eq!(config.policy.from, Source::Bundles);
        let config = Config::parse(b"host: a\npolicy:\n  from: directory\n  path: /srv/p\n").expect("good");
        assert_eq!(config.policy.from, Source::Directory);
        let config = Config::parse(b"host: a\npolicy: { from: controller }\n").expect("good");
        assert_eq!(config.policy.path, Path::new("/var/lib/tenure/link"));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (bad, word) in [
            ("host: web1\n", "policy"),
            ("host: Web_1\npolicy: { from: bundles, path: /p }\n", "host name"),
            ("host: web1\npolicy: { from: http, path: /p }\n", "http"),
            ("host: web1\npolicy: { from: bundles, path: p }\n", "must start with /"),
            ("host: web1\npolicy: { from: bundles }\n", "must start with /"),
            ("host: web1\npolicy: { from: controller, path: /p }\n", "leave it out"),
            ("host: web1\nhots: web2\npolicy: { from: bundles, path: /p }\n", "hots"),
            ("host: web1\nhost: web2\npolicy: { from: bundles, path: /p }\n", "host"),
            ("\u{1b}[2J", ""),
            ("", ""),
            ("a: &a [*a, *a]\n", ""),
        ] {
            let error = Config::parse(bad.as_bytes()).expect_err(bad);
            assert!(error.contains(word), "{bad:?} gave {error:?}");
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_is_refused_with_the_command_that_mends_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir_in("/run").expect("root's directory");
        let path = dir.path().join("agent.yaml");
        std::fs::write(&path, GOOD).expect("write");
        assert!(Config::read(&path).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("chmod");
        let error = Config::read(&path).expect_err("writable by all");
        let ConfigError::File { source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains("chmod go-w"), "{source}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
        assert!(Config::read(&path).is_err(), "its directory is writable by all");
        assert!(matches!(Config::read(Path::new("/run/none/x.yaml")), Err(ConfigError::Missing { .. })));
    }
}
