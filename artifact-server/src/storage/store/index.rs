//! What is known in memory of each stored file.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use parking_lot::RwLock;
use tokio::time::Instant;
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{
    super::{Head, Prefix, Record, Stamp},
    Filter, Stats,
    ordered::named,
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

    /// Whether it only names another file.
    pub(super) fn is_alias(&self) -> bool {
        self.record().is_some_and(|record| record.alias.is_some())
    }

    /// The length in bytes, as far as it counts.
    pub(super) fn size(&self) -> u64 {
        match &self.state {
            State::Recorded(record) => record.size,
            State::Unrecorded(head) => head.size,
            State::Corrupted(_) => 0,
        }
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

/// All files, found by artifact and by owner. Nothing here walks over more than it gives, but for [`Filter`]s that leave a part of the
/// name open in front of one that they give: those take one step for each value of that part.
#[derive(Default)]
pub(super) struct Index(RwLock<Tables>);

#[derive(Default)]
struct Tables {
    /// In the order of their texts, `<kind>/<namespace>/<name>`: those that begin alike stand together.
    artifacts: BTreeMap<ArtifactDir, Files>,
    /// The artifacts that an owner has files of. Those of one controller stand together. Files without an owner are not here.
    owners: BTreeMap<String, BTreeSet<ArtifactDir>>,
    totals: Stats,
}

impl Index {
    pub(super) fn get(&self, path: &ArtifactPath) -> Option<Entry> {
        self.0.read().artifacts.get(path.dir())?.get(path.file()).cloned()
    }

    pub(super) fn record(&self, path: &ArtifactPath) -> Option<Arc<Record>> {
        self.0.read().artifacts.get(path.dir())?.get(path.file())?.record().cloned()
    }

    pub(super) fn insert(&self, path: &ArtifactPath, entry: Entry) {
        self.0.write().set(path, Some(entry));
    }

    pub(super) fn remove(&self, path: &ArtifactPath) -> Option<Entry> {
        self.0.write().set(path, None)
    }

    /// Puts a newer record in place of an older one; ages stay.
    pub(super) fn update(&self, path: &ArtifactPath, record: Arc<Record>) {
        self.0.write().change(path, |_| State::Recorded(record));
    }

    /// Forgets at which stamp a file was good, so that it is hashed before it counts as such.
    pub(super) fn doubt(&self, path: &ArtifactPath) {
        self.0.write().change(path, |state| match state {
            State::Recorded(record) => State::Recorded(Arc::new(Record { stamp: Stamp::new(""), ..(*record).clone() })),
            other => other,
        });
    }

    pub(super) fn renew(&self, path: &ArtifactPath, now: Instant) {
        let mut tables = self.0.write();
        if let Some(entry) = tables.artifacts.get_mut(path.dir()).and_then(|files| files.get_mut(path.file())) {
            entry.returned = now;
        }
    }

    /// Marks which file of an artifact is current and renews it.
    pub(super) fn set_current(&self, dir: &ArtifactDir, file: Option<&str>, now: Instant) {
        for (name, entry) in self.0.write().artifacts.get_mut(dir).into_iter().flatten() {
            entry.current = Some(name.as_str()) == file;
            if entry.current {
                entry.returned = now;
            }
        }
    }

    /// Renews what consumers may still be reading while `newer` takes over: the file last named current, and the one last
    /// returned before it.
    pub(super) fn renew_predecessor(&self, newer: &ArtifactPath, now: Instant) {
        let mut tables = self.0.write();
        let Some(files) = tables.artifacts.get_mut(newer.dir()) else { return };
        let others = || files.iter().filter(|(name, entry)| *name != newer.file() && !entry.is_alias());
        let last = others().max_by_key(|(_, entry)| entry.returned).map(|(name, _)| name.clone());
        for (name, entry) in files.iter_mut().filter(|(name, _)| *name != newer.file()) {
            if entry.current || Some(name) == last.as_ref() {
                entry.returned = now;
            }
        }
    }

    /// The files of one artifact, by name.
    pub(super) fn artifact(&self, dir: &ArtifactDir) -> Vec<(ArtifactPath, Entry)> {
        self.0.read().files(dir).collect()
    }

    /// All files below a prefix, by artifact and name.
    pub(super) fn below(&self, prefix: &Prefix) -> Vec<(ArtifactPath, Entry)> {
        let part = |at: usize| prefix.parts().get(at).map_or("", String::as_str);
        let tables = self.0.read();
        let dirs = named(&tables.artifacts, [part(0), part(1), part(2)]);
        dirs.into_iter().flat_map(|dir| tables.files(dir)).collect()
    }

    /// All files that a filter selects, by artifact and name.
    pub(super) fn select(&self, filter: &Filter) -> Vec<(ArtifactPath, Entry)> {
        let tables = self.0.read();
        let files = tables.candidates(filter).into_iter().flat_map(|dir| tables.files(dir));
        files.filter(|(path, entry)| filter.matches(path, entry.owner())).collect()
    }

    /// How many artifacts [`Index::select`] looks at.
    #[cfg(test)]
    pub(super) fn looked_at(&self, filter: &Filter) -> usize {
        self.0.read().candidates(filter).len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let tables = self.0.read();
        tables.artifacts.is_empty() && tables.owners.is_empty()
    }

    pub(super) fn stats(&self) -> Stats {
        self.0.read().totals
    }
}

impl Tables {
    /// The one place where files come and go, so that all tables say the same.
    fn set(&mut self, path: &ArtifactPath, entry: Option<Entry>) -> Option<Entry> {
        if let Some(entry) = &entry {
            self.totals.add(entry);
            self.own(entry.owner(), path.dir());
        }
        let files = self.artifacts.entry(path.dir().clone()).or_default();
        let old = match entry {
            Some(entry) => files.insert(path.file().to_owned(), entry),
            None => files.remove(path.file()),
        };
        if files.is_empty() {
            self.artifacts.remove(path.dir());
        }
        if let Some(old) = &old {
            self.totals.take(old);
            self.disown(old.owner(), path.dir());
        }
        old
    }

    fn change(&mut self, path: &ArtifactPath, change: impl FnOnce(State) -> State) {
        let known = self.artifacts.get(path.dir()).and_then(|files| files.get(path.file())).cloned();
        if let Some(Entry { state, returned, current }) = known {
            self.set(path, Some(Entry { state: change(state), returned, current }));
        }
    }

    fn own(&mut self, owner: &str, dir: &ArtifactDir) {
        if !owner.is_empty() && !self.owners.get(owner).is_some_and(|dirs| dirs.contains(dir)) {
            self.owners.entry(owner.to_owned()).or_default().insert(dir.clone());
        }
    }

    /// Unless another file of the artifact is this owner's.
    fn disown(&mut self, owner: &str, dir: &ArtifactDir) {
        if self.artifacts.get(dir).is_some_and(|files| files.values().any(|entry| entry.owner() == owner)) {
            return;
        }
        let Some(dirs) = self.owners.get_mut(owner) else { return };
        dirs.remove(dir);
        if dirs.is_empty() {
            self.owners.remove(owner);
        }
    }

    fn files<'a>(&'a self, dir: &'a ArtifactDir) -> impl Iterator<Item = (ArtifactPath, Entry)> + 'a {
        let files = self.artifacts.get(dir).into_iter().flatten();
        files.filter_map(|(file, entry)| Some((dir.file(file).ok()?, entry.clone())))
    }

    /// The artifacts that have to be looked at for a filter, in order: among those of its owner, else of its namespace or name, else of its
    /// controller.
    fn candidates<'a>(&'a self, filter: &Filter) -> Vec<&'a ArtifactDir> {
        let Filter { controller, kind, namespace, name, owner } = filter;
        let parts = [kind.as_str(), namespace, name];
        if !owner.is_empty() {
            return self.owners.get(owner).map(|dirs| named(dirs, parts)).unwrap_or_default();
        }
        if controller.is_empty() || !(namespace.is_empty() && name.is_empty()) {
            return named(&self.artifacts, parts);
        }
        let first = format!("{controller}/");
        let owners = self.owners.range::<str, _>((Bound::Included(first.as_str()), Bound::Unbounded));
        let theirs = owners.take_while(|(owner, _)| owner.starts_with(&first)).flat_map(|(_, dirs)| named(dirs, parts));
        theirs.collect::<BTreeSet<_>>().into_iter().collect()
    }
}
