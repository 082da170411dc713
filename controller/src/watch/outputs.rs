//! The ExternalArtifacts of the cluster: what generators published, and what they may use as sources. Tells edits by others
//! from our own writes, whichever is heard of first.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use kube::runtime::watcher::Event;
use parking_lot::Mutex;

use super::cache::{Cache, News, version};
use crate::{
    api::{
        ObjectKey,
        external_artifact::{Artifact, ExternalArtifact},
        source::{Source, SourceArtifact, SourceKey, SourceKind, SourceStatus},
    },
    plan::{
        fight::Fight,
        output::differs,
        trigger::{SourceChange, source_changed},
    },
};

/// From so many on, fights that are over are forgotten.
const FIGHTS: usize = 1024;

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

#[derive(Default)]
struct State {
    cache: Cache<ExternalArtifact>,
    by_generator: HashMap<String, BTreeSet<ObjectKey>>,
    flights: HashMap<ObjectKey, Flight>,
    /// UIDs of the generators that are about to publish under a name.
    claims: HashMap<ObjectKey, String>,
    /// UIDs of those that wanted a name of another one.
    refused: HashMap<ObjectKey, BTreeSet<String>>,
    /// Changed or deleted by somebody else since our last write, with the artifact that we had published.
    touched: HashMap<ObjectKey, Option<Artifact>>,
    /// How often each was changed by somebody else of late.
    fights: HashMap<ObjectKey, Fight>,
    listed: bool,
}

/// Writes of ours that are on their way, and what the watch told meanwhile. Whose news that was is known only afterwards.
#[derive(Default)]
struct Flight {
    /// UID of the generator that writes.
    uid: String,
    writes: u32,
    heard: Vec<u64>,
    gone: u64,
    own: Vec<u64>,
    /// The artifact that our last write left.
    landed: Option<Artifact>,
}

/// A write on its way. Dropping it says that nothing is known of the outcome.
pub struct Write<'a> {
    outputs: &'a Outputs,
    key: ObjectKey,
    landed: bool,
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

    /// Keeps a name for the generator with this UID until it is released, so that of two that want it only one builds and
    /// publishes. The error is the UID of another generator that has it and `lives`: it is told when the name is free.
    pub fn claim(&self, key: &ObjectKey, uid: &str, lives: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut state = self.state.lock();
        let publisher = state.cache.get(key).and_then(|object| object.generator_uid());
        let holders = [state.claims.get(key).map(String::as_str), publisher];
        let other = holders.into_iter().flatten().find(|other| *other != uid && lives(other)).map(str::to_owned);
        if let Some(other) = other {
            state.refused.entry(key.clone()).or_default().insert(uid.to_owned());
            return Err(other);
        }
        state.claims.insert(key.clone(), uid.to_owned());
        Ok(())
    }

    /// The generator has published under the name, or given up.
    pub fn release(&self, key: &ObjectKey, uid: &str) -> Vec<Effect> {
        let mut state = self.state.lock();
        if state.claims.get(key).is_some_and(|holder| holder == uid) {
            state.claims.remove(key);
        }
        let is_published = state.cache.get(key).is_some_and(|object| object.generator_uid() == Some(uid));
        let mut effects = Vec::new();
        if !is_published {
            state.wake(key, &mut effects);
        }
        effects
    }

    /// A generator is gone: each name that was refused may be one that it had.
    pub fn generator_gone(&self) -> Vec<Effect> {
        let refused = std::mem::take(&mut self.state.lock().refused);
        let uids: BTreeSet<String> = refused.into_values().flatten().collect();
        uids.into_iter().map(Effect::Touched).collect()
    }

    /// To be called before a write for the generator with this UID is sent.
    pub fn begin(&self, key: ObjectKey, uid: &str) -> Write<'_> {
        let mut state = self.state.lock();
        let flight = state.flights.entry(key.clone()).or_default();
        uid.clone_into(&mut flight.uid);
        flight.writes += 1;
        drop(state);
        Write { outputs: self, key, landed: false }
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

impl State {
    /// News from the watch. While a write of ours is on its way, whose they are is decided when it lands.
    fn hear(&mut self, object: ExternalArtifact, ours: &dyn Fn(&str) -> bool, effects: &mut Vec<Effect>) {
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
    fn changed<'a>(&mut self, key: &ObjectKey, owners: impl IntoIterator<Item = &'a str>, effects: &mut Vec<Effect>) {
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
    fn remember(
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

    fn lose(
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
    fn wake(&mut self, key: &ObjectKey, effects: &mut Vec<Effect>) {
        effects.extend(self.refused.remove(key).into_iter().flatten().map(Effect::Touched));
    }

    fn unindex(&mut self, object: &ExternalArtifact) {
        let Some(uid) = object.generator_uid() else { return };
        if let Some(keys) = self.by_generator.get_mut(uid) {
            keys.remove(&ObjectKey::of(object));
            if keys.is_empty() {
                self.by_generator.remove(uid);
            }
        }
    }

    /// One write less on its way; after the last one, what was heard and was not ours counts as an edit by somebody else.
    fn end_flight(&mut self, key: &ObjectKey, effects: &mut Vec<Effect>) {
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
fn loser<'a>(before: Option<&'a ExternalArtifact>, after: &ExternalArtifact) -> Option<&'a str> {
    before.and_then(ExternalArtifact::generator_uid).filter(|uid| after.generator_uid() != Some(uid))
}

fn source_effect(key: &ObjectKey, change: SourceChange<'_>) -> Option<Effect> {
    let ObjectKey { namespace, name } = key.clone();
    source_changed(change).then_some(Effect::Source(SourceKey { kind: SourceKind::ExternalArtifact, namespace, name }))
}

fn as_source(object: &ExternalArtifact) -> Option<SourceArtifact> {
    object.artifact().map(source_artifact)
}

fn source_artifact(artifact: &Artifact) -> SourceArtifact {
    SourceArtifact {
        digest: artifact.digest.clone(),
        revision: artifact.revision.clone(),
        url: artifact.url.clone(),
        metadata: artifact.metadata.clone(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{GENERATOR_LABEL, external_artifact::ExternalArtifactStatus};

    fn output(version: u64, revision: &str) -> ExternalArtifact {
        let mut object = ExternalArtifact::default();
        object.metadata.namespace = Some("ns".into());
        object.metadata.name = Some("o".into());
        object.metadata.uid = Some("1".into());
        object.metadata.resource_version = Some(version.to_string());
        object.metadata.labels = Some([(GENERATOR_LABEL.to_owned(), "g".to_owned())].into());
        let artifact = Artifact { revision: revision.into(), ..Artifact::default() };
        object.status = Some(ExternalArtifactStatus { artifact: Some(artifact), ..ExternalArtifactStatus::default() });
        object
    }

    /// News of the outputs of the only generator that there is.
    fn take(outputs: &Outputs, event: Event<ExternalArtifact>) -> Vec<Effect> {
        outputs.take(event, |uid| uid == "g")
    }

    fn key() -> ObjectKey {
        ObjectKey::new("ns", "o")
    }

    fn listed() -> Outputs {
        let outputs = Outputs::default();
        take(&outputs, Event::Init);
        take(&outputs, Event::InitApply(output(1, "a")));
        take(&outputs, Event::InitDone);
        outputs
    }

    fn touched() -> Effect {
        Effect::Touched("g".into())
    }

    fn source() -> Effect {
        Effect::Source(SourceKey { kind: SourceKind::ExternalArtifact, namespace: "ns".into(), name: "o".into() })
    }

    #[test]
    fn edits_and_deletions_by_others_reach_the_generator() {
        let outputs = listed();
        assert_eq!(outputs.of_generator("g").len(), 1);
        assert_eq!(take(&outputs, Event::Apply(output(2, "a"))), [], "nothing of ours changed");
        let mut edited = output(3, "a");
        edited.metadata.labels = Some([("other".to_owned(), "label".to_owned())].into());
        assert_eq!(take(&outputs, Event::Apply(edited)), [touched()], "the label that names us is gone");
        assert!(outputs.published(&key()).is_some());
        assert!(outputs.of_generator("g").is_empty());
        assert_eq!(take(&outputs, Event::Apply(output(4, "evil"))), [source(), touched()]);
        assert_eq!(take(&outputs, Event::Delete(output(5, "evil"))), [source(), touched()]);
        assert_eq!(outputs.published(&key()).unwrap().revision, "a", "what we had published is remembered");
        assert!(outputs.get(&key()).is_none());
        outputs.begin(key(), "g").landed(output(6, "a"));
        assert!(outputs.published(&key()).is_none(), "restored");
    }

    #[test]
    fn what_should_be_published_is_noted_where_it_is_not() {
        let outputs = listed();
        let artifact = |revision: &str| output(1, revision).artifact().unwrap().clone();
        outputs.expect(&key(), artifact("a"));
        assert_eq!(outputs.published(&key()), None, "it is");
        outputs.expect(&key(), artifact("b"));
        assert_eq!(outputs.published(&key()), Some(artifact("b")), "edited while nobody watched");
        let gone = ObjectKey::new("ns", "gone");
        outputs.expect(&gone, artifact("a"));
        assert_eq!(outputs.published(&gone), Some(artifact("a")), "deleted while nobody watched");
    }

    #[test]
    fn what_is_changed_again_and_again_is_repaired_later_each_time() {
        type Edit = fn(&mut ExternalArtifact);
        let rows: [(&str, Edit); 3] = [
            ("the artifact", |object| object.status.as_mut().unwrap().artifact.as_mut().unwrap().url = "evil".into()),
            ("the label that names us", |object| object.metadata.labels = None),
            ("the label names somebody else", |object| {
                object.metadata.labels = Some([(GENERATOR_LABEL.to_owned(), "other".to_owned())].into());
            }),
        ];
        for (row, edit) in rows {
            let outputs = listed();
            let waits: Vec<Option<u64>> = (1..=8)
                .map(|round| {
                    let mut edited = output(round * 2, "a");
                    edit(&mut edited);
                    let effects = take(&outputs, Event::Apply(edited));
                    outputs.begin(key(), "g").landed(output(round * 2 + 1, "a"));
                    match effects.as_slice() {
                        [] => None,
                        [Effect::Fought { wait, .. }, ..] => Some(wait.as_secs()),
                        effects => {
                            assert!(effects.contains(&touched()), "row {row}: {effects:?}");
                            Some(0)
                        }
                    }
                })
                .collect();
            // The last two come before the repair of the sixth is due.
            let [now, none] = [Some(0), None];
            assert_eq!(waits, [now, now, now, now, now, Some(1), none, none], "row {row}");
            assert_eq!(outputs.fought(&key()), Some(6), "row {row}");
        }
    }

    #[test]
    fn what_others_keep_on_an_object_is_their_business() {
        let outputs = listed();
        for version in 2..50 {
            let mut object = output(version, "a");
            object.metadata.annotations = Some([("theirs".to_owned(), version.to_string())].into());
            object.metadata.labels.as_mut().unwrap().insert("theirs".into(), version.to_string());
            assert_eq!(take(&outputs, Event::Apply(object)), []);
        }
        assert_eq!(outputs.fought(&key()), None);
    }

    #[test]
    fn own_writes_touch_nothing_whichever_is_heard_first() {
        let outputs = listed();
        // The answer first, then the watch. A chained generator hears of it once.
        let write = outputs.begin(key(), "g");
        assert_eq!(write.landed(output(2, "b")).1, [source()]);
        assert_eq!(take(&outputs, Event::Apply(output(2, "b"))), []);
        // The watch first.
        let write = outputs.begin(key(), "g");
        assert_eq!(take(&outputs, Event::Apply(output(3, "c"))), [source()]);
        assert_eq!(write.landed(output(3, "c")).1, []);
        // Two writes in a row: the watch tells of the first while the second is on its way.
        outputs.begin(key(), "g").landed(output(4, "d"));
        let write = outputs.begin(key(), "g");
        assert_eq!(take(&outputs, Event::Apply(output(4, "d"))), []);
        assert_eq!(write.landed(output(5, "d")).1, []);
        assert!(outputs.published(&key()).is_none());
        // Our own delete, in both orders.
        assert_eq!(outputs.begin(key(), "g").deleted("1"), [source()]);
        assert_eq!(take(&outputs, Event::Apply(output(5, "d"))), []);
        assert_eq!(take(&outputs, Event::Delete(output(6, "d"))), []);
        take(&outputs, Event::Apply(output(7, "e")));
        let write = outputs.begin(key(), "g");
        assert_eq!(take(&outputs, Event::Delete(output(8, "e"))), [source()]);
        assert_eq!(write.deleted("1"), []);
    }

    #[test]
    fn an_edit_during_a_write_is_found_when_it_lands() {
        let rows: [(&str, u64); 2] = [("edit before the write", 2), ("edit after the write", 4)];
        for (row, edit) in rows {
            let outputs = listed();
            let write = outputs.begin(key(), "g");
            take(&outputs, Event::Apply(output(edit, "b")));
            let (_, effects) = write.landed(output(3, "b"));
            assert_eq!(effects.last(), Some(&touched()), "row {row}");
            assert!(outputs.published(&key()).is_some(), "row {row}");
        }
        let outputs = listed();
        let write = outputs.begin(key(), "g");
        take(&outputs, Event::Delete(output(9, "a")));
        assert_eq!(write.landed(output(3, "a")).1, [touched()], "deleted after the write");
        assert!(outputs.get(&key()).is_none(), "no ghost is left");
        // A write of unknown outcome.
        let outputs = listed();
        drop(outputs.begin(key(), "g"));
        assert!(outputs.state.lock().flights.is_empty());
    }

    #[test]
    fn a_name_is_for_one_generator_at_a_time() {
        let lives = |_: &str| true;
        let free = || [Effect::Touched("late".into())];
        // Nobody has it: the first one gets it, also before anything is published.
        let outputs = Outputs::default();
        assert_eq!(outputs.claim(&key(), "g", lives), Ok(()));
        assert_eq!(outputs.claim(&key(), "g", lives), Ok(()), "its own");
        assert_eq!(outputs.claim(&key(), "late", lives), Err("g".to_owned()));
        assert_eq!(outputs.release(&key(), "g"), free(), "given up without an object");
        assert_eq!(outputs.claim(&key(), "late", lives), Ok(()));
        // Published: it stays taken, until the object goes, whoever deletes it.
        for deleted in [
            |outputs: &Outputs| outputs.begin(key(), "g").deleted("1"),
            |outputs: &Outputs| take(outputs, Event::Delete(output(9, "a"))),
        ] {
            let outputs = Outputs::default();
            assert_eq!(outputs.claim(&key(), "g", lives), Ok(()));
            outputs.begin(key(), "g").landed(output(1, "a"));
            assert_eq!(outputs.claim(&key(), "late", lives), Err("g".to_owned()));
            assert_eq!(outputs.release(&key(), "g"), []);
            assert_eq!(outputs.claim(&key(), "late", lives), Err("g".to_owned()));
            assert_eq!(deleted(&outputs).last(), free().last());
            assert_eq!(outputs.claim(&key(), "late", lives), Ok(()));
        }
        // Its generator is gone, and the object is not.
        let outputs = listed();
        assert_eq!(outputs.claim(&key(), "late", lives), Err("g".to_owned()));
        assert_eq!(outputs.generator_gone(), free());
        assert_eq!(outputs.generator_gone(), [], "told once");
        assert_eq!(outputs.claim(&key(), "late", |uid| uid != "g"), Ok(()));
    }

    #[test]
    fn what_waits_for_its_finalizers_is_not_gone() {
        let terminating = |version| {
            let mut object = output(version, "a");
            object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            object
        };
        let woken = || Effect::Touched("late".into());
        // (row, the answer, whether the object is left)
        let rows = [
            ("the API server says that it is gone", None, false),
            ("it shows what it deleted", Some(output(1, "a")), false),
            ("it waits", Some(terminating(2)), true),
            ("it was deleted before, and waits", Some(terminating(1)), true),
        ];
        for (row, answer, is_left) in rows {
            let outputs = listed();
            assert_eq!(outputs.claim(&key(), "late", |_| true), Err("g".to_owned()));
            let (left, effects) = outputs.begin(key(), "g").delete_taken("1", answer);
            assert_eq!((left.is_some(), outputs.get(&key()).is_some()), (is_left, is_left), "row {row}");
            assert_eq!(effects.contains(&woken()), !is_left, "row {row}: {effects:?}");
            if is_left {
                assert_eq!(outputs.claim(&key(), "late", |_| true), Err("g".to_owned()), "row {row}");
                assert_eq!(take(&outputs, Event::Apply(terminating(2))), [], "row {row}: no edit of others");
                let effects = take(&outputs, Event::Delete(terminating(3)));
                assert_eq!(effects, [source(), touched(), woken()], "row {row}: both may go on");
            }
            assert_eq!(outputs.claim(&key(), "late", |_| true), Ok(()), "row {row}");
        }
    }

    #[test]
    fn who_loses_an_output_is_told_also_when_the_write_was_our_own() {
        let outputs = listed();
        let mut taken = output(2, "a");
        taken.metadata.labels = Some([(GENERATOR_LABEL.to_owned(), "other".to_owned())].into());
        let (_, effects) = outputs.begin(key(), "other").landed(taken);
        assert_eq!(effects, [touched()]);
        assert!(outputs.of_generator("g").is_empty());
        assert_eq!(outputs.of_generator("other").len(), 1);
    }

    #[test]
    fn what_another_process_publishes_is_no_edit() {
        let outputs = listed();
        let theirs = |version, revision| {
            let mut object = output(version, revision);
            object.metadata.labels = Some([(GENERATOR_LABEL.to_owned(), "theirs".to_owned())].into());
            object
        };
        // It goes to another process: the one that loses it is told, and has its own knowledge of it.
        assert_eq!(take(&outputs, Event::Apply(theirs(2, "a"))), [touched()]);
        outputs.forget([&key()]);
        for version in 3..20 {
            let news = Event::Apply(theirs(version, if version % 2 == 0 { "a" } else { "b" }));
            assert_eq!(take(&outputs, news), [source()], "still a source");
        }
        assert_eq!((outputs.published(&key()), outputs.fought(&key())), (None, None));
        assert_eq!(outputs.claim(&key(), "g", |uid| uid == "theirs"), Err("theirs".to_owned()), "its name is taken");
        assert_eq!(take(&outputs, Event::Delete(theirs(20, "20"))), [source(), touched()], "and free");
        assert_eq!(outputs.published(&key()), None);
    }

    #[test]
    fn what_was_published_before_an_absence_is_forgotten() {
        let outputs = listed();
        for version in 2..10 {
            take(&outputs, Event::Apply(output(version, &version.to_string())));
        }
        assert_eq!(outputs.published(&key()).unwrap().revision, "a");
        assert!(outputs.fought(&key()).is_some());
        outputs.forget([&key()]);
        assert_eq!((outputs.published(&key()), outputs.fought(&key())), (None, None));
    }

    #[test]
    fn the_first_listing_touches_nothing() {
        let outputs = Outputs::default();
        take(&outputs, Event::Init);
        assert_eq!(take(&outputs, Event::InitApply(output(1, "a"))), [source()]);
        take(&outputs, Event::InitDone);
        take(&outputs, Event::Init);
        assert_eq!(take(&outputs, Event::InitDone), [source(), touched()], "gone while nobody looked");
    }
}
