//! The one loop, one turn of it: observe, plan, guard, act, observe again. Infallible: failure is part of the report.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenure_policy::resolved::Mode;
use tenure_trust::{AreaName, Hash};

use crate::area::{ActReport, AreaSpec, Done, Finding, Look, Now, Pending, Plan, Refusal, Unknown, Weight};
use crate::port::{HostRead, HostWrite};

/// Facts of an area are at most this many bytes as JSON; above, the verdict is unknown.
pub const FACTS_LIMIT: usize = 256 * 1024;
/// A report lists at most this many findings; one more says how many were left out.
pub const FINDINGS_LIMIT: usize = 500;

/// What one pass says of an area. Ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[must_use]
pub enum Verdict {
    /// The host is as the policy says.
    Compliant,
    /// It was not; a second observation shows that it is now.
    Remediated,
    /// Something is under way and inside its limit.
    Pending,
    /// The host is not as the policy says.
    Drifted,
    /// It could not be judged. Never compliant.
    Unknown,
}

impl Verdict {
    /// The word of DESIGN §2.
    pub fn word(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Remediated => "remediated",
            Self::Pending => "pending",
            Self::Drifted => "drifted",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A plan as it is printed and recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanLines {
    /// [`plan_hash`]: two plans with this hash do the same.
    pub hash: Hash,
    /// One line per step, in order.
    pub steps: Vec<String>,
}

/// What one pass of one area found and did: the payload of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Which area.
    pub area: AreaName,
    /// In which mode it ran.
    pub mode: Mode,
    /// When the facts were seen.
    pub observed_at: Timestamp,
    /// What is said of the area.
    pub verdict: Verdict,
    /// The area's facts as they are at the end of the pass; absent when unknown or too large.
    pub facts: Option<Value>,
    /// What was decided on the first look; carried out unless `refusal` or the mode says otherwise.
    pub plan: Option<PlanLines>,
    /// What differs at the end of the pass.
    pub findings: Vec<Finding>,
    /// What differed on the first look and no longer does.
    pub mended: Vec<Finding>,
    /// What was done, step by step.
    pub done: Vec<Done>,
    /// What is under way at the end of the pass.
    pub pending: Option<Pending>,
    /// Why the plan was not carried out.
    pub refusal: Option<Refusal>,
    /// Why the area could not be judged.
    pub unknown: Option<Unknown>,
}

impl Report {
    /// The facts in the area's own type, if there are any and they are of this area.
    pub fn facts_of<A: AreaSpec>(&self) -> Option<A::Facts> {
        (self.area.as_str() == A::NAME).then_some(())?;
        A::Facts::deserialize(self.facts.as_ref()?).ok()
    }

    /// Says this report nothing that `before` did not say? Then no record is due until the heartbeat.
    /// Times alone are no news: who may write a file could make a record of every `touch`. A change that was made always
    /// is.
    pub fn repeats(&self, before: &Self) -> bool {
        let seen = |f: &Finding| (f.kind.clone(), f.place.clone(), f.what.clone(), f.weight, f.by.clone());
        let findings = |r: &Self| r.findings.iter().map(seen).collect::<Vec<_>>();
        let waits = |r: &Self| r.pending.as_ref().map(|p| (p.what.clone(), p.until));
        self.done.is_empty()
            && self.mended.is_empty()
            && self.area == before.area
            && self.mode == before.mode
            && (self.verdict == before.verdict
                || (self.verdict == Verdict::Compliant && before.verdict == Verdict::Remediated))
            && same_facts(self.facts.as_ref(), before.facts.as_ref())
            && findings(self) == findings(before)
            && waits(self) == waits(before)
            && self.refusal == before.refusal
            && self.unknown == before.unknown
    }
}

/// Are these the same but for the times at which files were written? Such a time is a number beside other facts about the
/// file; what a host names so (an account, a file) is never a number.
fn same_facts(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let timeless = |(name, value): &(&String, &Value)| {
                !(*name == "mtime" && matches!(value, Value::Number(_) | Value::Null))
            };
            let (mut a, mut b) = (a.iter().filter(timeless), b.iter().filter(timeless));
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return true,
                    (Some((name, a)), Some((other, b))) if name == other && same_facts(Some(a), Some(b)) => {}
                    _ => return false,
                }
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_facts(Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

/// Names what a plan does: the hash of the area and its steps, which are what is carried out.
pub fn plan_hash<A: AreaSpec>(plan: &Plan<A::Step>) -> Hash {
    let steps = serde_json::to_vec(&plan.steps).expect("steps are plain data with text keys");
    Hash::of_parts([A::NAME.as_bytes(), b"\n", &steps])
}

/// What is said of an area of which this is still to do. `acted` is whether anything was done before this plan was made.
/// Known drift is said before what could not be judged; neither is ever compliant.
pub fn verdict_of<Step>(left: &Plan<Step>, refused: bool, acted: bool) -> Verdict {
    let any = |weight| left.findings.iter().any(|finding| finding.weight == weight);
    if !left.steps.is_empty() || refused || any(Weight::Drift) {
        return Verdict::Drifted;
    }
    match (any(Weight::Unknown), left.pending.is_some(), acted) {
        (true, _, _) => Verdict::Unknown,
        (false, true, _) => Verdict::Pending,
        (false, false, true) => Verdict::Remediated,
        (false, false, false) => Verdict::Compliant,
    }
}

/// One pass of one area. `now` is asked again after acting, since acting takes time.
#[must_use]
pub fn pass<A: AreaSpec>(
    desired: &A::Desired,
    mode: Mode,
    read: &dyn HostRead,
    write: &dyn HostWrite,
    now: &dyn Fn() -> Now,
) -> Report {
    let mut out = Draft::new::<A>(mode, now().wall);
    let seen = observe_and_remember::<A>(desired, mode, read, write, now, &mut out)
        .and_then(|look| planned::<A>(desired, look, read, now));
    let (facts, plan) = match seen {
        Ok(seen) => seen,
        Err(unknown) => return out.unknown(unknown),
    };
    out.plan = Some(view::<A>(&plan));
    if plan.is_empty() || mode == Mode::Observe {
        return out.judge::<A>(&facts, plan);
    }
    let first = plan.findings.clone();
    let approved = match A::guard(desired, plan.clone(), &facts) {
        Ok(approved) => approved,
        Err(refusal) => {
            out.refusal = Some(refusal);
            return out.judge::<A>(&facts, plan);
        }
    };
    let ActReport { done } = A::act(&approved, write);
    out.done = done;
    out.observed_at = now().wall;
    match A::observe(read, desired) {
        Err(unknown) => out.unknown(unknown),
        Ok(facts) => {
            let left = A::plan(desired, &facts, &now());
            let still = |f: &Finding| left.findings.iter().any(|l| l.kind == f.kind && l.place == f.place);
            out.mended = bounded(first.into_iter().filter(|f| !still(f)).collect());
            out.judge::<A>(&facts, left)
        }
    }
}

/// What was seen and what is to do. Half a look is enough for a plan that will be carried out, and for nothing else.
fn planned<A: AreaSpec>(
    desired: &A::Desired,
    look: Look<A::Facts>,
    read: &dyn HostRead,
    now: &dyn Fn() -> Now,
) -> Result<(A::Facts, Plan<A::Step>), Unknown> {
    let facts = match look {
        Look::Whole(facts) => facts,
        Look::Part(facts) => {
            let plan = A::plan(desired, &facts, &now());
            if !plan.is_empty() && A::guard(desired, plan.clone(), &facts).is_ok() {
                return Ok((facts, plan));
            }
            A::observe(read, desired)?
        }
    };
    let plan = A::plan(desired, &facts, &now());
    Ok((facts, plan))
}

/// Looks, and writes down what the area must remember; a memory that cannot be kept makes the area unknown,
/// because whatever is judged by its age would never come due.
fn observe_and_remember<A: AreaSpec>(
    desired: &A::Desired,
    mode: Mode,
    read: &dyn HostRead,
    write: &dyn HostWrite,
    now: &dyn Fn() -> Now,
    out: &mut Draft,
) -> Result<Look<A::Facts>, Unknown> {
    out.observed_at = now().wall;
    let look = match mode {
        Mode::Observe => Look::Whole(A::observe(read, desired)?),
        _ => A::first_look(read, desired)?,
    };
    let (Look::Whole(facts) | Look::Part(facts)) = &look;
    let memory = A::memory(desired, facts, &now());
    if memory.is_empty() {
        return Ok(look);
    }
    for file in &memory {
        let doing = || format!("remembering what was seen in {}", file.path.as_str());
        if !file.path.as_str().starts_with("/var/lib/tenure/") {
            let reason = "not a place of Tenure's own memory".to_owned();
            return Err(Unknown { doing: doing(), reason });
        }
        write.put(file).map_err(|error| Unknown::from_port(doing(), &error))?;
    }
    A::observe(read, desired).map(Look::Whole)
}

fn view<A: AreaSpec>(plan: &Plan<A::Step>) -> PlanLines {
    PlanLines { hash: plan_hash::<A>(plan), steps: plan.steps.iter().map(ToString::to_string).collect() }
}

fn bounded(mut findings: Vec<Finding>) -> Vec<Finding> {
    let all = findings.len();
    if all > FINDINGS_LIMIT {
        findings.truncate(FINDINGS_LIMIT);
        findings.push(Finding {
            kind: "more-findings".into(),
            place: "report".into(),
            what: format!("{} more findings are left out of this report", all - FINDINGS_LIMIT),
            weight: Weight::Drift,
            at: None,
            by: None,
        });
    }
    findings
}

/// A report being made.
struct Draft {
    area: AreaName,
    mode: Mode,
    observed_at: Timestamp,
    plan: Option<PlanLines>,
    mended: Vec<Finding>,
    done: Vec<Done>,
    refusal: Option<Refusal>,
}

impl Draft {
    fn new<A: AreaSpec>(mode: Mode, observed_at: Timestamp) -> Self {
        let area = AreaName::new(A::NAME).expect("an area's name is a valid area name");
        Self { area, mode, observed_at, plan: None, mended: Vec::new(), done: Vec::new(), refusal: None }
    }

    fn unknown(self, unknown: Unknown) -> Report {
        self.report(Verdict::Unknown, None, Vec::new(), None, Some(unknown))
    }

    /// `left` is what is still to do after everything that this pass did.
    fn judge<A: AreaSpec>(self, facts: &A::Facts, left: Plan<A::Step>) -> Report {
        let unjudged = left.findings.iter().find(|finding| finding.weight == Weight::Unknown);
        let unjudged = unjudged.map(|f| Unknown { doing: f.place.clone(), reason: f.what.clone() });
        let verdict = verdict_of(&left, self.refusal.is_some(), !self.done.is_empty());
        let Plan { findings, pending, .. } = left;
        let findings = bounded(findings);
        match serialised(facts) {
            Ok(facts) => self.report(verdict, Some(facts), findings, pending, unjudged),
            Err(unknown) => self.report(Verdict::Unknown, None, findings, pending, Some(unknown)),
        }
    }

    fn report(
        self,
        verdict: Verdict,
        facts: Option<Value>,
        findings: Vec<Finding>,
        pending: Option<Pending>,
        unknown: Option<Unknown>,
    ) -> Report {
        let Self { area, mode, observed_at, plan, mended, done, refusal } = self;
        Report {
            area,
            mode,
            observed_at,
            verdict,
            facts,
            plan,
            findings,
            mended,
            done,
            pending,
            refusal,
            unknown,
        }
    }
}

/// Too many facts make a report unknown, and only the report: enforcement has happened by then, so that nobody
/// can switch an area off by filling a host with things to look at.
fn serialised<F: Serialize>(facts: &F) -> Result<Value, Unknown> {
    let doing = || "writing down the facts".to_owned();
    let value = serde_json::to_value(facts).map_err(|e| Unknown { doing: doing(), reason: e.to_string() })?;
    let size = value.to_string().len();
    if size > FACTS_LIMIT {
        let reason = format!("facts too large: {size} bytes, at most {FACTS_LIMIT}");
        return Err(Unknown { doing: doing(), reason });
    }
    Ok(value)
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
