//! Listing, removing and collecting.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use weir_proto::{ArtifactDir, ArtifactPath, Owner};

use super::{
    super::{Caller, Record, Retention, StorageError, retention},
    Entry, EventKind, State, Store,
};

/// Which files to list. Empty fields match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// First half of the owner. When set, files without an owner are left out.
    pub controller: String,
    /// Kind of the artifact, lower case.
    pub kind: String,
    /// Namespace of the artifact.
    pub namespace: String,
    /// Name of the artifact.
    pub name: String,
    /// Whole owner. When set, files without an owner are left out.
    pub owner: String,
}

impl Filter {
    pub(super) fn matches(&self, path: &ArtifactPath, owner: &str) -> bool {
        let (kind, namespace, name) = path.dir().parts();
        let controller = owner.split('/').next().unwrap_or_default();
        let rows = [
            (&self.controller, controller),
            (&self.kind, kind),
            (&self.namespace, namespace),
            (&self.name, name),
            (&self.owner, owner),
        ];
        rows.iter().all(|(wanted, found)| wanted.is_empty() || wanted == found)
    }
}

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Which file.
    pub path: ArtifactPath,
    /// Length in bytes.
    pub size: u64,
    /// What is recorded of it; `None` for a file somebody else put there and nobody has read yet.
    pub record: Option<Arc<Record>>,
    /// The file that this one is an alias of, and what is recorded of that; `None` for its record when it is gone.
    pub target: Option<(ArtifactPath, Option<Arc<Record>>)>,
}

impl Store {
    /// The stored files by artifact and name, from the index.
    pub fn list(&self, filter: &Filter) -> Vec<Listed> {
        self.index.select(filter).into_iter().filter_map(listed).map(|listed| self.followed(listed)).collect()
    }

    /// Adds the file that an alias names.
    fn followed(&self, listed: Listed) -> Listed {
        let alias = listed.record.as_ref().and_then(|record| record.alias.as_ref());
        let target = alias.and_then(|file| listed.path.dir().file(file).ok());
        let target = target.map(|target| {
            let record = self.index.record(&target);
            (target, record)
        });
        Listed { target, ..listed }
    }

    /// Whether a file is there, and what is known of it. Reads no bytes.
    pub fn stat(&self, path: &ArtifactPath) -> Result<Option<Listed>, StorageError> {
        let Some(head) = self.storage.head(path)? else { return Ok(None) };
        Ok(match self.index.get(path) {
            Some(entry) => listed((path.clone(), entry)).map(|listed| self.followed(listed)),
            None => Some(Listed { path: path.clone(), size: head.size, record: None, target: None }),
        })
    }

    /// Removes one file. A file without an owner may be removed by anybody.
    pub fn remove(&self, caller: &Caller, path: &ArtifactPath) -> Result<(), StorageError> {
        let _one = self.stripes.lock(path.dir());
        let _held = self.epochs.hold(caller)?;
        let known = self.index.get(path);
        if let Some(entry) = known.as_ref().filter(|entry| !may_remove(entry, &caller.owner)) {
            let advice = "only its owner removes it alone; RemoveAll with take_over removes all files of the artifact";
            return Err(StorageError::OwnedByAnother {
                place: path.to_string(),
                owner: entry.owner().to_owned(),
                advice,
            });
        }
        if self.storage.head(path)?.is_none() {
            self.lose(path, known);
            return Err(StorageError::NotFound(path.clone()));
        }
        self.delete(path)
    }

    /// Removes all files of one artifact that the owner has, and those that nobody owns; with `take_over` everybody's. When no
    /// other owner's are left, whatever else lies there goes too. Returns what was removed; nothing there is success.
    pub fn remove_all(
        &self,
        caller: &Caller,
        dir: &ArtifactDir,
        take_over: bool,
    ) -> Result<Vec<ArtifactPath>, StorageError> {
        let _one = self.stripes.lock(dir);
        let _held = self.epochs.hold(caller)?;
        let mut removed = Vec::new();
        let mut others = false;
        for (path, entry) in self.index.artifact(dir) {
            if take_over || may_remove(&entry, &caller.owner) {
                self.delete(&path)?;
                removed.push(path);
            } else {
                others = true;
            }
        }
        if !others {
            self.storage.clear(dir)?;
        }
        Ok(removed)
    }

    /// Removes what retention no longer keeps of one artifact, among the files that the owner has or nobody owns. `current` is
    /// what the caller has published: it stays, and counts as returned now. Tries every file before it reports the first error.
    pub fn collect(
        &self,
        caller: &Caller,
        dir: &ArtifactDir,
        current: Option<&ArtifactPath>,
        retention: &Retention,
    ) -> Result<Vec<ArtifactPath>, StorageError> {
        self.collect_until(caller, dir, current, (retention, &|| false))
    }

    /// As [`Store::collect`], but removes no more once `over` says so, which is no error.
    pub fn collect_until(
        &self,
        caller: &Caller,
        dir: &ArtifactDir,
        current: Option<&ArtifactPath>,
        (retention, over): (&Retention, &dyn Fn() -> bool),
    ) -> Result<Vec<ArtifactPath>, StorageError> {
        let _one = self.stripes.lock(dir);
        let _held = self.epochs.hold(caller)?;
        let (now, clock) = (Instant::now(), Timestamp::now());
        let current = current.filter(|path| path.dir() == dir);
        self.index.set_current(dir, current.map(ArtifactPath::file), now);
        let is_candidate = |entry: &Entry| may_remove(entry, &caller.owner) && !entry.is_alias();
        let files = self.index.artifact(dir).into_iter().filter(|(_, entry)| is_candidate(entry));
        let candidates: Vec<_> = files.map(|(path, entry)| candidate(path, &entry, now, clock)).collect();
        let mut failed = None;
        let mut removed = Vec::new();
        for path in retention::garbage(&candidates, retention).into_iter().take_while(|_| !over()) {
            match self.delete(&path) {
                Ok(()) => removed.push(path),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    /// Removes all files of one artifact that the owner has or nobody, but `current`, which has to be there. Aliases stay. Tries every file
    /// before it reports the first error.
    pub fn remove_all_but(
        &self,
        caller: &Caller,
        dir: &ArtifactDir,
        current: &ArtifactPath,
    ) -> Result<Vec<ArtifactPath>, StorageError> {
        let _one = self.stripes.lock(dir);
        let _held = self.epochs.hold(caller)?;
        let current = &self.target(current);
        if self.storage.head(current)?.is_none() {
            self.lose(current, self.index.get(current));
            return Err(StorageError::NotFound(current.clone()));
        }
        self.index.set_current(dir, Some(current.file()), Instant::now());
        let goes = |path: &ArtifactPath, entry: &Entry| {
            path != current && !entry.is_alias() && may_remove(entry, &caller.owner)
        };
        let mut failed = None;
        let mut removed = Vec::new();
        for (path, _) in self.index.artifact(dir).into_iter().filter(|(path, entry)| goes(path, entry)) {
            match self.delete(&path) {
                Ok(()) => removed.push(path),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    /// The index first, so that the watch on the volume knows that this is no loss.
    fn delete(&self, path: &ArtifactPath) -> Result<(), StorageError> {
        let entry = self.index.remove(path);
        match self.storage.delete(path) {
            Ok(_) => {
                self.events.send(EventKind::Removed, Some(path), entry.as_ref().map_or("", Entry::owner));
                Ok(())
            }
            Err(error) => {
                if let Some(entry) = entry {
                    self.index.insert(path, entry);
                }
                Err(error)
            }
        }
    }
}

fn may_remove(entry: &Entry, owner: &Owner) -> bool {
    entry.owner().is_empty() || entry.owner() == owner.to_string()
}

fn listed((path, entry): (ArtifactPath, Entry)) -> Option<Listed> {
    match entry.state {
        State::Recorded(record) => Some(Listed { path, size: record.size, record: Some(record), target: None }),
        State::Unrecorded(head) => Some(Listed { path, size: head.size, record: None, target: None }),
        State::Corrupted(_) => None,
    }
}

fn candidate(path: ArtifactPath, entry: &Entry, now: Instant, clock: Timestamp) -> retention::Candidate {
    let (sequence, stored_at) = match &entry.state {
        State::Recorded(record) => (record.sequence, record.stored_at),
        State::Unrecorded(head) => (0, head.modified),
        State::Corrupted(_) => (0, Timestamp::UNIX_EPOCH),
    };
    // Less than nothing when the clock was set back: they are still in order.
    let age = clock.duration_since(stored_at);
    let returned = Some(now.saturating_duration_since(entry.returned));
    retention::Candidate { path, sequence, age, returned, current: entry.current }
}
