//! The policy in force and the admissions that hold: who may come from where, and what is his. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::SignedDuration;
use tenure_policy::bundles::VaultPolicy;
use tenure_policy::calendar::{CalendarError, Zone};
use tenure_policy::written::Ring as RingKind;
use tenure_trust::{
    Admission, AdmissionBook, Hash, HostName, MachineRole, PolicyVersion, Root, SeriesId, SshKeyText,
    Verified,
};

use crate::ring::Rules;
use crate::store::Terms;

/// Whoever has proved a key, and by which admission it counted then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The name that was admitted.
    pub name: HostName,
    /// A host writes and reads its own series; a recovery key, a person's, reads what its admission says.
    pub role: MachineRole,
    /// That admission: another one, or none, ends what this peer may do.
    admission: Hash,
}

/// What holds now.
#[derive(Debug)]
pub struct InForce {
    /// The vault's bundle.
    pub policy: Verified<VaultPolicy>,
    /// Which keys there are.
    pub book: AdmissionBook,
    /// What judges orders.
    pub root: Verified<Root>,
    terms: BTreeMap<SeriesId, Terms>,
}

impl InForce {
    /// Prepares a policy for use.
    ///
    /// # Errors
    /// When its zone is none that this program knows.
    pub fn new(
        policy: Verified<VaultPolicy>,
        book: AdmissionBook,
        root: Verified<Root>,
    ) -> Result<Self, CalendarError> {
        let zone = Zone::named(&policy.timezone)?;
        let mut recipients = policy.recipients.clone();
        recipients.sort();
        // A ring that this program cannot turn is not taken: its series do not exist here.
        let turned = policy.series.iter().filter(|series| series.ring == RingKind::Weekday);
        let terms = turned.map(|series| {
            let seconds = i64::try_from(series.catch_up_seconds).unwrap_or(i64::MAX);
            let rules = Rules {
                at: series.at.clone(),
                catch_up: SignedDuration::from_secs(seconds),
                zone: zone.clone(),
            };
            let terms = Terms {
                fleet: policy.fleet.clone(),
                rules,
                quota: policy.quota_bytes,
                keep_free: policy.keep_free_bytes,
                recipients: recipients.clone(),
            };
            (series.series.clone(), terms)
        });
        let terms = terms.collect();
        Ok(Self { policy, book, root, terms })
    }

    /// The version in force.
    pub fn version(&self) -> Option<PolicyVersion> {
        self.policy.version()
    }

    /// Does somebody who may come have this address? Others get no handshake.
    pub fn lets_in(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        self.policy.hosts.values().flatten().any(|known| *known == from) || self.recovers(from)
    }

    /// Whose key this is, if it may come from there.
    pub fn who(&self, key: &SshKeyText, from: IpAddr) -> Option<Peer> {
        let from = from.to_canonical();
        let admission = self.book.by_ssh(key)?;
        let peer = Peer { name: admission.name.clone(), role: admission.role, admission: admission.hash() };
        self.comes_from(&peer, from).then_some(peer)
    }

    /// May it come from there still, by the admission that it came with?
    pub fn holds(&self, peer: &Peer, from: IpAddr) -> bool {
        self.admitted(peer).is_some() && self.comes_from(peer, from.to_canonical())
    }

    fn comes_from(&self, peer: &Peer, from: IpAddr) -> bool {
        match peer.role {
            MachineRole::Host => self.policy.hosts.get(&peer.name).is_some_and(|all| all.contains(&from)),
            MachineRole::Recovery => self.recovers(from),
            MachineRole::Vault => false,
        }
    }

    /// The admission that it came with, unless it is revoked or replaced since.
    pub fn admitted(&self, peer: &Peer) -> Option<&Verified<Admission>> {
        self.book.of(&peer.name, peer.role).filter(|admission| admission.hash() == peer.admission)
    }

    /// What the policy says of a series, if this host may write it.
    pub fn writes(&self, peer: &Peer, series: &SeriesId) -> Option<&Terms> {
        let own = peer.role == MachineRole::Host && series.host == peer.name;
        let may = own && self.admitted(peer).is_some() && self.policy.hosts.contains_key(&peer.name);
        self.terms.get(series).filter(|_| may)
    }

    /// What the policy says of a series.
    pub fn terms(&self, series: &SeriesId) -> Option<&Terms> {
        self.terms.get(series)
    }

    /// May it read the backups of this host?
    pub fn reads(&self, peer: &Peer, of: &HostName) -> bool {
        self.admitted(peer).is_some_and(|admission| match peer.role {
            MachineRole::Host => peer.name == *of && self.policy.hosts.contains_key(of),
            MachineRole::Recovery => admission.reads.contains(of),
            MachineRole::Vault => false,
        })
    }

    fn recovers(&self, from: IpAddr) -> bool {
        self.policy.recovery_from.iter().any(|network| network.contains(&from))
    }
}
