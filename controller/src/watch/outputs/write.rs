//! Writes of ours that are on their way, and whose the news is that comes meanwhile.

use std::sync::Arc;

use super::{
    Effect, Outputs,
    state::{as_source, loser, source_effect},
};
use crate::{
    api::{
        ObjectKey,
        external_artifact::{Artifact, ExternalArtifact},
    },
    plan::trigger::SourceChange,
    watch::cache::version,
};

/// Writes of ours that are on their way, and what the watch told meanwhile. Whose news that was is known only afterwards.
#[derive(Default)]
pub(super) struct Flight {
    /// UID of the generator that writes.
    pub(super) uid: String,
    pub(super) writes: u32,
    pub(super) heard: Vec<u64>,
    pub(super) gone: u64,
    pub(super) own: Vec<u64>,
    /// The artifact that our last write left.
    pub(super) landed: Option<Artifact>,
}

/// A write on its way. Dropping it says that nothing is known of the outcome.
pub struct Write<'a> {
    outputs: &'a Outputs,
    key: ObjectKey,
    landed: bool,
}

impl Outputs {
    /// To be called before a write for the generator with this UID is sent.
    pub fn begin(&self, key: ObjectKey, uid: &str) -> Write<'_> {
        let mut state = self.state.lock();
        let flight = state.flights.entry(key.clone()).or_default();
        uid.clone_into(&mut flight.uid);
        flight.writes += 1;
        drop(state);
        Write { outputs: self, key, landed: false }
    }
}

impl Write<'_> {
    /// The write came back with this state of the object.
    pub fn landed(mut self, object: ExternalArtifact) -> (Arc<ExternalArtifact>, Vec<Effect>) {
        self.landed = true;
        let object = Arc::new(object);
        let mut state = self.outputs.state.lock();
        let mut effects = Vec::new();
        if let Some(flight) = state.flights.get_mut(&self.key) {
            flight.own.push(version(&*object));
            flight.landed = object.artifact().cloned();
            if flight.gone <= version(&*object) {
                state.touched.remove(&self.key);
                if let Some((before, after)) = state.remember(object.clone(), &mut effects) {
                    effects.extend(loser(before.as_deref(), &after).map(|uid| Effect::Touched(uid.to_owned())));
                }
            }
        }
        state.end_flight(&self.key, &mut effects);
        (object, effects)
    }

    /// The API server took the DELETE of the object with this UID and answered with this state of it, or with none. One that waits for its
    /// finalizers is there, and its name taken, until the watch says otherwise: it is returned.
    pub fn delete_taken(
        self,
        uid: &str,
        answer: Option<ExternalArtifact>,
    ) -> (Option<Arc<ExternalArtifact>>, Vec<Effect>) {
        match answer.filter(|object| object.metadata.deletion_timestamp.is_some()) {
            Some(object) => {
                let (object, effects) = self.landed(object);
                (Some(object), effects)
            }
            None => (None, self.deleted(uid)),
        }
    }

    /// The object with this UID has been deleted.
    pub fn deleted(mut self, uid: &str) -> Vec<Effect> {
        self.landed = true;
        let mut state = self.outputs.state.lock();
        let mut effects = Vec::new();
        if let Some(object) = state.cache.deleted(&self.key, uid) {
            state.unindex(&object);
            effects.extend(source_effect(&self.key, SourceChange::Deleted(as_source(&object).as_ref())));
            state.wake(&self.key, &mut effects);
        }
        state.touched.remove(&self.key);
        state.flights.remove(&self.key);
        state.fights.remove(&self.key);
        effects
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.outputs.state.lock().end_flight(&self.key, &mut Vec::new());
        }
    }
}
