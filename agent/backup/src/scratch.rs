//! The scratch server of a drill, one at a time: what it restores is foreign code, so it and its clients run under an account
//! of its own, behind systemd's walls, and are gone when this goes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tenure_policy::bundles::DatabasePlace;
use tenure_sys::command::{self, Program};
use tenure_sys::files::{BaseDir, Expect, Roots};
use tenure_sys::lock::Lock;

use crate::error::BackupError;
use crate::keys::private_dir;
use crate::postgres::{Postgres, doing, user};

/// The account; `tenure-agent.sysusers` makes it.
pub const ACCOUNT: &str = "tenure-drill";
/// root's; what the account has stands in [`DATA`] below it.
const HOME: &str = "/var/lib/tenure-drill";
/// The account's.
const DATA: &str = "/var/lib/tenure-drill/scratch";
/// Everything that runs under the account is in here, and ends with it.
const SLICE: &str = "tenure-drill.slice";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";

/// What each of its processes is kept from: the network, every other server's socket and files, everything that can be
/// written, every privilege.
const WALLS: [&str; 24] = [
    "User=tenure-drill",
    "UMask=0077",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "PrivateNetwork=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectSystem=strict",
    "ReadWritePaths=/var/lib/tenure-drill/scratch",
    "InaccessiblePaths=-/var/lib/postgresql -/run/postgresql -/etc/postgresql",
    "ProtectHome=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "KillSignal=SIGKILL",
];

/// A program as the account, behind the walls, with these further directories out of sight.
pub(crate) fn walled(path: &Path, args: Vec<String>, hidden: &[String], own: &[&str]) -> Program {
    let mut words: Vec<String> = ["--quiet", "--collect"].map(Into::into).into();
    words.push(format!("--slice={SLICE}"));
    words.extend(own.iter().map(|&word| word.into()));
    let hide = hidden.iter().map(|dir| format!("InaccessiblePaths=\"-{}\"", escaped(dir)));
    for wall in WALLS.iter().map(|&wall| wall.to_owned()).chain(hide) {
        words.extend(["--property".into(), wall]);
    }
    words.extend(["--".into(), path.display().to_string()]);
    words.extend(args);
    Program::new(SYSTEMD_RUN, words)
}

/// A text between double quotes, as systemd takes it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// A server without TCP and with a socket in its own directory.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) postgres: Postgres,
    _alone: Lock,
}

impl Scratch {
    /// Makes and starts it, once nothing of an earlier one is left. `places` are the databases of the host.
    pub(crate) fn start<'a>(
        state: &Path,
        places: impl Iterator<Item = &'a DatabasePlace>,
    ) -> Result<Self, BackupError> {
        account()?;
        let alone = Lock::take(&private_dir(state, "backup")?.join("drill.lock"))?;
        let hidden = places.map(|place| place.socket.as_str().to_owned()).collect();
        let scratch = Self { postgres: Postgres::behind_walls(hidden)?, _alone: alone };
        // A drill that was killed leaves both.
        end()?;
        remove()?;
        Roots::new([HOME])?.make_dir(Path::new(HOME), 0o711)?;
        Roots::new([HOME])?.make_dir(Path::new(DATA), 0o700)?;
        let (uid, gid) = user(ACCOUNT).ok_or(NO_ACCOUNT)?;
        // Nobody but root changes what stands in its parent.
        std::os::unix::fs::lchown(DATA, Some(uid), Some(gid)).map_err(BackupError::io("give away", DATA))?;
        scratch.serve()?;
        Ok(scratch)
    }

    /// Where its socket is.
    pub(crate) fn socket() -> &'static Path {
        Path::new(DATA)
    }

    fn serve(&self) -> Result<(), BackupError> {
        let data = PathBuf::from(DATA).join("data").display().to_string();
        // Whoever reaches the socket is the account itself or root: its directory is closed to others, and there is no TCP.
        let init = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D", &data];
        self.postgres.run("make a scratch server", "initdb", init.map(str::to_owned).into())?;
        let socket = format!("unix_socket_directories={DATA}");
        let mut args = vec!["-D", &data];
        for setting in ["listen_addresses=", "fsync=off", "jit=off", "log_min_messages=fatal", &socket] {
            args.extend(["-c", setting]);
        }
        let args = args.into_iter().map(str::to_owned).collect();
        self.postgres.serve("start the scratch server", args)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is ended and removed by the next drill, which says so if it cannot.
        let _ = end();
        let _ = remove();
    }
}

/// Ends every process of the account.
fn end() -> Result<(), BackupError> {
    let stop = Program::new(SYSTEMCTL, ["stop", SLICE]).timeout(Duration::from_secs(120));
    let stopped = command::capture(&stop).and_then(command::Output::success);
    stopped.map(drop).map_err(doing("end the scratch server"))
}

fn remove() -> Result<(), BackupError> {
    match std::fs::remove_dir_all(DATA) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(BackupError::io("remove", DATA)(e)),
        _ => Ok(()),
    }
}

const NO_ACCOUNT: BackupError = BackupError::DrillAccount { why: "there is no such account" };

/// Is the account there, and is it one that reaches nothing?
fn account() -> Result<(), BackupError> {
    let etc = BaseDir::open(Path::new("/etc"))?;
    let text = |name: &str| {
        let file = etc.read(Path::new(name), &Expect::roots(4 << 20))?;
        Ok::<_, BackupError>(String::from_utf8_lossy(&file.bytes).into_owned())
    };
    match fault(&text("passwd")?, &text("group")?) {
        None => Ok(()),
        Some(why) => Err(BackupError::DrillAccount { why }),
    }
}

/// What is wrong with the account.
fn fault(passwd: &str, group: &str) -> Option<&'static str> {
    let line = |name: &str| {
        let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find(|fields| fields.first() == Some(&name) && fields.len() > 3)
    };
    let Some(drill) = line(ACCOUNT) else { return Some("there is no such account") };
    let (Ok(uid), Ok(gid)) = (drill[2].parse::<u32>(), drill[3].parse::<u32>()) else {
        return Some("its entry in /etc/passwd cannot be read");
    };
    if uid == 0 || gid == 0 {
        return Some("it is root or of root's group");
    }
    let number = |text: &str| text.parse::<u32>().ok();
    let others = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut others = others.filter(|fields| fields.len() > 3 && fields[0] != ACCOUNT);
    if others.any(|other| number(other[2]) == Some(uid) || number(other[3]) == Some(gid)) {
        return Some("another account has its number or its group");
    }
    let member =
        |line: &str| line.split(':').nth(3).is_some_and(|all| all.split(',').any(|one| one == ACCOUNT));
    let named = |line: &str| line.split(':').next() == Some(ACCOUNT);
    group.lines().any(|line| member(line) && !named(line)).then_some("it is a member of further groups")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_is_missing_or_reaches_something_begins_no_drill() {
        let root = "root:x:0:0:root:/root:/bin/bash\npostgres:x:103:109::/var/lib/postgresql:/bin/bash\n";
        let group = "root:x:0:\npostgres:x:109:\nssl-cert:x:110:postgres\ntenure-drill:x:998:tenure-drill\n";
        let with = |line: &str| format!("{root}{line}:/:/usr/sbin/nologin\n");
        let good = with("tenure-drill:x:998:998:");
        assert_eq!(fault(&good, group), None);
        for (passwd, group) in [
            (root.to_owned(), group.to_owned()),
            (with("tenure-drill:x:0:998:"), group.into()),
            (with("tenure-drill:x:998:0:"), group.into()),
            (with("tenure-drill:x:103:998:"), group.into()),
            (with("tenure-drill:x:998:109:"), group.into()),
            (with("tenure-drill:x:many:998:"), group.into()),
            (good.clone(), group.replace("110:postgres", "110:postgres,tenure-drill")),
        ] {
            assert!(fault(&passwd, &group).is_some(), "{passwd}{group}");
        }
    }

    #[test]
    fn what_is_walled_off_is_said_before_the_program() {
        let hidden = ["/srv/its \"own\" socket".to_owned()];
        let program = walled(Path::new("/bin/true"), vec!["--pipe".into()], &hidden, &["--wait"]);
        let words: Vec<_> = program.args.iter().map(|word| word.to_str().unwrap()).collect();
        let end = words.iter().position(|word| *word == "--").unwrap();
        assert_eq!(words[end..], ["--", "/bin/true", "--pipe"]);
        let hidden = r#"InaccessiblePaths="-/srv/its \"own\" socket""#;
        for word in
            ["--slice=tenure-drill.slice", "--wait", "User=tenure-drill", "PrivateNetwork=yes", hidden]
        {
            assert!(words[..end].contains(&word), "{word}: {words:?}");
        }
    }
}
