//! Waiting for a condition, with a deadline and the last state seen.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

/// A generous deadline for anything that involves a reconcile or two on a slow,
/// busy machine. It bounds a broken run; no test asserts a speed with it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// First pause between two probes; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// Probes until `probe` succeeds and returns what it found.
///
/// An `Err` of the probe means "not yet"; its text is the state seen. So a
/// probe reads like an assertion: `ensure!(ready, "still {state}")`.
///
/// # Errors
/// When `deadline` has passed: names `what`, and the last state seen.
pub async fn eventually<T, F>(what: &str, deadline: Duration, mut probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let end = Instant::now() + deadline;
    let mut pause = MIN_PAUSE;
    let mut last = anyhow!("the first probe never answered");
    loop {
        match tokio::time::timeout_at(end, probe()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => last = error,
            Err(_) => return Err(expired(what, deadline, &last)),
        }
        if Instant::now() + pause >= end {
            return Err(expired(what, deadline, &last));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

fn expired(what: &str, deadline: Duration, last: &anyhow::Error) -> anyhow::Error {
    anyhow!("{what}: not within {deadline:?}; last state seen: {last:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn returns_what_the_probe_found() {
        let mut calls = 0;
        let found = eventually("three calls", PATIENCE, || {
            calls += 1;
            let calls = calls;
            async move {
                anyhow::ensure!(calls == 3, "call {calls}");
                Ok(calls)
            }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_deadline_names_the_last_state() {
        let text = eventually("the moon", Duration::from_secs(5), || async { Err::<(), _>(anyhow!("half full")) })
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(text, "the moon: not within 5s; last state seen: half full");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_ended() {
        let text = eventually("an answer", Duration::from_secs(5), std::future::pending::<Result<()>>)
            .await
            .unwrap_err()
            .to_string();
        assert!(text.contains("the first probe never answered"), "{text}");
    }
}
