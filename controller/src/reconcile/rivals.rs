//! Generators that this process does not know, as they are another shard's, and that may have a name all the same.

use std::collections::HashMap;

use kube::{Api, api::ListParams, core::PartialObjectMeta};

use super::Run;
use crate::{
    api::{ObjectKey, artifact_generator::ArtifactGenerator},
    error::ReconcileError,
    watch::feed::innermost,
};

impl Run<'_> {
    /// Who has the name of this output, and lives. The name is this run's when nobody does, until it is released.
    pub(super) async fn holder(&self, output: &ObjectKey) -> Result<Option<String>, ReconcileError> {
        let outputs = &self.context.cluster.outputs;
        let generators = &self.context.cluster.generators;
        let is_shard = self.context.settings.is_shard;
        let known = |uid: &str| generators.with_uid(uid).is_some();
        // A shard takes everybody for alive until the API server has said that they are not.
        let Err(other) = outputs.claim(output, &self.uid, |uid| is_shard || known(uid)) else { return Ok(None) };
        if let Some(key) = generators.with_uid(&other) {
            return Ok(Some(key.to_string()));
        }
        if !is_shard {
            return Ok(Some(other));
        }
        let all = self.rivals().await.map_err(|error| {
            let why = format!("cannot see who has ExternalArtifact/{output}: {}", innermost(&error));
            ReconcileError::Publish { name: output.name.clone(), why }
        })?;
        let claimed = outputs.claim(output, &self.uid, |uid| known(uid) || all.contains_key(uid));
        Ok(claimed.err().map(|other| all.get(&other).map_or(other, ObjectKey::to_string)))
    }

    /// All generators of the namespace. No version is asked for, which makes the API server answer from its storage: who is not in
    /// this answer is gone.
    async fn rivals(&self) -> Result<&HashMap<String, ObjectKey>, kube::Error> {
        let ask = || async {
            let api: Api<ArtifactGenerator> = self.api();
            let list = api.list_metadata(&ListParams::default()).await?;
            let named = |object: PartialObjectMeta<ArtifactGenerator>| {
                let key = ObjectKey::of(&object);
                Some((object.metadata.uid?, key))
            };
            Ok(list.items.into_iter().filter_map(named).collect())
        };
        self.rivals.get_or_try_init(ask).await
    }
}
