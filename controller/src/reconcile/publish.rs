//! Puts a stored artifact into its ExternalArtifact, with no write that changes nothing.

use std::{future::Future, sync::Arc};

use jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde::Serialize;
use tracing::warn;
use weir_proto::v1;

use super::Run;
use crate::{
    api::{
        FIELD_MANAGER, ObjectKey,
        artifact_generator::{InventoryEntry, OutputArtifact},
        external_artifact::{API_VERSION, Artifact, ExternalArtifact, ExternalArtifactStatus, KIND},
    },
    error::ReconcileError,
    events::Notice,
    plan::{
        inventory,
        observe::Observed,
        output::{self, Origin},
        wanted::Wanted,
    },
    watch::{feed::innermost, outputs::Write},
};

/// Body of a status apply: it names the object and says nothing of the rest.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusBody<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Name<'a>,
    status: &'a ExternalArtifactStatus,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Name<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
}

/// An output that is not yet as it should be.
struct Pending {
    artifact: Artifact,
    frame: ExternalArtifact,
    observed: Option<Arc<ExternalArtifact>>,
}

impl Run<'_> {
    /// What to publish of a stored artifact.
    pub(super) fn artifact(&self, spec: &OutputArtifact, stored: v1::Artifact, observed: &Observed) -> Artifact {
        let key = self.output_key(&spec.name);
        let outputs = &self.context.cluster.outputs;
        let object = outputs.get(&key);
        // What an edit by somebody else put there is no precedent.
        let published = outputs.published(&key);
        let previous = published.as_ref().or(object.as_ref().and_then(|object| object.artifact()));
        output::artifact(stored, spec, observed, previous, self.origin())
    }

    /// Publishes the artifact at `index` of those that are wanted. What is as it should be is noted in `progress` at once; otherwise the
    /// returned future writes, and gives what to note.
    pub(super) fn publish<'r>(
        &'r self,
        wanted: &'r Wanted,
        index: usize,
        artifact: Artifact,
        progress: &mut [Option<Result<InventoryEntry, ReconcileError>>],
    ) -> Option<impl Future<Output = (usize, Result<InventoryEntry, ReconcileError>)> + use<'r>> {
        let spec = wanted.artifact(index);
        let key = self.output_key(&spec.name);
        let outputs = &self.context.cluster.outputs;
        let object = outputs.get(&key);
        let frame = output::frame(&self.generator, &spec.name, wanted.captures(index));
        let is_done = object
            .as_ref()
            .is_some_and(|object| !output::frame_differs(object, &frame) && output::is_ready_with(object, &artifact));
        if is_done {
            outputs.untouch(&key);
            progress[index] = Some(Ok(inventory::entry(&key.namespace, &key.name, &artifact)));
            return None;
        }
        let pending = Pending { artifact, frame, observed: object };
        Some(async move { (index, self.write(spec, pending).await) })
    }

    pub(super) fn origin(&self) -> Origin {
        output::origin(&self.generator, self.account.succeeded(), self.context.settings.origin)
    }

    async fn write(&self, spec: &OutputArtifact, pending: Pending) -> Result<InventoryEntry, ReconcileError> {
        let Pending { artifact, frame, observed } = pending;
        self.tell_of_fight(&spec.name, observed.as_deref());
        let failed = |doing: &'static str| {
            move |error| {
                let why = format!("{doing}: {}", innermost(&error));
                ReconcileError::Publish { name: spec.name.clone(), why }
            }
        };
        let observed = match observed {
            Some(observed) if !output::frame_differs(&observed, &frame) => observed,
            _ => self.apply_frame(&spec.name, &frame).await.map_err(failed("failed to apply ExternalArtifact"))?,
        };
        let entry = inventory::entry(&self.key.namespace, &spec.name, &artifact);
        if !output::is_ready_with(&observed, &artifact) {
            let status = output::status(artifact, &observed, Timestamp::now());
            let applied = self.apply_status(&spec.name, None, &status).await;
            let applied = applied.map_err(failed("failed to patchStatus ExternalArtifact status"))?;
            // The answer is the newest state: an edit that got in between shows here first.
            if output::frame_differs(&applied, &frame) {
                self.apply_frame(&spec.name, &frame).await.map_err(failed("failed to apply ExternalArtifact"))?;
            }
        }
        Ok(entry)
    }

    /// Names who else writes an output that is repaired again and again.
    fn tell_of_fight(&self, name: &str, observed: Option<&ExternalArtifact>) {
        let Some(changes) = self.context.cluster.outputs.fought(&self.output_key(name)) else { return };
        let last = observed.and_then(|object| object.editor.as_deref());
        let notice = Notice::fought(&self.key.namespace, name, changes, last);
        warn!(output = name, changes, manager = last, "{}", notice.message);
        self.context.events.record(&self.generator, &notice);
    }

    async fn apply_frame(&self, name: &str, frame: &ExternalArtifact) -> Result<Arc<ExternalArtifact>, kube::Error> {
        let _permit = self.context.writes.acquire().await;
        let write = self.context.cluster.outputs.begin(self.output_key(name), &self.uid);
        let object = self.api::<ExternalArtifact>().patch(name, &apply(), &Patch::Apply(frame)).await?;
        Ok(self.landed(write, object))
    }

    /// With a version, a conflict unless the object is at it.
    pub(super) async fn apply_status(
        &self,
        name: &str,
        resource_version: Option<&str>,
        status: &ExternalArtifactStatus,
    ) -> Result<Arc<ExternalArtifact>, kube::Error> {
        let _permit = self.context.writes.acquire().await;
        let write = self.context.cluster.outputs.begin(self.output_key(name), &self.uid);
        let metadata = Name { name, namespace: &self.key.namespace, resource_version };
        let body = StatusBody { api_version: API_VERSION, kind: KIND, metadata, status };
        let object = self.api::<ExternalArtifact>().patch_status(name, &apply(), &Patch::Apply(&body)).await?;
        Ok(self.landed(write, object))
    }

    fn landed(&self, write: Write<'_>, mut object: ExternalArtifact) -> Arc<ExternalArtifact> {
        object.condense();
        let (object, effects) = write.landed(object);
        self.context.triggers.effects(&self.context.cluster, effects);
        object
    }

    /// Deletes an output, unless it has become another generator's or is gone already. Returns what is still there, as long as
    /// finalizers of others keep it.
    pub(super) async fn delete_output(&self, key: &ObjectKey) -> Result<Option<Arc<ExternalArtifact>>, kube::Error> {
        let outputs = &self.context.cluster.outputs;
        let Some(object) = outputs.get(key).filter(|object| object.generator_uid() == Some(&self.uid)) else {
            outputs.untouch(key);
            return Ok(None);
        };
        let uid = object.metadata.uid.clone().unwrap_or_default();
        let _permit = self.context.writes.acquire().await;
        let write = outputs.begin(key.clone(), &self.uid);
        let only_this = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() };
        let answer = match self.api::<ExternalArtifact>().delete(&key.name, &parameters).await {
            Ok(answer) => answer.left(),
            // Gone already, or gone and made anew by somebody else.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => None,
            Err(error) => return Err(error),
        };
        let answer = answer.map(|mut object| {
            object.condense();
            object
        });
        let (left, effects) = write.delete_taken(&uid, answer);
        self.context.triggers.effects(&self.context.cluster, effects);
        Ok(left)
    }
}

/// Field ownership moves to us, whoever had it: a swap with the controller that Weir replaces leaves one owner of each field.
fn apply() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}
