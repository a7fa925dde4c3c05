//! Where a path of an SFTP client leads: names only, no file is touched. A name that no rule here gives does not exist.

use jiff::Timestamp;
use tenure_trust::{GenerationId, Hash, HostName, ObjectKind, Point, SeriesId, VaultName, View};

/// The longest path.
const MAX_PATH: usize = 1024;
/// The longest name of a lock.
const MAX_LOCK: usize = 128;
/// The longest name of a slot: `1012-manual`.
const MAX_SLOT: usize = 16;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/`
    Top,
    /// `/OWNER`
    Owner(String),
    /// `/OWNER/HOST`
    Host(String, HostName),
    /// `/OWNER/HOST/SET`
    Series(SeriesId),
    /// Below a view.
    View(View, Inside),
}

/// What stands in a view: restic's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inside {
    /// The repository itself.
    Top,
    /// `config`
    Config,
    /// `keys`, `index`, `snapshots`
    Dir(ObjectKind),
    /// `data`
    Data,
    /// `data/xx`
    DataDir(u8),
    /// A file.
    Object(ObjectKind, Hash),
    /// `escrow`: the generation's password for offline recipients, for when the host is gone. restic looks past it.
    Escrow,
    /// A file in it, by recipient.
    EscrowFor(String),
    /// `seals`: what the host signed of its accepted slots, for who recovers it without the host. restic looks past it.
    Seals,
    /// A file in it, by slot.
    Seal(String),
    /// `locks`
    Locks,
    /// A file in it.
    Lock(String),
}

/// Reads paths for one vault.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Its name.
    pub vault: VaultName,
}

impl Walk {
    /// Where this path leads; none when nothing can stand there. `..` leads nowhere.
    pub fn to(&self, path: &str) -> Option<Place> {
        if path.len() > MAX_PATH {
            return None;
        }
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        let series = || SeriesId::from_path(self.vault.clone(), &names[..3].join("/")).ok();
        Some(match names.as_slice() {
            [] => Place::Top,
            [owner] if tenure_trust::ids::is_label(owner) => Place::Owner((*owner).to_owned()),
            [owner, host] if tenure_trust::ids::is_label(owner) => {
                Place::Host((*owner).to_owned(), HostName::new(*host).ok()?)
            }
            [_, _, _] => Place::Series(series()?),
            [_, _, _, view, inside @ ..] => {
                let (generation, point) = View::parse_name(view).ok()?;
                Place::View(View { series: series()?, generation, point }, self::inside(inside)?)
            }
            _ => return None,
        })
    }
}

fn inside(names: &[&str]) -> Option<Inside> {
    Some(match names {
        [] => Inside::Top,
        ["config"] => Inside::Config,
        ["data"] => Inside::Data,
        ["data", two] => Inside::DataDir(byte(two)?),
        ["data", two, name] => {
            let hash: Hash = name.parse().ok()?;
            (hash.as_bytes()[0] == byte(two)?).then_some(Inside::Object(ObjectKind::Data, hash))?
        }
        ["escrow"] => Inside::Escrow,
        ["escrow", name] => {
            let recipient = name.strip_suffix(".age")?;
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
            let named =
                recipient.starts_with("age1") && recipient.len() <= MAX_LOCK && recipient.bytes().all(plain);
            named.then(|| Inside::EscrowFor(recipient.to_owned()))?
        }
        ["seals"] => Inside::Seals,
        ["seals", name] => {
            let slot = name.strip_suffix(".dsse")?;
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            (slot.len() <= MAX_SLOT && slot.bytes().all(plain)).then(|| Inside::Seal(slot.to_owned()))?
        }
        ["locks"] => Inside::Locks,
        ["locks", name] if name.len() <= MAX_LOCK && name.bytes().all(plain) => {
            Inside::Lock((*name).to_owned())
        }
        [dir] => Inside::Dir(kind(dir)?),
        [dir, name] => Inside::Object(kind(dir)?, name.parse().ok()?),
        _ => return None,
    })
}

fn kind(dir: &str) -> Option<ObjectKind> {
    match dir {
        "keys" => Some(ObjectKind::Key),
        "index" => Some(ObjectKind::Index),
        "snapshots" => Some(ObjectKind::Snapshot),
        _ => None,
    }
}

fn byte(two: &str) -> Option<u8> {
    let hex = two.len() == 2 && two.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    hex.then(|| u8::from_str_radix(two, 16).ok()).flatten()
}

fn plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')
}

/// The name of a directory of `data`.
pub(super) fn data_dir(first: u8) -> String {
    format!("{first:02x}")
}

/// A view's name in a listing of a series: what its last seal counts.
pub(super) fn listed(generation: GenerationId) -> String {
    format!("{generation}@{}", Point::LastSeal)
}

/// A time as SFTP has it: whole seconds, from 1970 to 2106.
pub(super) fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_second()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk() -> Walk {
        Walk { vault: VaultName::new("vault1").unwrap() }
    }

    const VIEW: &str = "/acme/web1/server/2026-11-23.1@last-seal";

    #[test]
    fn the_tree_of_restic_stands_in_a_view_and_nothing_else() {
        let name = Hash::of(b"pack").to_string();
        let below = |path: &str| match walk().to(&format!("{VIEW}{path}")) {
            Some(Place::View(_, inside)) => Some(inside),
            _ => None,
        };
        assert_eq!(below(""), Some(Inside::Top));
        assert_eq!(below("/config"), Some(Inside::Config));
        assert_eq!(below("//keys/."), Some(Inside::Dir(ObjectKind::Key)));
        assert_eq!(below("/data"), Some(Inside::Data));
        assert_eq!(below("/data/0f"), Some(Inside::DataDir(15)));
        let pack = Inside::Object(ObjectKind::Data, Hash::of(b"pack"));
        assert_eq!(below(&format!("/data/{}/{name}", &name[..2])), Some(pack));
        assert_eq!(below("/seals"), Some(Inside::Seals));
        assert_eq!(below("/seals/1012-manual.dsse"), Some(Inside::Seal("1012-manual".into())));
        assert_eq!(below("/locks/abc-restic-temp-1"), Some(Inside::Lock("abc-restic-temp-1".into())));
        for bad in [
            "/..",
            "/../x",
            "/data/../config",
            "/data/0F",
            "/data/+f",
            "/data/00/x",
            "/locks/a/b",
            "/locks/..\u{0}",
            "/etc",
            "/keys/x",
            "/config/x",
            "/objects.journal",
            "/escrow/x.age",
            "/escrow/age1x",
            "/escrow/age1X.age",
            "/escrow/age1../x.age",
            "/seals/0600",
            "/seals/0600.receipt.dsse",
            "/seals/../x.dsse",
        ] {
            assert_eq!(below(bad), None, "{bad}");
        }
        let wrong = if name.starts_with("00") { "01" } else { "00" };
        assert_eq!(below(&format!("/data/{wrong}/{name}")), None, "in another's directory");
        assert_eq!(walk().to("/"), Some(Place::Top));
        assert!(matches!(walk().to("/acme/web1/server"), Some(Place::Series(_))));
        for bad in [
            "/.tmp",
            "/acme/..",
            "/acme/web1/weekly",
            "/acme/web1/server/x",
            "/acme/web1/server/2026-11-23.1",
        ] {
            assert_eq!(walk().to(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_a_place_or_none(path in "(/|[a-z0-9@.]{1,12}|\\PC{1,3}|\\.\\.|data|locks|2026-11-23\\.1@last-seal){0,12}") {
            if let Some(place) = walk().to(&path) {
                prop_assert!(!path.split('/').any(|name| name == ".."), "{place:?}");
            }
        }
    }
}
