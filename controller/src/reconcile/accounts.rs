//! Files of a generator that nobody names: found by asking the artifact server, once in the life of this process and after each run
//! that did not come to a good end. In between, the inventory has them all.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use weir_proto::v1::StoredFile;

use super::Run;
use crate::{
    api::{ObjectKey, artifact_generator::InventoryEntry},
    error::ReconcileError,
    plan::{
        observe::Observed,
        stored::{self, Recall},
    },
    server::ServerError,
};

impl Run<'_> {
    /// The files of this generator, asked for once in a run.
    pub(super) async fn files(&self) -> Result<&[StoredFile], ServerError> {
        let ask = || async {
            let files = self.context.server.list(&self.key.namespace, Some(&self.owner)).await?;
            files.try_collect().await
        };
        self.files.get_or_try_init(ask).await.map(Vec::as_slice)
    }

    /// The outputs that have files though nothing names them, e.g. of a process that died between deleting the object and removing
    /// the file.
    pub(super) async fn strays(&self, named: &[InventoryEntry]) -> Result<BTreeSet<ObjectKey>, ServerError> {
        if self.was_settled { Ok(BTreeSet::new()) } else { Ok(stored::strays(self.files().await?, named)) }
    }

    /// Removes them, where nothing else is to be done.
    pub(super) async fn remove_strays(&self) -> Result<(), ReconcileError> {
        let strays = self.strays(self.generator.inventory()).await?;
        self.remove(strays).await.1.map_or(Ok(()), Err)
    }

    /// Notes what the outputs should say where they say something else: what was edited while nobody watched shows here. Returns
    /// whether all of them could be compared.
    pub(super) async fn recall(&self, observed: &Observed) -> Result<bool, ServerError> {
        if self.was_settled {
            return Ok(true);
        }
        let outputs = &self.context.cluster.outputs;
        let recall = Recall {
            generator: &self.generator,
            sources: observed,
            origin: self.origin(),
            advertised: self.context.server.advertised_address(),
        };
        let published = |entry: &InventoryEntry| {
            let key = entry.key();
            outputs.published(&key).or_else(|| outputs.get(&key)?.artifact().cloned())
        };
        let artifacts = recall.artifacts(self.known_wanted(observed).as_ref(), self.files().await?, published);
        let is_complete = artifacts.iter().all(Option::is_some);
        for (key, artifact) in artifacts.into_iter().flatten() {
            outputs.expect(&key, artifact);
        }
        Ok(is_complete)
    }
}
