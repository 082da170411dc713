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

/// What the path patterns of this process' generators were expanded to last, by UID.
#[derive(Default)]
pub struct Expansions {
    known: Mutex<HashMap<String, Expansion>>,
}

/// An expansion, and what it was made of.
struct Expansion {
    generation: Option<i64>,
    sources_digest: String,
    wanted: Wanted,
}

impl Expansions {
    /// The generator is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.known.lock().remove(uid);
    }
}

impl Run<'_> {
    /// What to make, if that can be said without asking for a source.
    pub(super) fn known_wanted(&self, observed: &Observed) -> Option<Wanted> {
        if self.generator.spec.path_pattern.is_empty() {
            return Some(Wanted::Listed(self.generator.clone()));
        }
        let known = self.context.expansions.known.lock();
        let expansion = known.get(&self.uid)?;
        let is_current =
            expansion.generation == self.generator.metadata.generation && expansion.sources_digest == observed.digest;
        is_current.then(|| expansion.wanted.clone())
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
            generation: self.generator.metadata.generation,
            sources_digest: observed.digest.clone(),
            wanted: wanted.clone(),
        };
        self.context.expansions.known.lock().insert(self.uid.clone(), expansion);
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
