//! Who logs in on a host: login rules × members × keys, with where each comes from.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use tenure_trust::PersonName;

use crate::addresses;
use crate::calendar::Zone;
use crate::fault::{Place, Spanned};
use crate::names::{NetworkName, RuleId, UnixUser};
use crate::resolve::book::Book;
use crate::resolve::keys;
use crate::resolve::merge::Source;
use crate::resolved::{Login, ManagementPath};
use crate::scalars::Text;
use crate::written::Written;

/// A rule of `logins`, with the people it means.
#[derive(Debug)]
pub(crate) struct LoginRule<'w> {
    /// `<source>/ssh/<number>`.
    pub(crate) id: RuleId,
    /// `implied:ssh/<account>/<number>`: the opening that follows.
    pub(crate) opening: RuleId,
    /// Where it stands.
    pub(crate) at: &'w Place,
    /// Who says it: `profile web`.
    pub(crate) source: String,
    /// As whom.
    pub(crate) account: &'w UnixUser,
    /// The names as written.
    pub(crate) who: Vec<&'w str>,
    /// Members of all of them, sorted.
    pub(crate) members: Vec<PersonName>,
    /// Where they come from: the union of their `from`.
    pub(crate) from: BTreeSet<NetworkName>,
}

/// What the policy knows of a person or machine key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'w> {
    pub(crate) keys: &'w [Spanned<Text>],
    pub(crate) from: &'w [Spanned<NetworkName>],
    pub(crate) until: &'w Spanned<Date>,
    pub(crate) command: Option<&'w Spanned<Text>>,
}

/// The person or machine key of that name.
pub(crate) fn holder<'w>(written: &'w Written, name: &PersonName) -> Option<Holder<'w>> {
    if let Some(person) = written.people.get(name) {
        return Some(Holder { keys: &person.keys, from: &person.from, until: &person.until, command: None });
    }
    let machine = written.machines.get(name)?;
    Some(Holder {
        keys: &machine.keys,
        from: &machine.from,
        until: &machine.until,
        command: Some(&machine.command),
    })
}

/// The login rules of a host in order.
pub(crate) fn rules<'w>(written: &'w Written, book: &Book, sources: &[Source<'w>]) -> Vec<LoginRule<'w>> {
    let mut numbers: BTreeMap<&UnixUser, usize> = BTreeMap::new();
    let mut rules = Vec::new();
    for source in sources {
        for (index, login) in source.access.iter().flat_map(|access| access.logins.iter().enumerate()) {
            let number = numbers.entry(&login.account.value).or_default();
            *number += 1;
            let ids = (
                RuleId::new(format!("{}/ssh/{}", source.name, index + 1)),
                RuleId::new(format!("implied:ssh/{}/{number}", login.account.value)),
            );
            let (Ok(id), Ok(opening)) = ids else { continue };
            let members: BTreeSet<PersonName> =
                login.who.iter().flat_map(|who| book.members(&who.value)).collect();
            let holders = members.iter().filter_map(|name| holder(written, name));
            let from = holders.flat_map(|holder| holder.from).map(|network| network.value.clone()).collect();
            rules.push(LoginRule {
                id,
                opening,
                at: &login.at,
                source: source.say(),
                account: &login.account.value,
                who: login.who.iter().map(|who| who.as_str()).collect(),
                members: members.into_iter().collect(),
                from,
            });
        }
    }
    rules
}

/// One login for each account and person, in that order, with the rule that it comes from.
pub(crate) fn logins<'r, 'w>(
    written: &'w Written,
    book: &Book,
    zone: &Zone,
    rules: &'r [LoginRule<'w>],
) -> Vec<(Login, &'r LoginRule<'w>)> {
    let mut logins: BTreeMap<(UnixUser, PersonName), (Login, &LoginRule<'w>)> = BTreeMap::new();
    for rule in rules {
        for who in &rule.members {
            let Some(holder) = holder(written, who) else { continue };
            let entry = || (login(rule, who, holder, book, zone), rule);
            logins.entry((rule.account.clone(), who.clone())).or_insert_with(entry);
        }
    }
    logins.into_values().collect()
}

fn login(rule: &LoginRule<'_>, who: &PersonName, holder: Holder<'_>, book: &Book, zone: &Zone) -> Login {
    let nets = holder
        .from
        .iter()
        .filter_map(|name| book.entry(&name.value))
        .flat_map(|entry| entry.addresses.iter());
    let mut keys: Vec<String> =
        holder.keys.iter().filter_map(|line| keys::ssh_public_key(line.as_str()).ok()).collect();
    keys.sort();
    Login {
        id: rule.id.clone(),
        who: who.clone(),
        account: rule.account.clone(),
        keys,
        from: addresses::merge(nets).iter().collect(),
        until: last_moment(zone, holder.until.value),
        command: holder.command.map(|command| command.as_str().to_owned()),
    }
}

/// `until` is the last day, in the policy's zone.
pub(crate) fn last_moment(zone: &Zone, until: Date) -> Timestamp {
    zone.end_of_day(until)
}

/// The ways in that must survive: people of `management.who` who log in on this host.
pub(crate) fn management<'r, 'w>(
    written: &'w Written,
    book: &Book,
    logins: &[(Login, &'r LoginRule<'w>)],
) -> Vec<(ManagementPath, &'r LoginRule<'w>)> {
    let Some(management) = &written.management else { return Vec::new() };
    let who: BTreeSet<PersonName> =
        management.who.iter().flat_map(|name| book.members(&name.value)).collect();
    let path = |login: &Login| {
        let holder = written.people.get(&login.who).filter(|_| who.contains(&login.who))?;
        let from: BTreeSet<NetworkName> = holder.from.iter().map(|network| network.value.clone()).collect();
        Some(ManagementPath {
            person: login.who.clone(),
            from: from.into_iter().collect(),
            account: login.account.clone(),
        })
    };
    logins.iter().filter_map(|(login, rule)| Some((path(login)?, *rule))).collect()
}
