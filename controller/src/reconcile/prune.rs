//! Removes what the spec no longer asks for, and old versions of what it does.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use tracing::{info, warn};
use weir_proto::v1::{ArtifactRef, Collectable};

use super::{Run, WRITES_AT_ONCE, observe::path};
use crate::{
    api::{ObjectKey, artifact_generator::InventoryEntry, external_artifact::KIND},
    error::ReconcileError,
    plan::inventory,
    watch::feed::innermost,
};

impl Run<'_> {
    /// Removes orphans: first the files, then the object. Returns the inventory to record, in which an orphan stays until both
    /// are gone, and the failure if there was one.
    pub(super) async fn prune(&self, entries: &[InventoryEntry]) -> (Vec<InventoryEntry>, Option<ReconcileError>) {
        let before = self.generator.inventory();
        let seen = self.outputs();
        let seen = seen.iter().map(|object| ObjectKey::of(&**object));
        let orphans = inventory::orphans(before, seen, entries);
        let (undeleted, failure) = self.remove(orphans).await;
        (inventory::after_success(before, entries.to_vec(), &undeleted), failure)
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
        let ObjectKey { namespace, name } = key.clone();
        let artifact = ArtifactRef { kind: KIND.to_owned(), namespace, name };
        self.context.server.remove_all(&self.owner, artifact).await?;
        self.delete_output(key).await.map_err(|error| {
            let why = format!("failed to delete ExternalArtifact: {}", innermost(&error));
            ReconcileError::Publish { name: key.name.clone(), why }
        })
    }

    /// Collects old versions. Never fails the run: the next one collects again.
    pub(super) async fn collect(&self, entries: &[InventoryEntry]) {
        let collectable = |entry: &InventoryEntry| {
            let InventoryEntry { namespace, name, .. } = entry.clone();
            let artifact = Some(ArtifactRef { kind: KIND.to_owned(), namespace, name });
            Collectable { artifact, current_path: path(entry) }
        };
        match self.context.server.collect(&self.owner, entries.iter().map(collectable).collect()).await {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => info!(files = removed.len(), "collected old artifact files"),
            Err(error) => warn!(%error, "cannot collect old artifact files, the next run will"),
        }
    }
}
