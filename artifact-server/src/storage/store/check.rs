//! Comparing the storage with the index, for whoever watches the storage.

use std::collections::HashMap;

use tokio::time::Instant;
use weir_proto::ArtifactPath;

use super::{
    super::{Prefix, StorageError},
    Entry, EventKind, State, Store,
};

impl Store {
    /// Looks at one file that may have changed behind the server's back, and tells watchers if it did. The server's own writes
    /// and removals are in the index before they can be seen here.
    pub fn check(&self, path: &ArtifactPath) -> Result<(), StorageError> {
        if self.is_as_known(path)? {
            return Ok(());
        }
        // Somebody may be publishing, removing or hashing it at this moment: wait for them, and look again.
        let _one = self.stripes.lock(path.dir());
        self.look(path)
    }

    /// As [`Store::check`], for a file that somebody has written to. The server never does that to a file that can be seen, so the bytes
    /// may be others even if the stamp is the same.
    pub fn check_written(&self, path: &ArtifactPath) -> Result<(), StorageError> {
        let _one = self.stripes.lock(path.dir());
        self.index.doubt(path);
        self.look(path)
    }

    /// A file that should be good could not be read: it is hashed before it counts as good again. Takes a moment.
    pub fn doubt(&self, path: &ArtifactPath) {
        self.index.doubt(path);
        // Whoever hashes it now may have read it before that.
        self.news.tell(Some(path));
    }

    /// Something happened to a file, or to any when it is `None`, and it will be checked. Whoever hashes it now begins anew. Takes a moment.
    pub fn tell(&self, path: Option<&ArtifactPath>) {
        self.news.tell(path);
    }

    /// The caller holds the artifact's stripe.
    fn look(&self, path: &ArtifactPath) -> Result<(), StorageError> {
        if self.is_as_known(path)? {
            return Ok(());
        }
        let unrecorded = match self.index.get(path) {
            None => self.storage.record(path)?.is_none(),
            Some(entry) => matches!(entry.state, State::Unrecorded(_)),
        };
        match self.storage.head(path)? {
            // Not one of ours: it is hashed when somebody asks for it.
            Some(head) if unrecorded => {
                let state = State::Unrecorded(head);
                self.index.insert(path, Entry { state, returned: Instant::now(), current: false });
            }
            _ => {
                self.examine(path)?;
            }
        }
        Ok(())
    }

    /// Looks at everything below a prefix. Reads only what has moved.
    pub fn check_below(&self, prefix: &Prefix) -> Result<(), StorageError> {
        let found = self.storage.list(prefix)?;
        let stamps: HashMap<&ArtifactPath, _> = found.iter().map(|(path, head)| (path, &head.stamp)).collect();
        let known = self.index.below(prefix);
        let lost = known.iter().filter(|(path, _)| !stamps.contains_key(path)).map(|(path, _)| path);
        let known: HashMap<&ArtifactPath, _> = known.iter().map(|(path, entry)| (path, entry.stamp())).collect();
        let moved = stamps.iter().filter(|(path, stamp)| known.get(**path) != Some(*stamp)).map(|(path, _)| *path);
        let mut failed = None;
        for path in lost.chain(moved) {
            if let Err(error) = self.check(path) {
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Tells every watcher that events may have been missed.
    pub fn report_gap(&self) {
        self.events.send(EventKind::Gap, None, "");
    }

    pub(super) fn is_as_known(&self, path: &ArtifactPath) -> Result<bool, StorageError> {
        let head = self.storage.head(path)?;
        Ok(self.index.get(path).as_ref().map(Entry::stamp) == head.as_ref().map(|head| &head.stamp))
    }
}
