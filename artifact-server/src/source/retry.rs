//! When a download is tried again, and when.

use std::{fmt::Display, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};

use super::SourceError;

/// Waits between tries: the first, doubled each time, up to the longest. A server's `Retry-After` replaces one wait.
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
            Err(Failed::ForNow { cause, retry_after }) => {
                (cause, schedule.next().map(|wait| retry_after.unwrap_or(wait)))
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
