//! Who uses what. Kept up to date with each generator seen, so that a change of a source, or of a generator that others wait for, costs a
//! look-up and not a walk over all generators.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

use crate::api::{ObjectKey, artifact_generator::ArtifactGenerator, source::SourceKey};

use super::observe::source_key;

/// The index, in both directions.
#[derive(Debug)]
pub struct Index<T> {
    users: HashMap<T, BTreeSet<ObjectKey>>,
    used: HashMap<ObjectKey, BTreeSet<T>>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { users: HashMap::new(), used: HashMap::new() }
    }
}

/// The sources of a generator. References of an unknown kind are left out.
pub fn source_keys(generator: &ArtifactGenerator) -> BTreeSet<SourceKey> {
    let namespace = ObjectKey::of(generator).namespace;
    generator.spec.sources.iter().filter_map(|one| source_key(one, &namespace).ok()).collect()
}

impl<T: Clone + Eq + Hash + Ord> Index<T> {
    /// Takes in what a generator uses now.
    pub fn insert(&mut self, generator: &ObjectKey, now: BTreeSet<T>) {
        if self.used.get(generator) == Some(&now) {
            return;
        }
        self.remove(generator);
        for one in &now {
            self.users.entry(one.clone()).or_default().insert(generator.clone());
        }
        if !now.is_empty() {
            self.used.insert(generator.clone(), now);
        }
    }

    /// Forgets a generator.
    pub fn remove(&mut self, generator: &ObjectKey) {
        for one in self.used.remove(generator).unwrap_or_default() {
            if let Some(users) = self.users.get_mut(&one) {
                users.remove(generator);
                if users.is_empty() {
                    self.users.remove(&one);
                }
            }
        }
    }

    /// The generators that use it, by namespace and name.
    pub fn users(&self, one: &T) -> impl Iterator<Item = &ObjectKey> {
        self.users.get(one).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{artifact_generator::SourceReference, source::SourceKind};

    fn generator(name: &str, sources: &[(&str, &str, &str)]) -> ArtifactGenerator {
        let mut generator = ArtifactGenerator::default();
        generator.metadata.namespace = Some("own".into());
        generator.metadata.name = Some(name.into());
        let reference = |&(kind, namespace, name): &(&str, &str, &str)| SourceReference {
            alias: name.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
        };
        generator.spec.sources = sources.iter().map(reference).collect();
        generator
    }

    fn users(index: &Index<SourceKey>, namespace: &str, name: &str) -> Vec<String> {
        let key = SourceKey { kind: SourceKind::GitRepository, namespace: namespace.into(), name: name.into() };
        index.users(&key).map(|user| user.name.clone()).collect()
    }

    #[test]
    fn follows_edits_and_deletions() {
        let mut index = Index::default();
        let insert = |index: &mut Index<_>, generator: ArtifactGenerator| {
            index.insert(&ObjectKey::of(&generator), source_keys(&generator));
        };
        insert(&mut index, generator("b", &[("GitRepository", "", "repo"), ("GitRepository", "", "repo")]));
        insert(&mut index, generator("a", &[("GitRepository", "own", "repo"), ("Nonsense", "", "repo")]));
        insert(&mut index, generator("c", &[("Bucket", "", "repo"), ("GitRepository", "other", "repo")]));
        assert_eq!(users(&index, "own", "repo"), ["a", "b"], "§4 an empty namespace is the generator's own");
        assert_eq!(users(&index, "other", "repo"), ["c"]);
        insert(&mut index, generator("b", &[("GitRepository", "", "new")]));
        assert_eq!(users(&index, "own", "repo"), ["a"], "an edit moves it");
        assert_eq!(users(&index, "own", "new"), ["b"]);
        for generator in ["a", "b", "c", "never seen"] {
            index.remove(&ObjectKey { namespace: "own".into(), name: generator.into() });
        }
        assert!(index.users.is_empty() && index.used.is_empty(), "nothing is left behind");
    }
}
