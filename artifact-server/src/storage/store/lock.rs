//! One caller at a time for each artifact, and locks that a caller holds for as long as it likes.
//!
//! Whoever changes an artifact takes its turn, for the moment of the change. Whoever holds its lock keeps all others from their turns, from
//! call to call. Nobody waits for a lock while it has a turn, of this artifact or another: so a lock that is held for long holds up those
//! alone who want its artifact, and turns, which are taken in the order of names, never wait for each other in a circle.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, watch};
use weir_proto::ArtifactDir;

use super::super::StorageError;

/// What there is to wait for at one artifact.
#[derive(Default)]
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Those who want the lock, in order of arrival; the first holds it.
    queue: Arc<tokio::sync::Mutex<()>>,
    /// The token of the lock while it is held.
    holder: watch::Sender<Option<String>>,
}

type Table = Arc<Mutex<HashMap<ArtifactDir, Arc<Slot>>>>;

/// The artifacts that are locked now, by token.
type Held = Arc<Mutex<HashMap<String, ArtifactDir>>>;

/// Turns and locks by artifact; only those in use take memory.
#[derive(Default)]
pub(super) struct Locks {
    table: Table,
    held: Held,
}

/// Keeps others from building, collecting or removing an artifact. Dropping it lets the next in, in order of arrival.
pub struct DirGuard {
    // Dropped in this order: first the turn, then the place in the table.
    _turn: OwnedMutexGuard<()>,
    _place: Place,
}

/// A lock that a caller holds. Dropping it gives the artifact free.
pub struct HeldLock {
    token: String,
    held: Held,
    // Dropped in this order, when the token counts no more.
    _queue: OwnedMutexGuard<()>,
    place: Place,
}

/// Takes the slot out of the table when nobody holds or awaits anything of it any more, also when a waiter gives up.
struct Place {
    table: Table,
    dir: ArtifactDir,
    slot: Arc<Slot>,
}

/// What a lock means for one who wants to change the artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    /// It may have its turn.
    Open,
    /// Another holds the lock.
    Closed,
    /// Its own lock is none any more.
    Lost,
}

/// `is_held`: whether the caller's token is that of a lock that is held, of whatever artifact.
fn judge(holder: Option<&str>, token: Option<&str>, is_held: bool) -> Passage {
    match (holder, token) {
        (_, Some(_)) if !is_held => Passage::Lost,
        (None, _) => Passage::Open,
        (holder, token) if holder == token => Passage::Open,
        _ => Passage::Closed,
    }
}

impl Locks {
    fn place(&self, dir: &ArtifactDir) -> Place {
        let slot = self.table.lock().entry(dir.clone()).or_default().clone();
        Place { table: self.table.clone(), dir: dir.clone(), slot }
    }

    fn passage(&self, slot: &Slot, token: Option<&str>) -> Result<bool, StorageError> {
        let is_held = token.is_some_and(|token| self.held.lock().contains_key(token));
        match judge(slot.holder.borrow().as_deref(), token, is_held) {
            Passage::Open => Ok(true),
            Passage::Closed => Ok(false),
            Passage::Lost => Err(StorageError::LockLost),
        }
    }

    /// Waits until none of the artifacts is locked by another. That may change at any moment.
    pub(super) async fn wait(&self, dirs: &[ArtifactDir], token: Option<&str>) -> Result<(), StorageError> {
        for dir in dirs {
            let place = self.place(dir);
            let mut holder = place.slot.holder.subscribe();
            while !self.passage(&place.slot, token)? {
                // The slot, which is ours, has the other end.
                let _ = holder.changed().await;
            }
        }
        Ok(())
    }

    /// Takes the turns of all artifacts, which are in the order of their names. `None` when one of them is locked by another by then.
    pub(super) async fn enter(
        &self,
        dirs: &[ArtifactDir],
        token: Option<&str>,
    ) -> Result<Option<Vec<DirGuard>>, StorageError> {
        let mut guards = Vec::with_capacity(dirs.len());
        for dir in dirs {
            let place = self.place(dir);
            guards.push(DirGuard { _turn: place.slot.turn.clone().lock_owned().await, _place: place });
        }
        for guard in &guards {
            if !self.passage(&guard._place.slot, token)? {
                return Ok(None);
            }
        }
        Ok(Some(guards))
    }

    /// Waits for the lock, in order of arrival, and until whoever changes the artifact now is done.
    pub(super) async fn hold(&self, dir: &ArtifactDir) -> HeldLock {
        let place = self.place(dir);
        let queue = place.slot.queue.clone().lock_owned().await;
        let _turn = place.slot.turn.clone().lock_owned().await;
        let token = uuid::Uuid::new_v4().to_string();
        self.held.lock().insert(token.clone(), dir.clone());
        place.slot.holder.send_replace(Some(token.clone()));
        HeldLock { token, held: self.held.clone(), _queue: queue, place }
    }

    /// How many locks are held.
    pub(super) fn held(&self) -> usize {
        self.held.lock().len()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.lock().len()
    }
}

impl HeldLock {
    /// What its caller names it by. It can not be guessed.
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.held.lock().remove(&self.token);
        self.place.slot.holder.send_replace(None);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        // The table's and this one's.
        if Arc::strong_count(&self.slot) == 2 {
            table.remove(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_pass() {
        let rows = [
            ("nobody holds it, nobody asks", None, None, false, Passage::Open),
            ("nobody holds it, the caller has another", None, Some("b"), true, Passage::Open),
            ("the caller holds it", Some("a"), Some("a"), true, Passage::Open),
            ("another holds it", Some("a"), None, false, Passage::Closed),
            ("another holds it, the caller has another", Some("a"), Some("b"), true, Passage::Closed),
            ("another holds it, the caller's is lost", Some("a"), Some("b"), false, Passage::Lost),
            ("nobody holds it, the caller's is lost", None, Some("b"), false, Passage::Lost),
        ];
        for (row, holder, token, is_held, expected) in rows {
            assert_eq!(judge(holder, token, is_held), expected, "row {row}");
        }
    }
}
