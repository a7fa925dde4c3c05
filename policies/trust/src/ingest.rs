//! The rules by which a controller takes a machine's records in: once, in order, signed by the admitted key. Pure; the
//! shell looks up what is held and writes down what is taken.

use crate::admission::Admission;
use crate::enrol::IngestFinding;
use crate::hash::Hash;
use crate::ids::{Epoch, HostName, Seq};
use crate::record::{Chain, ExportLine, Record};
use crate::refused::Refused;
use crate::{MachineRole, Payload};

/// The last record that is held of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which chain of the machine.
    pub epoch: Epoch,
    /// Its place; 0 when none is held.
    pub seq: Seq,
    /// Its hash; of none, what the first must name before it.
    pub hash: Hash,
}

impl Held {
    /// Nothing is held yet of the chain that this admission begins.
    pub fn nothing(host: &HostName, role: MachineRole, epoch: Epoch) -> Self {
        Self { epoch, seq: Seq(0), hash: Chain::genesis_as(host, role, epoch) }
    }
}

/// A line that its machine signed and that is whole in itself. Where it stands in the chain is judged next.
#[derive(Clone, Debug)]
pub struct Sound {
    /// The record.
    pub record: Record,
    /// Hash of its payload bytes: its name in the chain.
    pub hash: Hash,
    /// The line as it was signed.
    pub line: ExportLine,
}

impl Sound {
    /// The facts beside the record, if they came along.
    pub fn payload(&self) -> Option<&Payload> {
        self.line.payload.as_ref()
    }
}

/// Reads one line of the machine that this admission names.
///
/// # Errors
/// `Foreign` for another key, machine or an earlier epoch; `Reset` for an epoch that no admission began; `Malformed` for
/// what is no record or has another payload beside it than it commits to.
pub fn sound(line: &[u8], of: &Admission) -> Result<Sound, IngestFinding> {
    let line = ExportLine::parse(line).map_err(|_| IngestFinding::Malformed)?;
    let record = line.verified(&of.identity).map_err(|refused| match refused {
        Refused::UnknownKey { .. } | Refused::BadSignature { .. } => IngestFinding::Foreign,
        _ => IngestFinding::Malformed,
    })?;
    if (&record.host, record.role) != (&of.name, of.role) || record.epoch < of.epoch {
        return Err(IngestFinding::Foreign);
    }
    if record.epoch > of.epoch {
        return Err(IngestFinding::Reset);
    }
    if record.seq == Seq(0) || line.payload.as_ref().is_some_and(|payload| !payload.opens(&record.payload)) {
        return Err(IngestFinding::Malformed);
    }
    Ok(Sound { hash: line.record.hash(), record, line })
}

/// Where a sound record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It follows; this is held when it has been written down.
    Next(Held),
    /// A record with its place is held: [`behind`] says what that means.
    Behind,
    /// It cannot be taken.
    Refused(IngestFinding),
}

/// Judges where a record of this chain stands.
pub fn stand(held: &Held, record: &Record, hash: Hash) -> Stand {
    if record.seq <= held.seq {
        return Stand::Behind;
    }
    if record.seq.0 > held.seq.0.saturating_add(1) {
        return Stand::Refused(IngestFinding::Gap);
    }
    if record.prev != held.hash {
        return Stand::Refused(IngestFinding::Fork);
    }
    Stand::Next(Held { epoch: record.epoch, seq: record.seq, hash })
}

/// What it means that a record with this place is held, with this hash: the same again, a chain that begins anew, or
/// two histories.
pub fn behind(record: &Record, hash: Hash, stored: Option<Hash>) -> IngestFinding {
    if stored == Some(hash) {
        IngestFinding::Replay
    } else if record.seq == Seq(1)
        && record.prev == Chain::genesis_as(&record.host, record.role, record.epoch)
    {
        IngestFinding::Reset
    } else {
        IngestFinding::Fork
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::{About, Draft, EventName, JudgeVersion, SigningKey, SshKeyText};

    fn admission(key: &SigningKey, role: MachineRole, epoch: u32) -> Admission {
        Admission {
            schema: 1,
            fleet: "lab".parse().unwrap(),
            name: HostName::new("web1").unwrap(),
            role,
            identity: key.public(),
            ssh: SshKeyText::new(format!("ssh-ed25519 {}", "A".repeat(68))).unwrap(),
            tls: Hash::of(b"tls"),
            epoch: Epoch(epoch),
            replaces: None,
            reads: Default::default(),
            issued: Timestamp::UNIX_EPOCH,
        }
    }

    fn draft(word: &str) -> Draft {
        Draft {
            about: About::Event(EventName::new(word).unwrap()),
            policy: None,
            judge: JudgeVersion::new("tenure test").unwrap(),
            observed_at: Timestamp::UNIX_EPOCH,
            verdict: None,
            reason: None,
        }
    }

    fn lines(key: &SigningKey, chain: &mut Chain, words: &[&str]) -> Vec<String> {
        let write = |word: &&str| {
            let payload = Payload::new([7; 32], format!("{{\"{word}\":1}}").into_bytes()).unwrap();
            let link = chain.link(draft(word), payload, 0, key);
            chain.advance(&link);
            link.line()
        };
        words.iter().map(write).collect()
    }

    fn begun(role: MachineRole, epoch: u32) -> Chain {
        Chain::begin_as(HostName::new("web1").unwrap(), role, Epoch(epoch))
    }

    /// A whole controller in ten lines: what the real one does with a database.
    struct Shelf(Held, BTreeMap<Seq, Hash>);

    impl Shelf {
        fn offer(&mut self, line: &str, of: &Admission) -> Result<(), IngestFinding> {
            let Sound { record, hash, .. } = sound(line.as_bytes(), of)?;
            match stand(&self.0, &record, hash) {
                Stand::Next(held) => {
                    self.1.insert(record.seq, hash);
                    self.0 = held;
                    Ok(())
                }
                Stand::Behind => Err(behind(&record, hash, self.1.get(&record.seq).copied())),
                Stand::Refused(finding) => Err(finding),
            }
        }
    }

    fn shelf(of: &Admission) -> Shelf {
        Shelf(Held::nothing(&of.name, of.role, of.epoch), BTreeMap::new())
    }

    #[test]
    fn every_finding_has_its_own_cause() {
        let key = SigningKey::from_seed(&[1; 32]);
        let of = admission(&key, MachineRole::Host, 1);
        let mut chain = begun(MachineRole::Host, 1);
        let good = lines(&key, &mut chain, &["a", "b", "c", "d"]);
        let mut at = shelf(&of);
        assert_eq!(at.offer(&good[1], &of), Err(IngestFinding::Gap), "the first is missing");
        for line in &good[..3] {
            assert_eq!(at.offer(line, &of), Ok(()));
        }
        assert_eq!(at.offer(&good[1], &of), Err(IngestFinding::Replay));

        let mut other = begun(MachineRole::Host, 1);
        let forked = lines(&key, &mut other, &["x", "b", "c", "d"]);
        assert_eq!(at.offer(&forked[0], &of), Err(IngestFinding::Reset), "it begins anew");
        assert_eq!(at.offer(&forked[1], &of), Err(IngestFinding::Fork), "another second record");
        assert_eq!(at.offer(&forked[3], &of), Err(IngestFinding::Fork), "it follows another third");
        assert_eq!(
            shelf(&of).offer(&lines(&key, &mut begun(MachineRole::Vault, 1), &["a"])[0], &of),
            Err(IngestFinding::Foreign)
        );

        let mallory = SigningKey::from_seed(&[2; 32]);
        let foreign = lines(&mallory, &mut begun(MachineRole::Host, 1), &["a"]);
        assert_eq!(at.offer(&foreign[0], &of), Err(IngestFinding::Foreign));
        let later = lines(&key, &mut begun(MachineRole::Host, 2), &["a"]);
        assert_eq!(at.offer(&later[0], &of), Err(IngestFinding::Reset), "nobody admitted the epoch");
        assert_eq!(at.offer(&good[3], &admission(&key, MachineRole::Host, 2)), Err(IngestFinding::Foreign));
        for bad in ["", "{}", "null", &good[3].replace("payload\":{", "payloads\":{")] {
            assert_eq!(at.offer(bad, &of), Err(IngestFinding::Malformed), "{bad}");
        }
        let (fourth, third) = (ExportLine::parse(good[3].as_bytes()), ExportLine::parse(good[2].as_bytes()));
        let swapped = ExportLine { record: fourth.unwrap().record, payload: third.unwrap().payload };
        assert_eq!(at.offer(&swapped.to_json(), &of), Err(IngestFinding::Malformed), "another's payload");
        assert_eq!(at.offer(&good[3], &of), Ok(()), "and after all that the right one is taken");
    }

    proptest! {
        /// Whatever is sent, in whatever order and how often: what is held is a prefix of the one history, and each
        /// record is taken exactly once.
        #[test]
        fn what_is_held_is_always_a_prefix(sent in proptest::collection::vec(0usize..12, 0..60)) {
            let key = SigningKey::from_seed(&[1; 32]);
            let of = admission(&key, MachineRole::Host, 1);
            let words = ["a", "b", "c", "d", "e", "f"];
            let real = lines(&key, &mut begun(MachineRole::Host, 1), &words);
            let twin = lines(&key, &mut begun(MachineRole::Host, 1), &["z", "b", "c", "d", "e", "f"]);
            let mut at = shelf(&of);
            let mut first = None;
            let mut taken = 0;
            for n in sent {
                let history = if n < 6 { &real } else { &twin };
                if at.offer(&history[n % 6], &of).is_ok() {
                    prop_assert_eq!(n % 6, taken);
                    prop_assert_eq!(*first.get_or_insert(n < 6), n < 6, "two histories were mixed");
                    taken += 1;
                }
            }
            prop_assert_eq!(at.0.seq.0 as usize, taken);
            prop_assert_eq!(at.1.len(), taken);
        }
    }
}
