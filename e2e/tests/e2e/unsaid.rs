//! A status that can not be written for a while.

use anyhow::{Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject};
use serde_json::json;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::manifest;
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, reason, two_apps};
use crate::repair::lost;

/// Nobody may write a status for a while. What was to be said meanwhile is said afterwards: of a paused generator, that a file is lost, and
/// of one that stalls, why.
pub(crate) async fn is_written_as_soon_as_it_can_be(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--max-retry-delay=1s"]).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let pause = json!({"metadata": {"annotations": {"source.extensions.fluxcd.io/reconcile": "disabled"}}});
    scene.patch(Kind::ArtifactGenerator, "gen", pause).await?;
    manifest::apply_all(&scene.client(), &scene.namespace, &closed(&scene)?).await?;
    eventually("no status can be written", PATIENCE, || async {
        let edit = json!({"status": {"conditions": []}});
        ensure!(scene.patch_status(Kind::ArtifactGenerator, "gen", edit).await.is_err(), "one was");
        Ok(())
    })
    .await?;
    let mut stalls = generator();
    stalls["metadata"]["name"] = json!("stalls");
    stalls["spec"]["sources"] = json!([stalls["spec"]["sources"][0], stalls["spec"]["sources"][0]]);
    scene.apply(stalls).await?;
    weir.server.kill().await?;
    std::fs::remove_dir_all(weir.server.storage().join("externalartifact"))?;
    weir.server.restart().await?;
    let log = weir.controller.process()?.log().to_owned();
    eventually("both were tried", PATIENCE, || async {
        let log = std::fs::read_to_string(&log)?;
        ensure!(log.contains("cannot take Ready from an output without file"), "nothing of the file");
        ensure!(log.contains("cannot write down how the run failed"), "nothing of the stall");
        Ok(())
    })
    .await?;
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(scene.client());
    bindings.delete(&scene.namespace, &DeleteParams::default()).await?;
    lost(&scene).await?;
    reason(&scene, "stalls", "ValidationFailed").await?;
    weir.stop().await
}

/// A policy for the namespace of the test: no status may be written.
fn closed(scene: &Scene) -> Result<Vec<DynamicObject>> {
    let name = &scene.namespace;
    let rule = |group: &str, resource: &str| {
        json!({
            "apiGroups": [group], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": [format!("{resource}/status")],
        })
    };
    let rules = [
        rule("source.toolkit.fluxcd.io", "externalartifacts"),
        rule("source.extensions.fluxcd.io", "artifactgenerators"),
    ];
    let objects = [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}, "resourceRules": rules,
                },
                "validations": [{"expression": "false", "message": "closed"}],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]},
        }),
    ];
    objects.into_iter().map(|object| Ok(serde_json::from_value(object)?)).collect()
}
