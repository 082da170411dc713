//! Mends outputs that others changed or deleted. When their files are good and all that they say is known, they are applied again:
//! nothing is built, and a source is looked at only where a path pattern was not looked up yet.

use futures::{StreamExt as _, stream::FuturesUnordered};
use tracing::debug;
use weir_proto::v1::Verdict;

use super::{Run, build::built, observe::question};
use crate::{
    api::{artifact_generator::InventoryEntry, external_artifact::Artifact},
    error::ReconcileError,
    plan::{drift::Drift, observe::Observed, stored, wanted::Wanted},
};

impl Run<'_> {
    /// Brings everything to what the spec asks for, in the cheapest way that there is.
    pub(super) async fn mend(&self, drift: Drift, observed: &Observed) -> Result<Vec<InventoryEntry>, ReconcileError> {
        if drift == Drift::ExternalArtifactsChanged {
            let wanted = match self.known_wanted(observed) {
                Some(wanted) => wanted,
                None => self.wanted(observed).await?,
            };
            if let Some(artifacts) = self.known(&wanted, observed).await? {
                debug!(artifacts = artifacts.len(), "all files are good, outputs are restored and nothing is built");
                return self.restore(&wanted, artifacts).await;
            }
        }
        let wanted = self.wanted(observed).await?;
        self.build(&wanted, observed).await
    }

    /// What the artifacts are to publish, in their order, if all of it is known and all files are good.
    async fn known(&self, wanted: &Wanted, observed: &Observed) -> Result<Option<Vec<Artifact>>, ReconcileError> {
        if !self.recall(observed).await? {
            return Ok(None);
        }
        let outputs = &self.context.cluster.outputs;
        let known = stored::restorable(&self.generator, wanted, |key| {
            let ours =
                |object: &_| crate::api::external_artifact::ExternalArtifact::generator_uid(object) == Some(&self.uid);
            outputs.published(key).or_else(|| outputs.get(key).filter(|object| ours(object))?.artifact().cloned())
        });
        let Some(artifacts) = known else { return Ok(None) };
        let questions: Option<Vec<_>> = artifacts.iter().map(question).collect();
        let Some(questions) = questions else { return Ok(None) };
        let verdicts = self.context.server.verify(questions).await?;
        Ok(verdicts.iter().all(|verdict| *verdict == Verdict::Ok).then_some(artifacts))
    }

    async fn restore(&self, wanted: &Wanted, artifacts: Vec<Artifact>) -> Result<Vec<InventoryEntry>, ReconcileError> {
        let (_claims, mut progress) = self.claim_all(wanted).await;
        drop(self.marking.lock().await);
        let mut writes = FuturesUnordered::new();
        for (index, artifact) in artifacts.into_iter().enumerate() {
            if progress[index].is_none() {
                writes.extend(self.publish(wanted, index, artifact, &mut progress));
            }
        }
        while let Some((index, result)) = writes.next().await {
            progress[index] = Some(result);
        }
        built(wanted, progress)
    }
}
