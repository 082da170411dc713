//! The story, step by step. Each step proves what it says before it says it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::Value;

use crate::eventually::{PATIENCE, eventually};
use crate::git_server::Repository;
use crate::manifest;
use crate::progress::tell;
use crate::resources::{Kind, artifact, artifact_generator};
use crate::scene::Scene;
use crate::weir::Weir;

/// Tells everything; returns the repository, for more commits.
pub(super) async fn tell_all(scene: &Scene, weir: &Weir) -> Result<Repository> {
    let repository = commit(scene).await?;
    generate(scene).await?;
    apply(scene).await?;
    install(scene).await?;
    change(scene, &repository).await?;
    delete(scene, weir).await?;
    Ok(repository)
}

/// A commit in git becomes source-controller's artifact.
async fn commit(scene: &Scene) -> Result<Repository> {
    tell("1. A commit in git");
    let repository = scene.stage.git.repository("shop").await?;
    let commit = repository.commit_folder("Open the shop", &examples().join("repository")).await?;
    let mut source = example("git-repository.yaml")?;
    source.data["spec"]["url"] = repository.url().into();
    // A person at the playground should not wait a minute for a push.
    source.data["spec"]["interval"] = "3s".into();
    manifest::apply(&scene.client(), &scene.namespace, &source).await?;
    scene.fetched("shop", &commit).await?;
    tell(format!("  ok  GitRepository shop has the artifact of commit {}", &commit[..12]));
    Ok(repository)
}

/// Weir splits and composes it.
async fn generate(scene: &Scene) -> Result<()> {
    tell("2. Weir splits and composes it: ArtifactGenerator shop");
    scene.apply(serde_json::to_value(example("artifact-generator.yaml")?)?).await?;
    let generator = scene.ready(Kind::ArtifactGenerator, "shop").await?;
    for name in ["storefront", "backend-chart"] {
        let published = scene.ready(Kind::ExternalArtifact, name).await?;
        scene.download(&published).await?;
        tell(format!("  ok  ExternalArtifact {name}: {}", text(&published, "/status/artifact/revision")));
    }
    tell(format!("  ok  {}", text(&generator, "/status/conditions/0/message")));
    Ok(())
}

/// kustomize-controller applies one of them.
async fn apply(scene: &Scene) -> Result<()> {
    tell("3. kustomize-controller applies the app");
    scene.apply(serde_json::to_value(example("kustomization.yaml")?)?).await?;
    scene.config_map("storefront-settings", "greeting", "Welcome").await?;
    tell("  ok  ConfigMap storefront-settings says: greeting = Welcome");
    Ok(())
}

/// helm-controller installs the other, which was composed from two folders.
async fn install(scene: &Scene) -> Result<()> {
    tell("4. helm-controller installs the chart, composed with production's values");
    scene.apply(serde_json::to_value(example("helm-release.yaml")?)?).await?;
    scene.config_map("backend-settings", "environment", "production").await?;
    let release = scene.ready(Kind::HelmRelease, "backend").await?;
    let version = text(&release, "/status/history/0/chartVersion");
    tell(format!("  ok  ConfigMap backend-settings says: environment = production (chart {version})"));
    Ok(())
}

/// A second commit changes one artifact only, and reaches the cluster.
async fn change(scene: &Scene, repository: &Repository) -> Result<()> {
    tell("5. A second commit, below apps/storefront");
    let chart = object(scene, "backend-chart").await?;
    let app = object(scene, "storefront").await?;
    let release = history(scene).await?;
    let path = "apps/storefront/settings.yaml";
    let settings = std::fs::read_to_string(repository.work_tree().join(path))?;
    let settings = settings.replace("Welcome", "Welcome back");
    scene.push("shop", repository, &[(path, &settings)]).await?;
    scene.config_map("storefront-settings", "greeting", "Welcome back").await?;
    tell("  ok  ConfigMap storefront-settings says: greeting = Welcome back");
    scene.ready(Kind::ArtifactGenerator, "shop").await?;
    let (app_now, chart_now) = (object(scene, "storefront").await?, object(scene, "backend-chart").await?);
    let revision = text(&app_now, "/status/artifact/revision");
    ensure!(revision != text(&app, "/status/artifact/revision"), "storefront's revision did not change");
    tell(format!("  ok  storefront has changed: {revision}"));
    ensure!(
        chart_now["metadata"]["resourceVersion"] == chart["metadata"]["resourceVersion"],
        "backend-chart was written although nothing of it changed: {chart_now}"
    );
    let release_now = history(scene).await?;
    ensure!(release_now == release, "the Helm release was touched: {release_now}");
    tell("  ok  backend-chart has not been touched, nor has the Helm release");
    Ok(())
}

/// A deleted generator leaves nothing behind.
async fn delete(scene: &Scene, weir: &Weir) -> Result<()> {
    tell("6. A generator comes and goes");
    let copy = artifact("short-lived", &[("@repo/README.md", "@artifact/")]);
    scene.apply(artifact_generator("short-lived", "shop", serde_json::json!([copy]))).await?;
    scene.ready(Kind::ArtifactGenerator, "short-lived").await?;
    let published = object(scene, "short-lived").await?;
    scene.download(&published).await?;
    let folder = weir.server.storage().join("externalartifact").join(&scene.namespace).join("short-lived");
    ensure!(folder.is_dir(), "{} is not there", folder.display());
    scene.delete(Kind::ArtifactGenerator, "short-lived").await?;
    scene.gone(Kind::ArtifactGenerator, "short-lived").await?;
    scene.gone(Kind::ExternalArtifact, "short-lived").await?;
    eventually("its files are gone", PATIENCE, || async {
        let left: Vec<_> = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await?;
    tell("  ok  it left neither an ExternalArtifact nor a file");
    Ok(())
}

async fn object(scene: &Scene, name: &str) -> Result<Value> {
    scene.get(Kind::ExternalArtifact, name).await?.with_context(|| format!("no ExternalArtifact {name}"))
}

/// What Helm did for the release `backend`.
async fn history(scene: &Scene) -> Result<Value> {
    let release = scene.get(Kind::HelmRelease, "backend").await?.context("no HelmRelease backend")?;
    Ok(release["status"]["history"].clone())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn example(file: &str) -> Result<DynamicObject> {
    let mut objects = manifest::read_file(&examples().join(file))?;
    objects.pop().with_context(|| format!("examples/{file} is empty"))
}
