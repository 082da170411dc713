//! What is to go, goes in an order that keeps promises; and it goes also when something else fails.

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::manifest;
use weir_e2e::resources::{Kind, condition};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, message, reason, stored, two_apps};

/// The API server refuses to delete an orphan: as long as it is there and Ready, it can be downloaded.
pub(crate) async fn an_orphan_that_must_stay_keeps_its_file(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--max-retry-delay=1s"]).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    let refusal = refuse_deletes(&scene).await?;
    let mut less = generator();
    less["spec"]["artifacts"] = json!([less["spec"]["artifacts"][1]]);
    scene.apply(less).await?;
    let failed = reason(&scene, "gen", "ReconciliationFailed").await?;
    ensure!(message(&failed).contains("one reconcile failed: failed to delete"), "{}", message(&failed));
    scene.ready(Kind::ExternalArtifact, "one").await?;
    scene.download(&one).await?;

    let parameters = DeleteParams::default();
    let bindings: kube::Api<Binding> = kube::Api::all(scene.client());
    bindings.delete(&refusal, &parameters).await?;
    scene.gone(Kind::ExternalArtifact, "one").await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    eventually("the files are gone", PATIENCE, || async {
        let left = stored(&weir, &scene.namespace)?;
        ensure!(left.iter().all(|file| file.contains("/two/")), "left: {left:?}");
        Ok(())
    })
    .await?;
    weir.stop().await
}

/// Somebody else's finalizer keeps an output of a generator that is deleted: its file and the generator stay as long as it does. Tries
/// are an hour apart: what ends the wait is the end of the object.
pub(crate) async fn an_output_that_waits_for_a_finalizer_keeps_its_file(scene: Scene) -> Result<()> {
    let hour = ["--min-retry-delay=1h", "--max-retry-delay=1h"];
    let mut weir = Weir::start_with(&scene, &[], &hour).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    hold(&scene, &["example.com/hold"]).await?;
    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    let failed = reason(&scene, "gen", "ReconciliationFailed").await?;
    ensure!(message(&failed).contains("waits for its finalizers (example.com/hold)"), "{}", message(&failed));
    scene.gone(Kind::ExternalArtifact, "two").await?;
    let held = scene.get(Kind::ExternalArtifact, "one").await?.context("it is gone")?;
    ensure!(!held["metadata"]["deletionTimestamp"].is_null(), "{held}");
    scene.download(&one).await?;

    hold(&scene, &[]).await?;
    scene.gone(Kind::ArtifactGenerator, "gen").await?;
    ensure!(scene.get(Kind::ExternalArtifact, "one").await?.is_none());
    ensure!(stored(&weir, &scene.namespace)?.is_empty());
    weir.stop().await
}

/// Sets the finalizers of the output `one`.
async fn hold(scene: &Scene, finalizers: &[&str]) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    scene.api(Kind::ExternalArtifact).patch("one", &PatchParams::default(), &patch).await?;
    Ok(())
}

type Binding = k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;

/// Lets the API server refuse every delete of an output in this namespace. Returns the name of the policy and its binding.
async fn refuse_deletes(scene: &Scene) -> Result<String> {
    let name = format!("keep-{}", scene.namespace);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["source.toolkit.fluxcd.io"], "apiVersions": ["v1"], "operations": ["DELETE"],
                "resources": ["externalartifacts"],
            }]},
            "validations": [{"expression": "false", "message": "it must stay"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scene.namespace}}},
        },
    });
    for object in [policy, binding] {
        manifest::apply(&scene.client(), &scene.namespace, &serde_json::from_value(object)?).await?;
    }
    let rehearsal = DeleteParams { dry_run: true, ..DeleteParams::default() };
    eventually("deletes are refused", PATIENCE, || async {
        let answer = scene.api(Kind::ExternalArtifact).delete("one", &rehearsal).await;
        ensure!(answer.is_err_and(|error| error.to_string().contains("it must stay")), "they are not");
        Ok(())
    })
    .await?;
    Ok(name)
}

/// The artifact server is away when a generator is deleted: it says why it is still there, and goes when the server is back.
pub(crate) async fn a_deletion_that_can_not_go_on_says_why(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.server.kill().await?;
    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    let failed = reason(&scene, "gen", "StorageOperationFailed").await?;
    ensure!(message(&failed).contains("is weir-artifact-server running?"), "{}", message(&failed));
    weir.server.restart().await?;
    scene.gone(Kind::ArtifactGenerator, "gen").await?;
    ensure!(stored(&weir, &scene.namespace)?.is_empty());
    weir.stop().await
}

/// One artifact can not be built: the old versions of the other one are collected all the same.
pub(crate) async fn a_failing_copy_does_not_keep_old_versions_of_others(scene: Scene) -> Result<()> {
    let arguments = [
        "--artifact-retention-ttl=1s",
        "--artifact-retention-records=1",
        "--reconciliation-timeout=5s",
        "--max-retry-delay=1s",
    ];
    let mut weir = Weir::start_with(&scene, &[], &arguments).await?;
    let repository = two_apps(&scene).await?;
    let mut half = generator();
    half["spec"]["artifacts"][0]["copy"][0]["from"] = json!("@repo/apps/none");
    scene.apply(half).await?;
    reason(&scene, "gen", "BuildFailed").await?;
    let before = scene.ready(Kind::ExternalArtifact, "two").await?;
    scene.push("repo", &repository, &[("apps/two/a.yaml", "two: 2\n")]).await?;
    let after = scene
        .wait(Kind::ExternalArtifact, "two", "a new revision", |object| {
            ensure!(object["status"]["artifact"]["revision"] != before["status"]["artifact"]["revision"]);
            Ok(object.clone())
        })
        .await?;
    let old = before["status"]["artifact"]["path"].as_str().context("no path")?;
    eventually("the old version is collected", PATIENCE, || async {
        let left = stored(&weir, &scene.namespace)?;
        ensure!(left.iter().all(|file| !file.ends_with(old)), "left: {left:?}");
        Ok(())
    })
    .await?;
    let object: Value = reason(&scene, "gen", "BuildFailed").await?;
    ensure!(condition(&object, "Ready").is_some_and(|ready| ready["status"] == "False"), "{}", object["status"]);
    scene.download(&after).await?;
    weir.stop().await
}
