//! How often an area is recorded: somebody who changes a host again and again must neither fill its disk nor hide in the noise.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tenure_areas::area::{Finding, Weight};
use tenure_areas::pass::{FINDINGS_LIMIT, Report};
use tenure_trust::{AreaName, PolicyVersion};

/// Records of one area that may follow each other without a pause.
const BURST: u32 = 30;
/// One more becomes allowed after this time, in milliseconds.
const REFILL_MS: u64 = 60_000;

/// The pace of every area, and what waits for its turn.
#[derive(Debug, Default)]
pub struct RecordPace(BTreeMap<AreaName, Bucket>);

/// What was held back of an area, as one report.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// The newest report, as the pass made it.
    pub newest: Report,
    /// Under which policy.
    pub policy: Option<PolicyVersion>,
    /// How many reports before it have no record of their own.
    count: u32,
    /// When the first of them was made.
    since: Timestamp,
    /// What they told and the newest does not, each once.
    gone: Vec<Finding>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    counted_ms: u64,
    held: Option<Held>,
}

impl RecordPace {
    /// Takes a report that says something new, at a moment in milliseconds since boot, and gives back what is to be
    /// recorded now: it, with what was held back before it, or nothing. A heartbeat is always recorded.
    pub fn offer(
        &mut self,
        report: Report,
        policy: Option<PolicyVersion>,
        always: bool,
        now: u64,
    ) -> Option<Held> {
        let fresh = || Bucket { left: BURST, counted_ms: now, held: None };
        let bucket = self.0.entry(report.area.clone()).or_insert_with(fresh);
        let held = match bucket.held.take() {
            None => Held { since: report.observed_at, newest: report, policy, count: 0, gone: Vec::new() },
            Some(held) => held.follow(report, policy),
        };
        if bucket.spend(now) || always {
            return Some(held);
        }
        bucket.held = Some(held);
        None
    }

    /// The report that waits in an area, if one does.
    pub fn waiting(&self, area: &AreaName) -> Option<&Held> {
        self.0.get(area)?.held.as_ref()
    }

    /// When the next that waits comes due, in milliseconds since boot.
    pub fn due(&self) -> Option<u64> {
        let waiting = self.0.values().filter(|bucket| bucket.held.is_some());
        waiting.map(|bucket| bucket.counted_ms + REFILL_MS).min()
    }

    /// Takes out what is due at this moment.
    pub fn take_due(&mut self, now: u64) -> Vec<Held> {
        let due = |bucket: &mut Bucket| {
            bucket.held.take_if(|_| bucket.left > 0 || now >= bucket.counted_ms + REFILL_MS)
        };
        let mut out = Vec::new();
        for bucket in self.0.values_mut() {
            if let Some(held) = due(bucket) {
                // Due means that there is one to spend.
                bucket.spend(now);
                out.push(held);
            }
        }
        out
    }

    /// Takes out everything that waits, due or not: the agent ends, or somebody takes the records away.
    pub fn take_all(&mut self) -> Vec<Held> {
        self.0.values_mut().filter_map(|bucket| bucket.held.take()).collect()
    }
}

impl Bucket {
    fn spend(&mut self, now: u64) -> bool {
        let refilled = now.saturating_sub(self.counted_ms) / REFILL_MS;
        if refilled > 0 {
            self.left = BURST.min(self.left.saturating_add(u32::try_from(refilled).unwrap_or(BURST)));
            self.counted_ms += refilled * REFILL_MS;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

impl Held {
    fn follow(self, report: Report, policy: Option<PolicyVersion>) -> Self {
        let Self { newest, count, since, mut gone, .. } = self;
        let told = newest.mended.into_iter().chain(newest.findings);
        for finding in told {
            if gone.len() < FINDINGS_LIMIT && !gone.iter().any(|known| same(known, &finding)) {
                gone.push(finding);
            }
        }
        Self { newest: report, policy, count: count.saturating_add(1), since, gone }
    }

    /// The report as it is recorded: the newest, with what came and went before it among what was mended, and a word on
    /// how much has no record of its own.
    pub fn told(&self) -> Report {
        let mut report = self.newest.clone();
        if self.count == 0 {
            return report;
        }
        let news = self
            .gone
            .iter()
            .filter(|gone| !report.findings.iter().chain(&report.mended).any(|known| same(known, gone)));
        let news: Vec<Finding> = news.cloned().collect();
        report.mended.extend(news);
        report.mended.truncate(FINDINGS_LIMIT);
        report.findings.push(Finding {
            kind: "records-held-back".into(),
            place: "records".into(),
            what: format!(
                "{} passes since {:.0} saw something new and have no record of their own, because it changes again and \
                 again; what came and went in them is listed here as mended",
                self.count, self.since
            ),
            weight: Weight::Note,
            at: None,
            by: None,
        });
        report
    }
}

/// The same thing told twice; when it happened does not matter.
fn same(a: &Finding, b: &Finding) -> bool {
    (&a.kind, &a.place, &a.what, a.weight, &a.by) == (&b.kind, &b.place, &b.what, b.weight, &b.by)
}

#[cfg(test)]
mod tests {
    use tenure_areas::pass::Verdict;
    use tenure_policy::resolved::Mode;

    use super::*;

    fn found(place: &str) -> Finding {
        Finding {
            kind: "unmanaged-key".into(),
            place: place.into(),
            what: "a key".into(),
            weight: Weight::Drift,
            at: Some(Timestamp::UNIX_EPOCH),
            by: None,
        }
    }

    fn report(area: &str, place: &str) -> Report {
        Report {
            area: AreaName::new(area).expect("a name"),
            mode: Mode::Enforce,
            observed_at: Timestamp::UNIX_EPOCH,
            verdict: Verdict::Drifted,
            facts: None,
            plan: None,
            findings: vec![found(place)],
            mended: Vec::new(),
            done: Vec::new(),
            pending: None,
            refusal: None,
            unknown: None,
        }
    }

    fn offer(pace: &mut RecordPace, area: &str, place: &str, now: u64) -> Option<Held> {
        pace.offer(report(area, place), None, false, now)
    }

    #[test]
    fn thirty_at_once_then_one_a_minute_and_nothing_is_forgotten() {
        let mut pace = RecordPace::default();
        for n in 0..BURST {
            assert!(offer(&mut pace, "ssh_access", &format!("first:{n}"), 1000).is_some());
        }
        for n in 0..10 {
            assert_eq!(offer(&mut pace, "ssh_access", &format!("home:{}", n % 3), 1000), None, "{n}");
        }
        assert!(offer(&mut pace, "patch", "x", 1000).is_some(), "every area has its own");
        assert_eq!(pace.due(), Some(61_000));
        assert_eq!(pace.take_due(60_999), []);
        let due = pace.take_due(61_000);
        let [held] = due.as_slice() else { panic!("{due:?}") };
        let told = held.told();
        let [now, word] = told.findings.as_slice() else { panic!("{told:?}") };
        assert_eq!((now.place.as_str(), word.kind.as_str()), ("home:0", "records-held-back"));
        assert!(word.what.starts_with("9 passes since 1970-01-01T00:00:00Z"), "{}", word.what);
        let gone: Vec<&str> = told.mended.iter().map(|f| f.place.as_str()).collect();
        assert_eq!(gone, ["home:1", "home:2"], "each once, and none that still stands");
        assert_eq!(held.newest, report("ssh_access", "home:0"), "the report itself stays as it was made");
        assert_eq!((pace.due(), pace.take_all().len()), (None, 0));
        assert_eq!(offer(&mut pace, "ssh_access", "home:9", 61_001), None, "one a minute");
        assert_eq!(pace.due(), Some(121_000));
        assert!(offer(&mut pace, "ssh_access", "home:8", 121_000).is_some());
        for n in 0..BURST {
            assert!(
                offer(&mut pace, "ssh_access", &format!("later:{n}"), 86_400_000).is_some(),
                "peace: {n}"
            );
        }
        assert!(offer(&mut pace, "ssh_access", "more", 86_400_000).is_none());
    }

    #[test]
    fn a_heartbeat_is_always_recorded_and_takes_along_what_waits() {
        let mut pace = RecordPace::default();
        for n in 0..=BURST {
            offer(&mut pace, "patch", &format!("p:{n}"), 1);
        }
        let beat = pace.offer(report("patch", "p"), None, true, 2).expect("always");
        assert_eq!(beat.count, 1);
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn what_is_remembered_of_the_noise_is_bounded() {
        let mut pace = RecordPace::default();
        for n in 0..2000 {
            offer(&mut pace, "patch", &format!("p:{n}"), 1);
        }
        let all = pace.take_all();
        let [held] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!(held.count, 2000 - BURST - 1);
        assert_eq!(held.told().mended.len(), FINDINGS_LIMIT);
    }
}
