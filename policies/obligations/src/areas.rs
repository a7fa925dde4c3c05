//! What a host's areas look like when the controller judges their facts again: the same `plan` as on the host, so that
//! a host cannot merely claim.

use jiff::Timestamp;
use tenure_areas::area::{AreaSpec, Finding, Now, Pending, Plan, Weight};
use tenure_areas::backup::{Backup, Scheduled};
use tenure_areas::pass::{Verdict, verdict_of};
use tenure_areas::{firewall::Firewall, patch::Patch, ssh_access::SshAccess};
use tenure_policy::resolved::{HostPolicy, Mode};
use tenure_trust::{HostName, MachineRole, PolicyVersion, VerdictTag};

use crate::believed;
use crate::input::{Input, Newest, Reported};
use crate::reason::{Machine, Reason};
use crate::state::{RecordRef, State};

/// An area of a host, judged here.
#[derive(Debug, Clone)]
pub(crate) struct AreaSeen {
    /// Its name.
    pub(crate) name: &'static str,
    /// The record that it rests on.
    pub(crate) record: Option<RecordRef>,
    /// When the facts were seen.
    pub(crate) observed_at: Option<Timestamp>,
    /// What the host itself says.
    pub(crate) claimed: Option<VerdictTag>,
    /// The policy version that the host judged against.
    pub(crate) policy: Option<PolicyVersion>,
    /// What the policy lets it do; none when the policy has no such section.
    pub(crate) mode: Option<Mode>,
    /// What comes out here, or why nothing does.
    pub(crate) judged: Result<AreaJudged, Reason>,
    /// What differed and was mended, as the host tells it.
    pub(crate) mended: Vec<Finding>,
}

/// What comes out of judging.
#[derive(Debug, Clone)]
pub(crate) struct AreaJudged {
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// What differs.
    pub(crate) findings: Vec<Finding>,
    /// What is still to do, in words.
    pub(crate) steps: Vec<String>,
    /// What is under way.
    pub(crate) pending: Option<Pending>,
}

/// The areas that are judged by `plan`.
#[derive(Debug, Clone)]
pub(crate) struct Areas {
    pub(crate) firewall: AreaSeen,
    pub(crate) ssh_access: AreaSeen,
    pub(crate) patch: AreaSeen,
    /// As the host alone is to be judged: whether the vault agrees is judged slot by slot.
    pub(crate) backup: AreaSeen,
}

impl Areas {
    /// Judges them.
    pub(crate) fn of(
        input: &Input<'_>,
        host: &HostName,
        policy: Option<&HostPolicy>,
        reported: &Result<&Reported, Reason>,
    ) -> Self {
        let modes = policy.map(|policy| policy.modes);
        let section = |name| Reason::NotInPolicy { host: host.clone(), section: String::from(name) };
        let judge = Judge { input, host, reported };
        Self {
            firewall: judge.area::<Firewall>(
                policy.and_then(|p| p.firewall.as_ref()).ok_or_else(|| section("firewall")),
                modes.map(|m| m.firewall),
            ),
            ssh_access: judge.area::<SshAccess>(
                policy.and_then(|p| p.ssh_access.as_ref()).ok_or_else(|| section("access")),
                modes.map(|m| m.ssh_access),
            ),
            patch: judge.area::<Patch>(
                policy.and_then(|p| p.patch.as_ref()).ok_or_else(|| section("patch")),
                modes.map(|m| m.patch),
            ),
            backup: judge.area::<Backup>(
                policy.and_then(Scheduled::of).as_ref().ok_or_else(|| section("backup")),
                modes.map(|m| m.backup),
            ),
        }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AreaSeen> {
        [&self.firewall, &self.ssh_access, &self.patch, &self.backup].into_iter()
    }
}

struct Judge<'a> {
    input: &'a Input<'a>,
    host: &'a HostName,
    reported: &'a Result<&'a Reported, Reason>,
}

impl Judge<'_> {
    fn area<A: AreaSpec>(&self, section: Result<&A::Section, Reason>, mode: Option<Mode>) -> AreaSeen {
        let mut seen = AreaSeen {
            name: A::NAME,
            record: None,
            observed_at: None,
            claimed: None,
            policy: None,
            mode: section.is_ok().then_some(mode).flatten(),
            judged: Err(Reason::NoProbe),
            mended: Vec::new(),
        };
        let newest =
            self.reported.as_ref().map_err(Clone::clone).and_then(|reported| {
                believed::area(self.input, reported, self.host, MachineRole::Host, A::NAME)
            });
        if let Ok(newest) = newest {
            seen.record = Some(newest.record.clone());
            seen.observed_at = Some(newest.observed_at);
            seen.claimed = newest.verdict;
            seen.policy = newest.policy;
            seen.mended = newest.report().map(|report| report.mended.clone()).unwrap_or_default();
        }
        seen.judged = section.and_then(|section| self.judge::<A>(section, newest?));
        seen
    }

    fn judge<A: AreaSpec>(&self, section: &A::Section, newest: &Newest) -> Result<AreaJudged, Reason> {
        let unjudged = |why: &str| Reason::Unjudged {
            machine: Machine { host: self.host.clone(), role: MachineRole::Host },
            area: A::NAME.to_owned(),
            why: why.to_owned(),
        };
        let Some(report) = newest.report() else {
            return Err(unjudged(newest.content.lacks().unwrap_or("what came is no report")));
        };
        let Some(facts) = report.facts_of::<A>() else {
            let said = report.unknown.as_ref().map(ToString::to_string);
            return Err(unjudged(said.as_deref().unwrap_or("the facts are not of this area's form")));
        };
        // A slot whose time came since that look is begun by the host's next pass.
        let wall = if A::NAME == Backup::NAME { report.observed_at } else { self.input.now };
        let now = Now { wall, since_boot_ms: 0, boot_id: String::new() };
        let plan = A::plan(&A::desired(section), &facts, &now);
        let verdict = verdict_of(&plan, report.refusal.is_some(), false);
        let Plan { steps, findings, pending } = plan;
        let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
        match self.taking_over(newest) {
            Some(pending) if !steps.is_empty() => {
                Ok(AreaJudged { verdict: Verdict::Pending, findings, steps, pending: Some(pending) })
            }
            _ => Ok(AreaJudged { verdict, findings, steps, pending }),
        }
    }

    /// A new version was signed a moment ago and the host has not judged by it yet.
    fn taking_over(&self, newest: &Newest) -> Option<Pending> {
        let (version, issued) = (self.input.version?, self.input.issued?);
        let until = issued.checked_add(believed::patience(self.input)).ok()?;
        let behind = newest.policy.is_none_or(|policy| policy < version);
        (behind && self.input.now <= until).then(|| Pending {
            what: format!("taking over policy g{version}"),
            until,
            next: None,
        })
    }
}

impl AreaSeen {
    /// As a duty sees it: the area must be as the policy says.
    pub(crate) fn kept(&self, host: &HostName) -> (State, Vec<Reason>, Option<Timestamp>) {
        let judged = match &self.judged {
            Ok(judged) => judged,
            Err(why) => return (State::Unknown, vec![why.clone()], None),
        };
        match judged.verdict {
            Verdict::Compliant | Verdict::Remediated => (State::Met, Vec::new(), None),
            Verdict::Pending => {
                let pending = judged.pending.as_ref();
                let why = Reason::UnderWay {
                    host: host.clone(),
                    what: pending.map(|p| p.what.clone()).unwrap_or_default(),
                    until: pending.map_or(Timestamp::MAX, |p| p.until),
                };
                (State::Due, vec![why], pending.map(|p| p.until))
            }
            Verdict::Unknown => {
                let finding = judged.findings.iter().find(|f| f.weight == Weight::Unknown);
                let why = Reason::Unjudged {
                    machine: Machine { host: host.clone(), role: MachineRole::Host },
                    area: self.name.to_owned(),
                    why: finding.map(|f| format!("{}: {}", f.place, f.what)).unwrap_or_default(),
                };
                (State::Unknown, vec![why], None)
            }
            Verdict::Drifted => {
                let finding = judged.findings.iter().find(|f| f.weight == Weight::Drift);
                let (kind, what) = match finding {
                    Some(finding) => (finding.kind.clone(), format!("{}: {}", finding.place, finding.what)),
                    None => {
                        let step = judged.steps.first().map_or("a step was refused", String::as_str);
                        ("to-do".to_owned(), format!("not done: {step}"))
                    }
                };
                let why =
                    Reason::Drifted { host: host.clone(), area: self.name.to_owned(), finding: kind, what };
                (State::Broken, vec![why], None)
            }
        }
    }
}
