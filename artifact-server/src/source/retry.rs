//! When a download is tried again, and when.

use std::{fmt::Display, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};

use super::SourceError;

/// The longest wait that a server may ask for. Builds wait for their sources, so one that asks for hours is asked again sooner.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// Waits between tries: the first, doubled each time, up to the longest. A server's `Retry-After` replaces one wait, up to a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Before the first retry.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Waits {
    /// Those of Flux: 5 s, 10 s, 20 s, then 30 s.
    fn default() -> Self {
        Self { first: Duration::from_secs(5), longest: Duration::from_secs(30) }
    }
}

/// How one try failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another try can not help.
    ForGood(SourceError),
    /// Another try can not help; said as the last of all tries.
    NotAgain {
        /// What went wrong.
        cause: String,
    },
    /// Another try may help.
    ForNow {
        /// What went wrong, for the error if no try is left.
        cause: String,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
    },
}

/// What an HTTP status means for a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The body is the source.
    Take,
    /// There is no such file; it is not tried again.
    Missing,
    /// Tried again. `heed` says whether `Retry-After` counts.
    Again { heed: bool },
    /// Not tried again.
    GiveUp,
}

/// Judges a status as Flux does: 429 and all of 5xx but 501 are tried again.
pub(super) fn judge(status: u16) -> Verdict {
    match status {
        200 => Verdict::Take,
        404 => Verdict::Missing,
        429 | 503 => Verdict::Again { heed: true },
        501 => Verdict::GiveUp,
        0 | 500.. => Verdict::Again { heed: false },
        _ => Verdict::GiveUp,
    }
}

/// Reads a `Retry-After`: seconds, or a date that is compared with `now`. A date that has passed means no wait.
pub(super) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// Tries until it works, fails for good, or `retries` more tries have failed after the first. `what` names the request in errors.
pub(super) async fn with_retries<T, F: Future<Output = Result<T, Failed>>>(
    what: impl Display,
    retries: u32,
    waits: Waits,
    mut attempt: impl FnMut() -> F,
) -> Result<T, SourceError> {
    let schedule = ExponentialBuilder::new().with_min_delay(waits.first).with_max_delay(waits.longest).with_factor(2.0);
    let mut schedule = schedule.without_max_times().build().take(retries as usize);
    let mut attempts = 1;
    loop {
        let (cause, wait) = match attempt().await {
            Ok(result) => return Ok(result),
            Err(Failed::ForGood(error)) => return Err(error),
            Err(Failed::NotAgain { cause }) => (cause, None),
            Err(Failed::ForNow { cause, retry_after }) => {
                (cause, schedule.next().map(|wait| retry_after.map_or(wait, |asked| asked.min(LONGEST_ASKED))))
            }
        };
        let Some(wait) = wait else {
            return Err(SourceError::Unavailable(format!(": {what} giving up after {attempts} attempt(s): {cause}")));
        };
        tracing::warn!(attempts, ?wait, %cause, "{what} failed, trying again");
        tokio::time::sleep(wait).await;
        attempts += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_as_flux_judges_them() {
        let rows = [
            ("§9 200", 200, Verdict::Take),
            ("§9 other successes are not the file", 204, Verdict::GiveUp),
            ("§9 partial content was not asked for", 206, Verdict::GiveUp),
            ("faults 69 redirect", 301, Verdict::GiveUp),
            ("§9 401", 401, Verdict::GiveUp),
            ("§9 404 at once", 404, Verdict::Missing),
            ("§9 410 is not 404", 410, Verdict::GiveUp),
            ("§9 429", 429, Verdict::Again { heed: true }),
            ("§9 500", 500, Verdict::Again { heed: false }),
            ("§9 501", 501, Verdict::GiveUp),
            ("§9 502", 502, Verdict::Again { heed: false }),
            ("§9 503", 503, Verdict::Again { heed: true }),
            ("§9 599", 599, Verdict::Again { heed: false }),
            ("§9 beyond 5xx", 600, Verdict::Again { heed: false }),
        ];
        for (row, status, expected) in rows {
            assert_eq!(judge(status), expected, "row {row}");
        }
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now: jiff::Timestamp = "2026-01-05T10:00:00Z".parse().unwrap();
        let rows = [
            ("seconds", "120", Some(120)),
            ("no wait", "0", Some(0)),
            ("date", "Mon, 05 Jan 2026 10:00:07 GMT", Some(7)),
            ("date that has passed", "Mon, 05 Jan 2026 09:59:00 GMT", Some(0)),
            ("negative", "-1", None),
            ("neither", "soon", None),
            ("empty", "", None),
        ];
        for (row, value, seconds) in rows {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "row {row}");
        }
    }

    fn again(retry_after: Option<u64>) -> Failed {
        Failed::ForNow { cause: "cause".into(), retry_after: retry_after.map(Duration::from_secs) }
    }

    /// Fails as told, then works; says when each attempt was made, in seconds.
    async fn attempts_at(retries: u32, failures: &[Option<u64>]) -> (Result<(), SourceError>, Vec<u64>) {
        let start = tokio::time::Instant::now();
        let (mut times, mut failures) = (Vec::new(), failures.iter());
        let result = with_retries("GET x", retries, Waits::default(), || {
            times.push(start.elapsed().as_secs());
            let failure = failures.next().map(|&wait| again(wait));
            async { failure.map_or(Ok(()), Err) }
        })
        .await;
        (result, times)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_longest() {
        let (result, times) = attempts_at(9, &[None; 20]).await;
        assert_eq!(times, [0, 5, 15, 35, 65, 95, 125, 155, 185, 215], "§9: 5 s doubling to 30 s, 9 retries");
        let expected = "failed to download archive: GET x giving up after 10 attempt(s): cause";
        assert_eq!(result.unwrap_err().to_string(), expected);

        let (result, times) = attempts_at(9, &[None, None]).await;
        assert_eq!((result, times), (Ok(()), vec![0, 5, 15]), "§9: it works at the third try");

        let (result, times) = attempts_at(9, &[None, Some(40), Some(0), None]).await;
        assert_eq!((result, times), (Ok(()), vec![0, 5, 45, 45, 75]), "§9: Retry-After replaces one wait each");

        let (result, times) = attempts_at(9, &[Some(60), Some(61), Some(u64::MAX)]).await;
        assert_eq!((result, times), (Ok(()), vec![0, 60, 120, 180]), "but for no more than a minute");

        let (result, times) = attempts_at(0, &[None; 20]).await;
        assert_eq!(times, [0], "§9: no retries");
        assert!(result.unwrap_err().to_string().ends_with("giving up after 1 attempt(s): cause"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_other_try_can_mend_is_said_at_once() {
        let mut failures = vec![Failed::NotAgain { cause: "cause".into() }, again(None)];
        let result: Result<(), _> = with_retries("GET x", 9, Waits::default(), || {
            let failure = failures.pop();
            async { failure.map_or(Ok(()), Err) }
        })
        .await;
        let expected = "failed to download archive: GET x giving up after 2 attempt(s): cause";
        assert_eq!(result.unwrap_err().to_string(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn for_good_means_no_other_try() {
        let mut attempts = 0;
        let result: Result<(), _> = with_retries("GET x", 9, Waits::default(), || {
            attempts += 1;
            async { Err(Failed::ForGood(SourceError::NotFound)) }
        })
        .await;
        assert_eq!((result, attempts), (Err(SourceError::NotFound), 1));
    }
}
