//! Looks at sources, outputs and files.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tracing::{info, warn};
use weir_proto::v1::{Verdict, VerifyRequest};

use super::Run;
use crate::{
    api::{
        artifact_generator::InventoryEntry,
        external_artifact::{self, ExternalArtifact},
    },
    error::ReconcileError,
    plan::{
        drift::{self, Drift, Scene},
        observe::{Observed, observe},
        output,
    },
    server::ServerError,
};

impl Run<'_> {
    /// What the sources offer.
    pub(super) fn observe(&self) -> Result<Observed, ReconcileError> {
        let cluster = &self.context.cluster;
        Ok(observe(&self.generator.spec.sources, &self.key.namespace, |key| cluster.source(key))?)
    }

    /// Whether there is something to do. The artifact server is asked only when nothing else says so. Outputs whose files
    /// turn out to be gone are not Ready any more when this returns.
    pub(super) async fn detect(&self, observed: &Observed) -> Result<Option<Drift>, ReconcileError> {
        if let Some(drift) = self.compare(observed, &[]) {
            return Ok(Some(drift));
        }
        let verdicts = self.verify().await.map_err(|error| ReconcileError::Verify(error.to_string()))?;
        self.mark(&verdicts).await;
        let drift = if verdicts.iter().all(|verdict| *verdict == Verdict::Ok) {
            None
        } else {
            self.compare(observed, &verdicts)
        };
        if drift.is_none() {
            self.untouch();
        }
        Ok(drift)
    }

    /// After a failure: whatever stopped the run, an output without its bytes must not stay Ready.
    pub(super) async fn mark_lost(&self) {
        match self.verify().await {
            Ok(verdicts) => self.mark(&verdicts).await,
            Err(error) => warn!(%error, "cannot verify artifacts after a failed run"),
        }
    }

    fn compare(&self, observed: &Observed, verdicts: &[Verdict]) -> Option<Drift> {
        let outputs = self.outputs();
        let published: HashMap<_, _> = outputs
            .iter()
            .filter_map(|output| {
                let name = output.metadata.name.as_ref()?;
                Some((name.clone(), self.context.cluster.outputs.published(&self.output_key(name))?))
            })
            .collect();
        let outputs: Vec<&ExternalArtifact> = outputs.iter().map(Arc::as_ref).collect();
        drift::detect(&Scene {
            generator: &self.generator,
            sources_digest: &observed.digest,
            verdicts,
            outputs: &outputs,
            published: &published,
        })
    }

    async fn verify(&self) -> Result<Vec<Verdict>, ServerError> {
        let inventory = self.generator.inventory();
        if inventory.is_empty() {
            return Ok(Vec::new());
        }
        let question = |entry: &InventoryEntry| VerifyRequest { path: path(entry), digest: entry.digest.clone() };
        self.context.server.verify(inventory.iter().map(question).collect()).await
    }

    /// Takes Ready away from the outputs of the inventory whose files are not good.
    async fn mark(&self, verdicts: &[Verdict]) {
        let bad = self.generator.inventory().iter().zip(verdicts).filter(|(_, verdict)| **verdict != Verdict::Ok);
        let marks: Vec<_> = bad.map(|(entry, verdict)| self.mark_one(entry, *verdict)).collect();
        if !marks.is_empty() {
            info!(files = marks.len(), "artifact files are lost, rebuilding");
        }
        stream::iter(marks).buffer_unordered(super::WRITES_AT_ONCE).collect::<()>().await;
    }

    async fn mark_one(&self, entry: &InventoryEntry, verdict: Verdict) {
        let why = if verdict == Verdict::Missing { "missing" } else { "corrupted" };
        let Some(observed) = self.context.cluster.outputs.get(&self.output_key(&entry.name)) else { return };
        // This run may have published another file already.
        let is_published = observed.artifact().is_some_and(|artifact| artifact.filename() == entry.filename);
        let is_ours = observed.generator_uid() == Some(&self.uid) && is_published;
        let Some(status) = output::lost(&observed, why, Timestamp::now()).filter(|_| is_ours) else { return };
        if let Err(error) = self.apply_status(&entry.name, &status).await {
            let error = crate::watch::feed::innermost(&error);
            warn!(output = entry.name, error, "cannot take Ready from an output without file");
        }
    }

    /// Edits by others turned out to leave everything in place.
    fn untouch(&self) {
        for entry in self.generator.inventory() {
            self.context.cluster.outputs.untouch(&self.output_key(&entry.name));
        }
    }
}

/// Path of the file of an inventory entry.
pub(super) fn path(entry: &InventoryEntry) -> String {
    let kind = external_artifact::KIND.to_lowercase();
    format!("{kind}/{}/{}/{}", entry.namespace, entry.name, entry.filename)
}
