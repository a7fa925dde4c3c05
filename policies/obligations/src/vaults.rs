//! What a vault says of itself, put together from its head and the pages that the head names.

use std::collections::HashMap;

use tenure_policy::bundles::VaultPolicy;
use tenure_trust::vault_pages::{AREA, page_area, page_hash};
use tenure_trust::vault_wire::VaultFacts;
use tenure_trust::{AreaName, Hash, HostName, MachineRole};

use crate::believed;
use crate::input::{Content, Input, Newest, Reported};
use crate::judge::VaultSeen;
use crate::reason::{Machine, Reason};

/// Looks at a vault.
pub(crate) fn vault_seen<'a>(input: &'a Input<'a>, policy: &'a VaultPolicy) -> VaultSeen<'a> {
    let host = &policy.host;
    let reported = input.machines.get(&(host.clone(), MachineRole::Vault));
    let head = reported.and_then(|reported| area(reported, &AreaName::new(AREA).ok()?));
    let pages = reported.zip(head).map(|(reported, head)| pages(reported, head)).unwrap_or_default();
    let facts = believed::machine(input, host, MachineRole::Vault)
        .and_then(|reported| believed::area(input, reported, host, MachineRole::Vault, AREA))
        .and_then(|newest| {
            let lacks = || newest.content.lacks().unwrap_or("what came says nothing of a vault");
            let facts = said(newest).ok_or_else(|| unjudged(host, lacks().into()))?;
            match pages.iter().position(Option::is_none) {
                None => Ok(facts),
                Some(missing) => {
                    let (number, of) = (missing + 1, pages.len());
                    Err(unjudged(host, format!("page {number} of {of} of its facts has not come")))
                }
            }
        });
    let silent = facts.is_err().then(|| machine(host));
    let told = head.into_iter().chain(pages.into_iter().flatten());
    let mut series = HashMap::new();
    for newest in told {
        for one in said(newest).iter().flat_map(|facts| &facts.series) {
            series.insert(&one.series, (one, &newest.record));
        }
    }
    VaultSeen {
        policy,
        admitted: reported.and_then(|reported| reported.admitted),
        silent,
        facts,
        series,
        record: head.map(|head| head.record.clone()),
    }
}

/// The pages that a head names, in order; none for one that is not there or says something else. One that came after the
/// head is newer than it: the next head follows.
fn pages<'a>(reported: &'a Reported, head: &'a Newest) -> Vec<Option<&'a Newest>> {
    let named = said(head).into_iter().flat_map(|facts| &facts.pages).enumerate();
    let page = |(number, hash): (usize, &Hash)| {
        let newest = area(reported, &page_area(number)?)?;
        let later = (newest.record.epoch, newest.record.seq) > (head.record.epoch, head.record.seq);
        said(newest).filter(|page| later || page_hash(page) == *hash).map(|_| newest)
    };
    named.map(page).collect()
}

fn area<'a>(reported: &'a Reported, name: &AreaName) -> Option<&'a Newest> {
    reported.areas.get(name)
}

fn said(newest: &Newest) -> Option<&VaultFacts> {
    match &newest.content {
        Content::Vault(facts) => Some(facts),
        _ => None,
    }
}

fn machine(host: &HostName) -> Machine {
    Machine { host: host.clone(), role: MachineRole::Vault }
}

fn unjudged(host: &HostName, why: String) -> Reason {
    Reason::Unjudged { machine: machine(host), area: AREA.into(), why }
}
