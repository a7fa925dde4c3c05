//! The one page: what is broken or unknown now, then every duty, host, copy, drift and patch. A state is a word, a sign
//! and a colour; every text of a machine or a contract is neutralised here and escaped by the template.

use askama::Template;
use tenure_obligations::say::{self, Saying};
use tenure_obligations::view::{DriftRow, Drilled, HostRow, Judgement, PatchRow, Sign, UnjudgedRow};
use tenure_obligations::{Obligation, State};

use super::past::Past;

/// Makes the page.
pub(super) fn render(judgement: &Judgement, user: &str, csrf: Option<&str>) -> Result<String, askama::Error> {
    Today::of(judgement, user, csrf).render()
}

/// Makes the page of a controller that has no policy yet.
pub(super) fn nothing_yet(user: &str, csrf: Option<&str>) -> Result<String, askama::Error> {
    NothingYet { user: say::text(user), csrf: csrf.unwrap_or_default().to_owned() }.render()
}

#[derive(Template)]
#[template(path = "nothing.html")]
struct NothingYet {
    user: String,
    csrf: String,
}

#[derive(Template)]
#[template(path = "today.html")]
struct Today {
    fleet: String,
    as_of: String,
    version: String,
    counts: String,
    user: String,
    csrf: String,
    now: Vec<Duty>,
    tenants: Vec<Tenant>,
    hosts: Vec<Host>,
    days: Vec<String>,
    copies: Vec<Copies>,
    legend: Vec<Slot>,
    faults: Vec<String>,
    vaults: Vec<Vault>,
    unjudged: Vec<Unjudged>,
    drift: Vec<Drift>,
    past: Past,
    patches: Vec<Patch>,
}

/// A state as word, sign and class of a colour.
struct Shown {
    word: &'static str,
    sign: &'static str,
    class: &'static str,
}

struct Duty {
    state: Shown,
    tenant: String,
    duty: String,
    says: String,
    when: String,
    why: Vec<String>,
    evidence: Vec<Record>,
}

/// A record by its short name; its hash is the title.
struct Record {
    name: String,
    hash: String,
}

struct Tenant {
    name: String,
    duties: Vec<Duty>,
}

struct Host {
    state: Shown,
    name: String,
    site: String,
    heard: String,
    policy: String,
    areas: Vec<String>,
    chain: String,
    why: Vec<String>,
}

struct Copies {
    state: Shown,
    owner: String,
    days: Vec<Vec<Slot>>,
    size: String,
    newest: String,
    drilled: String,
    oldest: String,
    vault: String,
}

struct Slot {
    sign: &'static str,
    class: &'static str,
    title: String,
}

struct Vault {
    name: String,
    said: String,
}

struct Unjudged {
    state: Shown,
    host: String,
    areas: String,
    why: Vec<String>,
}

struct Drift {
    mended: bool,
    host: String,
    area: String,
    when: String,
    place: String,
    what: String,
    who: String,
    record: String,
}

struct Patch {
    state: Shown,
    host: String,
    security: String,
    oldest: String,
    waits: String,
    deadline: String,
    others: String,
    reboot: String,
    lists: String,
    why: Vec<String>,
    record: String,
}

const MISSING: &str = "–";

impl Today {
    fn of(judgement: &Judgement, user: &str, csrf: Option<&str>) -> Self {
        let saying = Saying::of(&judgement.head);
        let duty = |row: &Obligation| duty(row, &saying);
        let mut tenants: Vec<Tenant> = Vec::new();
        let mut rows: Vec<&Obligation> = judgement.obligations.iter().collect();
        // the worst tenant first: rows come by state, so the first row of each says how it stands
        let mut order: Vec<&tenure_trust::TenantId> = Vec::new();
        for row in &rows {
            if !order.contains(&&row.tenant) {
                order.push(&row.tenant);
            }
        }
        rows.sort_by_key(|row| order.iter().position(|tenant| **tenant == row.tenant));
        for row in rows {
            let name = row.tenant.to_string();
            match tenants.last_mut() {
                Some(last) if last.name == name => last.duties.push(duty(row)),
                _ => tenants.push(Tenant { name, duties: vec![duty(row)] }),
            }
        }
        let backups = &judgement.backups;
        let shown = [Sign::Sealed, Sign::Partial, Sign::Missed, Sign::Kept, Sign::Unknown, Sign::ToCome];
        let faults = backups.rows.iter().flat_map(|row| {
            let unknown = row.why.iter();
            let unknown = unknown.map(|why| format!("{}: {}: {why}", say::owner(row, false), State::Unknown));
            let whys = row.days.iter().flatten().filter_map(|cell| cell.why.as_ref());
            unknown.chain(whys.map(|why| format!("{}: {why}", say::owner(row, true)))).collect::<Vec<_>>()
        });
        Self {
            fleet: judgement.head.fleet.to_string(),
            as_of: saying.as_of(),
            version: judgement.head.version.map_or_else(|| MISSING.into(), |version| format!("g{version}")),
            counts: judgement.head.counts.to_string(),
            user: say::text(user),
            csrf: csrf.unwrap_or_default().to_owned(),
            now: judgement.obligations.iter().filter(|row| row.state.is_bad()).map(duty).collect(),
            tenants,
            hosts: judgement.hosts.iter().map(|row| host(row, judgement, &saying)).collect(),
            days: backups.days.iter().map(|day| format!("{} {}", say::weekday(*day), day.day())).collect(),
            copies: copies(judgement, &saying),
            legend: shown.into_iter().map(|sign| slot(sign, sign.word().to_owned())).collect(),
            faults: faults.collect(),
            vaults: vaults(judgement),
            unjudged: judgement.unjudged.iter().map(unjudged).collect(),
            drift: judgement.drift.iter().map(|row| drift(row, &saying)).collect(),
            past: Past::of(judgement, &saying),
            patches: judgement.patches.iter().map(|row| patch(row, &saying)).collect(),
        }
    }
}

fn shown(state: State) -> Shown {
    let class = match state {
        State::Broken => "broken",
        State::Overdue => "overdue",
        State::Unknown => "unknown",
        State::Due => "due",
        State::Waived => "waived",
        State::Met => "met",
        State::NotCheckable => "not-checkable",
    };
    Shown { word: state.word(), sign: state.sign(), class }
}

fn duty(row: &Obligation, saying: &Saying) -> Duty {
    let record = |evidence: &tenure_obligations::Evidence| Record {
        name: evidence.to_string(),
        hash: match evidence {
            tenure_obligations::Evidence::Record(record) => record.hash.to_string(),
            tenure_obligations::Evidence::Policy(_) => String::new(),
        },
    };
    Duty {
        state: shown(row.state),
        tenant: row.tenant.to_string(),
        duty: say::text(&row.duty),
        says: say::whole(&row.says),
        when: saying.since_or_due(row),
        why: row.why.iter().map(ToString::to_string).collect(),
        evidence: row.evidence.iter().map(record).collect(),
    }
}

fn host(row: &HostRow, judgement: &Judgement, saying: &Saying) -> Host {
    let area = |area: &tenure_obligations::view::AreaRow| {
        let mode = area.mode.as_deref()?;
        let verdict = area.verdict.map_or("unknown", |verdict| verdict.word());
        let claimed = area.claimed.as_deref().map(|said| format!(", it says {}", say::text(said)));
        Some(format!(
            "{}: {verdict} ({}){}",
            say::text(&area.area),
            say::text(mode),
            claimed.unwrap_or_default()
        ))
    };
    let chain: Vec<String> = row
        .chain
        .iter()
        .map(|(finding, count)| format!("{} ×{count}", format!("{finding:?}").to_lowercase()))
        .collect();
    let behind = row.policy.zip(judgement.head.version).is_some_and(|(own, newest)| own < newest);
    Host {
        state: shown(row.state),
        name: match &row.vault {
            Some(vault) => format!("{} (vault {vault})", row.host),
            None => row.host.to_string(),
        },
        site: row.site.as_deref().map_or_else(|| MISSING.into(), say::text),
        heard: row.last_contact.map_or_else(|| "never".into(), |at| format!("{} ago", saying.age(at))),
        policy: match row.policy {
            Some(version) if behind => format!("g{version}, behind"),
            Some(version) => format!("g{version}"),
            None => MISSING.into(),
        },
        areas: row.areas.iter().filter_map(area).collect(),
        chain: if chain.is_empty() { "whole".into() } else { chain.join(", ") },
        why: row.why.iter().map(ToString::to_string).collect(),
    }
}

fn slot(sign: Sign, title: String) -> Slot {
    let class = match sign {
        Sign::Blank => "blank",
        Sign::ToCome => "to-come",
        Sign::Sealed => "met",
        Sign::Partial | Sign::Kept => "due",
        Sign::Missed => "overdue",
        Sign::Unknown => "unknown",
    };
    Slot { sign: sign.symbol(), class, title }
}

fn copies(judgement: &Judgement, saying: &Saying) -> Vec<Copies> {
    let rows = &judgement.backups.rows;
    let row = |row: &tenure_obligations::view::BackupRow| {
        let alone = rows.iter().filter(|other| other.owner == row.owner).count() == 1;
        let cell = |cell: &tenure_obligations::view::Cell| {
            let why = cell.why.as_ref().map_or_else(|| cell.sign.word().to_owned(), ToString::to_string);
            slot(cell.sign, format!("{} {}: {why}", cell.set, cell.at))
        };
        Copies {
            state: shown(row.state),
            owner: say::owner(row, alone),
            days: row.days.iter().map(|day| day.iter().map(cell).collect()).collect(),
            size: row.bytes.map_or_else(|| MISSING.into(), say::bytes),
            newest: row.newest.map_or_else(|| MISSING.into(), |at| format!("{} ago", saying.age(at))),
            drilled: match &row.drilled {
                Drilled::Unknown => "unknown".into(),
                Drilled::Nothing => MISSING.into(),
                Drilled::Never => "never".into(),
                Drilled::Last(drill) if drill.held => {
                    let seconds = format!("{}.{} s", drill.took_ms / 1000, drill.took_ms % 1000 / 100);
                    format!("ok {}, {seconds}", saying.day(drill.at))
                }
                Drilled::Last(drill) => format!("FAILED {}", saying.day(drill.at)),
            },
            oldest: row.oldest.map_or_else(|| MISSING.into(), |at| saying.age(at)),
            vault: row.vault.to_string(),
        }
    };
    rows.iter().map(row).collect()
}

fn vaults(judgement: &Judgement) -> Vec<Vault> {
    let said = |vault: &tenure_obligations::view::VaultRow| match (
        &vault.why,
        vault.used_bytes,
        vault.total_bytes,
    ) {
        (None, Some(used), Some(total)) => {
            format!("{} of {} in use, {} copies", say::bytes(used), say::bytes(total), vault.copies)
        }
        (why, ..) => format!("? unknown: {}", why.as_ref().map(ToString::to_string).unwrap_or_default()),
    };
    let vaults = judgement.backups.vaults.iter();
    vaults.map(|vault| Vault { name: vault.vault.to_string(), said: said(vault) }).collect()
}

fn unjudged(row: &UnjudgedRow) -> Unjudged {
    let areas: Vec<String> = row.areas.iter().map(|area| say::text(area)).collect();
    Unjudged {
        state: shown(State::Unknown),
        host: row.host.to_string(),
        areas: if areas.is_empty() { MISSING.into() } else { areas.join(", ") },
        why: row.why.iter().map(ToString::to_string).collect(),
    }
}

fn drift(row: &DriftRow, saying: &Saying) -> Drift {
    Drift {
        mended: row.mended,
        host: row.host.to_string(),
        area: say::text(&row.area),
        when: row.at.map_or_else(|| MISSING.into(), |at| saying.moment(at)),
        place: say::text(&row.place),
        what: say::text(&row.what),
        who: match &row.by {
            Some(actor) => format!("pid {} {}", actor.pid, say::text(&actor.comm)),
            None => "not told".into(),
        },
        record: row.record.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn patch(row: &PatchRow, saying: &Saying) -> Patch {
    Patch {
        state: shown(row.state),
        host: row.host.to_string(),
        security: say::updates(row, row.security),
        oldest: row.oldest.as_deref().map_or_else(|| MISSING.into(), say::text),
        waits: row.since.map_or_else(|| MISSING.into(), |at| saying.age(at)),
        deadline: row.deadline.map_or_else(|| MISSING.into(), |at| saying.moment(at)),
        others: say::updates(row, row.others),
        reboot: saying.reboot(row),
        lists: row.lists.map_or_else(|| MISSING.into(), |at| format!("{} old", saying.age(at))),
        why: row.why.iter().map(ToString::to_string).collect(),
        record: row.record.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

#[cfg(test)]
#[path = "today_tests.rs"]
mod tests;
