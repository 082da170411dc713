//! The four kinds of source that other controllers make; the fifth, ExternalArtifact, is in [`super::outputs`]. One generic
//! watch serves all.

use std::sync::Arc;

use kube::runtime::watcher::Event;
use parking_lot::RwLock;

use super::{
    cache::{Cache, News},
    feed::{FeedState, FeedWatch},
};
use crate::{
    api::{
        ObjectKey,
        source::{Source, SourceKey, SourceKind},
    },
    plan::trigger::{SourceChange, source_changed},
};

/// The sources of one kind.
pub struct Sources {
    kind: SourceKind,
    feed: FeedWatch,
    cache: RwLock<Cache<Source>>,
}

impl Sources {
    /// An empty set that `feed` tells the state of.
    pub fn new(kind: SourceKind, feed: FeedWatch) -> Self {
        Self { kind, feed, cache: RwLock::default() }
    }

    /// The source with this name. The error says why the kind can not be read at all.
    pub fn get(&self, key: &ObjectKey) -> Result<Option<Arc<Source>>, String> {
        let found = self.cache.read().get(key).cloned();
        match (&found, &*self.feed.borrow()) {
            (None, FeedState::Waiting { trouble, .. }) => Err(trouble.clone()),
            (None, FeedState::Starting) => Err("not read yet".to_owned()),
            _ => Ok(found),
        }
    }

    /// Takes in what the watch tells. Returns the sources whose users are to be reconciled.
    pub fn take(&self, event: Event<Source>) -> Vec<SourceKey> {
        let mut cache = self.cache.write();
        let gone: Vec<Arc<Source>> = match event {
            Event::Init => {
                cache.begin_listing();
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let (changed, after) = match cache.put(Arc::new(object)) {
                    News::Old => return Vec::new(),
                    News::Added(after) => (source_changed(SourceChange::Appeared(after.artifact())), after),
                    News::Changed { before, after } => {
                        (source_changed(SourceChange::Changed(before.artifact(), after.artifact())), after)
                    }
                };
                return if changed { vec![self.key(&after)] } else { Vec::new() };
            }
            Event::InitDone => cache.end_listing(),
            Event::Delete(object) => cache.gone(&object).into_iter().collect(),
        };
        let matters = |object: &&Arc<Source>| source_changed(SourceChange::Deleted(object.artifact()));
        gone.iter().filter(matters).map(|object| self.key(object)).collect()
    }

    fn key(&self, object: &Source) -> SourceKey {
        let ObjectKey { namespace, name } = ObjectKey::of(object);
        SourceKey { kind: self.kind, namespace, name }
    }
}

/// Keeps the artifact and what identifies the object.
pub fn strip(object: &mut Source) {
    let meta = &mut object.metadata;
    (meta.managed_fields, meta.annotations, meta.labels) = (None, None, None);
    (meta.owner_references, meta.finalizers) = (None, None);
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::api::source::SourceArtifact;

    fn source(version: u64, revision: Option<&str>) -> Source {
        let mut object = Source::default();
        object.metadata.namespace = Some("ns".into());
        object.metadata.name = Some("s".into());
        object.metadata.uid = Some("1".into());
        object.metadata.resource_version = Some(version.to_string());
        object.status.artifact =
            revision.map(|revision| SourceArtifact { revision: revision.into(), ..SourceArtifact::default() });
        object
    }

    #[test]
    fn tells_users_of_artifacts_that_appear_change_or_go() {
        let (_state, feed) = watch::channel(FeedState::Following);
        let sources = Sources::new(SourceKind::Bucket, feed);
        let tells = |event| !sources.take(event).is_empty();
        assert!(!tells(Event::Apply(source(1, None))), "§4 nothing to fetch yet");
        assert!(tells(Event::Apply(source(2, Some("a")))), "§4 appeared");
        assert!(!tells(Event::Apply(source(3, Some("a")))), "§4 e.g. a condition");
        assert!(tells(Event::Apply(source(4, Some("b")))), "§4 new revision");
        assert!(tells(Event::Delete(source(5, Some("b")))), "§4 deleted");
        assert!(!tells(Event::Init));
        assert!(tells(Event::InitApply(source(6, Some("b")))), "§4 created again");
        assert!(!tells(Event::InitDone));
        assert!(!tells(Event::Init));
        assert!(tells(Event::InitDone), "§4 gone while nobody looked");
    }

    #[test]
    fn an_unreadable_kind_is_no_absent_source() {
        let (state, feed) = watch::channel(FeedState::Starting);
        let sources = Sources::new(SourceKind::Bucket, feed);
        let key = ObjectKey::new("ns", "s");
        assert!(sources.get(&key).is_err());
        let waiting = |trouble: &str| FeedState::Waiting { trouble: trouble.into(), listed: false };
        state.send_replace(waiting("install its CustomResourceDefinition"));
        assert_eq!(sources.get(&key).unwrap_err(), "install its CustomResourceDefinition");
        state.send_replace(FeedState::Following);
        assert_eq!(sources.get(&key), Ok(None));
        sources.take(Event::Apply(source(1, Some("a"))));
        state.send_replace(waiting("connection refused"));
        assert!(sources.get(&key).unwrap().is_some(), "what was known stays usable");
    }
}
