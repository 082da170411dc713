//! How often a notification is tried, and when: as Flux's controllers do it.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// Waits between tries: this one, doubled each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How often a try is repeated: after 1, 2, 4 and 8 seconds.
const RETRIES: usize = 4;

/// How the delivery of a notification ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver took it.
    Sent,
    /// The receiver has heard it already.
    Duplicate,
    /// The receiver does not want it; saying it again would not help.
    Refused(u16),
    /// Nobody took it; what the last try said.
    Failed(String),
}

/// What the answer to one try means. 429 and all of 4xx are answers; only 5xx but 501 may be another one later.
fn judge(status: u16) -> Result<Outcome, String> {
    match status {
        200..=299 => Ok(Outcome::Sent),
        429 => Ok(Outcome::Duplicate),
        501 => Ok(Outcome::Refused(status)),
        500..=599 => Err(format!("the receiver answered with status {status}")),
        _ => Ok(Outcome::Refused(status)),
    }
}

/// Tries until there is an answer, or five tries had none. A try gives the HTTP status, or why there is none.
pub(super) async fn deliver<F>(mut attempt: impl FnMut() -> F) -> Outcome
where
    F: Future<Output = Result<u16, String>>,
{
    let schedule = ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_factor(2.0).with_max_times(RETRIES);
    let mut waits = schedule.build();
    loop {
        let cause = match attempt().await.and_then(judge) {
            Ok(outcome) => return outcome,
            Err(cause) => cause,
        };
        let Some(wait) = waits.next() else {
            return Outcome::Failed(format!("giving up after {} attempts: {cause}", RETRIES + 1));
        };
        tracing::debug!(%cause, ?wait, "unable to record event, will try again");
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_as_flux_judges_them() {
        let again = |status: u16| Err(format!("the receiver answered with status {status}"));
        let rows = [
            ("runtime §9 taken", 202, Ok(Outcome::Sent)),
            ("any success", 200, Ok(Outcome::Sent)),
            ("any success", 204, Ok(Outcome::Sent)),
            ("runtime §9 duplicate", 429, Ok(Outcome::Duplicate)),
            ("runtime §9 other 4xx", 400, Ok(Outcome::Refused(400))),
            ("runtime §9 other 4xx", 404, Ok(Outcome::Refused(404))),
            ("a redirect is not followed", 302, Ok(Outcome::Refused(302))),
            ("runtime §9 5xx", 500, again(500)),
            ("runtime §9 but 501", 501, Ok(Outcome::Refused(501))),
            ("runtime §9 5xx", 503, again(503)),
            ("runtime §9 5xx", 599, again(599)),
        ];
        for (row, status, wanted) in rows {
            assert_eq!(judge(status), wanted, "row {row}: {status}");
        }
    }

    /// Answers as told, then with 202. Returns how it ended and the second of each try.
    async fn tries(answers: &[Result<u16, &str>]) -> (Outcome, Vec<u64>) {
        let start = tokio::time::Instant::now();
        let (mut seconds, mut answers) = (Vec::new(), answers.iter());
        let outcome = deliver(|| {
            seconds.push(start.elapsed().as_secs());
            let answer = answers.next().copied().unwrap_or(Ok(202)).map_err(str::to_owned);
            async { answer }
        });
        let outcome = outcome.await;
        (outcome, seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_and_end() {
        let dead = [Err("refused"); 9];
        let given_up = Outcome::Failed("giving up after 5 attempts: refused".into());
        assert_eq!(tries(&dead).await, (given_up, vec![0, 1, 3, 7, 15]), "runtime §9: 1, 2, 4, 8 s");
        let busy = [Ok(503), Err("refused"), Ok(500)];
        assert_eq!(tries(&busy).await, (Outcome::Sent, vec![0, 1, 3, 7]), "both are tried again");
        assert_eq!(tries(&[Ok(429)]).await, (Outcome::Duplicate, vec![0]), "runtime §9: not tried again");
        assert_eq!(tries(&[Ok(400)]).await, (Outcome::Refused(400), vec![0]), "runtime §9: not tried again");
        assert_eq!(tries(&[Ok(500), Ok(501)]).await, (Outcome::Refused(501), vec![0, 1]), "runtime §9: but 501");
    }
}
