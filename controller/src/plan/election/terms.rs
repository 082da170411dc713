//! How long a Lease holds, and how long its holder may go on without renewing it.

use std::time::Duration;

/// Wait between two tries. What source-watcher has in effect, whatever `--leader-election-retry-period` says.
pub const RETRY: Duration = Duration::from_secs(2);
/// Those who wait add up to this share of [`RETRY`].
pub(super) const JITTER: f64 = 1.2;

/// Which Lease, and how it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Name of the Lease.
    pub lease: String,
    /// How long it holds.
    pub terms: Terms,
    /// Whether it is given back at the end.
    pub release: bool,
}

/// The two durations of a Lease, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    lease: Duration,
    renew: Duration,
}

/// Why the flags do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Another instance could lead while this one still thinks that it does.
    #[error("must be longer than --leader-election-renew-deadline ({renew:?})")]
    Lease {
        /// The other flag.
        renew: Duration,
    },
    /// One try that fails must not be the end.
    #[error("must be longer than {:?}: one try that fails must not be the end", RETRY.mul_f64(JITTER))]
    Renew,
    /// It would not fit into the Lease.
    #[error("must be 2147483647 seconds at most")]
    TooLong,
}

impl Terms {
    /// Checks the two durations, as client-go does. Whole seconds of `lease` count.
    pub fn new(lease: Duration, renew: Duration) -> Result<Self, TermsError> {
        if renew <= RETRY.mul_f64(JITTER) {
            return Err(TermsError::Renew);
        }
        if Duration::from_secs(lease.as_secs()) <= renew {
            return Err(TermsError::Lease { renew });
        }
        if i32::try_from(lease.as_secs()).is_err() {
            return Err(TermsError::TooLong);
        }
        Ok(Self { lease, renew })
    }

    /// How long the holder goes on without having renewed.
    pub fn renew(self) -> Duration {
        self.renew
    }

    /// As it stands in the Lease.
    pub(super) fn seconds(self) -> i32 {
        i32::try_from(self.lease.as_secs()).unwrap_or(i32::MAX)
    }

    /// How long to wait for a holder who asked for so many seconds. One who did not say gets what we would ask for.
    pub(super) fn patience(self, seconds: i32) -> Duration {
        match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => self.lease,
        }
    }
}
