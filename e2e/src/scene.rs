//! One test's view: a namespace of its own on the shared [`Stage`].

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::eventually::{PATIENCE, eventually};
use crate::git_server::Repository;
use crate::manifest;
use crate::resources::{Kind, condition, git_repository};
use crate::stage::{Stage, create_namespace};

/// A namespace, and what a test does in it.
#[derive(Clone)]
pub struct Scene {
    /// What all tests share.
    pub stage: Arc<Stage>,
    /// The namespace.
    pub namespace: String,
}

impl Scene {
    /// Creates a namespace whose name starts with `name`.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn new(stage: Arc<Stage>, name: &str) -> Result<Self> {
        let label: String = name
            .chars()
            .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
            .take(40)
            .collect();
        let namespace = format!("{}-{}", label.trim_matches('-'), stage.next());
        Self::in_namespace(stage, &namespace).await
    }

    /// Creates exactly that namespace.
    ///
    /// # Errors
    /// When it exists, or the API server refuses it.
    pub async fn in_namespace(stage: Arc<Stage>, namespace: &str) -> Result<Self> {
        create_namespace(&stage.control_plane.client(), namespace).await?;
        Ok(Self { stage, namespace: namespace.to_owned() })
    }

    /// A client that may do everything.
    #[must_use]
    pub fn client(&self) -> Client {
        self.stage.control_plane.client()
    }

    /// The objects of one kind in this namespace.
    #[must_use]
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client(), &self.namespace, &kind.resource())
    }

    /// Applies an object in this namespace.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, object: Value) -> Result<()> {
        let object = serde_json::from_value(object).context("not a Kubernetes object")?;
        manifest::apply(&self.client(), &self.namespace, &object).await.map(drop)
    }

    /// An object as JSON, or `None` if there is none of that name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Option<Value>> {
        let found = self.api(kind).get_opt(name).await?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// All objects of a kind, by name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn list(&self, kind: Kind) -> Result<Vec<Value>> {
        let list = self.api(kind).list(&ListParams::default()).await?;
        list.items.into_iter().map(|object| Ok(serde_json::to_value(object)?)).collect()
    }

    /// Merges `change` into an object.
    ///
    /// # Errors
    /// When there is no such object, or the API server refuses the change.
    pub async fn patch(&self, kind: Kind, name: &str, change: Value) -> Result<()> {
        let params = PatchParams { field_manager: Some(manifest::FIELD_MANAGER.into()), ..PatchParams::default() };
        self.api(kind).patch(name, &params, &Patch::Merge(change)).await?;
        Ok(())
    }

    /// Merges `change` into an object's status, as another controller would.
    ///
    /// # Errors
    /// When there is no such object, or the API server refuses the change.
    pub async fn patch_status(&self, kind: Kind, name: &str, change: Value) -> Result<()> {
        self.api(kind).patch_status(name, &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    }

    /// Asks for the deletion of an object; does not wait for it.
    ///
    /// # Errors
    /// When there is no such object.
    pub async fn delete(&self, kind: Kind, name: &str) -> Result<()> {
        self.api(kind).delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Asks the object's controller to reconcile now, as `flux reconcile` does.
    ///
    /// # Errors
    /// When there is no such object.
    pub async fn reconcile(&self, kind: Kind, name: &str) -> Result<()> {
        let token = uuid::Uuid::new_v4().to_string();
        let change = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}});
        self.patch(kind, name, change).await
    }

    /// Waits until `check` accepts the object, and returns what it found.
    ///
    /// # Errors
    /// After the deadline: what the check said last.
    pub async fn wait<T>(&self, kind: Kind, name: &str, what: &str, check: impl Fn(&Value) -> Result<T>) -> Result<T> {
        let what = format!("{} {}/{name}: {what}", kind.name(), self.namespace);
        eventually(&what, PATIENCE, || async {
            let object = self.get(kind, name).await?.ok_or_else(|| anyhow!("it does not exist"))?;
            check(&object)
        })
        .await
    }

    /// Waits until the object is Ready for its current generation; returns it. Of a Kustomization all of its status is written by then.
    ///
    /// # Errors
    /// After the deadline: its conditions.
    pub async fn ready(&self, kind: Kind, name: &str) -> Result<Value> {
        self.wait(kind, name, "Ready", |object| {
            ensure_ready(object)?;
            if kind == Kind::Kustomization {
                ensure_written(object)?;
            }
            Ok(object.clone())
        })
        .await
    }

    /// Waits until the object is gone.
    ///
    /// # Errors
    /// After the deadline: the object.
    pub async fn gone(&self, kind: Kind, name: &str) -> Result<()> {
        let what = format!("{} {}/{name} is gone", kind.name(), self.namespace);
        eventually(&what, PATIENCE, || async {
            match self.get(kind, name).await? {
                None => Ok(()),
                Some(object) => Err(anyhow!("{}", object["metadata"])),
            }
        })
        .await
    }

    /// Waits until the ConfigMap has that value under that key.
    ///
    /// # Errors
    /// After the deadline: its data.
    pub async fn config_map(&self, name: &str, key: &str, value: &str) -> Result<()> {
        self.wait(Kind::ConfigMap, name, &format!("{key} is {value}"), |object| {
            ensure!(object["data"][key] == value, "data is {}", object["data"]);
            Ok(())
        })
        .await
    }

    /// Downloads the artifact of a source or an `ExternalArtifact` as a consumer
    /// does: 200, its size, and bytes with its (SHA-256) digest. Returns the bytes.
    ///
    /// # Errors
    /// When one of these does not hold.
    pub async fn download(&self, object: &Value) -> Result<Vec<u8>> {
        let artifact = &object["status"]["artifact"];
        let url = artifact["url"].as_str().with_context(|| format!("no artifact: {}", object["status"]))?;
        let response = crate::fetch::get(url).await?.error_for_status()?;
        let bytes = response.bytes().await?.to_vec();
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
        ensure!(artifact["digest"] == digest, "{url}: has {digest}, should be {}", artifact["digest"]);
        ensure!(artifact["size"] == bytes.len(), "{url}: {} bytes, should be {}", bytes.len(), artifact["size"]);
        Ok(bytes)
    }

    /// Creates a git repository with a first commit, and its `GitRepository` of
    /// the same name. Waits until source-controller has its artifact.
    ///
    /// # Errors
    /// When git fails, or the artifact does not come.
    pub async fn repository(&self, name: &str, files: &[(&str, &str)]) -> Result<Repository> {
        let repository = self.stage.git.repository(&format!("{}-{name}", self.namespace)).await?;
        let commit = repository.commit("Start", files).await?;
        self.apply(git_repository(name, repository.url())).await?;
        self.fetched(name, &commit).await?;
        Ok(repository)
    }

    /// Commits files and waits until source-controller has the commit's artifact.
    /// Returns the commit's id.
    ///
    /// # Errors
    /// When git fails, or the artifact does not come.
    pub async fn push(&self, name: &str, repository: &Repository, files: &[(&str, &str)]) -> Result<String> {
        let commit = repository.commit("Change", files).await?;
        self.reconcile(Kind::GitRepository, name).await?;
        self.fetched(name, &commit).await?;
        Ok(commit)
    }

    /// Waits until the `GitRepository` has the artifact of a commit.
    ///
    /// # Errors
    /// After the deadline: its status.
    pub async fn fetched(&self, name: &str, commit: &str) -> Result<()> {
        let revision = format!("main@sha1:{commit}");
        self.wait(Kind::GitRepository, name, &format!("artifact {revision}"), |object| {
            ensure!(object["status"]["artifact"]["revision"] == revision, "{}", object["status"]);
            Ok(())
        })
        .await
    }
}

/// Ready=True, and for the object's current generation.
///
/// # Errors
/// When it is not: its conditions.
pub fn ensure_ready(object: &Value) -> Result<()> {
    let ready = condition(object, "Ready").ok_or_else(|| anyhow!("no Ready condition"))?;
    let current = ready["observedGeneration"] == object["metadata"]["generation"];
    ensure!(ready["status"] == "True" && current, "conditions are {}", object["status"]["conditions"]);
    Ok(())
}

/// kustomize-controller writes its conditions first and then the rest of its status: until both are there, what was applied may be missing.
fn ensure_written(kustomization: &Value) -> Result<()> {
    let said = condition(kustomization, "Ready").and_then(|ready| ready["message"].as_str()).unwrap_or_default();
    let applied = kustomization["status"]["lastAppliedRevision"].as_str().unwrap_or("nothing");
    ensure!(said.ends_with(applied), "Ready says {said:?}, and the rest of the status that {applied} is applied");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_status_is_not_written() {
        // (row, what the rest of the status says, whether it is all written)
        let rows = [
            ("conditions only", json!(null), false),
            ("of the run before", json!("v1"), false),
            ("all of it", json!("v2"), true),
        ];
        for (row, applied, is_written) in rows {
            let ready = json!({"type": "Ready", "message": "Applied revision: v2"});
            let object = json!({"status": {"conditions": [ready], "lastAppliedRevision": applied}});
            assert_eq!(ensure_written(&object).is_ok(), is_written, "row {row}");
        }
    }
}
