//! What is known, and how a piece of news changes it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{Effect, write::Flight};
use crate::{
    api::{
        ObjectKey,
        external_artifact::{Artifact, ExternalArtifact},
        source::{SourceArtifact, SourceKey, SourceKind},
    },
    plan::{
        fight::Fight,
        output::differs,
        trigger::{SourceChange, source_changed},
    },
    watch::cache::{Cache, News, version},
};

/// From so many on, fights that are over are forgotten.
const FIGHTS: usize = 1024;

#[derive(Default)]
pub(super) struct State {
    pub(super) cache: Cache<ExternalArtifact>,
    pub(super) by_generator: HashMap<String, BTreeSet<ObjectKey>>,
    pub(super) flights: HashMap<ObjectKey, Flight>,
    /// UIDs of the generators that are about to publish under a name.
    pub(super) claims: HashMap<ObjectKey, String>,
    /// UIDs of those that wanted a name of another one.
    pub(super) refused: HashMap<ObjectKey, BTreeSet<String>>,
    /// Changed or deleted by somebody else since our last write, with the artifact that we had published.
    pub(super) touched: HashMap<ObjectKey, Option<Artifact>>,
    /// How often each was changed by somebody else of late.
    pub(super) fights: HashMap<ObjectKey, Fight>,
    pub(super) listed: bool,
}

impl State {
    /// News from the watch. While a write of ours is on its way, whose they are is decided when it lands.
    pub(super) fn hear(&mut self, object: ExternalArtifact, ours: &dyn Fn(&str) -> bool, effects: &mut Vec<Effect>) {
        let key = ObjectKey::of(&object);
        let version = version(&object);
        // Late news of an earlier write of ours is old, and says nothing of the one on its way.
        let Some((before, after)) = self.remember(Arc::new(object), effects) else { return };
        if let Some(flight) = self.flights.get_mut(&key) {
            flight.heard.push(version);
            let loser = loser(before.as_deref(), &after).filter(|uid| *uid != flight.uid);
            effects.extend(loser.map(|uid| Effect::Touched(uid.to_owned())));
            return;
        }
        if !before.as_ref().is_none_or(|before| differs(before, &after)) || !self.listed {
            return;
        }
        let owners = [before.as_deref().and_then(ExternalArtifact::generator_uid), after.generator_uid()];
        let owners: BTreeSet<&str> = owners.into_iter().flatten().filter(|uid| ours(uid)).collect();
        if owners.is_empty() {
            return;
        }
        let published = || before.as_ref().and_then(|before| before.artifact().cloned());
        self.touched.entry(key.clone()).or_insert_with(published);
        self.changed(&key, owners, effects);
    }

    /// Somebody else changed an object: the generators are told, later each time.
    pub(super) fn changed<'a>(
        &mut self,
        key: &ObjectKey,
        owners: impl IntoIterator<Item = &'a str>,
        effects: &mut Vec<Effect>,
    ) {
        let now = tokio::time::Instant::now().into_std();
        // Not each time: a look at all of them must not come with each of many.
        if self.fights.len() >= FIGHTS && self.fights.len().is_power_of_two() {
            self.fights.retain(|_, fight| !fight.is_over(now));
        }
        let fight = self.fights.entry(key.clone()).or_insert_with(|| Fight::new(now));
        let Some(wait) = fight.changed(now) else { return };
        for uid in owners {
            let uid = uid.to_owned();
            let effect = if wait.is_zero() { Effect::Touched(uid) } else { Effect::Fought { uid, wait } };
            if !effects.contains(&effect) {
                effects.push(effect);
            }
        }
    }

    /// Stores a state of an object; `None` when it is not news.
    pub(super) fn remember(
        &mut self,
        object: Arc<ExternalArtifact>,
        effects: &mut Vec<Effect>,
    ) -> Option<(Option<Arc<ExternalArtifact>>, Arc<ExternalArtifact>)> {
        let (before, after) = match self.cache.put(object) {
            News::Old => return None,
            News::Added(after) => (None, after),
            News::Changed { before, after } => (Some(before), after),
        };
        let key = ObjectKey::of(&*after);
        let new = as_source(&after);
        let change = match &before {
            Some(before) => source_effect(&key, SourceChange::Changed(as_source(before).as_ref(), new.as_ref())),
            None => source_effect(&key, SourceChange::Appeared(new.as_ref())),
        };
        effects.extend(change);
        if before.as_deref().and_then(ExternalArtifact::generator_uid) != after.generator_uid() {
            before.iter().for_each(|before| self.unindex(before));
            if let Some(uid) = after.generator_uid() {
                self.by_generator.entry(uid.to_owned()).or_default().insert(key);
            }
        }
        Some((before, after))
    }

    pub(super) fn lose(
        &mut self,
        object: &ExternalArtifact,
        (ours, in_flight): (&dyn Fn(&str) -> bool, bool),
        effects: &mut Vec<Effect>,
    ) {
        let key = ObjectKey::of(object);
        self.unindex(object);
        let owner = object.generator_uid().filter(|uid| ours(uid));
        if owner.is_some() {
            self.touched.entry(key.clone()).or_insert_with(|| object.artifact().cloned());
        }
        effects.extend(source_effect(&key, SourceChange::Deleted(as_source(object).as_ref())));
        owner.filter(|_| !in_flight).into_iter().for_each(|uid| self.changed(&key, [uid], effects));
        self.wake(&key, effects);
    }

    /// The name is free: whoever was refused it may try again.
    pub(super) fn wake(&mut self, key: &ObjectKey, effects: &mut Vec<Effect>) {
        effects.extend(self.refused.remove(key).into_iter().flatten().map(Effect::Touched));
    }

    pub(super) fn unindex(&mut self, object: &ExternalArtifact) {
        let Some(uid) = object.generator_uid() else { return };
        if let Some(keys) = self.by_generator.get_mut(uid) {
            keys.remove(&ObjectKey::of(object));
            if keys.is_empty() {
                self.by_generator.remove(uid);
            }
        }
    }

    /// One write less on its way; after the last one, what was heard and was not ours counts as an edit by somebody else.
    pub(super) fn end_flight(&mut self, key: &ObjectKey, effects: &mut Vec<Effect>) {
        let Some(flight) = self.flights.get_mut(key) else { return };
        flight.writes = flight.writes.saturating_sub(1);
        if flight.writes > 0 {
            return;
        }
        let Some(flight) = self.flights.remove(key) else { return };
        let last = flight.own.iter().copied().max().unwrap_or(0);
        let foreign = flight.gone > last || flight.heard.iter().any(|heard| !flight.own.contains(heard));
        if foreign {
            self.touched.entry(key.clone()).or_insert(flight.landed);
            self.changed(key, [flight.uid.as_str()], effects);
        }
    }
}

/// A generator that loses an object to another one is told, whoever wrote.
pub(super) fn loser<'a>(before: Option<&'a ExternalArtifact>, after: &ExternalArtifact) -> Option<&'a str> {
    before.and_then(ExternalArtifact::generator_uid).filter(|uid| after.generator_uid() != Some(uid))
}

pub(super) fn source_effect(key: &ObjectKey, change: SourceChange<'_>) -> Option<Effect> {
    let ObjectKey { namespace, name } = key.clone();
    source_changed(change).then_some(Effect::Source(SourceKey { kind: SourceKind::ExternalArtifact, namespace, name }))
}

pub(super) fn as_source(object: &ExternalArtifact) -> Option<SourceArtifact> {
    object.artifact().map(source_artifact)
}

pub(super) fn source_artifact(artifact: &Artifact) -> SourceArtifact {
    SourceArtifact {
        digest: artifact.digest.clone(),
        revision: artifact.revision.clone(),
        url: artifact.url.clone(),
        metadata: artifact.metadata.clone(),
    }
}
