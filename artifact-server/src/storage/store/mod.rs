//! The engine over a [`Storage`]: what is stored, whose it is, whether its bytes still are what they were, what may go, and
//! who is told. The index in memory is a cache of the storage, never the truth.
//!
//! All methods that are not async block. One store for each process.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;
use weir_proto::{Algorithm, ArtifactDir, ArtifactPath};

use super::{Caller, Epochs, Record, Storage, StorageError, Swept, state, stripes::Stripes};

mod adopt;
mod alias;
mod check;
mod collect;
mod events;
mod examine;
#[cfg(test)]
mod fencing_tests;
mod incoming;
mod index;
#[cfg(test)]
mod index_tests;
mod lock;
mod news;
#[cfg(test)]
mod news_tests;
mod ordered;
mod put;
#[cfg(test)]
pub(crate) mod rigged;
mod sink;
#[cfg(test)]
mod tests;
mod verify;
#[cfg(test)]
mod volume_tests;

pub use adopt::Adoption;
pub use alias::Aliased;
pub use collect::{Filter, Listed};
pub use events::{EventKind, StoreEvent, Subscription};
pub use incoming::{Incoming, Put, Stored, Upload};
pub use lock::{DirGuard, HeldLock};
pub use verify::{Looked, Opened, Verdict};

use events::Events;
use index::{Entry, Index, State};
use lock::Locks;
use news::News;

/// Everything stored, by one server. See the module.
pub struct Store {
    storage: Arc<dyn Storage>,
    epochs: Epochs,
    algorithm: Algorithm,
    instance: String,
    index: Index,
    events: Events,
    locks: Locks,
    /// Serialises what must see an artifact's files and change them in one step. Held for milliseconds, or while one file is hashed.
    stripes: Stripes,
    news: News,
    next_sequence: AtomicU64,
    /// Files whose records in the storage are older than what is known of them.
    moved: Mutex<BTreeSet<ArtifactPath>>,
    condemned: verify::Condemned,
    swept: Swept,
}

/// Counts for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files stored.
    pub files: usize,
    /// Their sizes, as stored.
    pub bytes: u64,
    /// Of these, how many have no record: not stored by this server, and not read yet.
    pub unrecorded: usize,
    /// Other names for files.
    pub aliases: usize,
    /// Artifacts that callers have locked.
    pub locked: usize,
    /// What the sweep at start-up met.
    pub swept: Swept,
}

impl Stats {
    fn add(&mut self, entry: &Entry) {
        if entry.is_alias() {
            self.aliases += 1;
            return;
        }
        self.files += 1;
        self.bytes += entry.size();
        self.unrecorded += usize::from(matches!(entry.state, State::Unrecorded(_)));
    }

    fn take(&mut self, entry: &Entry) {
        if entry.is_alias() {
            self.aliases -= 1;
            return;
        }
        self.files -= 1;
        self.bytes -= entry.size();
        self.unrecorded -= usize::from(matches!(entry.state, State::Unrecorded(_)));
    }
}

impl Store {
    /// Sweeps what a crash left and reads all records. Every file counts as just returned, so that nothing is collected before
    /// its readers had their time again. `algorithm` is the one for files that are taken on without a record.
    pub fn open(storage: Arc<dyn Storage>, algorithm: Algorithm) -> Result<Arc<Self>, StorageError> {
        let swept = storage.sweep()?;
        let index = Index::default();
        let (now, mut last) = (Instant::now(), 0);
        for (path, head) in storage.list(&super::Prefix::all())? {
            let record = storage.record(&path).unwrap_or_else(|error| {
                // It is read again when somebody asks for the file. The others are not to wait for that.
                tracing::error!(%path, %error, "a record can not be read; its file is not served until it can");
                None
            });
            let state = match record {
                Some(record) => {
                    last = last.max(record.sequence);
                    State::Recorded(Arc::new(record))
                }
                None => State::Unrecorded(head),
            };
            index.insert(&path, Entry { state, returned: now, current: false });
        }
        if swept != Swept::default() {
            let Swept { temporary, records, inherited, foreign } = swept;
            tracing::info!(temporary, records, inherited, foreign, "swept the storage");
        }
        Ok(Arc::new(Self {
            epochs: Epochs::open(Arc::clone(&storage)),
            storage,
            algorithm,
            instance: uuid::Uuid::new_v4().to_string(),
            index,
            events: Events::new(),
            locks: Locks::default(),
            stripes: Stripes::new(),
            news: News::default(),
            next_sequence: AtomicU64::new(last.saturating_add(1)),
            moved: Mutex::default(),
            condemned: verify::Condemned::default(),
            swept,
        }))
    }

    /// Names this run of the server.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The storage below, for the server's own documents.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Who may still change things. All changes ask it again in their last step.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Replaces a document of the server itself for a caller, `None` leaves it as it is. Refuses a caller whose epoch is over.
    pub(crate) fn note(
        &self,
        caller: &Caller,
        name: &str,
        document: Option<&impl Serialize>,
    ) -> Result<(), StorageError> {
        let _held = self.epochs.hold(caller)?;
        document.map_or(Ok(()), |document| state::write(&*self.storage, name, document))
    }

    /// Waits until nobody else has locked one of these artifacts. `token` is that of a lock of the caller's own. That may change before
    /// [`Store::enter`].
    pub async fn unlocked(&self, dirs: &[ArtifactDir], token: Option<&str>) -> Result<(), StorageError> {
        self.locks.wait(dirs, token).await
    }

    /// Waits until nobody else builds, collects or removes these artifacts, which are in the order of their names, and keeps others out until
    /// the guards are dropped. `None` when somebody else has locked one meanwhile: begin anew with [`Store::unlocked`], holding nothing.
    pub async fn enter(
        &self,
        dirs: &[ArtifactDir],
        token: Option<&str>,
    ) -> Result<Option<Vec<DirGuard>>, StorageError> {
        self.locks.enter(dirs, token).await
    }

    /// Waits for the lock of an artifact, which the caller holds until it is dropped.
    pub async fn hold(&self, dir: &ArtifactDir) -> HeldLock {
        self.locks.hold(dir).await
    }

    /// Takes a turn, as one without a lock of its own.
    #[cfg(test)]
    pub(crate) async fn lock(&self, dir: &ArtifactDir) -> Vec<DirGuard> {
        loop {
            let dirs = std::slice::from_ref(dir);
            self.unlocked(dirs, None).await.unwrap();
            if let Some(guards) = self.enter(dirs, None).await.unwrap() {
                return guards;
            }
        }
    }

    /// What is recorded of a file. From the index: the file may have been lost since.
    pub fn file(&self, path: &ArtifactPath) -> Option<Arc<Record>> {
        self.index.record(path)
    }

    /// Says that a file is returned to a caller now. It stays for TTL plus grace from here on.
    pub fn renew(&self, path: &ArtifactPath) {
        self.index.renew(path, Instant::now());
    }

    /// Follows what happens from here on.
    pub fn watch(&self) -> Subscription {
        self.events.subscribe()
    }

    /// Counts for metrics.
    pub fn stats(&self) -> Stats {
        Stats { swept: self.swept, locked: self.locks.held(), ..self.index.stats() }
    }

    fn sequence(&self) -> u64 {
        self.next_sequence.fetch_add(1, Ordering::Relaxed)
    }
}
