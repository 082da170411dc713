//! The one place where the policy is asked, and where it is said who was refused.

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use weir_proto::{Failure, Reason, v1};

use super::convert;
use crate::{
    live::Live,
    policy::{Deed, Identity, Place, Policy},
    storage::Caller,
};

/// How many that were refused are remembered. Then all are forgotten, and are told of once more.
const REMEMBERED: usize = 1024;

/// The policy, if there is one.
#[derive(Debug, Default)]
pub struct Guard {
    policy: Option<Live<Policy>>,
    told: Mutex<Told>,
}

/// Who was refused already.
#[derive(Debug, Default)]
struct Told(HashSet<String>);

impl Told {
    /// Whether it is new. However many there were before, who comes first now is.
    fn is_first(&mut self, who: String) -> bool {
        if self.0.len() >= REMEMBERED && !self.0.contains(&who) {
            self.0.clear();
        }
        self.0.insert(who)
    }
}

/// Who is at the other end of the connection of a call.
#[derive(Clone, Debug)]
pub struct Peer(Arc<Identity>);

impl Peer {
    /// One connection, one identity.
    pub fn new(identity: Identity) -> Self {
        Self(Arc::new(identity))
    }
}

/// What one caller may do. It heeds the policy of the moment, however long the call takes.
#[derive(Clone, Debug)]
pub(super) struct Access {
    peer: Peer,
    guard: Arc<Guard>,
}

impl Guard {
    /// With a policy, nothing is allowed that it does not allow; without, everything is.
    pub fn new(policy: Option<Live<Policy>>) -> Self {
        Self { policy, told: Mutex::default() }
    }
}

impl Access {
    /// A call without a connection, as tests make them, is nobody's.
    pub(super) fn of<T>(guard: &Arc<Guard>, request: &tonic::Request<T>) -> Self {
        let peer = request.extensions().get::<Peer>().cloned();
        Self { peer: peer.unwrap_or_else(|| Peer::new(Identity::Unknown)), guard: Arc::clone(guard) }
    }

    /// Reads who says to call, and notes as whom the policy knows it.
    pub(super) fn caller(&self, caller: Option<v1::Caller>) -> Result<Caller, Failure> {
        let tenant = self.guard.policy.as_ref().map(|policy| policy.get().name(&self.peer.0));
        Ok(Caller { tenant, ..convert::caller(caller)? })
    }

    /// Refuses what the policy does not allow. The first refusal of a caller is in the log.
    pub(super) fn may(&self, deed: Deed<'_>) -> Result<(), Failure> {
        if self.allows(deed) {
            return Ok(());
        }
        let who = &*self.peer.0;
        let first = self.guard.told.lock().is_first(who.tenant());
        if first {
            tracing::warn!(caller = %who, "refused: it may not {deed}; --grpc-policy allows what it should be allowed");
        }
        let message = format!("{} may not {deed}: let a rule of --grpc-policy allow it", who.tenant());
        Err(Failure::new(Reason::NotAllowed, message))
    }

    /// Refuses to show artifacts that are not the caller's to see.
    pub(super) fn see<'a>(&self, place: impl Into<Place<'a>>) -> Result<(), Failure> {
        self.may(Deed::See(place.into()))
    }

    /// Whether the policy allows it, without a word.
    pub(super) fn allows(&self, deed: Deed<'_>) -> bool {
        self.guard.policy.as_ref().is_none_or(|policy| policy.get().allows(&self.peer.0, deed))
    }

    /// Whose sources are whose; `None` while all callers are one.
    pub(super) fn tenant(&self) -> Option<String> {
        self.guard.policy.is_some().then(|| self.peer.0.tenant())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_refused_is_told_of_however_many_were_before() {
        let mut told = Told::default();
        for number in 0..3 * REMEMBERED {
            assert!(told.is_first(format!("dns {number}.test")), "{number}");
            assert!(!told.is_first(format!("dns {number}.test")), "{number} again");
        }
        assert!(told.0.len() <= REMEMBERED);
    }
}
