//! The main job, end to end: git -> source-controller -> Weir -> consumers.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator, config_map_yaml, helm_release, kustomization};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

/// A folder of the repository becomes an artifact that kustomize-controller applies.
pub(crate) async fn first_commit_is_applied(scene: Scene) -> Result<()> {
    let _weir = Weir::start(&scene).await?;
    let map = config_map_yaml("settings", "greeting", "hello");
    scene.repository("app", &[("deploy/map.yaml", &map), ("README.md", "not deployed")]).await?;
    let copies = [("@repo/deploy/**", "@artifact/")];
    scene.apply(artifact_generator("app", "app", json!([artifact("app", &copies)]))).await?;
    let generator = scene.ready(Kind::ArtifactGenerator, "app").await?;
    let inventory = &generator["status"]["inventory"];
    ensure!(inventory.as_array().is_some_and(|list| list.len() == 1), "inventory is {inventory}");

    let published = scene.ready(Kind::ExternalArtifact, "app").await?;
    ensure!(names(&scene.download(&published).await?)? == [".", "map.yaml"], "not the folder's content");
    scene.apply(kustomization("app", &scene.namespace, (Kind::ExternalArtifact, "app"), "./")).await?;
    scene.config_map("settings", "greeting", "hello").await
}

/// A chart composed from two folders is installed by helm-controller, with the
/// values that were copied over its own.
pub(crate) async fn composed_chart_is_released(scene: Scene) -> Result<()> {
    let _weir = Weir::start(&scene).await?;
    let template = config_map_yaml("from-chart", "stage", "{{ .Values.stage }}");
    let files = [
        ("chart/Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n"),
        ("chart/values.yaml", "stage: none\n"),
        ("chart/templates/map.yaml", &template),
        ("production.yaml", "stage: production\n"),
    ];
    scene.repository("app", &files).await?;
    let copies = [("@repo/chart", "@artifact/"), ("@repo/production.yaml", "@artifact/chart/values.yaml")];
    scene.apply(artifact_generator("app", "app", json!([artifact("app", &copies)]))).await?;
    scene.apply(helm_release("app", "app")).await?;
    scene.config_map("from-chart", "stage", "production").await?;
    scene.ready(Kind::HelmRelease, "app").await?;
    Ok(())
}

/// A second commit changes the affected artifact only, and reaches the cluster.
pub(crate) async fn second_commit_changes_only_the_affected(scene: Scene) -> Result<()> {
    let _weir = Weir::start(&scene).await?;
    let (a, b) = (config_map_yaml("a", "key", "one"), config_map_yaml("b", "key", "one"));
    let repository = scene.repository("app", &[("a/map.yaml", &a), ("b/map.yaml", &b)]).await?;
    let artifacts = ["a", "b"].map(|name| artifact(name, &[(&format!("@repo/{name}/**"), "@artifact/")]));
    scene.apply(artifact_generator("app", "app", json!(artifacts))).await?;
    for name in ["a", "b"] {
        scene.apply(kustomization(name, &scene.namespace, (Kind::ExternalArtifact, name), "./")).await?;
        scene.config_map(name, "key", "one").await?;
    }
    let before = scene.ready(Kind::ExternalArtifact, "b").await?;
    let changed = scene.ready(Kind::ExternalArtifact, "a").await?;

    scene.push("app", &repository, &[("a/map.yaml", &config_map_yaml("a", "key", "two"))]).await?;
    scene.config_map("a", "key", "two").await?;
    scene.ready(Kind::ArtifactGenerator, "app").await?;

    let now = scene.ready(Kind::ExternalArtifact, "a").await?;
    for field in ["revision", "digest", "url"] {
        let (old, new) = (&changed["status"]["artifact"][field], &now["status"]["artifact"][field]);
        ensure!(old != new, "the {field} of the changed artifact is still {old}");
    }
    let after = scene.ready(Kind::ExternalArtifact, "b").await?;
    ensure!(before == after, "the unaffected artifact was written: {before} became {after}");
    // A client that still holds the old URL gets what it was promised.
    scene.download(&changed).await?;
    Ok(())
}

/// A deleted generator leaves neither an ExternalArtifact nor a file.
pub(crate) async fn deleted_generator_leaves_nothing(scene: Scene) -> Result<()> {
    let weir = Weir::start(&scene).await?;
    scene.repository("app", &[("a/x", "1"), ("b/x", "2")]).await?;
    let artifacts = ["a", "b"].map(|name| artifact(name, &[(&format!("@repo/{name}/**"), "@artifact/")]));
    scene.apply(artifact_generator("app", "app", json!(artifacts))).await?;
    scene.ready(Kind::ArtifactGenerator, "app").await?;
    let stored = weir.server.files()?;
    ensure!(stored.iter().filter(|file| file.ends_with(".tar.gz")).count() == 2, "stored are {stored:?}");

    scene.delete(Kind::ArtifactGenerator, "app").await?;
    scene.gone(Kind::ArtifactGenerator, "app").await?;
    for name in ["a", "b"] {
        scene.gone(Kind::ExternalArtifact, name).await?;
    }
    eventually("no file is left", PATIENCE, || async {
        let left = weir.server.files()?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
}

/// The names in a gzip-compressed tar, in order.
fn names(archive: &[u8]) -> Result<Vec<String>> {
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    tar.entries()?.map(|entry| Ok(entry?.path().context("a name")?.display().to_string())).collect()
}
