//! The ExternalArtifacts of the cluster: what generators published, and what they may use as sources. Tells edits by others
//! from our own writes, whichever is heard of first.

mod claims;
mod state;
#[cfg(test)]
mod tests;
mod write;

use std::{sync::Arc, time::Duration};

use kube::runtime::watcher::Event;
use parking_lot::Mutex;

use self::state::{State, source_artifact};
use super::cache::version;
use crate::api::{
    ObjectKey,
    external_artifact::{Artifact, ExternalArtifact},
    source::{Source, SourceKey, SourceStatus},
};

pub use write::Write;

/// What follows from a piece of news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Somebody else touched an output of the generator with this UID, or a name that it was refused is free.
    Touched(String),
    /// The same, and it was touched so often of late that its repair waits.
    Fought {
        /// UID of the generator.
        uid: String,
        /// How long.
        wait: Duration,
    },
    /// The generators that use it as a source are to be reconciled.
    Source(SourceKey),
}

/// All ExternalArtifacts, as new as anybody here knows them.
#[derive(Default)]
pub struct Outputs {
    state: Mutex<State>,
}

impl Outputs {
    /// The object with this name.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<ExternalArtifact>> {
        self.state.lock().cache.get(key).cloned()
    }

    /// The object with this name, as a source.
    pub fn source(&self, key: &ObjectKey) -> Option<Arc<Source>> {
        let object = self.get(key)?;
        let artifact = object.artifact().map(source_artifact);
        Some(Arc::new(Source { metadata: object.metadata.clone(), status: SourceStatus { artifact } }))
    }

    /// The objects that carry the label of a generator, in the order of their names.
    pub fn of_generator(&self, uid: &str) -> Vec<Arc<ExternalArtifact>> {
        let state = self.state.lock();
        let keys = state.by_generator.get(uid).into_iter().flatten();
        keys.filter_map(|key| state.cache.get(key).cloned()).collect()
    }

    /// What we had published, when somebody else has changed or deleted the object since. `None`: it is as we left it, as far as we
    /// know.
    pub fn published(&self, key: &ObjectKey) -> Option<Artifact> {
        self.state.lock().touched.get(key).cloned().flatten()
    }

    /// Says what the object should publish, by other knowledge than that of our own writes. Nothing is noted of one that does.
    pub fn expect(&self, key: &ObjectKey, artifact: Artifact) {
        let mut state = self.state.lock();
        if state.cache.get(key).and_then(|object| object.artifact()) != Some(&artifact) {
            state.touched.insert(key.clone(), Some(artifact));
        }
    }

    /// What was found in place is as it should be, whoever touched it.
    pub fn untouch(&self, key: &ObjectKey) {
        self.state.lock().touched.remove(key);
    }

    /// How often the object was changed by others of late, when that is so often that its repairs wait.
    pub fn fought(&self, key: &ObjectKey) -> Option<u32> {
        self.state.lock().fights.get(key)?.changes_that_wait()
    }

    /// The generators whose outputs these are come to this process: what was published as them before, and how often they were changed, is
    /// another process's knowledge by now.
    pub fn forget<'a>(&self, keys: impl IntoIterator<Item = &'a ObjectKey>) {
        let mut state = self.state.lock();
        for key in keys {
            state.touched.remove(key);
            state.fights.remove(key);
        }
    }

    /// Takes in what the watch tells. Of the outputs of a generator that is not `ours`, by its UID, each change is somebody else's; they
    /// are sources all the same, and keep their names.
    pub fn take(&self, event: Event<ExternalArtifact>, ours: impl Fn(&str) -> bool) -> Vec<Effect> {
        let mut state = self.state.lock();
        let mut effects = Vec::new();
        match event {
            Event::Init => state.cache.begin_listing(),
            Event::InitApply(object) | Event::Apply(object) => state.hear(object, &ours, &mut effects),
            Event::InitDone => {
                state.listed = true;
                for object in state.cache.end_listing() {
                    state.lose(&object, (&ours, false), &mut effects);
                }
            }
            Event::Delete(object) => {
                let flight = state.flights.get_mut(&ObjectKey::of(&object));
                let in_flight = flight.map(|flight| flight.gone = flight.gone.max(version(&object))).is_some();
                if let Some(object) = state.cache.gone(&object) {
                    state.lose(&object, (&ours, in_flight), &mut effects);
                }
            }
        }
        effects
    }
}
