//! `deploy/admission` on a real API server: Weir publishes under it, and nobody else does.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::manifest;
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::two_apps;

/// What the URLs of an installation start with.
const SERVED: &str = "http://source-watcher.flux-system.svc.cluster.local./";

/// The shipped policy, for this test's namespace and for `served` in place of the address of an installation.
async fn trust(scene: &Scene, served: &str) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/admission/policy.yaml");
    let text = std::fs::read_to_string(file)?;
    ensure!(text.matches(SERVED).count() == 2, "the policy names its address in an expression and a message");
    let mut objects = manifest::parse(&text.replace(SERVED, served))?;
    for object in &mut objects {
        object.metadata.name = Some(scene.namespace.clone());
        let labels = json!({"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}});
        if object.data["spec"]["policyName"].is_string() {
            object.data["spec"]["policyName"] = json!(scene.namespace);
        } else {
            object.data["spec"]["matchConstraints"]["namespaceSelector"] = labels;
        }
    }
    manifest::apply_all(&scene.client(), &scene.namespace, &objects).await
}

fn artifacts(client: Client, scene: &Scene) -> Api<DynamicObject> {
    Api::namespaced_with(client, &scene.namespace, &Kind::ExternalArtifact.resource())
}

/// The answer is a refusal with these words.
fn refused<T>(what: &str, answer: kube::Result<T>, words: &str) -> Result<()> {
    let error = answer.err().with_context(|| format!("{what}: allowed"))?.to_string();
    ensure!(error.contains(words), "{what}: {error}");
    Ok(())
}

fn with_url(url: String) -> Patch<Value> {
    Patch::Merge(json!({"status": {"artifact": {
        "digest": format!("sha256:{:064}", 1), "lastUpdateTime": "2026-01-01T00:00:00Z", "path": "a", "revision": "v1", "url": url,
    }}}))
}

/// Weir's own account is bound to its address, everybody else is refused whatever they publish, and who changes only metadata is not asked.
pub(crate) async fn lets_weir_alone_publish(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let served = format!("http://{}/", weir.server.address());
    trust(&scene, &served).await?;
    let everybody = artifacts(scene.client(), &scene);
    let theirs = serde_json::from_value(Kind::ExternalArtifact.object("theirs"))?;
    let create = PostParams { dry_run: true, ..PostParams::default() };
    let account = "only the service account source-watcher in flux-system may publish";
    eventually("the policy is in force", PATIENCE, || async {
        refused("another creates one", everybody.create(&create, &theirs).await, account)
    })
    .await?;

    two_apps(&scene).await?;
    let artifacts_of = json!([artifact("one", &[("@repo/apps/one/**", "@artifact/")])]);
    scene.apply(artifact_generator("gen", "repo", artifacts_of)).await?;
    let ready = scene.ready(Kind::ExternalArtifact, "one").await?;
    scene.download(&ready).await?;

    let params = PatchParams::default();
    let (elsewhere, here) = (|| with_url("http://elsewhere/a".into()), || with_url(format!("{served}a")));
    refused("another changes the URL", everybody.patch_status("one", &params, &here()).await, account)?;
    let spec = Patch::Merge(json!({"spec": {"sourceRef": {"kind": "ArtifactGenerator", "name": "theirs"}}}));
    refused("another changes the spec", everybody.patch("one", &params, &spec).await, account)?;
    let note = Patch::Merge(json!({"metadata": {"annotations": {"note": "seen"}}}));
    everybody.patch("one", &params, &note).await.context("another annotates it")?;

    let access = scene.stage.control_plane.service_account("flux-system", "source-watcher").await?;
    let ours = artifacts(access.client()?, &scene);
    let answer = ours.patch_status("one", &params, &elsewhere()).await;
    refused("Weir publishes another's URL", answer, "the URL of an ExternalArtifact must start with")?;

    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    scene.gone(Kind::ExternalArtifact, "one").await?;
    weir.stop().await
}
