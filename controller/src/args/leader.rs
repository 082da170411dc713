//! The flags of leader election.

use super::{FlagError, at, duration, flags};
use crate::plan::election::{Settings, Terms, TermsError, lease_name};

impl flags::Leader {
    /// What to elect by, `None` without leader election. Generators that `selector` selects have a Lease of their own.
    pub(super) fn checked(self, selector: &str) -> Result<Option<Settings>, FlagError> {
        let lease = duration("leader-election-lease-duration", self.leader_election_lease_duration)?;
        let renew = duration("leader-election-renew-deadline", self.leader_election_renew_deadline)?;
        duration("leader-election-retry-period", self.leader_election_retry_period)?;
        if !self.enable_leader_election {
            return Ok(None);
        }
        let terms = Terms::new(lease, renew).map_err(|error| {
            let flag = match error {
                TermsError::Lease { .. } | TermsError::TooLong => "leader-election-lease-duration",
                TermsError::Renew => "leader-election-renew-deadline",
            };
            at(flag)(error)
        })?;
        let release = self.leader_election_release_on_cancel;
        Ok(Some(Settings { lease: lease_name(selector), terms, release }))
    }
}
