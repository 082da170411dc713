//! The cluster and the volume as source-watcher leaves them, and what it looks
//! at when it comes back. Its archives are made, served and checked by the Go
//! SDK that it is built on; its writes go through the API server as its own.

mod drift;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

pub use drift::{Drift, drift, sources_digest};

use crate::peer;
use crate::process::Process;
use crate::resources::Kind;
use crate::scene::Scene;

/// Its field manager, and the value of its label on outputs.
pub const MANAGER: &str = "source-watcher";

const LABEL: &str = "source.extensions.fluxcd.io/generator";
const FINALIZER: &str = "source.extensions.fluxcd.io/finalizer";

/// One source-watcher, in the namespace of a test.
pub struct SourceWatcher<'a> {
    scene: &'a Scene,
    volume: PathBuf,
    address: SocketAddr,
}

/// One of its artifacts.
pub struct Output<'a> {
    /// Name of the object.
    pub name: &'a str,
    /// The folder with its content.
    pub folder: &'a Path,
    /// `--artifact-digest-algo` at the time.
    pub algorithm: &'a str,
    /// What `revision` and `originRevision` of the spec make of it, where it has them.
    pub revision: Option<&'a str>,
    /// See `revision`.
    pub origin: Option<&'a str>,
}

impl<'a> SourceWatcher<'a> {
    /// It stores on `volume` and its URLs start with `address`.
    #[must_use]
    pub fn new(scene: &'a Scene, volume: &Path, address: SocketAddr) -> Self {
        Self { scene, volume: volume.to_owned(), address }
    }

    /// Serves what is stored.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn serve(&self) -> Result<Process> {
        let stage = &self.scene.stage;
        peer::serve(&stage.tools, &stage.run, &self.scene.namespace, (&self.volume, self.address)).await
    }

    /// Brings the generator of that name, which a user has applied, to the end
    /// of a reconcile: files, outputs, finalizer, status.
    ///
    /// # Errors
    /// When there is no such generator, its source has no artifact, or a write is refused.
    pub async fn reconcile(&self, generator: &str, outputs: &[Output<'_>]) -> Result<()> {
        let object = self.scene.get(Kind::ArtifactGenerator, generator).await?.context("no generator")?;
        let finalizers = json!({"metadata": {"finalizers": [FINALIZER]}});
        self.api(Kind::ArtifactGenerator).patch(generator, &merge(), &Patch::Merge(finalizers)).await?;
        let mut inventory = Vec::new();
        for output in outputs {
            let artifact = self.publish(&object, output).await?;
            let file = artifact["path"].as_str().and_then(|path| path.rsplit('/').next()).context("no path")?;
            let (namespace, digest) = (&self.scene.namespace, &artifact["digest"]);
            inventory.push(json!({"name": output.name, "namespace": namespace, "digest": digest, "filename": file}));
        }
        let message = format!("reconciliation succeeded, generated {} artifact(s)", outputs.len());
        let status = json!({"status": {
            "conditions": [ready(&message, &object["metadata"]["generation"])],
            "inventory": inventory,
            "observedSourcesDigest": sources_digest(self.scene, &object).await?,
        }});
        self.api(Kind::ArtifactGenerator).patch_status(generator, &merge(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Stores an artifact and applies its object. Returns `status.artifact`.
    async fn publish(&self, generator: &Value, output: &Output<'_>) -> Result<Value> {
        let Output { name, folder, algorithm, revision, origin } = output;
        let (stage, namespace) = (&self.scene.stage, self.scene.namespace.as_str());
        let volume = (self.volume.as_path(), self.address);
        let mut artifact = peer::store(&stage.tools, volume, algorithm, (namespace, name), folder).await?;
        if let Some(revision) = revision {
            artifact["revision"] = json!(revision);
        }
        if let Some(origin) = origin {
            artifact["metadata"] = json!({"org.opencontainers.image.revision": origin});
        }
        let (api, parameters) = (self.api(Kind::ExternalArtifact), PatchParams::apply(MANAGER));
        let mut body = Kind::ExternalArtifact.object(name);
        body["metadata"]["namespace"] = json!(namespace);
        let mut object = body.clone();
        object["metadata"]["labels"] =
            json!({"app.kubernetes.io/managed-by": MANAGER, LABEL: generator["metadata"]["uid"]});
        object["spec"] = json!({"sourceRef": {
            "apiVersion": generator["apiVersion"], "kind": "ArtifactGenerator",
            "name": generator["metadata"]["name"], "namespace": namespace,
        }});
        let applied = api.patch(name, &parameters.clone().force(), &Patch::Apply(object)).await?;
        body["metadata"]["resourceVersion"] = json!(applied.metadata.resource_version);
        body["status"] = json!({
            "artifact": artifact,
            "conditions": [ready("Artifact is ready", &json!(applied.metadata.generation))],
        });
        api.patch_status(name, &parameters, &Patch::Apply(body)).await?;
        Ok(artifact)
    }

    fn api(&self, kind: Kind) -> kube::Api<kube::api::DynamicObject> {
        self.scene.api(kind)
    }
}

fn merge() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn ready(message: &str, generation: &Value) -> Value {
    json!({
        "type": "Ready", "status": "True", "reason": "Succeeded", "message": message,
        "observedGeneration": generation, "lastTransitionTime": "2025-10-08T10:00:00Z",
    })
}
