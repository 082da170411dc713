//! The main job, end to end: git -> source-controller -> Weir -> consumers.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator, config_map_yaml, helm_release, kustomization};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{message, reason};

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

/// Shows two values of a chart: one that production changes, and one that it leaves alone.
const TWO_VALUES: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-chart\ndata:\n  \
    stage: {{ .Values.stage | quote }}\n  mode: {{ .Values.defaults.mode | quote }}\n  port: {{ .Values.defaults.port | quote }}\n";
const CHART: &str = "apiVersion: v2\nname: app\nversion: 0.1.0\n";
const VALUES: &str = "# The chart's own.\nstage: none\ndefaults:\n  mode: 0755\n  port: 80\n";
const PRODUCTION: &str = "stage: production\ndefaults: {port: 8080}\n";

/// Values that are merged into a chart's own reach its templates, and so do those that they leave alone.
pub(crate) async fn merged_values_are_released(scene: Scene) -> Result<()> {
    let _weir = Weir::start(&scene).await?;
    let files = [
        ("chart/Chart.yaml", CHART),
        ("chart/values.yaml", VALUES),
        ("chart/templates/map.yaml", TWO_VALUES),
        ("production.yaml", PRODUCTION),
    ];
    let repository = scene.repository("app", &files).await?;
    let copies = [("@repo/chart", "@artifact/"), ("@repo/production.yaml", "@artifact/chart/values.yaml")];
    let mut artifact = artifact("app", &copies);
    artifact["copy"][1]["strategy"] = json!("Merge");
    scene.apply(artifact_generator("app", "app", json!([artifact]))).await?;
    scene.apply(helm_release("app", "app")).await?;
    for (key, value) in [("stage", "production"), ("mode", "493"), ("port", "8080")] {
        scene.config_map("from-chart", key, value).await?;
    }
    scene.ready(Kind::HelmRelease, "app").await?;

    // What can not be merged says so, and where; what is released stays.
    scene.push("app", &repository, &[("production.yaml", "stage: a: b\n")]).await?;
    let expected = "app build failed: failed to apply copy operations: failed to apply copy operation from '@repo/production.yaml' to \
        '@artifact/chart/values.yaml': cannot unmarshal YAML document: error converting YAML to JSON: yaml: \
        mapping values are not allowed in this context (file 'production.yaml' of source 'repo')";
    let failed = reason(&scene, "app", "BuildFailed").await?;
    ensure!(message(&failed) == expected, "the message is {:?}", message(&failed));
    scene.ready(Kind::ExternalArtifact, "app").await?;
    Ok(())
}

/// A packed chart in the repository is unpacked and released, with values merged into its own.
pub(crate) async fn extracted_chart_is_released(scene: Scene) -> Result<()> {
    let _weir = Weir::start(&scene).await?;
    let repository = scene.repository("app", &[("production.yaml", PRODUCTION)]).await?;
    let folder = scene.stage.run.folder(&format!("{}-chart", scene.namespace))?;
    let files = [("app/Chart.yaml", CHART), ("app/values.yaml", VALUES), ("app/templates/map.yaml", TWO_VALUES)];
    std::fs::create_dir(folder.join("charts"))?;
    std::fs::write(folder.join("charts/app-0.1.0.tgz"), packed(&files)?)?;
    let commit = repository.commit_folder("Add a chart", &folder).await?;
    scene.reconcile(Kind::GitRepository, "app").await?;
    scene.fetched("app", &commit).await?;

    let copies = [("@repo/charts/**/*.tgz", "@artifact/"), ("@repo/production.yaml", "@artifact/app/values.yaml")];
    let mut artifact = artifact("app", &copies);
    artifact["copy"][0]["strategy"] = json!("Extract");
    artifact["copy"][1]["strategy"] = json!("Merge");
    scene.apply(artifact_generator("app", "app", json!([artifact]))).await?;
    let published = scene.ready(Kind::ExternalArtifact, "app").await?;
    let expected = [".", "app", "app/Chart.yaml", "app/templates", "app/templates/map.yaml", "app/values.yaml"];
    let found = names(&scene.download(&published).await?)?;
    ensure!(found == expected, "the artifact holds {found:?}");
    scene.apply(helm_release("app", "app")).await?;
    for (key, value) in [("stage", "production"), ("mode", "493"), ("port", "8080")] {
        scene.config_map("from-chart", key, value).await?;
    }
    scene.ready(Kind::HelmRelease, "app").await?;
    Ok(())
}

/// A tarball as `helm package` makes it.
fn packed(files: &[(&str, &str)]) -> Result<Vec<u8>> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut tar = tar::Builder::new(gzip);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes())?;
    }
    Ok(tar.into_inner()?.finish()?)
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
