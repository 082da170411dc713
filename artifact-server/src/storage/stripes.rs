//! Short locks by artifact, for blocking code.

use std::hash::{BuildHasher, RandomState};

use parking_lot::{Mutex, MutexGuard};
use weir_proto::ArtifactDir;

/// How many artifacts can be worked on at once. Two artifacts that share a lock only wait for each other.
const STRIPES: usize = 1024;

/// A fixed set of locks; each artifact always meets the same one. Nobody may hold two.
pub(super) struct Stripes {
    locks: Vec<Mutex<()>>,
    hash: RandomState,
}

impl Stripes {
    pub(super) fn new() -> Self {
        Self { locks: (0..STRIPES).map(|_| Mutex::new(())).collect(), hash: RandomState::new() }
    }

    pub(super) fn lock(&self, dir: &ArtifactDir) -> MutexGuard<'_, ()> {
        let at = usize::try_from(self.hash.hash_one(dir) % STRIPES as u64).unwrap_or(0);
        self.locks[at].lock()
    }
}
