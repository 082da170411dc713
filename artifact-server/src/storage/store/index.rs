//! What is known in memory of each stored file.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use tokio::time::Instant;
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{
    super::{Head, Prefix, Record, Stamp},
    Stats,
};

/// One stored file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// When a caller last got it. In memory only.
    pub(super) returned: Instant,
    /// Whether a caller named it current in the last collection.
    pub(super) current: bool,
}

/// How well a file is known.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// Stored or taken on by this server.
    Recorded(Arc<Record>),
    /// Put there by somebody else, or its record is lost. Not hashed yet.
    Unrecorded(Head),
    /// Its bytes are wrong and it could not be removed. Never served; forgotten when the stamp changes.
    Corrupted(Stamp),
}

impl Entry {
    pub(super) fn record(&self) -> Option<&Arc<Record>> {
        match &self.state {
            State::Recorded(record) => Some(record),
            State::Unrecorded(_) | State::Corrupted(_) => None,
        }
    }

    /// The owner; empty when nobody is known to own it.
    pub(super) fn owner(&self) -> &str {
        self.record().map_or("", |record| &record.owner)
    }

    /// The stamp at which this was learnt.
    pub(super) fn stamp(&self) -> &Stamp {
        match &self.state {
            State::Recorded(record) => &record.stamp,
            State::Unrecorded(head) => &head.stamp,
            State::Corrupted(stamp) => stamp,
        }
    }
}

type Files = BTreeMap<String, Entry>;

/// All files by artifact.
#[derive(Default)]
pub(super) struct Index(RwLock<BTreeMap<ArtifactDir, Files>>);

impl Index {
    pub(super) fn get(&self, path: &ArtifactPath) -> Option<Entry> {
        self.0.read().get(path.dir())?.get(path.file()).cloned()
    }

    pub(super) fn record(&self, path: &ArtifactPath) -> Option<Arc<Record>> {
        self.0.read().get(path.dir())?.get(path.file())?.record().cloned()
    }

    pub(super) fn insert(&self, path: &ArtifactPath, entry: Entry) {
        self.0.write().entry(path.dir().clone()).or_default().insert(path.file().to_owned(), entry);
    }

    pub(super) fn remove(&self, path: &ArtifactPath) -> Option<Entry> {
        let mut index = self.0.write();
        let files = index.get_mut(path.dir())?;
        let removed = files.remove(path.file());
        if files.is_empty() {
            index.remove(path.dir());
        }
        removed
    }

    /// Puts a newer record in place of an older one; ages stay.
    pub(super) fn update(&self, path: &ArtifactPath, record: Arc<Record>) {
        self.change(path, |entry| entry.state = State::Recorded(record));
    }

    /// Forgets at which stamp a file was good, so that it is hashed before it counts as such.
    pub(super) fn doubt(&self, path: &ArtifactPath) {
        self.change(path, |entry| {
            if let State::Recorded(record) = &entry.state {
                entry.state = State::Recorded(Arc::new(Record { stamp: Stamp::new(""), ..(**record).clone() }));
            }
        });
    }

    pub(super) fn renew(&self, path: &ArtifactPath, now: Instant) {
        self.change(path, |entry| entry.returned = now);
    }

    fn change(&self, path: &ArtifactPath, change: impl FnOnce(&mut Entry)) {
        let mut index = self.0.write();
        if let Some(entry) = index.get_mut(path.dir()).and_then(|files| files.get_mut(path.file())) {
            change(entry);
        }
    }

    /// Marks which file of an artifact is current and renews it.
    pub(super) fn set_current(&self, dir: &ArtifactDir, file: Option<&str>, now: Instant) {
        for (name, entry) in self.0.write().get_mut(dir).into_iter().flatten() {
            entry.current = Some(name.as_str()) == file;
            if entry.current {
                entry.returned = now;
            }
        }
    }

    /// Renews what consumers may still be reading while `newer` takes over: the file last named current, and the one last
    /// returned before it.
    pub(super) fn renew_predecessor(&self, newer: &ArtifactPath, now: Instant) {
        let mut index = self.0.write();
        let Some(files) = index.get_mut(newer.dir()) else { return };
        let others = || files.iter().filter(|(name, _)| *name != newer.file());
        let last = others().max_by_key(|(_, entry)| entry.returned).map(|(name, _)| name.clone());
        for (name, entry) in files.iter_mut().filter(|(name, _)| *name != newer.file()) {
            if entry.current || Some(name) == last.as_ref() {
                entry.returned = now;
            }
        }
    }

    /// The files of one artifact, by name.
    pub(super) fn artifact(&self, dir: &ArtifactDir) -> Vec<(ArtifactPath, Entry)> {
        let index = self.0.read();
        let files = index.get(dir).into_iter().flatten();
        files.filter_map(|(file, entry)| Some((dir.file(file).ok()?, entry.clone()))).collect()
    }

    /// All files below a prefix, by artifact and name.
    pub(super) fn below(&self, prefix: &Prefix) -> Vec<(ArtifactPath, Entry)> {
        let dirs: Vec<ArtifactDir> = self.0.read().keys().filter(|dir| prefix.covers(dir)).cloned().collect();
        dirs.iter().flat_map(|dir| self.artifact(dir)).collect()
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for entry in self.0.read().values().flat_map(BTreeMap::values) {
            stats.files += 1;
            match &entry.state {
                State::Recorded(record) => stats.bytes += record.size,
                State::Unrecorded(head) => {
                    stats.bytes += head.size;
                    stats.unrecorded += 1;
                }
                State::Corrupted(_) => {}
            }
        }
        stats
    }
}
