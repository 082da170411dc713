//! When a call is tried again. Which calls may be is decided where they are made.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder, Retryable as _};

use super::{Client, Error};

/// Waits between the tries of a call: the first, doubled each time, up to the longest, each longer by a random part of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often a call is tried again after its first try; 0: never. Watches are resumed without end.
    pub times: usize,
    /// Before the first retry.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Retries {
    /// 6 more tries within 6 to 13 seconds: a server that is started again is back by then.
    fn default() -> Self {
        Self { times: 6, first: Duration::from_millis(100), longest: Duration::from_secs(5) }
    }
}

impl Retries {
    pub(super) fn waits(self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_max_times(self.times)
            .with_jitter()
    }

    /// Waits that never end, for watches.
    pub(super) fn endless(self) -> ExponentialBackoff {
        self.waits().without_max_times().build()
    }
}

impl Client {
    /// Makes a call that is safe to make twice until it succeeds, fails for good or has been tried often enough.
    pub(super) async fn again<T, F>(&self, call: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.again_if(true, call).await
    }

    /// The same for a call that is safe to make twice only if so said.
    pub(super) async fn again_if<T, F>(&self, safe: bool, call: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        call.retry(self.retries.waits()).sleep(tokio::time::sleep).when(|error| safe && error.is_transient()).await
    }
}
