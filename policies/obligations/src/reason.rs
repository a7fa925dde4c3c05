//! Why a duty is in its state: a closed list, typed; words are made here at the border, with hostile text neutralised.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tenure_policy::calendar::say_seconds;
use tenure_policy::scalars::SqlName;
use tenure_trust::enrol::IngestFinding;
use tenure_trust::text::shortened;
use tenure_trust::{HostName, MachineRole, Owner, SeriesId, SetName, SlotTime, VaultName, neutral};

/// The most characters of a machine's own words in one reason.
const WORDS: usize = 300;

/// Which machine in which role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: HostName,
    /// Its role.
    pub role: MachineRole,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            MachineRole::Host => write!(f, "{}", self.host),
            role => write!(f, "{} as {role}", self.host),
        }
    }
}

/// A dump: whose part of which database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dump {
    /// Whose.
    pub owner: Owner,
    /// The database's name in the policy.
    pub database: SqlName,
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Owner::Host => write!(f, "the host's {}", self.database),
            Owner::Tenant(tenant) => write!(f, "{tenant}'s {}", self.database),
        }
    }
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// Nothing came from it for three heartbeats.
    Silent {
        /// Which.
        machine: Machine,
        /// When something came last; none when never.
        last: Option<Timestamp>,
        /// Seconds of silence so far.
        seconds: Option<u64>,
    },
    /// It speaks, and says nothing of this area.
    AreaSilent {
        /// Which.
        machine: Machine,
        /// Of which area.
        area: String,
        /// When it spoke of it last; none when never.
        last: Option<Timestamp>,
    },
    /// What came last came at a time that is ahead of the controller's clock, which was put back since.
    HeardAhead {
        /// Which.
        machine: Machine,
        /// When, by that clock.
        at: Timestamp,
    },
    /// Its clock and the controller's differ by more than can be.
    Clock {
        /// Which.
        machine: Machine,
        /// Seconds that its facts are ahead of their receipt; negative behind.
        ahead_seconds: i64,
    },
    /// Two histories, or one that began anew: what it states is not to be believed until it is admitted anew.
    Chain {
        /// Which.
        machine: Machine,
        /// What.
        finding: IngestFinding,
    },
    /// What it sent cannot be judged.
    Unjudged {
        /// Which.
        machine: Machine,
        /// Of which area.
        area: String,
        /// Why, in its own words or ours.
        why: String,
    },
    /// The policy does not make this host keep it.
    NotInPolicy {
        /// Which.
        host: HostName,
        /// Which section.
        section: String,
    },
    /// Nothing looks at this yet.
    NoProbe,
    /// A person answers for it; there is no register of what persons attest yet.
    PersonAnswers,
    /// The tenant's data lives nowhere that the policy knows.
    NoHost,
    /// As the policy says, on these hosts.
    AsPolicySays {
        /// On which.
        hosts: Vec<HostName>,
        /// Which areas.
        areas: Vec<String>,
    },
    /// Not as the policy says.
    Drifted {
        /// Where.
        host: HostName,
        /// In which area.
        area: String,
        /// The finding's kind.
        finding: String,
        /// What, in the area's words.
        what: String,
    },
    /// Something is under way.
    UnderWay {
        /// Where.
        host: HostName,
        /// What.
        what: String,
        /// Until when.
        until: Timestamp,
    },
    /// So many slots of a set hold a copy that host and vault agree on.
    Counted {
        /// Of which host.
        host: HostName,
        /// Of which set.
        set: SetName,
        /// So many.
        done: u32,
        /// Of so many.
        of: u32,
        /// In the days up to this one.
        until: Date,
        /// How many days.
        days: u32,
        /// Which ones hold a copy, of one day.
        times: Vec<SlotTime>,
    },
    /// Nothing was expected yet: the machines were admitted after the last slot.
    NothingExpectedYet {
        /// Of which host.
        host: HostName,
        /// Of which set.
        set: SetName,
    },
    /// A slot and why it holds no copy that counts.
    Slot {
        /// Of which series.
        series: SeriesId,
        /// Its date.
        date: Date,
        /// Its time.
        at: SlotTime,
        /// What is wrong.
        fault: SlotFault,
    },
    /// A promised set is not declared for this host.
    NoSeries {
        /// Which host.
        host: HostName,
        /// Which set.
        set: SetName,
    },
    /// Weekdays with a copy.
    Weekdays {
        /// Of which series.
        series: SeriesId,
        /// So many hold a copy.
        held: u32,
        /// The date on which all seven do, if nothing goes wrong.
        full: Date,
    },
    /// A weekday whose copy is missing or too old.
    WeekdayLacks {
        /// Of which series.
        series: SeriesId,
        /// The date whose copy should be there.
        date: Date,
        /// The date of the copy that stands there instead.
        instead: Option<Date>,
    },
    /// Copies stand on another machine at another site.
    Elsewhere {
        /// Of which host.
        host: HostName,
        /// On which vault.
        vault: VaultName,
        /// Of which host.
        on: HostName,
    },
    /// Two names, one machine: the same boot or machine id.
    OneMachine {
        /// The host.
        host: HostName,
        /// The vault's host.
        vault: HostName,
    },
    /// Whether they are two machines cannot be seen.
    MachinesUntold {
        /// The host.
        host: HostName,
        /// The vault's host.
        vault: HostName,
    },
    /// The vault stands where the host does.
    SameSite {
        /// The host.
        host: HostName,
        /// The vault's host.
        vault: HostName,
        /// The site, when it is said.
        site: Option<String>,
    },
    /// No copy has been made yet.
    NoCopyYet {
        /// Of which host.
        host: HostName,
    },
    /// Restoring was proved.
    Drilled {
        /// Of which host.
        host: HostName,
        /// Which dump; a judgement of before says nothing of it.
        #[serde(default)]
        dump: Option<Dump>,
        /// When.
        at: Timestamp,
        /// Milliseconds that it took.
        took_ms: u64,
    },
    /// Restoring was tried and did not show what it must.
    DrillFailed {
        /// Of which host.
        host: HostName,
        /// Which dump; a judgement of before says nothing of it.
        #[serde(default)]
        dump: Option<Dump>,
        /// When.
        at: Timestamp,
        /// What came of it, in the host's words.
        what: String,
    },
    /// Restoring was not proved in time, or not yet.
    DrillWaits {
        /// Of which host.
        host: HostName,
        /// Which dump; a judgement of before says nothing of it.
        #[serde(default)]
        dump: Option<Dump>,
        /// The last proof.
        last: Option<Timestamp>,
        /// How often it must be, in seconds.
        every_seconds: u64,
    },
    /// All known security updates are installed.
    Current {
        /// On which hosts.
        hosts: Vec<HostName>,
    },
    /// A security update waits.
    UpdateWaits {
        /// Where.
        host: HostName,
        /// Which package.
        package: String,
        /// How many of them wait there.
        count: u32,
        /// Since when.
        since: Timestamp,
        /// Seconds that it may.
        limit_seconds: u64,
    },
    /// The package lists are missing or old, so nothing is known of updates.
    ListsStale {
        /// Where.
        host: HostName,
        /// What of them.
        what: String,
    },
    /// The contract runs and no end is set.
    ContractRuns,
    /// The contract ends or has ended.
    ContractEnds {
        /// Its last day.
        ends: Date,
        /// All data must be gone by then.
        gone_by: Timestamp,
    },
    /// A waiver.
    Waived {
        /// On which hosts.
        hosts: Vec<HostName>,
        /// Who answers for it.
        owner: String,
        /// Why.
        because: String,
        /// Until when.
        until: Timestamp,
    },
}

/// Why a slot holds no copy that counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotFault {
    /// Host and vault name different seals.
    Differ,
    /// The host says sealed, the vault has none.
    OnlyHost,
    /// The vault has a seal that the host says nothing of.
    OnlyVault,
    /// One of the two is silent.
    Silent(Machine),
    /// The host says that no run worked.
    Failed(String),
    /// The same, and its time has not passed.
    Trying(String),
    /// No run was made in its time.
    Missed,
    /// Files that could not be read.
    Partial(u64),
    /// The copy, of a generation of this number, was set aside; the one of the week before is kept.
    Aside(u32),
    /// The copy was set aside because the vault's disk lost a part of it; the one of the week before is kept.
    Spoilt,
}

impl fmt::Display for SlotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differ => f.write_str("host and vault name different copies"),
            Self::OnlyHost => f.write_str("the host says sealed, the vault holds none"),
            Self::OnlyVault => f.write_str("the vault holds a copy that the host says nothing of"),
            Self::Silent(machine) => write!(f, "{machine} is silent"),
            Self::Failed(why) => write!(f, "failed: {}", words(why)),
            Self::Trying(why) => write!(f, "is tried again, failed so far: {}", words(why)),
            Self::Missed => f.write_str("missed"),
            Self::Partial(1) => f.write_str("partial: 1 file could not be read"),
            Self::Partial(files) => write!(f, "partial: {files} files could not be read"),
            Self::Aside(_) => f.write_str("set aside, the copy of the week before is kept"),
            Self::Spoilt => {
                f.write_str("the vault's disk lost a part of it, the copy of the week before is kept")
            }
        }
    }
}

/// A machine's or a person's words, harmless and short.
pub(crate) fn words(text: &str) -> String {
    neutral(&shortened(text.to_owned(), WORDS))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { machine, last: None, .. } => write!(f, "nothing was ever heard of {machine}"),
            Self::Silent { machine, seconds, .. } => {
                write!(f, "{machine} silent for {}", say_seconds(seconds.unwrap_or(0)))
            }
            Self::AreaSilent { machine, area, last: None } => {
                write!(f, "{machine} has said nothing of {}", words(area))
            }
            Self::AreaSilent { machine, area, last: Some(last) } => {
                write!(f, "{machine} has said nothing of {} since {last}", words(area))
            }
            Self::HeardAhead { machine, at } => {
                write!(f, "{machine} was heard of last at {at:.0}, ahead of this clock: set it right")
            }
            Self::Clock { machine, ahead_seconds } => {
                let way = if *ahead_seconds < 0 { "behind" } else { "ahead" };
                write!(
                    f,
                    "what {machine} saw is {} {way} of its receipt",
                    say_seconds(ahead_seconds.unsigned_abs())
                )
            }
            Self::Chain { machine, finding } => write!(f, "the chain of {machine} {}", chain_words(*finding)),
            Self::Unjudged { machine, area, why } => write!(f, "{machine}: {}: {}", words(area), words(why)),
            Self::NotInPolicy { host, section } => {
                write!(f, "the policy of {host} has no {}", words(section))
            }
            Self::NoProbe => f.write_str("no probe yet: nothing looks at this"),
            Self::PersonAnswers => f.write_str("a person answers for it"),
            Self::NoHost => f.write_str("nothing says where this tenant's data lives"),
            Self::AsPolicySays { hosts, areas } => {
                let areas: Vec<String> = areas.iter().map(|area| words(area)).collect();
                write!(f, "{} as the policy says on {}", areas.join(" and "), list(hosts))
            }
            Self::Drifted { host, area, what, .. } => write!(f, "{host}: {}: {}", words(area), words(what)),
            Self::UnderWay { host, what, .. } => write!(f, "{host}: {} under way", words(what)),
            Self::Counted { host, set, done, of, times, days, .. } => {
                write!(f, "{host} {set}: {done} of {of}")?;
                if !times.is_empty() && *days == 1 {
                    let times: Vec<String> = times.iter().map(|at| format!("{at} ok")).collect();
                    write!(f, " ({})", times.join(", "))?;
                }
                Ok(())
            }
            Self::NothingExpectedYet { host, set } => write!(f, "{host} {set}: the first is still to come"),
            Self::Slot { series, date, at, fault } => {
                write!(f, "{} {} {date} {at}: {fault}", series.host, series.set)?;
                match fault {
                    SlotFault::Aside(number) => {
                        write!(f, "; `tenure clear {} {date}.{number} --reason TEXT` takes it", series.path())
                    }
                    SlotFault::Spoilt => write!(f, "; look at the disk of {}", series.vault),
                    _ => Ok(()),
                }
            }
            Self::NoSeries { host, set } => write!(f, "{host} has no set {set}"),
            Self::Weekdays { series, held, full } => {
                write!(f, "{} {}: {held} of 7 weekdays", series.host, series.set)?;
                if *held < 7 { write!(f, ", full on {full}") } else { Ok(()) }
            }
            Self::WeekdayLacks { series, date, instead: None } => {
                write!(f, "{} {}: no copy of {date}", series.host, series.set)
            }
            Self::WeekdayLacks { series, date, instead: Some(instead) } => {
                write!(f, "{} {}: in place of {date} stands the copy of {instead}", series.host, series.set)
            }
            Self::Elsewhere { host, vault, on } => write!(f, "{host} to {vault} on {on}, another site"),
            Self::OneMachine { host, vault } => write!(f, "{host} and {vault} are one machine"),
            Self::MachinesUntold { host, vault } => {
                write!(f, "whether {host} and {vault} are two machines is not known")
            }
            Self::SameSite { host, vault, site: Some(site) } => {
                write!(f, "{host} and {vault} both stand at {}", words(site))
            }
            Self::SameSite { host, vault, site: None } => {
                write!(f, "nothing says at which sites {host} and {vault} stand")
            }
            Self::NoCopyYet { host } => write!(f, "no copy of {host} yet"),
            Self::Drilled { host, dump, at, took_ms } => {
                let (seconds, tenths) = (took_ms / 1000, took_ms % 1000 / 100);
                write!(f, "{host}{} restored {at:.0} in {seconds}.{tenths} s", of(dump.as_ref()))
            }
            Self::DrillFailed { host, dump, what, .. } => {
                write!(f, "{host}{}: drill failed: {}", of(dump.as_ref()), words(what))
            }
            Self::DrillWaits { host, dump, last: None, every_seconds } => {
                write!(
                    f,
                    "{host}{} not drilled yet, every {}",
                    of(dump.as_ref()),
                    say_seconds(*every_seconds)
                )
            }
            Self::DrillWaits { host, dump, last: Some(last), every_seconds } => {
                let every = say_seconds(*every_seconds);
                write!(f, "{host}{} drilled last {last:.0}, every {every}", of(dump.as_ref()))
            }
            Self::Current { hosts } => write!(f, "no security update waits on {}", list(hosts)),
            Self::UpdateWaits { host, package, count, limit_seconds, .. } => {
                write!(f, "{host}: {} waits, limit {}", words(package), say_seconds(*limit_seconds))?;
                if *count > 1 { write!(f, ", and {} more", count - 1) } else { Ok(()) }
            }
            Self::ListsStale { host, what } => write!(f, "{host}: package lists: {}", words(what)),
            Self::ContractRuns => f.write_str("contract runs, no end set"),
            Self::ContractEnds { ends, gone_by } => {
                write!(f, "contract ends {ends}, data gone by {gone_by:.0}")
            }
            Self::Waived { hosts, owner, because, .. } => {
                write!(f, "{}: {}: {}", list(hosts), words(owner), words(because))
            }
        }
    }
}

impl Reason {
    /// Its kind, without what changes by itself: two states with the same kinds have the same causes.
    pub fn key(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(map) = value.as_object_mut() {
            for moving in ["seconds", "ahead_seconds", "last", "until", "times"] {
                map.remove(moving);
            }
        }
        value.to_string()
    }
}

fn of(dump: Option<&Dump>) -> String {
    dump.map(|dump| format!(", {dump}")).unwrap_or_default()
}

fn list(hosts: &[HostName]) -> String {
    match hosts {
        [] => "no host".to_owned(),
        [a, b, c, rest @ ..] if rest.len() > 1 => format!("{a}, {b}, {c} and {} more", rest.len()),
        some => some.iter().map(HostName::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn chain_words(finding: IngestFinding) -> &'static str {
    match finding {
        IngestFinding::Gap => "has a gap",
        IngestFinding::Fork => "forks: two histories were sent",
        IngestFinding::Replay => "was sent again",
        IngestFinding::Reset => "began anew in the same epoch",
        IngestFinding::Foreign => "was sent with records that are not its own",
        IngestFinding::Malformed => "was sent with what is no record",
    }
}
