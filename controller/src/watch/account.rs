//! What this process knows of one generator for as long as the generator is its own.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::api::ObjectKey;

/// Opened when a generator is first heard of, closed when it is gone. A generator whose labels stop matching the selector of this
/// process is gone too: when it comes back, another process has worked on it meanwhile, and its account is a new one.
#[derive(Debug, Default)]
pub struct Account {
    begun: AtomicBool,
    settled: AtomicBool,
    succeeded: Mutex<Option<i64>>,
    unannounced: Mutex<BTreeSet<ObjectKey>>,
    closed: CancellationToken,
}

impl Account {
    /// Whether this is the first run of the account: what is remembered of the outputs from before it may be out of date.
    pub fn begin(&self) -> bool {
        !self.begun.swap(true, Ordering::Relaxed)
    }

    /// Whether all files of the generator are accounted for, and its outputs were compared with them.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// All is known: a run has come to a good end, with the spec of this generation.
    pub fn settle(&self, generation: Option<i64>) {
        *self.succeeded.lock() = generation;
        self.settled.store(true, Ordering::Relaxed);
    }

    /// The generation of the spec that was carried out last.
    pub fn succeeded(&self) -> Option<i64> {
        *self.succeeded.lock()
    }

    /// Something is about to be stored or removed.
    pub fn open(&self) {
        self.settled.store(false, Ordering::Relaxed);
    }

    /// Outputs whose new content is in the inventory, though none of them publishes it yet: when one does, that is news.
    pub fn owe(&self, keys: impl IntoIterator<Item = ObjectKey>) {
        self.unannounced.lock().extend(keys);
    }

    /// Whether this output owes the news of its content.
    pub fn owes(&self, key: &ObjectKey) -> bool {
        self.unannounced.lock().contains(key)
    }

    /// It was said.
    pub fn announced(&self, key: &ObjectKey) {
        self.unannounced.lock().remove(key);
    }

    /// Waits until the generator is not this process's any more.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// The generator is gone.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}
