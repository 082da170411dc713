//! Removes what the spec no longer asks for, and old versions of what it does.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use tracing::{info, warn};
use weir_proto::v1::{ArtifactRef, Collectable};

use super::{Run, WRITES_AT_ONCE};
use crate::{
    api::{ObjectKey, artifact_generator::InventoryEntry, external_artifact::KIND},
    error::ReconcileError,
    plan::inventory,
    watch::feed::innermost,
};

impl Run<'_> {
    /// Removes orphans: first the object, then the files, so that what is Ready can be downloaded as long as it is there. Returns
    /// the inventory to record, in which an orphan stays until both are gone, and the failure if there was one.
    pub(super) async fn prune(&self, entries: &[InventoryEntry]) -> (Vec<InventoryEntry>, Option<ReconcileError>) {
        let outputs = self.outputs();
        let seen = outputs.iter().filter_map(|object| {
            let ObjectKey { namespace, name } = ObjectKey::of(&**object);
            Some(inventory::entry(&namespace, &name, object.artifact()?))
        });
        let before = inventory::with_seen(self.generator.inventory(), seen);
        let seen = outputs.iter().map(|object| ObjectKey::of(&**object));
        let (strays, unknown) = match self.strays(entries).await {
            Ok(strays) => (strays, None),
            Err(error) => (BTreeSet::new(), Some(error.into())),
        };
        let (undeleted, failure) = self.remove(inventory::orphans(&before, seen.chain(strays), entries)).await;
        (inventory::after_success(&before, entries.to_vec(), &undeleted), failure.or(unknown))
    }

    /// Removes files and objects. Returns what is left, and why the first of them is.
    pub(super) async fn remove(&self, keys: BTreeSet<ObjectKey>) -> (BTreeSet<ObjectKey>, Option<ReconcileError>) {
        let removals = stream::iter(keys).map(|key| async move {
            let result = self.remove_one(&key).await;
            (key, result)
        });
        let results: Vec<_> = removals.buffered(WRITES_AT_ONCE).collect().await;
        let mut left = BTreeSet::new();
        let mut first = None;
        for (key, result) in results {
            match result {
                Ok(()) => info!(output = key.name, "removed ExternalArtifact and its files"),
                Err(failure) => {
                    left.insert(key);
                    first.get_or_insert(failure);
                }
            }
        }
        (left, first)
    }

    async fn remove_one(&self, key: &ObjectKey) -> Result<(), ReconcileError> {
        let failed = |why: &str| {
            let why = format!("failed to delete ExternalArtifact: {why}");
            ReconcileError::Publish { name: key.name.clone(), why }
        };
        if let Some(left) = self.delete_output(key).await.map_err(|error| failed(&innermost(&error)))? {
            let finalizers = left.metadata.finalizers.clone().unwrap_or_default().join(", ");
            return Err(failed(&format!(
                "it is being deleted and waits for its finalizers ({finalizers}): whoever set them must remove them"
            )));
        }
        let ObjectKey { namespace, name } = key.clone();
        let artifact = ArtifactRef { kind: KIND.to_owned(), namespace, name };
        Ok(self.context.server.remove_all(&self.owner, artifact).await?)
    }

    /// Of what a failed run has stored, what its outputs publish: only of these are older files old.
    pub(super) fn published(&self, stored: &[InventoryEntry]) -> Vec<InventoryEntry> {
        let is_published = |entry: &&InventoryEntry| {
            let object = self.context.cluster.outputs.get(&entry.key());
            object.is_some_and(|object| {
                object.generator_uid() == Some(&self.uid)
                    && object.artifact().is_some_and(|artifact| artifact.path == inventory::path(entry))
            })
        };
        stored.iter().filter(is_published).cloned().collect()
    }

    /// Collects old versions. Never fails the run: the next one collects again.
    pub(super) async fn collect(&self, entries: &[InventoryEntry]) {
        if entries.is_empty() {
            return;
        }
        let collectable = |entry: &InventoryEntry| {
            let InventoryEntry { namespace, name, .. } = entry.clone();
            let artifact = Some(ArtifactRef { kind: KIND.to_owned(), namespace, name });
            Collectable { artifact, current_path: inventory::path(entry) }
        };
        match self.context.server.collect(&self.owner, entries.iter().map(collectable).collect()).await {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => info!(files = removed.len(), "collected old artifact files"),
            Err(error) => warn!(%error, "cannot collect old artifact files, the next run will"),
        }
    }
}
