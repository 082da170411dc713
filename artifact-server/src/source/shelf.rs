//! The shelf: verified sources and unpacked tarballs that are kept, and the budget that all of them share.

use std::{
    collections::HashMap,
    mem::size_of,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use reqwest::Url;
use weir_proto::Digest;

use super::{Source, SourceError};
use crate::tree::Entry;

/// What an index entry takes in memory besides its path: itself, and the allocation of the path.
const ENTRY_BYTES: u64 = size_of::<Entry>() as u64 + 32;

/// What is kept on the shelf. Tarballs inside of sources are unpacked by other rules than sources, so a digest alone does not say it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// A source; by its URL, too, where what one caller fetched is not any other's.
    Source(Digest, Option<Url>),
    /// A tarball that lies in a source, by the SHA-256 of its bytes.
    Archive([u8; 32]),
}

/// Sources by digest under a budget of bytes and entries. Sources that are still being unpacked count too.
#[derive(Debug)]
pub(super) struct Shelf {
    max_bytes: u64,
    max_entries: u64,
    used_bytes: AtomicU64,
    used_entries: AtomicU64,
    evictions: AtomicU64,
    residents: Mutex<Residents>,
}

#[derive(Debug, Default)]
struct Residents {
    by_key: HashMap<Key, Resident>,
    /// Counts uses, so that the least recent is known without a clock.
    uses: u64,
}

#[derive(Debug)]
struct Resident {
    source: Arc<Source>,
    last_use: u64,
}

impl Shelf {
    /// An empty shelf.
    pub(super) fn new(max_bytes: u64, max_entries: u64) -> Arc<Self> {
        Arc::new(Self {
            max_bytes,
            max_entries,
            used_bytes: AtomicU64::new(0),
            used_entries: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            residents: Mutex::default(),
        })
    }

    /// Takes a source in use. Holding it pins it.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Source>> {
        let mut residents = self.residents.lock();
        residents.uses += 1;
        let now = residents.uses;
        let resident = residents.by_key.get_mut(key)?;
        resident.last_use = now;
        Some(Arc::clone(&resident.source))
    }

    /// Keeps a source whose digest has been checked.
    pub(super) fn put(&self, key: Key, source: Arc<Source>) {
        let mut residents = self.residents.lock();
        residents.uses += 1;
        let last_use = residents.uses;
        let before = residents.by_key.insert(key, Resident { source, last_use });
        drop(residents);
        drop(before);
    }

    /// A share of the budget, empty at first.
    pub(super) fn charge(self: &Arc<Self>) -> Charge {
        Charge { shelf: Arc::clone(self), bytes: AtomicU64::new(0), entries: AtomicU64::new(0) }
    }

    /// Bytes and entries in use, kept sources, evictions so far.
    pub(super) fn figures(&self) -> (u64, u64, u64, u64) {
        let kept = self.residents.lock().by_key.keys().filter(|key| matches!(key, Key::Source(..))).count() as u64;
        (self.used_bytes.load(Relaxed), self.used_entries.load(Relaxed), kept, self.evictions.load(Relaxed))
    }

    fn try_take(&self, bytes: u64, entries: u64) -> bool {
        if !take(&self.used_bytes, bytes, self.max_bytes) {
            return false;
        }
        if !take(&self.used_entries, entries, self.max_entries) {
            self.used_bytes.fetch_sub(bytes, Relaxed);
            return false;
        }
        true
    }

    /// Lets go of the source that was used least recently and that nobody holds. False when there is none.
    fn evict(&self) -> bool {
        let mut residents = self.residents.lock();
        let idle = residents.by_key.iter().filter(|(_, resident)| !resident.source.is_pinned());
        let Some(key) = idle.min_by_key(|(_, resident)| resident.last_use).map(|(key, _)| key.clone()) else {
            return false;
        };
        let evicted = residents.by_key.remove(&key);
        drop(residents);
        // Only now: giving its share back must not wait for the lock that this held.
        drop(evicted);
        self.evictions.fetch_add(1, Relaxed);
        tracing::debug!(?key, "evicted a source from the cache");
        true
    }
}

/// Adds to a counter unless that takes it over `max`.
fn take(used: &AtomicU64, amount: u64, max: u64) -> bool {
    let more = |now: u64| now.checked_add(amount).filter(|&sum| sum <= max);
    used.fetch_update(Relaxed, Relaxed, more).is_ok()
}

/// The share of one source. It is given back when the source's spool is closed.
#[derive(Debug)]
pub(super) struct Charge {
    shelf: Arc<Shelf>,
    bytes: AtomicU64,
    entries: AtomicU64,
}

impl Charge {
    /// Takes room in the spool.
    pub(super) fn grow_bytes(&self, bytes: u64) -> Result<(), SourceError> {
        self.grow(bytes, 0)
    }

    /// Takes room for one entry of the index with a path of this length.
    pub(super) fn grow_index(&self, path_bytes: usize) -> Result<(), SourceError> {
        self.grow(ENTRY_BYTES + path_bytes as u64, 1)
    }

    /// Evicts others if needed, and never waits. What would not fit into an empty cache evicts nothing.
    fn grow(&self, bytes: u64, entries: u64) -> Result<(), SourceError> {
        let Shelf { max_bytes, max_entries, .. } = *self.shelf;
        if self.bytes.load(Relaxed).saturating_add(bytes) > max_bytes {
            let text = format!("needs more than all {max_bytes} bytes of the source cache; raise --source-cache-size");
            return Err(SourceError::TooLarge(text));
        }
        if self.entries.load(Relaxed) + entries > max_entries {
            let text = format!("is over all {max_entries} entries of the source cache; raise --source-max-entries");
            return Err(SourceError::TooLarge(text));
        }
        while !self.shelf.try_take(bytes, entries) {
            if !self.shelf.evict() {
                return Err(SourceError::Busy);
            }
        }
        self.bytes.fetch_add(bytes, Relaxed);
        self.entries.fetch_add(entries, Relaxed);
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shelf.used_bytes.fetch_sub(self.bytes.load(Relaxed), Relaxed);
        self.shelf.used_entries.fetch_sub(self.entries.load(Relaxed), Relaxed);
    }
}
