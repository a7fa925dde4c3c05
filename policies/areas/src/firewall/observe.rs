//! Looks at the firewall of a host: reads the state on disk and the kernel's table, and names what the table equals.
//! Cheap when nothing changed: connections, addresses and others' changes are only asked for when a decision needs them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use tenure_policy::names::UnixUser;
use tenure_policy::resolved::FirewallSection;
use tenure_trust::Hash;

use super::boot;
use super::compile::{HostBits, compile, named_users};
use super::describe::text;
use super::facts::{
    Change, Facts, ForeignChain, Here, MAX_DIFFERENCES, MAX_FOREIGN, Own, Summary, TrialFacts,
};
use super::listing::{Listing, ListingError, live_families};
use super::nft::{Numbered, Shown, TABLE, live_name};
use super::state::{self, Confirmed, Kept, Ruleset, Trial};
use super::table::Table;
use crate::addresses;
use crate::area::{Actor, Unknown};
use crate::port::{Beneath, Flow, HostRead, Owner, PortError, Query};
use crate::ssh_servers;

const MAX_PASSWD: usize = 4 * 1024 * 1024;
/// Most tracked connections that are read when a trial ends.
const MAX_FLOWS: usize = 500_000;

/// Looks.
///
/// # Errors
/// [`Unknown`] when the kernel or the state cannot be read.
pub(super) fn observe(host: &dyn HostRead, section: &FirewallSection) -> Result<Facts, Unknown> {
    let mut faults = Vec::new();
    let disk = |path: &str| format!("reading {path}");
    let confirmed = state::read::<Confirmed>(host, state::CONFIRMED)
        .map_err(|e| Unknown::from_port(disk(state::CONFIRMED), &e))
        .map(state::whole_confirmed)?
        .or_note(state::CONFIRMED, &mut faults);
    let trial = state::read::<Trial>(host, state::TRIAL)
        .map_err(|e| Unknown::from_port(disk(state::TRIAL), &e))
        .map(state::whole_trial)?
        .or_note(state::TRIAL, &mut faults);
    // Broken, it is written anew or removed: nothing is decided by it.
    let next = state::read::<Confirmed>(host, state::NEXT)
        .map_err(|e| Unknown::from_port(disk(state::NEXT), &e))
        .map(state::whole_confirmed)?;
    let (is_next, next) = match next {
        Kept::Some(next) => (true, Some(next)),
        Kept::Broken(_) => (true, None),
        Kept::None => (false, None),
    };
    let confirm = small(host, state::CONFIRM, &mut faults)?;
    let refused = small(host, state::REFUSED, &mut faults)?;
    let restores = small(host, state::RESTORES, &mut faults)?;
    let bridges = bridges(host)?;
    let bits = HostBits { uids: uids(host, section)?, without_forward: !bridges.is_empty() };
    // What the policy wants is asked for only where the table may be it, or a trial may no longer be.
    let at_rest = confirmed.is_some() && trial.is_none();
    let wanted = if at_rest { None } else { compile(section, &bits).ok() };
    let lost = confirmed.is_none() && trial.is_none();
    let baseline = lost.then(|| boot::baseline(Some(section)).table);
    let listing = listing(host)?;
    let own = own(&listing, confirmed.as_ref(), trial.as_ref(), wanted.as_ref(), baseline.as_ref())?;
    let live = live(host, &own, trial.as_ref())?;
    let changes = match own {
        Own::Differs { .. } | Own::Absent => {
            changes(host, restores.as_ref().map(|r: &state::Restores| r.last), confirmed.as_ref())?
        }
        _ => vec![],
    };
    // Asked of every process: not in a pass that tries no ruleset.
    let ssh_ports = match settled(section, &bits, confirmed.as_ref()) {
        true => None,
        false => Some(ssh_servers::ports(&ssh_servers::seen(host)?)),
    };
    let mut here = Here { confirmed, trial, next, ..Here::default() };
    let given_up =
        |trial: &Trial| refused.as_ref().is_some_and(|r: &state::Refused| r.hash == trial.new.hash);
    let ending = match (&here.trial, live, &confirm) {
        (None, ..) => false,
        (Some(trial), ..) if given_up(trial) => true,
        (Some(trial), Some(true), None) => wanted.as_ref().map(Table::hash) != Some(trial.new.hash),
        (Some(_), ..) => true,
    };
    if ending {
        (here.flows, here.addresses) = (flows(host)?, addresses::own(host)?);
    }
    Ok(Facts {
        own,
        live,
        confirmed: here.confirmed.as_ref().map(|c| summary(&c.ruleset)),
        trial: here.trial.as_ref().map(trial_facts),
        next: is_next,
        confirm,
        refused,
        restores,
        enforced: enforced(host)?,
        faults,
        host: bits,
        bridges,
        passes_on: passes_on(host),
        foreign: foreign(host, &section.neighbours)?,
        ssh_ports,
        changes,
        here,
    })
}

/// A policy with what the host adds to it, and the confirmed ruleset that is what they want.
type Settled = (FirewallSection, HostBits, Hash);

thread_local! {
    /// The last one: compiling takes longer than comparing, and the same section always compiles to the same table.
    static SETTLED: RefCell<Option<Settled>> = const { RefCell::new(None) };
}

/// Is the confirmed ruleset what the policy wants, so that none will go on trial?
fn settled(section: &FirewallSection, bits: &HostBits, confirmed: Option<&Confirmed>) -> bool {
    let Some(Confirmed { ruleset, .. }) = confirmed else { return false };
    let is = |known: &Settled| (&known.0, &known.1, known.2) == (section, bits, ruleset.hash);
    if SETTLED.with_borrow(|known| known.as_ref().is_some_and(is)) {
        return true;
    }
    let wanted = compile(section, bits).is_ok_and(|table| table == ruleset.table);
    if wanted {
        SETTLED.set(Some((section.clone(), bits.clone(), ruleset.hash)));
    }
    wanted
}

fn small<T: serde::de::DeserializeOwned>(
    host: &dyn HostRead,
    path: &str,
    faults: &mut Vec<String>,
) -> Result<Option<T>, Unknown> {
    let kept: Kept<T> =
        state::read(host, path).map_err(|e| Unknown::from_port(format!("reading {path}"), &e))?;
    Ok(kept.or_note(path, faults))
}

fn enforced(host: &dyn HostRead) -> Result<bool, Unknown> {
    match host.stat(&Beneath::new("/var/lib/tenure/firewall", "enforced")) {
        Ok(_) => Ok(true),
        Err(PortError::Absent { .. }) => Ok(false),
        Err(error) => Err(Unknown::from_port("looking whether a ruleset was ever confirmed", &error)),
    }
}

fn summary(ruleset: &Ruleset) -> Summary {
    Summary { number: ruleset.number, hash: ruleset.hash }
}

fn trial_facts(trial: &Trial) -> TrialFacts {
    let Trial { new, over, from, until, until_boot_ms, boot_id } = trial;
    TrialFacts {
        new: summary(new),
        over: summary(over),
        from: *from,
        until: *until,
        until_boot_ms: *until_boot_ms,
        boot_id: boot_id.clone(),
    }
}

fn unreadable(doing: &str, error: &dyn std::error::Error) -> Unknown {
    Unknown::new(doing, error)
}

const LISTING: &str = "listing table inet tenure";

pub(super) fn listing(host: &dyn HostRead) -> Result<Option<Vec<u8>>, Unknown> {
    match host.ask(&Query::NftOwnTable) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(PortError::Absent { .. }) => Ok(None),
        Err(error) => Err(Unknown::from_port(LISTING, &error)),
    }
}

/// What a listing turned out to be at rest: by the hash of its bytes, and number and hash of the confirmed ruleset.
type Named = ((Hash, u32, Hash), Own);

thread_local! {
    /// The last few. Reading and rendering a table takes most of a pass, and the same bytes beside the same ruleset are
    /// always the same: what is remembered decides nothing that would not be decided without it.
    static NAMED: RefCell<VecDeque<Named>> = const { RefCell::new(VecDeque::new()) };
}
/// How many: the wanted table, and what others make of it again and again.
const MAX_NAMED: usize = 8;

/// Names what the kernel shows. `confirmed` is whole: its hash is the one of its content. `wanted` and `baseline` count only
/// where there is neither a confirmed ruleset nor a trial.
pub(super) fn own(
    listing: &Option<Vec<u8>>,
    confirmed: Option<&Confirmed>,
    trial: Option<&Trial>,
    wanted: Option<&Table>,
    baseline: Option<&Table>,
) -> Result<Own, Unknown> {
    let Some(bytes) = listing else { return Ok(Own::Absent) };
    let key = match (confirmed, trial) {
        (Some(Confirmed { ruleset, .. }), None) => Some((Hash::of(bytes), ruleset.number, ruleset.hash)),
        _ => None,
    };
    let known = key.as_ref().and_then(|key| {
        NAMED.with_borrow(|named| named.iter().find(|(known, _)| known == key).map(|(_, own)| own.clone()))
    });
    if let Some(own) = known {
        return Ok(own);
    }
    let seen = Listing::parse(bytes).map_err(|e: ListingError| unreadable(LISTING, &e))?;
    let own = name(&seen, confirmed, trial, wanted, baseline);
    if let Some(key) = key {
        NAMED.with_borrow_mut(|named| {
            named.truncate(MAX_NAMED - 1);
            named.push_front((key, own.clone()));
        });
    }
    Ok(own)
}

/// Names what the kernel shows by what it equals.
fn name(
    seen: &Listing,
    confirmed: Option<&Confirmed>,
    trial: Option<&Trial>,
    wanted: Option<&Table>,
    baseline: Option<&Table>,
) -> Own {
    let is = |shown: Shown<'_>| plausible(seen, &shown) && Listing::expected(&shown) == *seen;
    if confirmed.is_some_and(|c| is(Shown::Confirmed(c.ruleset.numbered()))) {
        return Own::Confirmed;
    }
    if let Some(trial) = trial {
        let (old, new) = (trial.over.numbered(), trial.new.numbered());
        if is(Shown::Trial { old, new, seconds: 0 }) {
            return Own::OnTrial;
        }
        if is(Shown::Staged { old, new }) {
            return Own::Staged;
        }
        if is(Shown::Confirmed(new)) {
            return Own::NewConfirmed;
        }
        if is(Shown::Confirmed(old)) {
            return Own::Old;
        }
    }
    if confirmed.is_none()
        && trial.is_none()
        && let (Some(table), Some(number)) = (wanted, stated_number(seen))
        && is(Shown::Confirmed(Numbered::new(number, table)))
    {
        return Own::Wanted { number };
    }
    if confirmed.is_none()
        && trial.is_none()
        && baseline.is_some_and(|table| is(Shown::Confirmed(Numbered::new(0, table))))
    {
        return Own::Baseline;
    }
    let expected = match (trial, confirmed) {
        (Some(trial), _) => {
            let (old, new) = (trial.over.numbered(), trial.new.numbered());
            Listing::expected(&Shown::Trial { old, new, seconds: 0 })
        }
        (None, Some(confirmed)) => Listing::expected(&Shown::Confirmed(confirmed.ruleset.numbered())),
        (None, None) => Listing::default(),
    };
    Own::Differs { hash: seen.hash(), differences: seen.differences(&expected, MAX_DIFFERENCES) }
}

/// Can the listing be this at all? Saves rendering what it cannot be.
fn plausible(seen: &Listing, shown: &Shown<'_>) -> bool {
    let (numbers, trial) = match shown {
        Shown::Confirmed(only) => (vec![only.number], None),
        Shown::Staged { old, new } => (vec![old.number, new.number], None),
        Shown::Trial { old, new, .. } => (vec![old.number, new.number], Some(live_name(new.number))),
    };
    let live = seen.sets.keys().find(|name| name.ends_with("_live"));
    let rulesets =
        seen.chains.keys().filter(|name| name.starts_with('g') && name.ends_with("_input")).count();
    live == trial.as_ref()
        && rulesets == numbers.len()
        && numbers.iter().all(|number| seen.chains.contains_key(&format!("g{number}_input")))
}

/// The number that the rule of the base chain `input` says.
fn stated_number(seen: &Listing) -> Option<u32> {
    let rule = seen.chains.get("input")?.rules.first()?;
    let after = rule.split_once("tenure gen=")?.1;
    after.split(' ').next()?.parse().ok()
}

/// Asks for the live set only when there is a trial in the kernel; it is never taken from the cached listing, because elements that
/// end bump no generation.
pub(super) fn live(host: &dyn HostRead, own: &Own, trial: Option<&Trial>) -> Result<Option<bool>, Unknown> {
    const DOING: &str = "reading the trial's live set";
    let (Own::OnTrial, Some(trial)) = (own, trial) else { return Ok(None) };
    match host.ask(&Query::NftSet { name: live_name(trial.new.number) }) {
        Ok(bytes) => {
            let families = live_families(&bytes).map_err(|e| unreadable(DOING, &e))?;
            Ok(Some(families.len() == 2))
        }
        Err(PortError::Absent { .. }) => Ok(Some(false)),
        Err(error) => Err(Unknown::from_port(DOING, &error)),
    }
}

fn uids(host: &dyn HostRead, section: &FirewallSection) -> Result<BTreeMap<UnixUser, u32>, Unknown> {
    let wanted = named_users(section);
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    // The kernel's and sshd's users are these whoever may write the file: refusing to look would switch the area off.
    let bytes = host
        .file(&Beneath::new("/etc", "passwd"), Owner::Any, MAX_PASSWD)
        .map_err(|e| Unknown::from_port("reading the accounts", &e))?;
    let passwd = String::from_utf8_lossy(&bytes);
    let account = |line: &str| {
        let mut fields = line.split(':');
        let name = UnixUser::new(fields.next()?).ok()?;
        let uid = fields.nth(1)?.parse().ok()?;
        wanted.contains(&name).then_some((name, uid))
    };
    // getpwnam(3) takes the first line of a name, so a later twin must not win
    let mut uids = BTreeMap::new();
    for (name, uid) in passwd.lines().filter_map(account) {
        uids.entry(name).or_insert(uid);
    }
    Ok(uids)
}

/// How container engines and hypervisors name their bridges, or the interfaces that they route to.
const BRIDGES: [&str; 19] = [
    "docker", "br-", "cni", "podman", "virbr", "lxcbr", "lxdbr", "incusbr", "cbr", "cilium_", "flannel",
    "cali", "weave", "kube-", "ve-", "vb-", "vz-", "vnet", "vmbr",
];

/// ip-sysctl(7): `ip_forward` and `conf/all/forwarding`. Only said, so what cannot be read counts as off.
fn passes_on(host: &dyn HostRead) -> bool {
    ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].iter().any(|name| {
        let read = host.file(&Beneath::new("/proc/sys/net", *name), Owner::Any, 16);
        read.is_ok_and(|bytes| bytes.trim_ascii() == b"1")
    })
}

fn bridges(host: &dyn HostRead) -> Result<Vec<String>, Unknown> {
    let bytes =
        host.ask(&Query::Interfaces).map_err(|e| Unknown::from_port("listing network interfaces", &e))?;
    let names = String::from_utf8_lossy(&bytes);
    let is_bridge = |name: &&str| BRIDGES.iter().any(|prefix| name.starts_with(prefix));
    let mut found: Vec<String> =
        names.lines().map(str::trim).filter(is_bridge).take(MAX_FOREIGN).map(text).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn foreign(host: &dyn HostRead, neighbours: &[String]) -> Result<Vec<ForeignChain>, Unknown> {
    const DOING: &str = "listing other programs' base chains";
    let bytes = host.ask(&Query::NftChains).map_err(|e| Unknown::from_port(DOING, &e))?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| unreadable(DOING, &e))?;
    let objects = value.get("nftables").and_then(serde_json::Value::as_array);
    let chains = objects.into_iter().flatten().filter_map(|object| foreign_chain(object.get("chain")?));
    let mut out: Vec<ForeignChain> = chains
        .filter(|c| !(c.family == "inet" && c.table == TABLE))
        .filter(|c| c.is_warm_up() || !neighbours.contains(&c.table))
        .collect();
    // What is ours to take away is seen however many others there are.
    out.sort_unstable_by(|a, b| (!a.is_warm_up(), a).cmp(&(!b.is_warm_up(), b)));
    out.truncate(MAX_FOREIGN);
    Ok(out)
}

fn foreign_chain(chain: &serde_json::Value) -> Option<ForeignChain> {
    let get = |key: &str| chain.get(key).and_then(serde_json::Value::as_str).map(text);
    Some(ForeignChain {
        hook: get("hook")?,
        family: get("family")?,
        table: get("table")?,
        chain: get("name")?,
        kind: get("type").unwrap_or_default(),
        priority: chain.get("prio").and_then(serde_json::Value::as_i64).unwrap_or_default(),
        policy: get("policy"),
    })
}

/// As [`Query::NftChanges`] documents it.
#[derive(Deserialize)]
struct ChangeLine {
    at: jiff::Timestamp,
    generation: u32,
    pid: Option<u32>,
    comm: Option<String>,
}

fn changes(
    host: &dyn HostRead,
    restored: Option<jiff::Timestamp>,
    confirmed: Option<&Confirmed>,
) -> Result<Vec<Change>, Unknown> {
    const DOING: &str = "asking who changed the ruleset";
    let bytes = host.ask(&Query::NftChanges { since: 0 }).map_err(|e| Unknown::from_port(DOING, &e))?;
    let lines: Vec<ChangeLine> = serde_json::from_slice(&bytes).map_err(|e| unreadable(DOING, &e))?;
    let after = restored.max(confirmed.map(|c| c.at));
    let mut changes: Vec<Change> = lines
        .into_iter()
        .filter(|line| after.is_none_or(|after| line.at > after))
        .map(|line| Change {
            at: line.at,
            generation: line.generation,
            by: line.pid.map(|pid| Actor { pid, comm: text(line.comm.as_deref().unwrap_or("?")) }),
        })
        .collect();
    let surplus = changes.len().saturating_sub(MAX_FOREIGN);
    changes.drain(..surplus);
    Ok(changes)
}

fn flows(host: &dyn HostRead) -> Result<Vec<Flow>, Unknown> {
    const DOING: &str = "listing tracked connections";
    let bytes = host.ask(&Query::Flows).map_err(|e| Unknown::from_port(DOING, &e))?;
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).take(MAX_FLOWS);
    lines.map(|line| serde_json::from_slice(line).map_err(|e| unreadable(DOING, &e))).collect()
}
