//! The policy in force: one place that the policy's thread sets and every lane reads.

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use tenure_policy::resolved::HostPolicy;
use tenure_trust::{Hash, PolicyVersion, Verified};

/// A policy that may be enforced: verified, or root's own on a standalone host.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    verified: Verified<HostPolicy>,
    confirm_within: Option<u32>,
    /// Where it came from, in words for a person.
    pub from: String,
}

impl Held {
    /// Holds a verified policy.
    pub fn new(verified: Verified<HostPolicy>, from: String) -> Self {
        Self { verified, confirm_within: None, from }
    }

    /// The same with another limit for the trials of its ruleset and logins, in seconds (`apply --confirm-within`).
    #[must_use]
    pub fn confirm_within(mut self, seconds: Option<u32>) -> Self {
        self.confirm_within = seconds;
        self
    }

    /// The policy as the areas get it.
    pub fn policy(&self) -> HostPolicy {
        let mut policy = self.verified.value().clone();
        if let (Some(seconds), Some(firewall)) = (self.confirm_within, &mut policy.firewall) {
            firewall.confirm.within_seconds = seconds;
        }
        if let (Some(seconds), Some(access)) = (self.confirm_within, &mut policy.ssh_access) {
            access.confirm_within_seconds = seconds;
        }
        policy
    }

    /// What was verified.
    pub fn verified(&self) -> &Verified<HostPolicy> {
        &self.verified
    }

    /// Its version; none on a standalone host.
    pub fn version(&self) -> Option<PolicyVersion> {
        self.verified.version()
    }

    /// When it expires; never on a standalone host.
    pub fn until(&self) -> Option<Timestamp> {
        self.verified.until()
    }

    /// The hash of its bytes.
    pub fn hash(&self) -> Hash {
        self.verified.hash()
    }
}

/// The policy in force, or none yet. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct PolicyInForce(Arc<RwLock<Option<Arc<Held>>>>);

impl PolicyInForce {
    /// What is in force.
    pub fn get(&self) -> Option<Arc<Held>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another policy in force.
    pub fn set(&self, held: Held) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(held));
    }
}
