//! Looks at sources, outputs and files.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::Api;
use tracing::{info, warn};
use weir_proto::{
    ArtifactPath, Digest,
    v1::{Verdict, VerifyRequest},
};

use super::Run;
use crate::{
    api::{
        ObjectKey,
        external_artifact::{Artifact, ExternalArtifact},
        source::{Source, SourceKey},
    },
    error::ReconcileError,
    plan::{
        drift::{self, Drift, Scene},
        observe::{Observed, observe, source_key},
        output,
    },
    server::ServerError,
    watch::feed::innermost,
};

/// An output, and what the artifact server says of the file that it publishes.
type Checked = (Arc<ExternalArtifact>, Verdict);

/// A source, none of that name, or why it can not be read.
type Found = Result<Option<Arc<Source>>, String>;

/// How many sources of a generator are read at the same time.
const READS_AT_ONCE: usize = 8;

impl Run<'_> {
    /// What the sources offer.
    pub(super) async fn observe(&self) -> Result<Observed, ReconcileError> {
        let (references, namespace) = (&self.generator.spec.sources, &self.key.namespace);
        if self.context.settings.direct_source_fetch {
            let found = self.fetched(references.iter().filter_map(|one| source_key(one, namespace).ok())).await;
            return Ok(observe(references, namespace, |key| found.get(key).cloned().unwrap_or(Ok(None)))?);
        }
        let cluster = &self.context.cluster;
        Ok(observe(references, namespace, |key| cluster.source(key))?)
    }

    /// The sources as the API server has them now, in whatever namespace.
    async fn fetched(&self, keys: impl Iterator<Item = SourceKey>) -> HashMap<SourceKey, Found> {
        let keys: BTreeSet<SourceKey> = keys.collect();
        let gets = keys.into_iter().map(|key| async move {
            let api: Api<Source> = Api::namespaced_with(self.context.client.clone(), &key.namespace, &key.kind);
            let found = api.get_opt(&key.name).await.map_err(|error| innermost(&error));
            (key, found.map(|found| found.map(Arc::new)))
        });
        stream::iter(gets).buffer_unordered(READS_AT_ONCE).collect().await
    }

    /// Whether there is something to do. The artifact server is asked only when nothing else says so. Outputs whose files
    /// turn out to be gone are not Ready any more when this returns.
    pub(super) async fn detect(&self, observed: &Observed) -> Result<Option<Drift>, ReconcileError> {
        if let Some(drift) = self.compare(observed, &[]) {
            return Ok(Some(drift));
        }
        let is_recalled = self.recall(observed).await.map_err(|error| error.of_verify())?;
        if let Some(drift) = self.compare(observed, &[]) {
            return Ok(Some(drift));
        }
        let checked = self.verify().await.map_err(|error| error.of_verify())?;
        // What fails here is logged, and done again where the run can not mend it.
        _ = self.mark(&checked).await;
        let verdicts: Vec<_> = checked.iter().map(|(_, verdict)| *verdict).collect();
        let drift = if verdicts.iter().all(|verdict| *verdict == Verdict::Ok) {
            // What could not be compared may be anything. Once it is mended this process knows.
            (!is_recalled).then_some(Drift::ExternalArtifactsChanged)
        } else {
            self.compare(observed, &verdicts)
        };
        if drift.is_none() {
            self.untouch();
        }
        Ok(drift)
    }

    /// Whatever stops or delays a run, an output without its bytes must not stay Ready.
    /// The error says that one may be.
    pub(super) async fn mark_lost(&self) -> Result<(), ReconcileError> {
        let _publishing_waits = self.marking.lock().await;
        match self.verify().await {
            Ok(checked) => self.mark(&checked).await,
            Err(error) => {
                warn!(%error, "cannot verify what is published");
                Err(error.of_verify())
            }
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
        let wanted = self.known_wanted(observed);
        drift::detect(&Scene {
            generator: &self.generator,
            sources_digest: &observed.digest,
            verdicts,
            outputs: &outputs,
            wanted: wanted.as_ref(),
            published: &published,
        })
    }

    /// Asks about what the outputs say, not about the inventory: consumers download the former. An edit that makes no sense can
    /// not be asked about; it is found by comparing.
    async fn verify(&self) -> Result<Vec<Checked>, ServerError> {
        let (outputs, questions): (Vec<_>, Vec<_>) = self
            .outputs()
            .into_iter()
            .filter(|output| output.metadata.namespace.as_ref() == Some(&self.key.namespace))
            .filter_map(|output| {
                let question = question(output.artifact()?)?;
                Some((output, question))
            })
            .unzip();
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let verdicts = self.context.server.verify(questions).await?;
        Ok(outputs.into_iter().zip(verdicts).collect())
    }

    /// Takes Ready away from the outputs whose files are not good. All are attempted; one failure is returned.
    async fn mark(&self, checked: &[Checked]) -> Result<(), ReconcileError> {
        let bad = checked.iter().filter(|(_, verdict)| *verdict != Verdict::Ok);
        let marks: Vec<_> = bad.map(|(output, verdict)| self.mark_one(output, *verdict)).collect();
        if !marks.is_empty() {
            info!(files = marks.len(), "artifact files are lost");
        }
        let marked = stream::iter(marks).buffer_unordered(super::WRITES_AT_ONCE);
        marked.fold(Ok(()), |all: Result<_, _>, one| futures::future::ready(all.and(one))).await
    }

    async fn mark_one(&self, output: &ExternalArtifact, verdict: Verdict) -> Result<(), ReconcileError> {
        let why = if verdict == Verdict::Missing { "missing" } else { "corrupted" };
        let Some(status) = output::lost(output, why, Timestamp::now()) else { return Ok(()) };
        let name = output.metadata.name.as_deref().unwrap_or_default();
        // The version makes sure that it is still the output that was checked: this run may have published another file.
        let version = output.metadata.resource_version.as_deref();
        match self.apply_status(name, version, &status).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => {
                let error = innermost(&error);
                warn!(output = name, error, "cannot take Ready from an output without file");
                Err(ReconcileError::Status(format!("of ExternalArtifact {name}, whose file is {why}: {error}")))
            }
        }
    }

    /// Edits by others turned out to leave everything in place.
    fn untouch(&self) {
        for object in self.outputs() {
            self.context.cluster.outputs.untouch(&ObjectKey::of(&*object));
        }
    }
}

pub(super) fn question(artifact: &Artifact) -> Option<VerifyRequest> {
    let is_valid = artifact.path.parse::<ArtifactPath>().is_ok() && artifact.digest.parse::<Digest>().is_ok();
    is_valid.then(|| VerifyRequest { path: artifact.path.clone(), digest: artifact.digest.clone() })
}
