//! Removes files of this controller whose generator no longer exists, e.g. because somebody removed its finalizer by hand.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::TryStreamExt as _;
use kube::api::ListParams;
use tracing::info;
use weir_proto::{
    Owner,
    v1::{ArtifactRef, StoredFile},
};

use crate::{
    api::{ObjectKey, artifact_generator::ArtifactGenerator, external_artifact::KIND},
    plan::stored,
    server::{Server, ServerError},
    watch::{Cluster, Scope, feed::innermost},
};

/// Why a sweep could not be done. It is tried again at the next connection.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The artifact server.
    #[error("{0}")]
    Server(#[from] ServerError),
    /// The API server.
    #[error("cannot list ArtifactGenerators: {}", innermost(.0))]
    Api(#[from] kube::Error),
}

/// Lists the files of this controller, and removes those whose generator is proven absent: not in the caches, and not in a
/// list that the API server gave afterwards, past any cache.
pub async fn sweep(server: &Server, scope: &Scope, cluster: &Cluster) -> Result<(), SweepError> {
    let mut files = server.list(scope.namespace.as_deref().unwrap_or_default(), None).await?;
    let mut found: BTreeMap<Owner, BTreeSet<ObjectKey>> = BTreeMap::new();
    while let Some(file) = files.try_next().await? {
        if let Some((owner, key)) = owned(&file).filter(|(owner, _)| cluster.generators.with_uid(owner.uid()).is_none())
        {
            found.entry(owner).or_default().insert(key);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let alive = generator_uids(scope).await?;
    for (owner, keys) in found.into_iter().filter(|(owner, _)| !alive.contains(owner.uid())) {
        for ObjectKey { namespace, name } in keys {
            info!(owner = %owner, output = %ObjectKey::new(&namespace, &name), "removing files without a generator");
            server.remove_all(&owner, ArtifactRef { kind: KIND.to_owned(), namespace, name }).await?;
        }
    }
    Ok(())
}

/// Owner and artifact of a stored file; `None` for files that nobody answers for.
fn owned(file: &StoredFile) -> Option<(Owner, ObjectKey)> {
    Some((file.owner.parse().ok()?, stored::key(file)?))
}

/// The UIDs of all generators in the scope. No version is asked for, which makes the API server answer from its storage.
async fn generator_uids(scope: &Scope) -> Result<HashSet<String>, kube::Error> {
    let list = scope.api::<ArtifactGenerator>().list_metadata(&ListParams::default()).await?;
    Ok(list.items.into_iter().filter_map(|object| object.metadata.uid).collect())
}

#[cfg(test)]
mod tests {
    use weir_proto::v1::Artifact;

    use super::*;

    #[test]
    fn only_files_with_an_owner_are_swept() {
        let file = |path: &str, owner: &str| StoredFile {
            artifact: Some(Artifact { path: path.into(), ..Artifact::default() }),
            owner: owner.into(),
            ..StoredFile::default()
        };
        let path = "externalartifact/apps/frontend/0123.tar.gz";
        let (owner, key) = owned(&file(path, "source-watcher/uid-1")).unwrap();
        assert_eq!((owner.uid(), key), ("uid-1", ObjectKey::new("apps", "frontend")));
        for (path, owner) in [(path, ""), (path, "source-watcher"), ("lost+found", "source-watcher/uid-1")] {
            assert!(owned(&file(path, owner)).is_none(), "{path} {owner}");
        }
        assert!(owned(&StoredFile::default()).is_none());
    }
}
