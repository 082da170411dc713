//! Weir is installed before its resource definition: it says what is missing, and begins by itself when it is there.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use weir_e2e::control_plane::ControlPlane;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::flux::{self, Flux};
use weir_e2e::manifest;
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::run_dir::RunDir;
use weir_e2e::scene::{Scene, ensure_ready};
use weir_e2e::stage::create_namespace;
use weir_e2e::weir::{self, Weir};

const APPS: &str = "apps";

/// On a control plane of its own, since definitions belong to the whole cluster. The source is a real one: its artifact is that of
/// the shared source-controller.
pub(crate) async fn is_named_and_waited_for(scene: Scene) -> Result<()> {
    scene.repository("repo", &[("one/a.yaml", "one: 1\n")]).await?;
    let source = scene.ready(Kind::GitRepository, "repo").await?;
    let run = Arc::new(RunDir::new()?);
    let plane = ControlPlane::start(&scene.stage.tools, &run).await?;
    let client = plane.client();
    Flux::install_definitions(&scene.stage.tools, &client).await?;
    for namespace in [flux::NAMESPACE, APPS] {
        create_namespace(&client, namespace).await?;
    }
    weir::install_account(&client).await?;

    // Its start waits for /healthz: a missing definition is no reason to be restarted.
    let mut weir = Weir::start_for_all(&run, &plane, &[]).await?;
    let process = weir.controller.process()?;
    let (pid, log) = (process.pid(), process.log().to_owned());
    let missing = "the cluster does not know artifactgenerators.source.extensions.fluxcd.io: install its CustomResourceDefinition";
    let said = || Ok::<_, anyhow::Error>(std::fs::read_to_string(&log)?.matches(missing).count());
    eventually("the log names the missing definition", PATIENCE, || async {
        ensure!(said()? > 0, "it does not");
        Ok(())
    })
    .await?;

    let readiness = format!("{}/readyz", weir.controller.health_url());
    eventually("it says that it is not ready, and why", PATIENCE, || async {
        let answer = reqwest::get(&readiness).await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status == 503 && text.contains(&format!("failed: {missing}")), "{status}: {text}");
        Ok(())
    })
    .await?;
    let liveness = format!("{}/healthz?verbose", weir.controller.health_url());
    ensure!(reqwest::get(&liveness).await?.status() == 200, "it is to be restarted");

    weir::install_definition(&client).await?;
    create(&client, &source).await?;
    eventually("the generator is Ready", PATIENCE, || async {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), APPS, &Kind::ArtifactGenerator.resource());
        ensure_ready(&serde_json::to_value(api.get("gen").await?)?)
    })
    .await?;
    let outputs: Api<DynamicObject> = Api::namespaced_with(client, APPS, &Kind::ExternalArtifact.resource());
    scene.download(&serde_json::to_value(outputs.get("one").await?)?).await?;
    ensure!(reqwest::get(&readiness).await?.text().await? == "ok");
    let process = weir.controller.process()?;
    process.ensure_running()?;
    ensure!(process.pid() == pid, "the controller was started again");
    ensure!(said()? == 1, "the log says it {} times", said()?);
    weir.stop().await?;
    plane.stop().await
}

/// The source, with the artifact that another source-controller has made, and a generator.
async fn create(client: &kube::Client, source: &Value) -> Result<()> {
    let mut copy = Kind::GitRepository.object("repo");
    copy["spec"] = source["spec"].clone();
    let generator = artifact_generator("gen", "repo", json!([artifact("one", &[("@repo/one/**", "@artifact/")])]));
    for object in [copy, generator] {
        let object = serde_json::from_value(object).context("an object")?;
        manifest::apply(client, APPS, &object).await?;
    }
    let sources: Api<DynamicObject> = Api::namespaced_with(client.clone(), APPS, &Kind::GitRepository.resource());
    let status = json!({"status": {"artifact": source["status"]["artifact"]}});
    sources.patch_status("repo", &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}
