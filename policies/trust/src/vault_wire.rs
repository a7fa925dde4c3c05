//! The typed channel to a vault: closed messages over the SSH subsystem `tenure-vault` (BACKUP.md, "Writing is typed").
//!
//! A frame is a length (u32, big-endian, at most [`MAX_FRAME`]) and that many bytes of JSON. Behind the frame of a
//! [`Request::Put`] come exactly `size` raw bytes, which are no frame. Every request has one answer, in order.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::backup::{GenerationId, Object, SeriesId, SlotId};
use crate::hash::Hash;
use crate::refused::Refused;

/// Name of the SSH subsystem for writing; the one for reading is `sftp`.
pub const SUBSYSTEM: &str = "tenure-vault";
/// The SSH user name of every machine; who it is follows from the key.
pub const SSH_USER: &str = "tenure";
/// The most bytes of a frame's JSON.
pub const MAX_FRAME: usize = 1 << 20;
/// The most bytes of one object.
pub const MAX_OBJECT: u64 = 64 << 20;
/// The most bytes of a repository's `config` and of its key file.
pub const MAX_FROZEN: usize = 4 << 10;
/// The most names asked for in one [`Request::Have`].
pub const MAX_HAVE: usize = 4096;
/// The schema of these messages.
pub const SCHEMA: u32 = 1;

/// What a host asks of a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Begins or goes on with the generation of a date. All later messages of the channel are about it.
    Open(Open),
    /// Which of these objects are there already?
    Have {
        /// At most [`MAX_HAVE`].
        objects: Vec<Object>,
    },
    /// Brings one object: `size` raw bytes follow the frame. Its name is the hash of its bytes. May be repeated.
    Put {
        /// The object; never `config` or `key`.
        object: Object,
    },
    /// Closes a slot: the host's signed [`crate::backup::Seal`] as DSSE JSON.
    Seal {
        /// The envelope.
        seal: String,
    },
    /// What the vault holds of a series.
    Inventory {
        /// The series; must be one of the asking host.
        series: SeriesId,
    },
    /// A signed order of operators, as DSSE JSON.
    Order {
        /// The envelope.
        order: String,
    },
}

/// Begins or goes on with a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The slot that is to be filled; its date names the generation.
    pub slot: SlotId,
    /// Above 1 when the key of the generation before was lost.
    pub number: u32,
    /// The repository's `config` file, base64, at most [`MAX_FROZEN`] bytes; the same again when it goes on.
    pub config: String,
    /// The repository's one key file, base64, at most [`MAX_FROZEN`] bytes.
    pub key: String,
    /// The generation's password for each recovery recipient; at least two.
    pub escrow: Vec<Escrow>,
    /// Bytes that will be needed, as the host expects: those of its last sealed generation. The vault wants room for a
    /// fifth more.
    pub estimate: u64,
}

/// A generation's password, encrypted to one offline recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Escrow {
    /// The age recipient (`age1…`).
    pub recipient: String,
    /// The age file, armored text.
    pub text: String,
}

/// What the vault answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// The generation is open. Its `config` has the sequence number 1 and its key file 2: both count in the object root.
    Opened {
        /// Which.
        generation: GenerationId,
        /// The vault's last sequence number in it.
        sequence: u64,
        /// The slot has been sealed before: this is its receipt (DSSE JSON); nothing is to be done.
        sealed: Option<String>,
    },
    /// For each object that was asked about, in order: is it there?
    Have {
        /// In the order asked.
        there: Vec<bool>,
    },
    /// The object and its journal line are on disk.
    Stored {
        /// The vault's own sequence number; of an object that was there already, the one it got then.
        sequence: u64,
    },
    /// The slot is accepted.
    Sealed {
        /// The signed [`crate::backup::Receipt`] as DSSE JSON. The same seal gets the same receipt again.
        receipt: String,
    },
    /// What the vault holds of the series.
    Inventory {
        /// Its generations, oldest first.
        generations: Vec<GenerationFacts>,
    },
    /// The order was taken.
    Taken,
    /// Refused; nothing was changed.
    Refused(VaultRefusal),
}

/// Why the vault refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{what}")]
#[serde(deny_unknown_fields)]
pub struct VaultRefusal {
    /// Which rule.
    pub code: RefusalCode,
    /// In words, neutralised.
    pub what: String,
}

/// The closed list of a vault's refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Not a message of this channel.
    Malformed,
    /// A message that cannot come at this place.
    Order,
    /// Larger than allowed.
    TooLarge,
    /// The series is not one of this host, or this vault's policy does not have it.
    ForeignSeries,
    /// The bytes do not hash to the name.
    HashMismatch,
    /// Not an object that a host may bring.
    KindNotAllowed,
    /// What was frozen at the first `open` is different now.
    Frozen,
    /// The date is not one that can be open now.
    DateNotOpen,
    /// What will be needed does not fit; nothing was begun.
    NoRoom,
    /// The seal is not signed by the host's admitted key.
    BadSeal,
    /// The seal's root, count or place differs from the vault's own journal.
    RootMismatch,
    /// The slot has been sealed with something else.
    SlotTaken,
    /// Too few recipients have the password.
    NoEscrow,
    /// An order that nobody entitled signed.
    BadOrder,
    /// The vault could not write.
    Disk,
    /// Too much at once; come again later.
    Busy,
}

impl RefusalCode {
    /// What a person can do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Malformed | Self::Order | Self::KindNotAllowed | Self::HashMismatch => {
                "upgrade agent and vault to the same release"
            }
            Self::TooLarge => {
                "leave paths out of the set (`exclude`), or upgrade agent and vault to the same release"
            }
            Self::ForeignSeries => {
                "sign a policy that gives this host the series and publish it to the vault too"
            }
            Self::Frozen => {
                "the key of this generation differs from the one it began with: let the next number begin"
            }
            Self::DateNotOpen => {
                "the next date takes it; if that is now, compare the clocks of host and vault"
            }
            Self::NoRoom => "make room in the vault or raise its quota; nothing was sent",
            Self::BadSeal => "admit the host's identity key, or compare the epochs",
            Self::RootMismatch => {
                "the run is begun again; if it repeats, look at the vault's disk and its journal"
            }
            Self::SlotTaken => "nothing to do: the slot holds a copy",
            Self::NoEscrow => {
                "publish one policy to host and vault that names at least two recovery recipients"
            }
            Self::BadOrder => "sign the order with keys that the root names",
            Self::Disk => "look at the vault's disk",
            Self::Busy => "it is tried again; if the vault's clock is the reason, see to it there",
        }
    }
}

/// A generation as a vault sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationFacts {
    /// Which.
    pub id: GenerationId,
    /// Its state in the ring.
    pub state: GenerationState,
    /// When it was opened, by the vault's clock.
    pub opened: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// Its sealed slots, by time.
    pub slots: Vec<SealedSlot>,
    /// Objects that it holds.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where a generation stands in the ring (BACKUP.md, the state diagram).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GenerationState {
    /// It takes objects.
    Candidate,
    /// The copy of its cell.
    Current,
    /// Closed without an accepted slot, or stopped by a gate; the old copy stays.
    Aside(AsideReason),
    /// Superseded; waits for its time.
    Trash,
    /// Being erased.
    Erasing,
}

/// Why a generation was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AsideReason {
    /// No slot was accepted.
    Failed,
    /// Every accepted slot lacks files.
    Partial,
    /// Far smaller than the cells before it.
    Anomalous,
    /// Its key was lost: a later number of its date became the copy.
    Replaced,
    /// The vault's disk does not give back what was accepted.
    Spoilt,
}

/// A slot that the vault accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedSlot {
    /// The slot.
    pub slot: SlotId,
    /// Hash of the seal's payload bytes.
    pub seal: Hash,
    /// The snapshot that counts.
    pub snapshot: Hash,
    /// The root by the vault's journal.
    pub root: Hash,
    /// The vault's sequence number of the receipt.
    pub sequence: u64,
    /// When it was accepted, by the vault's clock.
    pub received: Timestamp,
    /// Files that the host says it could not read.
    pub unreadable: u64,
}

/// What a vault says of itself in its own records (area `vault`): the payload's facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultFacts {
    /// Schema of these facts.
    pub schema: u32,
    /// Every series that it holds, sorted; in a head with pages none, in a page those of the page.
    pub series: Vec<SeriesFacts>,
    /// Bytes free on the store's file system.
    pub free_bytes: u64,
    /// Bytes of the store's file system.
    pub total_bytes: u64,
    /// The machine's id (`/etc/machine-id`, hashed), to tell machines apart.
    pub machine: Hash,
    /// The kernel's boot id, hashed: two "machines" with one boot id are one machine.
    pub boot: Hash,
    /// Where the series stand when they are too many for one record ([`crate::vault_pages`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<Hash>,
}

/// A series as a vault sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesFacts {
    /// Which.
    pub series: SeriesId,
    /// Its generations, oldest first.
    pub generations: Vec<GenerationFacts>,
}

/// Writes a message as a frame.
///
/// # Errors
/// `TooLarge` above [`MAX_FRAME`].
pub fn frame<T: Serialize>(message: &T) -> Result<Vec<u8>, Refused> {
    let json = serde_json::to_vec(message).map_err(Refused::malformed)?;
    let size = u32::try_from(json.len()).ok().filter(|_| json.len() <= MAX_FRAME);
    let size = size.ok_or(Refused::TooLarge { size: json.len(), limit: MAX_FRAME })?;
    let mut bytes = size.to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// The length that a frame's first four bytes announce.
///
/// # Errors
/// `TooLarge` above [`MAX_FRAME`], `Malformed` for an empty frame.
pub fn frame_length(head: [u8; 4]) -> Result<usize, Refused> {
    match u32::from_be_bytes(head) as usize {
        0 => Err(Refused::malformed("an empty frame")),
        size if size > MAX_FRAME => Err(Refused::TooLarge { size, limit: MAX_FRAME }),
        size => Ok(size),
    }
}

impl Request {
    /// Reads a frame's JSON.
    ///
    /// # Errors
    /// `Malformed` for anything that is not exactly a message, `SchemaTooNew`, `TooLarge` for what no host may bring.
    pub fn parse(json: &[u8]) -> Result<Self, Refused> {
        let request: Self = serde_json::from_slice(json).map_err(Refused::malformed)?;
        match &request {
            Self::Open(open) if open.schema > SCHEMA => {
                Err(Refused::SchemaTooNew { found: open.schema, known: SCHEMA })
            }
            Self::Have { objects } if objects.len() > MAX_HAVE => {
                Err(Refused::TooLarge { size: objects.len(), limit: MAX_HAVE })
            }
            Self::Put { object } if object.size > MAX_OBJECT => {
                let size = usize::try_from(object.size).unwrap_or(usize::MAX);
                Err(Refused::TooLarge { size, limit: MAX_OBJECT as usize })
            }
            _ => Ok(request),
        }
    }
}

impl Answer {
    /// Reads a frame's JSON.
    ///
    /// # Errors
    /// `Malformed` for anything that is not exactly an answer.
    pub fn parse(json: &[u8]) -> Result<Self, Refused> {
        serde_json::from_slice(json).map_err(Refused::malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::ObjectKind;

    #[test]
    fn a_frame_reads_back() {
        let put = Request::Put { object: Object { kind: ObjectKind::Data, name: Hash::of(b"x"), size: 1 } };
        let bytes = frame(&put).unwrap();
        let (head, json) = bytes.split_first_chunk::<4>().unwrap();
        assert_eq!(frame_length(*head).unwrap(), json.len());
        assert_eq!(Request::parse(json).unwrap(), put);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(frame_length([0; 4]).is_err() && frame_length([255; 4]).is_err());
        for bad in [
            "",
            "null",
            "{}",
            "{\"run\":{}}",
            "{\"put\":{}}",
            "\"inventory\"",
            "{\"have\":{\"objects\":[],\"x\":1}}",
        ] {
            assert!(Request::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let big = Object { kind: ObjectKind::Data, name: Hash::of(b"x"), size: MAX_OBJECT + 1 };
        let json = serde_json::to_vec(&Request::Put { object: big }).unwrap();
        assert!(matches!(Request::parse(&json), Err(Refused::TooLarge { .. })));
    }
}
