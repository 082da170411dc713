//! Which generators use which source. Kept up to date with each generator seen, so that a change of a source costs a look-up
//! and not a walk over all generators.

use std::collections::{BTreeSet, HashMap};

use crate::api::{ObjectKey, artifact_generator::ArtifactGenerator, source::SourceKey};

use super::observe::source_key;

/// The index, in both directions.
#[derive(Debug, Default)]
pub struct SourceIndex {
    users: HashMap<SourceKey, BTreeSet<ObjectKey>>,
    sources: HashMap<ObjectKey, BTreeSet<SourceKey>>,
}

impl SourceIndex {
    /// Takes in a generator as it is now. References of an unknown kind are left out.
    pub fn insert(&mut self, generator: &ArtifactGenerator) {
        let key = ObjectKey::of(generator);
        let references = &generator.spec.sources;
        let now: BTreeSet<_> = references.iter().filter_map(|one| source_key(one, &key.namespace).ok()).collect();
        if self.sources.get(&key) == Some(&now) {
            return;
        }
        self.remove(&key);
        for source in &now {
            self.users.entry(source.clone()).or_default().insert(key.clone());
        }
        self.sources.insert(key, now);
    }

    /// Forgets a generator.
    pub fn remove(&mut self, generator: &ObjectKey) {
        for source in self.sources.remove(generator).unwrap_or_default() {
            if let Some(users) = self.users.get_mut(&source) {
                users.remove(generator);
                if users.is_empty() {
                    self.users.remove(&source);
                }
            }
        }
    }

    /// The generators that use a source, by namespace and name.
    pub fn users(&self, source: &SourceKey) -> impl Iterator<Item = &ObjectKey> {
        self.users.get(source).into_iter().flatten()
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

    fn users(index: &SourceIndex, namespace: &str, name: &str) -> Vec<String> {
        let key = SourceKey { kind: SourceKind::GitRepository, namespace: namespace.into(), name: name.into() };
        index.users(&key).map(|user| user.name.clone()).collect()
    }

    #[test]
    fn follows_edits_and_deletions() {
        let mut index = SourceIndex::default();
        index.insert(&generator("b", &[("GitRepository", "", "repo"), ("GitRepository", "", "repo")]));
        index.insert(&generator("a", &[("GitRepository", "own", "repo"), ("Nonsense", "", "repo")]));
        index.insert(&generator("c", &[("Bucket", "", "repo"), ("GitRepository", "other", "repo")]));
        assert_eq!(users(&index, "own", "repo"), ["a", "b"], "§4 an empty namespace is the generator's own");
        assert_eq!(users(&index, "other", "repo"), ["c"]);
        index.insert(&generator("b", &[("GitRepository", "", "new")]));
        assert_eq!(users(&index, "own", "repo"), ["a"], "an edit moves it");
        assert_eq!(users(&index, "own", "new"), ["b"]);
        for generator in ["a", "b", "c", "never seen"] {
            index.remove(&ObjectKey { namespace: "own".into(), name: generator.into() });
        }
        assert!(index.users.is_empty() && index.sources.is_empty(), "nothing is left behind");
    }
}
