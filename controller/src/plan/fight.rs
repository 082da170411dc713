//! How soon an output is repaired that somebody else keeps changing: at once at first, then later each time, until they rest. Two
//! controllers that want different things must not keep the API server busy with it.

use std::time::{Duration, Instant};

use super::requeue::Backoff;

/// Changes that are repaired at once: people edit, and scripts in a few steps.
const AT_ONCE: u32 = 5;
/// Waits of those that follow.
const WAITS: Backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(300) };
/// After this long without a change all is forgotten. Longer than the longest wait, as a change that answers each repair is no rest.
const REST: Duration = Duration::from_secs(900);

/// The changes of one output by others, so far.
#[derive(Clone, Copy, Debug)]
pub struct Fight {
    changes: u32,
    last: Instant,
    /// When the repair of the last change that counted is due.
    due: Instant,
}

impl Fight {
    /// None yet.
    pub fn new(now: Instant) -> Self {
        Self { changes: 0, last: now, due: now }
    }

    /// Somebody else changed the output. Returns how long its repair waits; `None` when one is to come anyway.
    pub fn changed(&mut self, now: Instant) -> Option<Duration> {
        if self.is_over(now) {
            *self = Self::new(now);
        }
        self.last = now;
        if self.changes > 0 && now < self.due {
            return None;
        }
        self.changes = self.changes.saturating_add(1);
        let wait =
            self.changes.checked_sub(AT_ONCE).filter(|more| *more > 0).map_or(Duration::ZERO, |more| WAITS.delay(more));
        self.due = now + wait;
        Some(wait)
    }

    /// How many changes there were, when they are so many that repairs wait.
    pub fn changes_that_wait(&self) -> Option<u32> {
        (self.changes > AT_ONCE).then_some(self.changes)
    }

    /// Whether it can be forgotten.
    pub fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > REST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "some moment to count from; nobody waits")]
    fn start() -> Instant {
        Instant::now()
    }

    /// The waits of changes at these seconds.
    fn waits(seconds: &[u64]) -> Vec<Option<u64>> {
        let start = start();
        let mut fight = Fight::new(start);
        let mut change = |second: &u64| fight.changed(start + Duration::from_secs(*second));
        seconds.iter().map(|second| change(second).map(|wait| wait.as_secs())).collect()
    }

    #[test]
    fn repairs_wait_longer_while_changes_go_on() {
        // (row, seconds at which it is changed, waits)
        type Row = (&'static str, Vec<u64>, Vec<Option<u64>>);
        let now = |count| std::iter::repeat_n(Some(0), count);
        let rows: [Row; 6] = [
            ("a single edit", vec![0], vec![Some(0)]),
            ("five edits in a row", vec![0, 0, 0, 1, 2], now(5).collect()),
            (
                "each repair is answered at once",
                vec![0, 0, 0, 0, 0, 0, 1, 3, 7, 15],
                now(5).chain([1, 2, 4, 8, 16].map(Some)).collect(),
            ),
            (
                "changes before the repair are part of it",
                vec![0, 0, 0, 0, 0, 0, 0, 0, 1],
                now(5).chain([Some(1), None, None, Some(2)]).collect(),
            ),
            ("a rest", vec![0, 0, 0, 0, 0, 0, 901], now(5).chain([Some(1), Some(0)]).collect()),
            ("no rest", vec![0, 0, 0, 0, 0, 0, 900], now(5).chain([Some(1), Some(2)]).collect()),
        ];
        for (row, seconds, expected) in rows {
            assert_eq!(waits(&seconds), expected, "row {row}");
        }
    }

    #[test]
    fn the_longest_wait_is_no_rest() {
        let start = start();
        let (mut fight, mut now) = (Fight::new(start), start);
        for _ in 0..100 {
            now += fight.changed(now).unwrap();
        }
        assert_eq!(fight.changed(now), Some(WAITS.max));
        assert_eq!(fight.changes_that_wait(), Some(101));
        assert!(!fight.is_over(now + WAITS.max), "an answer to the next repair is part of the fight");
        assert!(fight.is_over(now + REST + Duration::from_secs(1)));
        assert_eq!(Fight::new(now).changes_that_wait(), None);
    }
}
