//! Faults of meaning about people, machine keys, recovery, management, waivers.

use std::collections::BTreeMap;

use crate::fault::{Fault, FaultCode, Faults, Place, Spanned};
use crate::names::NetworkName;
use crate::resolve::book::{Book, Kind, Who};
use crate::resolve::keys;
use crate::scalars::Text;
use crate::written::{Management, Written};

/// Seconds within which a trial may be confirmed.
pub(crate) const CONFIRM_SECONDS: std::ops::RangeInclusive<u64> = 5..=3600;

/// Checks people, machine keys, recovery recipients, the management path and waivers.
pub(crate) fn check(written: &Written, book: &Book, faults: &mut Faults) {
    let mut seen: BTreeMap<String, (String, Place)> = BTreeMap::new();
    for (name, person) in &written.people {
        check_keys(name.as_str(), &person.keys, &mut seen, faults);
        check_from(&person.from, book, faults);
    }
    for (name, machine) in &written.machines {
        check_keys(name.as_str(), &machine.keys, &mut seen, faults);
        check_from(&machine.from, book, faults);
        if !written.people.contains_key(&machine.owner.value) {
            let known = written.people.keys().map(|p| p.as_str());
            let fault = Fault::unknown(&machine.owner.at, "person", machine.owner.as_str(), known);
            let fault = fault.hint("a machine key is owned by a person, who answers for it");
            book.unknown(&["people"], machine.owner.as_str(), fault, faults);
        }
        if !machine.command.as_str().starts_with('/') || machine.command.as_str().contains('\n') {
            let what = format!("{:?} is not an absolute command", machine.command.as_str());
            faults.push(
                Fault::new(&machine.command.at, FaultCode::Rule, what).hint("write the program's whole path"),
            );
        }
    }
    if let Some(management) = &written.management {
        check_management(management, book, faults);
    }
    check_recovery(written, book, faults);
    for waiver in &written.waivers {
        if !written.people.contains_key(&waiver.owner.value) {
            let known = written.people.keys().map(|p| p.as_str());
            let fault = Fault::unknown(&waiver.owner.at, "person", waiver.owner.as_str(), known);
            book.unknown(&["people"], waiver.owner.as_str(), fault, faults);
        }
        if waiver.because.as_str().trim().is_empty() {
            faults.push(
                Fault::new(&waiver.because.at, FaultCode::Rule, "a waiver without a reason").hint("say why"),
            );
        }
        if !crate::duties::can_be_waived(waiver.what.as_str()) {
            let known = crate::duties::WAIVABLE.iter().copied();
            faults.push(Fault::unknown(&waiver.what.at, "duty", waiver.what.as_str(), known));
        }
        for host in &waiver.hosts {
            check_waived_host(host, written, book, faults);
        }
    }
}

fn check_keys(
    owner: &str,
    lines: &[Spanned<Text>],
    seen: &mut BTreeMap<String, (String, Place)>,
    faults: &mut Faults,
) {
    for line in lines {
        let key = match keys::ssh_public_key(line.as_str()) {
            Ok(key) => key,
            Err((what, hint)) => {
                faults.push(Fault::new(&line.at, FaultCode::BadValue, what).hint(hint));
                continue;
            }
        };
        if let Some((other, at)) = seen.insert(key, (owner.to_owned(), line.at.clone())) {
            let what = format!("the same key as {other}'s at {at}");
            let hint = "a key says who somebody is: one person or machine for each";
            faults.push(Fault::new(&line.at, FaultCode::DefinedTwice, what).hint(hint));
        }
    }
}

/// Logins always name their networks: `anywhere` is refused here.
fn check_from(from: &[Spanned<NetworkName>], book: &Book, faults: &mut Faults) {
    for network in from {
        book.must_have_addresses(network, faults);
    }
}

fn check_management(management: &Management, book: &Book, faults: &mut Faults) {
    for who in &management.who {
        if let Some(Who::Machine) = book.who(who, faults) {
            let what = format!("{:?} is a machine key, and the management path is people's", who.as_str());
            faults.push(Fault::new(&who.at, FaultCode::Rule, what).hint("name people or groups"));
        }
    }
    let by = &management.confirm.by;
    for name in by.iter().filter(|name| name.as_str() != "person") {
        let fault = match book.entry(&name.value) {
            Some(entry) if entry.kind == Kind::Host => continue,
            Some(entry) => {
                let what = format!("{:?} is a {} and confirms nothing", name.as_str(), entry.kind.say());
                Fault::new(&name.at, FaultCode::Rule, what)
            }
            None => Fault::unknown(&name.at, "confirmer", name.as_str(), ["person"]),
        };
        faults.push(fault.hint(
            "name a host, which connects anew, or person: somebody types tenure-agent confirm in a new session",
        ));
    }
    let within = &management.confirm.within;
    if !within.exact_seconds().is_some_and(|s| CONFIRM_SECONDS.contains(&s)) {
        let what = format!("a trial of {} is outside 5s to 1h", within.value);
        let hint = "60s is usual: long enough to open a session, short enough to be locked out for";
        faults.push(Fault::new(&within.at, FaultCode::BadValue, what).hint(hint));
    }
}

/// At least two recipients (rule 18); needed as soon as anything is backed up.
fn check_recovery(written: &Written, book: &Book, faults: &mut Faults) {
    let Some(recovery) = &written.recovery else {
        let profiles = written.profiles.values().filter_map(|p| p.backup.as_ref());
        let hosts = written.hosts.values().filter_map(|h| h.backup.as_ref());
        let first = profiles.chain(hosts).min_by_key(|backup| &backup.at);
        if let Some(backup) = first.filter(|_| book.is_whole()) {
            let what = "backups without recovery: when the host is dead, nobody could open them";
            let hint =
                "add recovery: { recipients: [\"age1…\", \"age1…\"] }, the two keys kept in two places";
            faults.push(Fault::new(&backup.at, FaultCode::MissingKey, what).hint(hint));
        }
        return;
    };
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    for recipient in &recovery.recipients {
        if let Err((what, hint)) = keys::age_recipient(recipient.as_str()) {
            faults.push(Fault::new(&recipient.at, FaultCode::BadValue, what).hint(hint));
        }
        if let Some(first) = seen.insert(recipient.as_str(), &recipient.at) {
            let what = format!("the same recipient as at {first}");
            faults.push(
                Fault::new(&recipient.at, FaultCode::DefinedTwice, what)
                    .hint("name another key, kept elsewhere"),
            );
        }
    }
    if seen.len() < 2 {
        let what = "one recovery recipient: losing that one key loses every backup";
        let hint = "name at least two, kept in two places";
        faults.push(Fault::new(&recovery.at, FaultCode::Rule, what).hint(hint));
    }
}

fn check_waived_host(name: &Spanned<NetworkName>, written: &Written, book: &Book, faults: &mut Faults) {
    if !matches!(book.entry(&name.value).map(|entry| entry.kind), Some(Kind::Host | Kind::Profile)) {
        let hosts = written.hosts.keys().map(|h| h.as_str());
        let known = hosts.chain(written.profiles.keys().map(|p| p.as_str()));
        let fault = Fault::unknown(&name.at, "host or profile", name.as_str(), known);
        book.unknown(&["hosts", "profiles"], name.as_str(), fault, faults);
    }
}
