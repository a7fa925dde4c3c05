//! Which ruleset to load at boot, before any network is up: the confirmed one whose hash holds, else a built-in baseline, never nothing
//! on a host that has enforced before.

use std::collections::BTreeMap;

use tenure_policy::names::{NetworkName, RuleId};
use tenure_policy::resolved::{
    Confirm, ConfirmBy, FirewallSection, InboundRule, ManagementPath, Peers, Ports, Protocol,
};

use super::compile::{HostBits, compile};
use super::nft::{Numbered, Shown};
use super::state::{Confirmed, Kept, parse, whole_confirmed};
use super::table::Table;
use super::transaction::replace;

/// What to load at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// The confirmed ruleset.
    Confirmed {
        /// Its number.
        number: u32,
        /// One transaction for `nft -j -f -`.
        json: String,
    },
    /// Drop, plus the management path.
    Baseline {
        /// One transaction for `nft -j -f -`.
        json: String,
        /// Why not the confirmed one, and what the baseline lets in.
        why: String,
    },
    /// This host has never had a confirmed ruleset.
    Nothing,
}

/// Chooses.
///
/// `confirmed`: the bytes of [`super::state::CONFIRMED`], or why they could not be read (`None`: no such file). `enforced`: is
/// [`super::state::ENFORCED`] there? `section`: the firewall section of the last policy that verified, if it can be read.
pub fn choose(
    confirmed: Result<Option<Vec<u8>>, String>,
    enforced: bool,
    section: Option<&FirewallSection>,
) -> Boot {
    let kept = match confirmed {
        Ok(Some(bytes)) => whole_confirmed(parse::<Confirmed>(&bytes)),
        Ok(None) => Kept::None,
        Err(why) => Kept::Broken(why),
    };
    let why = match kept {
        Kept::Some(Confirmed { ruleset, .. }) => {
            let json = replace(&Shown::Confirmed(ruleset.numbered()));
            return Boot::Confirmed { number: ruleset.number, json };
        }
        Kept::None if !enforced => return Boot::Nothing,
        Kept::None => "the confirmed ruleset is gone".to_string(),
        Kept::Broken(why) => format!("the confirmed ruleset cannot be believed ({why})"),
    };
    let Baseline { table, lets_in } = baseline(section);
    let json = replace(&Shown::Confirmed(Numbered::new(0, &table)));
    Boot::Baseline { json, why: format!("{why}; the baseline drops everything but {lets_in}") }
}

/// The built-in ruleset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// Drop, plus SSH.
    pub table: Table,
    /// What it lets in, in words.
    pub lets_in: String,
}

/// Drop, plus SSH from the management networks of the policy; without a readable policy, plus SSH from anywhere.
pub fn baseline(section: Option<&FirewallSection>) -> Baseline {
    let networks: Vec<NetworkName> = section.map(management).unwrap_or_default();
    let (from, lets_in) = if networks.is_empty() {
        (Peers::Anywhere, "SSH from anywhere (no policy could be read)".to_string())
    } else {
        let names: Vec<&str> = networks.iter().map(NetworkName::as_str).collect();
        let lets_in = format!("SSH from {}", names.join(", "));
        (Peers::Networks(networks.clone()), lets_in)
    };
    let all = section.map(|s| &s.networks);
    let known = |name: NetworkName| Some((name.clone(), all?.get(&name)?.clone()));
    let id = RuleId::new("implied:baseline/ssh").expect("lower-case letters, colon and slash");
    let minimal = FirewallSection {
        networks: networks.into_iter().filter_map(known).collect::<BTreeMap<_, _>>(),
        inbound: vec![InboundRule {
            id,
            ports: vec![Ports { protocol: Protocol::Tcp, first: 22, last: 22 }],
            from,
        }],
        outbound: vec![],
        blocks: vec![],
        management: vec![],
        confirm: Confirm { within_seconds: 60, by: ConfirmBy::Person },
        neighbours: vec![],
    };
    // One rule over networks that the section resolves; their number was bounded when the policy was compiled, and if not, SSH stays open.
    match compile(&minimal, &HostBits { without_forward: true, ..HostBits::default() }) {
        Ok(table) => Baseline { table, lets_in },
        Err(_) => baseline(None),
    }
}

/// Management networks that have addresses.
fn management(section: &FirewallSection) -> Vec<NetworkName> {
    let all = section.management.iter().flat_map(|ManagementPath { from, .. }| from);
    let has = |name: &&NetworkName| {
        section.networks.get(*name).is_some_and(|a| !a.v4.is_empty() || !a.v6.is_empty())
    };
    let mut names: Vec<NetworkName> = all.filter(has).cloned().collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::firewall::evaluate::inbound;
    use crate::firewall::samples::web;
    use crate::firewall::state::Ruleset;

    fn confirmed() -> Vec<u8> {
        let table = compile(&web(), &HostBits::assumed(&web())).unwrap();
        let at = "2026-11-22T12:00:00Z".parse().unwrap();
        serde_json::to_vec(&Confirmed { at, ruleset: Ruleset::new(7, table) }).unwrap()
    }

    #[test]
    fn the_confirmed_ruleset_is_loaded_only_when_its_hash_holds() {
        let section = web();
        let Boot::Confirmed { number: 7, json } = choose(Ok(Some(confirmed())), true, Some(&section)) else {
            panic!("not the confirmed one");
        };
        assert!(json.contains("g7_input"));
        let bent =
            String::from_utf8(confirmed()).unwrap().replace("203.0.113.0/24", "0.0.0.0/0").into_bytes();
        let half = confirmed()[..500].to_vec();
        let cases =
            [Ok(Some(bent)), Ok(Some(half)), Ok(Some(vec![])), Ok(None), Err("a symbolic link".to_string())];
        for broken in cases {
            let Boot::Baseline { json, why } = choose(broken.clone(), true, Some(&section)) else {
                panic!("{broken:?}");
            };
            assert!(json.contains("203.0.113.0") && !json.contains("g7_"), "{broken:?}");
            assert!(why.ends_with("the baseline drops everything but SSH from office"), "{why}");
        }
        assert_eq!(choose(Ok(None), false, Some(&section)), Boot::Nothing);
    }

    #[test]
    fn the_baseline_keeps_the_management_path_and_nothing_else() {
        let reached = |table: &Table, from: &str, port| {
            let here: IpAddr =
                if from.contains(':') { "::2".parse().unwrap() } else { "10.0.0.2".parse().unwrap() };
            inbound(table, from.parse().unwrap(), here, Protocol::Tcp, port).accept
        };
        let known = baseline(Some(&web())).table;
        for (from, port, open) in [
            ("203.0.113.9", 22, true),
            ("2001:db8:10::9", 22, true),
            ("192.0.2.1", 22, false),
            ("203.0.113.9", 443, false),
        ] {
            assert_eq!(reached(&known, from, port), open, "{from} {port}");
        }
        let blind = baseline(None);
        assert!(reached(&blind.table, "192.0.2.1", 22) && !reached(&blind.table, "192.0.2.1", 443));
        assert_eq!(blind.lets_in, "SSH from anywhere (no policy could be read)");
    }
}
