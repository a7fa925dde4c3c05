//! Duties that a promise can mean: a closed list, each with what judges it.

/// How a duty is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judged {
    /// Enforced and looked at on hosts.
    Enforced,
    /// Looked at on hosts.
    Checked,
    /// Declared and checked in the policy; judged by the controller from the records of host and vault.
    Declared,
    /// A person answers for it.
    Attested,
    /// Nothing looks yet: `unknown{no probe}`, never met (rule 19).
    NoProbe,
}

impl Judged {
    /// In words.
    pub fn say(self) -> &'static str {
        match self {
            Self::Enforced => "enforced on the hosts and looked at",
            Self::Checked => "looked at on the hosts",
            Self::Declared => "judged from the records of host and vault",
            Self::Attested => "a person answers for it",
            Self::NoProbe => "unknown: no probe yet",
        }
    }
}

/// A duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duty {
    /// Its name in `means:`.
    pub name: &'static str,
    /// What judges it.
    pub judged: Judged,
    /// What it asks for.
    pub asks: &'static str,
}

const fn duty(name: &'static str, judged: Judged, asks: &'static str) -> Duty {
    Duty { name, judged, asks }
}

/// Every duty, sorted by name.
pub const DUTIES: &[Duty] = &[
    duty("access.key_and_address", Judged::Enforced, "SSH only with a known key from a known address"),
    duty(
        "access.secured",
        Judged::Enforced,
        "servers are reached by SSH with keys only, by the people named",
    ),
    duty("agreement", Judged::Attested, "a processing agreement with the client"),
    duty("backup.drill", Judged::Declared, "restoring is proved at intervals"),
    duty("backup.nightly", Judged::Declared, "databases and uploads are backed up each night"),
    duty("backup.offhost", Judged::Declared, "copies stand on another machine at another site"),
    duty("backup.ring", Judged::Declared, "a copy for each day of the week, overwritten a week later"),
    duty("backup.server", Judged::Declared, "the whole server is backed up so often a day"),
    duty("breach.notice", Judged::Attested, "a breach is told within the time agreed"),
    duty("data.minimal", Judged::NoProbe, "only the fields agreed are stored"),
    duty("firewall.both_ways", Judged::Enforced, "default drop inbound and outbound on every server"),
    duty("isolation", Judged::NoProbe, "each client has a place of its own"),
    duty("location", Judged::Attested, "data centres in the country agreed"),
    duty("passwords.hashed", Judged::NoProbe, "passwords are stored one-way, unreadable for staff"),
    duty("patch.security", Judged::Checked, "security updates within the deadline"),
    duty("purge", Judged::Declared, "data is gone within so long after the contract's end"),
    duty("retention", Judged::Declared, "data is kept as long as agreed and no longer"),
    duty("separate_development", Judged::NoProbe, "development and production apart"),
    duty("web.encrypted", Judged::NoProbe, "web traffic is encrypted"),
];

/// Values of the policy that a waiver may suspend.
pub const WAIVABLE: &[&str] = &[
    "backup.drill",
    "backup.nightly",
    "backup.server",
    "patch.lists_within",
    "patch.reboot_within",
    "patch.security_within",
];

/// The duty of that name.
pub fn find(name: &str) -> Option<&'static Duty> {
    DUTIES.binary_search_by_key(&name, |duty| duty.name).ok().map(|i| &DUTIES[i])
}

/// May a waiver suspend this?
pub fn can_be_waived(name: &str) -> bool {
    WAIVABLE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duty_is_found_by_its_name() {
        assert!(DUTIES.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(DUTIES.iter().all(|duty| find(duty.name) == Some(duty)));
        assert_eq!(find("backup"), None);
    }
}
