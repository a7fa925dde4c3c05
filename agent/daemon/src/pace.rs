//! How often a lane may act: two agents that restore against each other must not burn a host.

use std::time::Duration;

/// Acts that may follow each other without a pause.
const BURST: u32 = 500;
/// One more act becomes allowed after this time.
const REFILL: Duration = Duration::from_millis(100);

/// A bucket of acts.
#[derive(Debug)]
pub struct Pace {
    left: u32,
    counted: Duration,
    not_before: Duration,
    slow: bool,
}

impl Pace {
    /// A full bucket.
    pub fn new(now: Duration) -> Self {
        Self { left: BURST, counted: now, not_before: Duration::ZERO, slow: false }
    }

    /// Counts an act at this moment; true when the lane has just become slow.
    pub fn spend(&mut self, now: Duration) -> bool {
        let refilled = now.saturating_sub(self.counted).as_millis() / REFILL.as_millis();
        if refilled > 0 {
            self.left = BURST.min(self.left.saturating_add(u32::try_from(refilled).unwrap_or(BURST)));
            self.counted = now;
        }
        self.left = self.left.saturating_sub(1);
        let was_slow = self.slow;
        if self.left == 0 {
            self.slow = true;
            self.not_before = now + REFILL;
        } else if self.left > BURST / 2 {
            self.slow = false;
        }
        self.slow && !was_slow
    }

    /// Before this moment the lane answers only people.
    pub fn not_before(&self) -> Duration {
        self.not_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_hundred_changes_in_a_row_are_restored_at_once_and_an_endless_fight_is_not() {
        let (mut pace, mut now) = (Pace::new(Duration::ZERO), Duration::ZERO);
        for _ in 0..400 {
            now += Duration::from_millis(3);
            assert!(!pace.spend(now));
            assert!(pace.not_before() <= now);
        }
        let told = (0..1000).filter(|_| pace.spend(now)).count();
        assert_eq!(told, 1, "it is told once");
        assert!(pace.not_before() > now);
        now += Duration::from_secs(120);
        assert!(!pace.spend(now) && pace.not_before() <= now, "peace makes it quick again");
    }
}
