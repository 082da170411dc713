//! The ArtifactGenerators of the cluster, found by name, by UID and by the sources that they use.

use std::{collections::HashMap, sync::Arc};

use kube::runtime::watcher::Event;
use parking_lot::RwLock;

use super::{
    account::Account,
    cache::{Cache, News},
};
use crate::{
    api::{ObjectKey, artifact_generator::ArtifactGenerator, source::SourceKey},
    metrics::Conditions,
    plan::{
        depends,
        sources::{Index, source_keys},
        trigger::generator_changed,
    },
};

/// Annotation in which `kubectl apply` repeats the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// All generators, as new as anybody here knows them.
#[derive(Default)]
pub struct Generators {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    cache: Cache<ArtifactGenerator>,
    uids: HashMap<String, Known>,
    sources: Index<SourceKey>,
    /// Who waits for which generator.
    dependencies: Index<ObjectKey>,
}

struct Known {
    key: ObjectKey,
    account: Arc<Account>,
}

impl Generators {
    /// The generator with this name.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<ArtifactGenerator>> {
        self.state.read().cache.get(key).cloned()
    }

    /// The name of the generator with this UID.
    pub fn with_uid(&self, uid: &str) -> Option<ObjectKey> {
        self.state.read().uids.get(uid).map(|known| known.key.clone())
    }

    /// The account of the generator with this UID, as long as it is this process's.
    pub fn account(&self, uid: &str) -> Option<Arc<Account>> {
        self.state.read().uids.get(uid).map(|known| known.account.clone())
    }

    /// The generators that use a source.
    pub fn users(&self, source: &SourceKey) -> Vec<ObjectKey> {
        self.state.read().sources.users(source).cloned().collect()
    }

    /// All of them, in no order.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.state.read().uids.values().map(|known| known.key.clone()).collect()
    }

    /// The conditions of all of them: type and status of each.
    pub fn conditions(&self) -> Conditions {
        let state = self.state.read();
        let of = |generator: &Arc<ArtifactGenerator>| {
            let conditions = generator.status.iter().flat_map(|status| &status.conditions);
            let conditions = conditions.map(|condition| (condition.type_.clone(), condition.status.clone())).collect();
            (ObjectKey::of(&**generator), conditions)
        };
        state.cache.objects().map(of).collect()
    }

    /// Takes in what the watch tells. Returns the generators to reconcile.
    pub fn take(&self, event: Event<ArtifactGenerator>) -> Vec<ObjectKey> {
        let mut state = self.state.write();
        match event {
            Event::Init => state.cache.begin_listing(),
            Event::InitApply(object) | Event::Apply(object) => {
                return state.put(Arc::new(object));
            }
            Event::InitDone => {
                let gone = state.cache.end_listing();
                return gone.iter().flat_map(|object| state.forget(object)).collect();
            }
            Event::Delete(object) => {
                if let Some(object) = state.cache.gone(&object) {
                    return state.forget(&object);
                }
            }
        }
        Vec::new()
    }

    /// Takes in the answer to a write of our own. Returns the generator when the answer also tells of a change by somebody else
    /// that asks for a reconcile. A generator that is gone meanwhile stays gone: no watch would ever take it away again.
    pub fn wrote(&self, object: Arc<ArtifactGenerator>) -> Vec<ObjectKey> {
        let mut state = self.state.write();
        let is_known = object.metadata.uid.as_ref().is_some_and(|uid| state.uids.contains_key(uid));
        if is_known { state.put(object) } else { Vec::new() }
    }
}

impl State {
    /// The key, when the change asks for a reconcile, and those of the generators that wait for it, when it may end their wait.
    fn put(&mut self, object: Arc<ArtifactGenerator>) -> Vec<ObjectKey> {
        let (before, after) = match self.cache.put(object) {
            News::Old => return Vec::new(),
            News::Added(after) => (None, after),
            News::Changed { before, after } => (Some(before), after),
        };
        let key = ObjectKey::of(&*after);
        let is_other = before.as_ref().is_none_or(|before| before.metadata.uid != after.metadata.uid);
        if is_other {
            before.iter().for_each(|before| drop(self.forget(before)));
            let known = Known { key: key.clone(), account: Arc::default() };
            self.uids.insert(after.metadata.uid.clone().unwrap_or_default(), known);
        }
        if is_other || before.as_ref().is_some_and(|before| before.spec != after.spec) {
            self.sources.insert(&key, source_keys(&after));
            self.dependencies.insert(&key, depends::generators(&after));
        }
        let before = before.filter(|_| !is_other);
        let is_news = before.as_ref().is_none_or(|before| depends::is_news(before, &after));
        let waiting = self.dependencies.users(&key).filter(|_| is_news);
        let mut keys: Vec<ObjectKey> = waiting.cloned().collect();
        if generator_changed(before.as_deref(), &after) {
            keys.push(key);
        }
        keys
    }

    /// The key, and those of the generators that wait for it.
    fn forget(&mut self, object: &ArtifactGenerator) -> Vec<ObjectKey> {
        let key = ObjectKey::of(object);
        if let Some(known) = self.uids.remove(object.metadata.uid.as_deref().unwrap_or_default()) {
            known.account.close();
        }
        self.sources.remove(&key);
        self.dependencies.remove(&key);
        let mut keys: Vec<ObjectKey> = self.dependencies.users(&key).cloned().collect();
        keys.push(key);
        keys
    }
}

/// Drops what nobody here reads, which is often more than what they do read.
pub fn strip(object: &mut ArtifactGenerator) {
    object.metadata.managed_fields = None;
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::api::{REQUEST_ANNOTATION, artifact_generator::SourceReference, source::SourceKind};

    fn generator(uid: &str, version: u64, source: &str) -> ArtifactGenerator {
        let mut object = ArtifactGenerator::default();
        object.metadata.namespace = Some("ns".into());
        object.metadata.name = Some("g".into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.to_string());
        object.metadata.generation = Some(1);
        object.spec.sources =
            vec![SourceReference { kind: "Bucket".into(), name: source.into(), ..SourceReference::default() }];
        object
    }

    fn bucket(name: &str) -> SourceKey {
        SourceKey { kind: SourceKind::Bucket, namespace: "ns".into(), name: name.into() }
    }

    #[test]
    fn only_changes_that_matter_ask_for_a_reconcile() {
        let generators = Generators::default();
        let asks = |event| !generators.take(event).is_empty();
        assert!(asks(Event::Apply(generator("1", 1, "a"))), "§4 created");
        assert!(!asks(Event::Apply(generator("1", 2, "a"))), "§4 e.g. a status");
        let mut asked = generator("1", 3, "a");
        asked.metadata.annotations = Some([(REQUEST_ANNOTATION.to_owned(), "now".to_owned())].into());
        assert!(asks(Event::Apply(asked)), "§4 requestedAt");
        let mut changed = generator("1", 5, "b");
        changed.metadata.generation = Some(2);
        assert!(asks(Event::Apply(changed)), "§4 spec");
        assert!(generators.users(&bucket("a")).is_empty());
        assert_eq!(generators.users(&bucket("b")).len(), 1);
        generators.wrote(Arc::new(generator("1", 7, "b")));
        assert!(!asks(Event::Apply(generator("1", 7, "b"))), "our own write");
        assert!(asks(Event::Delete(generator("1", 8, "b"))), "§4 deleted");
        assert!(generators.users(&bucket("b")).is_empty());
        assert_eq!(generators.with_uid("1"), None);
    }

    #[test]
    fn who_left_stays_away_and_comes_back_as_new() {
        let generators = Generators::default();
        generators.take(Event::Apply(generator("1", 1, "a")));
        let account = generators.account("1").unwrap();
        assert!(account.begin() && !account.begin(), "one first run");
        account.settle(Some(1));
        assert!(generators.wrote(Arc::new(generator("1", 3, "a"))).is_empty());
        assert!(generators.account("1").unwrap().is_settled(), "a write of our own changes nothing");
        assert!(account.closed().now_or_never().is_none());
        // Its labels stopped matching: the watch says that it is deleted. The answer to a write of ours comes after that.
        generators.take(Event::Delete(generator("1", 4, "a")));
        assert!(account.closed().now_or_never().is_some(), "its run ends");
        assert!(generators.wrote(Arc::new(generator("1", 5, "a"))).is_empty());
        assert_eq!((generators.with_uid("1"), generators.keys().len()), (None, 0), "nothing would take it away again");
        generators.take(Event::Apply(generator("1", 9, "a")));
        let account = generators.account("1").unwrap();
        assert!(!account.is_settled() && account.begin(), "what happened meanwhile is not known");
    }

    #[test]
    fn a_successor_of_the_same_name_takes_its_place() {
        let generators = Generators::default();
        generators.take(Event::Apply(generator("1", 1, "a")));
        assert_eq!(generators.take(Event::Apply(generator("2", 9, "b"))).len(), 1);
        assert_eq!(generators.with_uid("1"), None);
        assert_eq!(generators.with_uid("2"), Some(ObjectKey::new("ns", "g")));
        assert!(generators.users(&bucket("a")).is_empty());
        generators.take(Event::Init);
        assert_eq!(generators.take(Event::InitDone), [ObjectKey::new("ns", "g")]);
        assert!(generators.keys().is_empty());
    }
}
