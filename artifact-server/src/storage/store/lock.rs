//! One caller at a time for each artifact.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use weir_proto::ArtifactDir;

type Table = Arc<Mutex<HashMap<ArtifactDir, Arc<tokio::sync::Mutex<()>>>>>;

/// Locks by artifact; only those in use take memory.
#[derive(Default)]
pub(super) struct Locks(Table);

/// Keeps others from building, collecting or removing an artifact. Dropping it lets the next in, in order of arrival.
pub struct DirGuard {
    // Dropped in this order: first the lock, then the place in the table.
    _held: OwnedMutexGuard<()>,
    _place: Place,
}

/// Takes the lock out of the table when nobody holds or awaits it any more, also when a waiter gives up.
struct Place {
    table: Table,
    dir: ArtifactDir,
}

impl Locks {
    pub(super) async fn lock(&self, dir: &ArtifactDir) -> DirGuard {
        let lock = self.0.lock().entry(dir.clone()).or_default().clone();
        let place = Place { table: self.0.clone(), dir: dir.clone() };
        DirGuard { _held: lock.lock_owned().await, _place: place }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        if table.get(&self.dir).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            table.remove(&self.dir);
        }
    }
}
