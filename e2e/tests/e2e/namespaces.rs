//! One namespace only: what the controller sees, and what it may.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::Scene;
use weir_e2e::weir::{ArtifactServer, Controller, SERVICE_ACCOUNT};

use crate::reconcile::{message, reason, two_apps};

const ACCOUNT: &str = "scoped";

/// An account that has the shipped rights in the namespace of the test and none elsewhere: whoever looks beyond is refused.
async fn account(scene: &Scene) -> Result<PathBuf> {
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(scene.client(), &scene.namespace);
    let account = serde_json::from_value(json!({"metadata": {"name": ACCOUNT}}))?;
    accounts.create(&PostParams::default(), &account).await?;
    bind(scene, scene, "ClusterRole", SERVICE_ACCOUNT).await?;
    scene.stage.control_plane.service_account_kubeconfig(&scene.namespace, ACCOUNT).await
}

/// Gives the account of `scene` a role in the namespace of `place`.
async fn bind(scene: &Scene, place: &Scene, kind: &str, role: &str) -> Result<()> {
    place
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": scene.namespace}],
        }))
        .await
}

/// A generator of the whole repository `repo`, here or in another namespace.
fn generator(name: &str, namespace: Option<&str>) -> Value {
    let mut object = artifact_generator(name, "repo", json!([artifact(name, &[("@repo/apps/**", "@artifact/")])]));
    if let Some(namespace) = namespace {
        object["spec"]["sources"][0]["namespace"] = json!(namespace);
    }
    object
}

/// All watches are limited to the namespace, so that rights in it are enough. A source elsewhere can not be had, and the message says why.
/// With the gate it is read at each reconcile, which takes the right to get it.
pub(crate) async fn a_source_elsewhere_needs_the_gate(scene: Scene) -> Result<()> {
    let elsewhere = Scene::new(scene.stage.clone(), "elsewhere").await?;
    two_apps(&scene).await?;
    let repository = two_apps(&elsewhere).await?;
    let kubeconfig = account(&scene).await?;
    let run = &scene.stage.run;
    let mut server = ArtifactServer::start(run, &scene.namespace, &[]).await?;
    let scoped = ["--watch-all-namespaces=false"];
    let mut controller = Controller::start(run, &server, &kubeconfig, &scene.namespace, &scoped).await?;
    scene.apply(generator("here", None)).await?;
    scene.ready(Kind::ArtifactGenerator, "here").await?;
    scene.download(&scene.ready(Kind::ExternalArtifact, "here").await?).await?;
    scene.apply(generator("there", Some(&elsewhere.namespace))).await?;
    let failed = reason(&scene, "there", "SourceFetchFailed").await?;
    let text = format!("get sources failed: unable to get source '{}/repo': namespace ", elsewhere.namespace);
    ensure!(message(&failed).starts_with(&text), "{}", message(&failed));
    // A right may take a moment to be in force, and what was refused then is tried again.
    eventually("everything can be watched", PATIENCE, || async {
        let readiness = reqwest::get(format!("{}/readyz?verbose", controller.health_url())).await?.text().await?;
        ensure!(readiness.contains("readyz check passed") && !readiness.contains("though"), "{readiness}");
        Ok(())
    })
    .await?;
    controller.stop().await?;

    let direct = ["--watch-all-namespaces=false", "--feature-gates=DirectSourceFetch=true"];
    let mut controller = Controller::start(run, &server, &kubeconfig, &scene.namespace, &direct).await?;
    scene
        .wait(Kind::ArtifactGenerator, "there", "it may not get it", |object| {
            ensure!(message(object).contains("forbidden"), "{}", object["status"]);
            Ok(())
        })
        .await?;
    elsewhere
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "source"},
            "rules": [{"apiGroups": ["source.toolkit.fluxcd.io"], "resources": ["gitrepositories"], "verbs": ["get"]}],
        }))
        .await?;
    bind(&scene, &elsewhere, "Role", "source").await?;
    scene.ready(Kind::ArtifactGenerator, "there").await?;
    let first = scene.ready(Kind::ExternalArtifact, "there").await?;
    scene.download(&first).await?;

    // Nobody tells of it, but the next reconcile sees it.
    elsewhere.push("repo", &repository, &[("apps/one/a.yaml", "one: 2\n")]).await?;
    scene.reconcile(Kind::ArtifactGenerator, "there").await?;
    scene
        .wait(Kind::ExternalArtifact, "there", "a new revision", |object| {
            let (is, was) = (&object["status"]["artifact"]["revision"], &first["status"]["artifact"]["revision"]);
            ensure!(is != was, "{is}");
            Ok(())
        })
        .await?;
    controller.stop().await?;
    server.stop().await?;
    Ok(())
}
