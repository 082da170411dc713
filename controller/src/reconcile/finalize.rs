//! The first and the last thing that happens to a generator: its finalizer comes, and goes when nothing of it is left.

use std::{collections::BTreeSet, sync::Arc};

use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::controller::Action,
};
use serde_json::json;
use tracing::info;

use super::{Context, Run};
use crate::{
    api::{
        FIELD_MANAGER, FINALIZER, ObjectKey,
        artifact_generator::{ArtifactGenerator, InventoryEntry},
    },
    error::ReconcileError,
    plan::stored,
    watch::{feed::innermost, generators::strip},
};

/// Adds the finalizer and returns the generator as it is then.
pub(super) async fn add_finalizer(
    context: &Context,
    generator: &ArtifactGenerator,
) -> Result<Arc<ArtifactGenerator>, ReconcileError> {
    let mut finalizers = generator.metadata.finalizers.clone().unwrap_or_default();
    finalizers.push(FINALIZER.to_owned());
    let written = set_finalizers(context, generator, &finalizers).await;
    written.map_err(|error| ReconcileError::Finalizer(innermost(&error)))
}

/// Removes the files and objects of a generator that is being deleted, then lets it go. Works on paused generators too.
pub(super) async fn finalize(run: &Run<'_>) -> Result<Action, ReconcileError> {
    let finalizers = run.generator.metadata.finalizers.clone().unwrap_or_default();
    let rest: Vec<String> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    if rest.len() == finalizers.len() {
        return Ok(Action::await_change());
    }
    let failure = match leftovers(run).await {
        Ok(keys) => run.remove(keys).await.1,
        Err(failure) => Some(failure),
    };
    if let Some(failure) = failure {
        return run.report(Err(failure)).await;
    }
    match set_finalizers(run.context, &run.generator, &rest).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => return Err(ReconcileError::Finalizer(innermost(&error))),
    }
    run.account.open();
    run.context.expansions.forget(&run.key);
    info!("generator deleted, nothing of it is left");
    Ok(Action::await_change())
}

/// Everything that may be left of a generator: what it remembers, what carries its label, and what the artifact server
/// stored for it, e.g. in a run that died before it could write anything down.
async fn leftovers(run: &Run<'_>) -> Result<BTreeSet<ObjectKey>, ReconcileError> {
    let mut keys: BTreeSet<ObjectKey> = run.generator.inventory().iter().map(InventoryEntry::key).collect();
    keys.extend(run.outputs().iter().map(|object| ObjectKey::of(&**object)));
    keys.extend(run.files().await?.iter().filter_map(stored::key));
    Ok(keys)
}

async fn set_finalizers(
    context: &Context,
    generator: &ArtifactGenerator,
    finalizers: &[String],
) -> Result<Arc<ArtifactGenerator>, kube::Error> {
    let key = ObjectKey::of(generator);
    let api: Api<ArtifactGenerator> = Api::namespaced(context.client.clone(), &key.namespace);
    // The version makes sure that no finalizer of somebody else is lost; a conflict is tried again with the next run.
    let metadata = json!({ "finalizers": finalizers, "resourceVersion": generator.metadata.resource_version });
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let mut written: ArtifactGenerator = api.patch(&key.name, &PatchParams::apply(FIELD_MANAGER), &patch).await?;
    strip(&mut written);
    let written = Arc::new(written);
    context.triggers.generators(context.cluster.generators.wrote(written.clone()));
    Ok(written)
}
