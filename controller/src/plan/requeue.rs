//! When a generator is looked at again.

use std::time::Duration;

/// How long a generator without trouble is left alone. A constant: the spec has no interval.
const INTERVAL: Duration = Duration::from_secs(3600);

/// How a run ended that had no trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calm {
    /// It is paused.
    Paused,
    /// There was nothing to do.
    UpToDate,
    /// What there was to do is done.
    Published,
}

/// When a generator is looked at again after a run without trouble; `None`: when something changes. Those that publish at the same moment, as
/// after a push that concerns many, part by the jitter.
pub fn next_look(ended: Calm, percentage: u8, sample: f64) -> Option<Duration> {
    match ended {
        Calm::Paused => None,
        Calm::UpToDate => Some(INTERVAL),
        Calm::Published => Some(jittered(INTERVAL, percentage, sample)),
    }
}

/// `interval` moved by at most `percentage` per cent either way. `sample` is a random number from 0 (earliest) up to 1.
fn jittered(interval: Duration, percentage: u8, sample: f64) -> Duration {
    let spread = f64::from(percentage.min(100)) / 100.0;
    interval.mul_f64(1.0 + spread * (2.0 * sample.clamp(0.0, 1.0) - 1.0))
}

/// Delay before the next try of an object that failed `failures` times in a row: `min`, doubled each time, `max` at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure; `--min-retry-delay`.
    pub min: Duration,
    /// Longest delay; `--max-retry-delay`.
    pub max: Duration,
}

impl Backoff {
    /// `failures` counts the failure at hand: 1 for the first.
    pub fn delay(self, failures: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).and_then(|factor| self.min.checked_mul(factor));
        doubled.unwrap_or(self.max).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let backoff = Backoff { min: Duration::from_millis(750), max: Duration::from_secs(900) };
        // (row, failures, milliseconds)
        let rows = [
            ("§13 none yet counts as first", 0, 750),
            ("§13 first", 1, 750),
            ("§13 second", 2, 1500),
            ("§13 third", 3, 3000),
            ("§13 last below the limit", 11, 768_000),
            ("§13 limit", 12, 900_000),
            ("§13 far beyond", 33, 900_000),
            ("§13 no overflow", u32::MAX, 900_000),
        ];
        for (row, failures, milliseconds) in rows {
            assert_eq!(backoff.delay(failures), Duration::from_millis(milliseconds), "row {row}");
        }
        let reversed = Backoff { min: Duration::from_secs(60), max: Duration::from_secs(1) };
        assert_eq!(reversed.delay(1), Duration::from_secs(1), "the limit wins");
    }

    #[test]
    fn a_run_without_trouble_is_followed_by_the_next_after_an_hour() {
        // (row, how it ended, percentage, sample, seconds)
        let rows = [
            ("§13 success after drift, earliest", Calm::Published, 5, 0.0, Some(3420)),
            ("§13 success after drift, latest", Calm::Published, 5, 1.0, Some(3780)),
            ("§13 success after drift, no jitter", Calm::Published, 0, 1.0, Some(3600)),
            ("§13 no drift: exactly", Calm::UpToDate, 5, 0.0, Some(3600)),
            ("§13 no drift: exactly", Calm::UpToDate, 99, 1.0, Some(3600)),
            ("§13 paused", Calm::Paused, 5, 0.5, None),
        ];
        for (row, ended, percentage, sample, seconds) in rows {
            let found = next_look(ended, percentage, sample).map(|delay| delay.as_secs_f64().round() as u64);
            assert_eq!(found, seconds, "row {row}");
        }
    }

    #[test]
    fn jitter_stays_within_its_share() {
        // (row, percentage, sample, seconds)
        let rows = [
            ("§13 none", 0, 0.9, 3600),
            ("§13 earliest", 5, 0.0, 3420),
            ("§13 middle", 5, 0.5, 3600),
            ("§13 latest", 5, 1.0, 3780),
            ("§13 widest", 99, 0.0, 36),
            ("samples out of range are cut", 5, 7.0, 3780),
        ];
        for (row, percentage, sample, seconds) in rows {
            let delay = jittered(INTERVAL, percentage, sample);
            assert_eq!(delay.as_secs_f64().round() as u64, seconds, "row {row}");
        }
    }
}
