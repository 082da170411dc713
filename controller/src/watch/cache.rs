//! Objects of one kind, as new as anybody here knows them: from the watch, and from the answers to our own writes. A run that
//! follows quickly on a write then sees what it wrote, although the watch has not told of it yet.

use std::{collections::HashMap, sync::Arc};

use kube::Resource;

use crate::api::ObjectKey;

/// What one piece of news did to the cache.
#[derive(Debug)]
pub enum News<K> {
    /// Known already, or older than what is known.
    Old,
    /// An object that was not there.
    Added(Arc<K>),
    /// An object that changed.
    Changed {
        /// What was known before.
        before: Arc<K>,
        /// What is known now.
        after: Arc<K>,
    },
}

struct Slot<K> {
    version: u64,
    uid: String,
    /// `None` after our own delete, until the watch confirms it: an older event must not bring the object back.
    object: Option<Arc<K>>,
    /// The listing in or after which this was last heard of.
    listing: u64,
}

/// Objects by key. Versions are compared as numbers, which the API server allows.
pub struct Cache<K> {
    slots: HashMap<ObjectKey, Slot<K>>,
    listing: u64,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { slots: HashMap::new(), listing: 0 }
    }
}

impl<K: Resource> Cache<K> {
    /// The newest state of an object.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        self.slots.get(key)?.object.as_ref()
    }

    /// All objects, in no order.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<K>> {
        self.slots.values().filter_map(|slot| slot.object.as_ref())
    }

    /// Takes in a state of an object, from the watch or from an answer to a write.
    pub fn put(&mut self, object: Arc<K>) -> News<K> {
        let key = ObjectKey::of(&*object);
        let version = version(&*object);
        let uid = object.meta().uid.clone().unwrap_or_default();
        let listing = self.listing;
        let Some(slot) = self.slots.get_mut(&key) else {
            self.slots.insert(key, Slot { version, uid, object: Some(object.clone()), listing });
            return News::Added(object);
        };
        slot.listing = listing;
        if version != 0 && version <= slot.version || slot.object.is_none() && uid == slot.uid {
            return News::Old;
        }
        let before = slot.object.replace(object.clone());
        (slot.version, slot.uid) = (version, uid);
        match before {
            Some(before) => News::Changed { before, after: object },
            None => News::Added(object),
        }
    }

    /// The watch says that an object is gone. Returns it when it was there.
    pub fn gone(&mut self, last: &K) -> Option<Arc<K>> {
        let key = ObjectKey::of(last);
        let slot = self.slots.get(&key)?;
        let recreated = slot.version > version(last) && last.meta().uid.as_deref() != Some(&slot.uid);
        if recreated { None } else { self.slots.remove(&key)?.object }
    }

    /// Our own delete of the object with this UID has succeeded.
    pub fn deleted(&mut self, key: &ObjectKey, uid: &str) -> Option<Arc<K>> {
        self.slots.get_mut(key).filter(|slot| slot.uid == uid)?.object.take()
    }

    /// A new listing begins.
    pub fn begin_listing(&mut self) {
        self.listing += 1;
    }

    /// The listing is complete: what was not heard of since it began is gone, and returned.
    pub fn end_listing(&mut self) -> Vec<Arc<K>> {
        let now = self.listing;
        self.slots.extract_if(|_, slot| slot.listing < now).filter_map(|(_, slot)| slot.object).collect()
    }
}

/// The resource version as a number, 0 when it is none.
pub fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    fn object(name: &str, uid: &str, version: u64) -> Arc<ConfigMap> {
        let metadata = ObjectMeta {
            namespace: Some("ns".into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        };
        Arc::new(ConfigMap { metadata, ..ConfigMap::default() })
    }

    fn known(cache: &Cache<ConfigMap>, name: &str) -> Option<u64> {
        cache.get(&ObjectKey::new("ns", name)).map(|object| version(&**object))
    }

    #[test]
    fn keeps_the_newest_state_whoever_tells_it() {
        let mut cache = Cache::default();
        assert!(matches!(cache.put(object("a", "1", 10)), News::Added(_)));
        // Our write returned 20; the watch is behind and still tells of 15, then of our own 20.
        assert!(matches!(cache.put(object("a", "1", 20)), News::Changed { .. }));
        assert!(matches!(cache.put(object("a", "1", 15)), News::Old));
        assert!(matches!(cache.put(object("a", "1", 20)), News::Old));
        assert_eq!(known(&cache, "a"), Some(20));
        // Numbers, not texts: "9" < "10".
        assert!(matches!(cache.put(object("a", "1", 100)), News::Changed { .. }));
    }

    #[test]
    fn our_own_delete_holds_against_older_news() {
        let mut cache = Cache::default();
        cache.put(object("a", "1", 10));
        let key = ObjectKey::new("ns", "a");
        assert!(cache.deleted(&key, "another uid").is_none());
        assert!(cache.deleted(&key, "1").is_some());
        assert_eq!(known(&cache, "a"), None);
        assert!(matches!(cache.put(object("a", "1", 12)), News::Old), "an event from before the delete");
        assert!(cache.gone(&object("a", "1", 13)).is_none(), "nothing left to report");
        assert!(matches!(cache.put(object("a", "2", 14)), News::Added(_)), "a new object of that name");
        assert!(cache.gone(&object("a", "1", 13)).is_none(), "the late news of the old one");
        assert_eq!(known(&cache, "a"), Some(14));
        assert!(cache.gone(&object("a", "2", 15)).is_some());
    }

    #[test]
    fn a_listing_drops_what_it_does_not_name() {
        let mut cache = Cache::default();
        cache.put(object("stays", "1", 1));
        cache.put(object("goes", "2", 2));
        cache.begin_listing();
        cache.put(object("stays", "1", 1));
        // Written by us while the list was on its way: the list can not know it.
        cache.put(object("ours", "3", 9));
        let gone: Vec<_> = cache.end_listing().iter().map(|object| version(&**object)).collect();
        assert_eq!(gone, [2]);
        assert_eq!((known(&cache, "stays"), known(&cache, "ours"), known(&cache, "goes")), (Some(1), Some(9), None));
        cache.begin_listing();
        assert_eq!(cache.end_listing().len(), 2);
    }
}
