//! Looks at a copy that the disk did not let end are put off, longer each time: reading everything up to the same place again
//! in every turn would keep the disk busy for nothing. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tenure_trust::{GenerationId, SeriesId};

/// After the first failure.
const FIRST: Duration = Duration::from_secs(300);
/// At most.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// What is put off, until when and how long it was the last time; by the monotonic clock, so that a restart begins anew.
#[derive(Debug, Default)]
pub(crate) struct PutOff {
    of: BTreeMap<(SeriesId, GenerationId), (Duration, Duration)>,
}

impl PutOff {
    /// Is it too early to look again?
    pub(crate) fn is(&self, series: &SeriesId, id: GenerationId, now: Duration) -> bool {
        self.of.get(&(series.clone(), id)).is_some_and(|(until, _)| now < *until)
    }

    /// The disk did not let the look end.
    pub(crate) fn failed(&mut self, series: &SeriesId, id: GenerationId, now: Duration) {
        let (until, pause) = self.of.entry((series.clone(), id)).or_default();
        *pause = (*pause * 2).clamp(FIRST, LONGEST);
        *until = now.saturating_add(*pause);
    }

    /// It ended: nothing is put off any more.
    pub(crate) fn ended(&mut self, series: &SeriesId, id: GenerationId) {
        self.of.remove(&(series.clone(), id));
    }
}

#[cfg(test)]
mod tests {
    use tenure_trust::VaultName;

    use super::*;

    #[test]
    fn each_failure_waits_longer_up_to_six_hours_and_another_copy_waits_for_nothing() {
        let series = |path| SeriesId::from_path(VaultName::new("vault1").unwrap(), path).unwrap();
        let (one, other) = (series("acme/web1/server"), series("acme/web1/nightly"));
        let id = GenerationId { date: jiff::civil::date(2026, 11, 29), number: 1 };
        let mut off = PutOff::default();
        let mut now = Duration::from_secs(1000);
        let mut waited = Vec::new();
        for _ in 0..10 {
            off.failed(&one, id, now);
            let began = now;
            while off.is(&one, id, now) {
                assert!(!off.is(&other, id, now));
                now += Duration::from_secs(60);
            }
            waited.push((now - began).as_secs() / 60);
        }
        assert_eq!(waited, [5, 10, 20, 40, 80, 160, 320, 360, 360, 360]);
        off.failed(&one, id, now);
        off.ended(&one, id);
        assert!(!off.is(&one, id, now));
        off.failed(&one, id, now);
        assert!(!off.is(&one, id, now + FIRST), "and begins anew");
    }
}
