//! Turns the spec into the artifacts to make. A path pattern is looked up in its source, which the artifact server then has at hand
//! for the build.

use std::collections::{BTreeSet, HashMap};

use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tracing::{debug, info, warn};

use super::{Run, build::source_message};
use crate::{
    api::{
        CONFIRM_ANNOTATION, FIELD_MANAGER, ObjectKey,
        artifact_generator::{ArtifactGenerator, InventoryEntry},
    },
    error::ReconcileError,
    plan::{
        guard,
        observe::Observed,
        pattern::{Directory, PathPattern},
        wanted::Wanted,
    },
    watch::{feed::innermost, generators::strip},
};

/// What the path patterns of this process' generators were expanded to last.
#[derive(Default)]
pub struct Expansions {
    known: Mutex<HashMap<ObjectKey, Expansion>>,
}

/// An expansion, and what it was made of.
struct Expansion {
    /// UID of the generator.
    uid: String,
    generation: Option<i64>,
    sources_digest: String,
    wanted: Wanted,
}

impl Expansions {
    /// The generator is gone.
    pub fn forget(&self, generator: &ObjectKey) {
        self.known.lock().remove(generator);
    }

    /// The expansion of this very generator, if neither its spec nor its sources have changed since.
    fn current(&self, key: &ObjectKey, uid: &str, generation: Option<i64>, sources_digest: &str) -> Option<Wanted> {
        let known = self.known.lock();
        let expansion = known.get(key).filter(|expansion| expansion.uid == uid)?;
        let is_current = expansion.generation == generation && expansion.sources_digest == sources_digest;
        is_current.then(|| expansion.wanted.clone())
    }
}

impl Run<'_> {
    /// What to make, if that can be said without asking for a source.
    pub(super) fn known_wanted(&self, observed: &Observed) -> Option<Wanted> {
        if self.generator.spec.path_pattern.is_empty() {
            return Some(Wanted::Listed(self.generator.clone()));
        }
        let generation = self.generator.metadata.generation;
        self.context.expansions.current(&self.key, &self.uid, generation, &observed.digest)
    }

    /// What to make. The error may be that nothing is to be made, and that what there is may not be deleted yet.
    pub(super) async fn wanted(&self, observed: &Observed) -> Result<Wanted, ReconcileError> {
        let wanted = match self.known_wanted(observed) {
            Some(wanted) => wanted,
            None => self.expand(observed).await?,
        };
        if wanted.is_empty() && !self.generator.spec.path_pattern.is_empty() {
            guard::check(&self.generator, self.published_names().len())?;
        }
        Ok(wanted)
    }

    async fn expand(&self, observed: &Observed) -> Result<Wanted, ReconcileError> {
        let spec = &self.generator.spec;
        let pattern = PathPattern::parse(&spec.path_pattern, |alias| observed.sources.contains_key(alias))?;
        let directories = self.directories(&pattern, observed).await?;
        let rendered = pattern.expand(&spec.artifacts, &directories)?;
        debug!(directories = directories.len(), artifacts = rendered.len(), "path pattern expanded");
        let wanted = Wanted::Expanded(rendered.into());
        let expansion = Expansion {
            uid: self.uid.clone(),
            generation: self.generator.metadata.generation,
            sources_digest: observed.digest.clone(),
            wanted: wanted.clone(),
        };
        self.context.expansions.known.lock().insert(self.key.clone(), expansion);
        Ok(wanted)
    }

    async fn directories(
        &self,
        pattern: &PathPattern<'_>,
        observed: &Observed,
    ) -> Result<Vec<Directory>, ReconcileError> {
        let source = observed.sources.get(pattern.alias()).map(|source| source_message(pattern.alias(), source));
        let timeout = self.context.settings.timeout;
        let found = self.context.server.find_directories(&self.owner, source, pattern.path(), timeout).await?;
        let directory = |one: weir_proto::v1::FindDirectoriesResponse| Directory {
            path: one.path,
            captures: one.captures.into_iter().collect(),
        };
        Ok(found.into_iter().map(directory).collect())
    }

    /// The outputs that there are, or that the generator remembers.
    fn published_names(&self) -> BTreeSet<ObjectKey> {
        let remembered = self.generator.inventory().iter().map(InventoryEntry::key);
        remembered.chain(self.outputs().iter().map(|object| ObjectKey::of(&**object))).collect()
    }

    /// After a run that ended well nothing waits for a confirmation any more. One that stayed could let a later accident pass.
    pub(super) async fn spend_confirmation(&self) {
        if self.generator.confirmed().is_none() {
            return;
        }
        let patch = Patch::Merge(json!({"metadata": {"annotations": {CONFIRM_ANNOTATION: null}}}));
        let api = self.api::<ArtifactGenerator>();
        match api.patch(&self.key.name, &PatchParams::apply(FIELD_MANAGER), &patch).await {
            Ok(mut written) => {
                strip(&mut written);
                self.context.triggers.generators(self.context.cluster.generators.wrote(written.into()));
                info!(annotation = CONFIRM_ANNOTATION, "removed a confirmation that is used up");
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                let error = innermost(&error);
                warn!(error, annotation = CONFIRM_ANNOTATION, "cannot remove a confirmation that is used up");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expansion_is_of_one_generator_in_one_state() {
        let expansions = Expansions::default();
        let key = ObjectKey::new("ns", "g");
        let wanted = Wanted::Expanded(Vec::new().into());
        let expansion = Expansion { uid: "u".into(), generation: Some(1), sources_digest: "d".into(), wanted };
        expansions.known.lock().insert(key.clone(), expansion);
        // (row, UID, generation, digest of the sources, whether it is current)
        let rows = [
            ("the same", "u", 1, "d", true),
            ("made anew", "v", 1, "d", false),
            ("another spec", "u", 2, "d", false),
            ("other sources", "u", 1, "e", false),
        ];
        for (row, uid, generation, digest, is_current) in rows {
            assert_eq!(expansions.current(&key, uid, Some(generation), digest).is_some(), is_current, "row {row}");
        }
        expansions.forget(&key);
        assert!(expansions.known.lock().is_empty(), "nothing is left of one that is gone");
    }
}
