//! One area's own thread: it wakes to bells, makes one pass, shows and records what came of it, and never waits for another.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tenure_areas::area::{Finding, Weight};
use tenure_areas::pass::{Report, Verdict};
use tenure_policy::resolved::{HostPolicy, Mode};
use tenure_sys::clock;

use crate::areas::{Area, Desired};
use crate::before::{Before, KeepFirst};
use crate::bell::{Mailbox, Reason, Wake};
use crate::board::{Board, Turn};
use crate::host::{Clock, Host};
use crate::journal::{self, Entry, Kind};
use crate::pace::Pace;
use crate::policy_in_force::{Held, PolicyInForce};
use crate::recorder::Recorder;
use crate::rule_named::rule_named;
use crate::time_floor::TimeFloor;
use crate::told::Told;

/// Until a policy says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(900);
/// How soon a pass that failed or could not judge is repeated.
const RETRY: Duration = Duration::from_secs(30);
/// How long a pass may last, or one that is due may wait, before the lane counts as hanging. Every program that a pass runs
/// has a limit of seconds, the slowest two minutes; asking sshd about many people adds up.
const HANGS: Duration = Duration::from_secs(900);
/// How long after an operation's limit it is looked at: the kernel ends a trial within milliseconds of its limit.
const AFTER_LIMIT: Duration = Duration::from_millis(100);

/// How soon a pass is followed by another when what it did has led to more that is to be done.
const MORE: Duration = Duration::from_millis(100);

/// What a lane works with; all but the area is shared.
#[derive(Clone)]
pub struct Tools {
    /// The host.
    pub host: Arc<dyn Host>,
    /// The moment.
    pub clock: Arc<dyn Clock>,
    /// The policy in force.
    pub policy: PolicyInForce,
    /// Where results are shown.
    pub board: Board,
    /// Where they are recorded.
    pub recorder: Recorder,
    /// Below which no clock is believed.
    pub floor: Arc<TimeFloor>,
    /// What stood here before the first act.
    pub before: Before,
    /// What the records have told already.
    pub told: Told,
    /// Only observe, whatever the policy says: an agent that runs to give areas back.
    pub observe_only: bool,
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools").field("board", &self.board).finish_non_exhaustive()
    }
}

/// A lane's thread.
#[derive(Debug)]
pub struct Lane {
    /// Its area.
    pub area: Area,
    /// Its bells.
    pub mailbox: Mailbox,
    progress: Progress,
    thread: JoinHandle<()>,
}

/// By when a lane must have moved on, in milliseconds of [`clock::monotonic`].
#[derive(Debug, Clone, Default)]
struct Progress(Arc<AtomicU64>);

impl Progress {
    /// It moved on now, and has this much time until it is due again.
    fn note(&self, now: Duration, next: Duration) {
        let until = now.saturating_add(next).saturating_add(HANGS);
        self.0.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_overdue(&self, now: Duration) -> bool {
        now.as_millis() > u128::from(self.0.load(Ordering::Relaxed))
    }
}

impl Lane {
    /// Starts the thread; it waits for its first bell.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(area: Area, tools: Tools) -> io::Result<Self> {
        let mailbox = Mailbox::new();
        let bells = mailbox.clone();
        let progress = Progress::default();
        progress.note(clock::monotonic(), HEARTBEAT);
        let noted = progress.clone();
        let thread = std::thread::Builder::new()
            .name(format!("lane-{area}"))
            .spawn(move || Worker::new(area, tools).run(&bells, &noted))?;
        Ok(Self { area, mailbox, progress, thread })
    }

    /// Has it made no progress for far longer than a pass lasts, at this moment of [`clock::monotonic`]?
    pub fn hangs(&self, now: Duration) -> bool {
        self.progress.is_overdue(now)
    }

    /// Has it ended by itself?
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it after its pass.
    pub fn stop(self) {
        self.mailbox.stop();
        if self.thread.join().is_err() {
            journal::error(&format!("the lane {} ended by a fault of its own", self.area));
        }
    }
}

struct Worker {
    area: Area,
    tools: Tools,
    compiled: Option<Compiled>,
    next_heartbeat: Duration,
    pace: Pace,
    /// What the records have told; events are the difference.
    told: Told,
    /// Kind and place of what was left when a pass was last followed by another at once.
    followed: Vec<(String, String)>,
}

/// The policy as this area needs it, compiled once for each policy.
struct Compiled {
    held: Arc<Held>,
    policy: HostPolicy,
    /// None when the policy has no section for the area.
    desired: Option<Box<dyn Desired>>,
}

impl Worker {
    fn new(area: Area, tools: Tools) -> Self {
        let next_heartbeat = clock::monotonic() + HEARTBEAT;
        Self {
            area,
            told: tools.told.clone(),
            tools,
            compiled: None,
            next_heartbeat,
            pace: Pace::new(clock::monotonic()),
            followed: Vec::new(),
        }
    }

    fn run(&mut self, bells: &Mailbox, progress: &Progress) {
        let mut alarms = vec![(self.next_heartbeat, Reason::Timer)];
        loop {
            match bells.wait(&alarms, self.pace.not_before()) {
                Wake::Stop => return,
                Wake::Rung { reasons, since } => {
                    progress.note(clock::monotonic(), Duration::ZERO);
                    alarms = self.turn(&reasons, since);
                    let now = clock::monotonic();
                    let next = alarms.iter().map(|(at, _)| at.saturating_sub(now)).min().unwrap_or_default();
                    progress.note(now, next);
                }
            }
        }
    }

    /// One pass, and when to wake without a bell.
    fn turn(&mut self, reasons: &BTreeSet<Reason>, rung: Duration) -> Vec<(Duration, Reason)> {
        let began = clock::monotonic();
        let heartbeat = began >= self.next_heartbeat;
        let Some(held) = self.tools.policy.get() else {
            // Without a policy there is nothing to judge by; the one that comes rings.
            return vec![(began + HEARTBEAT, Reason::Timer)];
        };
        let compiled = compiled(&mut self.compiled, self.area, held);
        let period = Duration::from_secs(u64::from(compiled.policy.heartbeat_seconds.max(1)));
        if heartbeat || self.next_heartbeat > began + period {
            self.next_heartbeat = began + period;
        }
        let Some(desired) = &compiled.desired else {
            self.tools.board.show_absent(self.area);
            return vec![(self.next_heartbeat, Reason::Timer)];
        };
        let lifted = self.tools.before.is_lifted(self.area, &*self.tools.host);
        self.told.or_remembered(self.area, &*self.tools.host);
        let (report, clock_wrong) = pass(self.area, &self.tools, &compiled.policy, &**desired, lifted);
        let version = compiled.held.version();
        let (ended, after) = (clock::monotonic(), self.tools.clock.now());
        let turn = Turn {
            area: self.area,
            lifted,
            reasons: reasons.iter().copied().collect(),
            took: ended.saturating_sub(began),
            since_bell: ended.saturating_sub(rung),
            ended: after.wall,
            ended_boot_ms: after.since_boot_ms,
        };
        self.tools.board.show(turn, &report);
        tell(self.area, &compiled.held, &report, reasons);
        let mut alarms = vec![(self.next_heartbeat, Reason::Timer)];
        if let Some(pending) = &report.pending {
            let left = pending.until.duration_since(after.wall);
            let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
            alarms.push((ended + left + AFTER_LIMIT, Reason::TrialDue));
            alarms.extend(self.area.looks_every().map(|pause| (ended + pause, Reason::TrialDue)));
        }
        if let Some(at) = desired.wake(&report, &after) {
            let left = Duration::try_from(at.duration_since(after.wall)).unwrap_or(Duration::ZERO);
            alarms.push((ended + left + AFTER_LIMIT, Reason::Schedule));
        }
        for (name, payload) in self.told.news(self.area, &report) {
            self.tools.recorder.event(name, payload, version, after.wall);
        }
        let failed = report.done.iter().any(|d| d.error.is_some());
        if clock_wrong || failed || report.verdict == Verdict::Unknown {
            alarms.push((ended + RETRY, Reason::Timer));
        }
        // Who was killed in the middle of a change finishes it in more than one pass, and not at the next heartbeat.
        let acted = !report.done.is_empty() && !failed && report.refusal.is_none();
        let places = || report.findings.iter().map(|f| (f.kind.clone(), f.place.clone())).collect::<Vec<_>>();
        // What is only told and never mended (a planted key) is no reason to look again after each restoring.
        if acted
            && report.verdict == Verdict::Drifted
            && (report.findings.is_empty() || self.followed != places())
        {
            self.followed = places();
            alarms.push((ended + MORE, Reason::Timer));
        }
        if !report.done.is_empty() && self.pace.spend(ended) {
            let told =
                format!("{}: somebody changes it again and again; it is now restored less often", self.area);
            Entry::new(Kind::RestoredLessOften, &told).area(self.area).version(version).write();
        }
        self.tools.recorder.report(report, version, heartbeat);
        alarms
    }
}

fn compiled(slot: &mut Option<Compiled>, area: Area, held: Arc<Held>) -> &Compiled {
    // The same hash with another limit for the trial is another policy to compile, so identity is asked first.
    let same = slot.as_ref().is_some_and(|c| Arc::ptr_eq(&c.held, &held));
    if same && let Some(compiled) = slot {
        return compiled;
    }
    let policy = held.policy();
    let desired = area.compile(&policy);
    slot.insert(Compiled { held, policy, desired })
}

/// One pass as the design wants it around the loop: the time floor, the copy of what stood there before, the lift.
/// Returns the report and whether the clock is not believed.
fn pass(
    area: Area,
    tools: &Tools,
    policy: &HostPolicy,
    desired: &dyn Desired,
    lifted: bool,
) -> (Report, bool) {
    let host = &*tools.host;
    // Before the time floor the last confirmed state is enforced, and no job begins (DESIGN, "One loop").
    let early = area == Area::Backup && tools.floor.judge(tools.clock.now()).1.is_some();
    let mode = if lifted || early || tools.observe_only { Mode::Observe } else { area.mode(policy) };
    let now = || tools.floor.judge(tools.clock.now()).0;
    let write = KeepFirst::new(host, area, &tools.before, &now);
    let mut report = desired.pass(mode, host, &write, &now);
    if lifted {
        report.findings.push(Finding {
            kind: "lifted".into(),
            place: area.word().into(),
            what: "was given back with `tenure-agent lift` and is only observed until `tenure-agent apply`"
                .into(),
            weight: Weight::Drift,
            at: None,
            by: None,
        });
        if report.verdict < Verdict::Drifted {
            report.verdict = Verdict::Drifted;
        }
    }
    let (_, wrong) = tools.floor.judge(tools.clock.now());
    let clock_wrong = wrong.is_some();
    if let Some(unknown) = wrong {
        report.verdict = Verdict::Unknown;
        report.unknown.get_or_insert(unknown);
    }
    (report, clock_wrong)
}

/// What the journal is told of a pass: what changed, and what a person must see to.
fn tell(area: Area, held: &Held, report: &Report, reasons: &BTreeSet<Reason>) {
    let version = held.version();
    let section = held.verified().value().firewall.as_ref().filter(|_| area == Area::Firewall);
    let entry = |kind, message: &str| Entry::new(kind, message).area(area).version(version);
    let wanted = [Reason::Policy, Reason::Operator, Reason::TrialDue].iter().any(|r| reasons.contains(r));
    let (kind, word) = if wanted { (Kind::Applied, "applied") } else { (Kind::Restored, "restored") };
    for finding in &report.mended {
        let by = finding.by.as_ref().map(|a| format!(" (pid {} {})", a.pid, a.comm)).unwrap_or_default();
        let message = format!("{area}: {word} {}: {}{by}", finding.place, finding.what);
        entry(kind, &message).rule(rule_named(section, finding)).actor(finding.by.as_ref()).write();
    }
    for done in &report.done {
        match &done.error {
            Some(error) => entry(Kind::StepFailed, &format!("{area}: {} failed: {error}", done.step)).write(),
            None => entry(Kind::Step, &format!("{area}: {}", done.step)).write(),
        }
    }
    if let Some(refusal) = &report.refusal {
        let message = format!("{area}: not carried out: {refusal}");
        entry(Kind::PlanRefused, &message).rule(refusal.rule.as_deref()).write();
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
pub(crate) mod tests;
