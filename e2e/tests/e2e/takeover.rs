//! Weir starts where source-watcher stopped: on its volume, with its objects. And the way back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::flux::NAMESPACE;
use weir_e2e::git_server::Repository;
use weir_e2e::resources::{Kind, artifact, artifact_generator, condition, config_map_yaml, kustomization};
use weir_e2e::scene::{Scene, ensure_ready};
use weir_e2e::source_watcher::{Drift, MANAGER, Output, SourceWatcher, drift};
use weir_e2e::weir::{ArtifactServer, Controller, SERVICE_ACCOUNT};

/// The apps, and what source-watcher's digest algorithm was when it stored each.
const APPS: [(&str, &str); 3] = [("one", "sha256"), ("two", "sha512"), ("three", "blake3")];

/// What a swap must not change.
const FIELDS: [&str; 6] = ["revision", "digest", "url", "path", "size", "lastUpdateTime"];

/// Where source-watcher stopped.
struct Left {
    /// Weir's server: not running, on source-watcher's volume and address.
    server: ArtifactServer,
    repository: Repository,
    /// The outputs by name.
    outputs: BTreeMap<String, Value>,
    /// The Kustomizations that consume two of them, by name.
    consumers: BTreeMap<String, Value>,
}

/// `gen` makes an artifact of each app: plain ones, and one that takes revision and origin revision from the source.
fn generator() -> Value {
    let mut artifacts = APPS.map(|(app, _)| artifact(app, &[(&format!("@repo/{app}/**"), "@artifact/")]));
    artifacts[2]["revision"] = json!("@repo");
    artifacts[2]["originRevision"] = json!("@repo");
    artifact_generator("gen", "repo", json!(artifacts))
}

/// A user, source-watcher, and kustomize-controller have been at work; then source-watcher is stopped.
async fn left(scene: &Scene) -> Result<Left> {
    let run = &scene.stage.run;
    let mut server = ArtifactServer::start(run, &scene.namespace, &[]).await?;
    server.stop().await?;
    let volume = server.storage().to_owned();
    fs::remove_dir_all(volume.join(".weir"))?;
    ensure!(volume.read_dir()?.next().is_none(), "the volume is not new");

    let maps = APPS.map(|(app, _)| (format!("{app}/map.yaml"), config_map_yaml(app, "key", "first")));
    let mut files: Vec<_> = maps.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.extend([("one/logo.png", "left out of archives"), ("one/deep/er/note.txt", "kept"), ("README.md", "")]);
    let repository = scene.repository("repo", &files).await?;
    let script = repository.work_tree().join("one/bin/run.sh");
    fs::create_dir(script.parent().context("a folder")?)?;
    fs::write(&script, "#!/bin/sh\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let commit = scene.push("repo", &repository, &[("README.md", "two commits")]).await?;

    scene.apply(generator()).await?;
    let revision = format!("main@sha1:{commit}");
    let folders = APPS.map(|(app, _)| repository.work_tree().join(app));
    let mut outputs: Vec<Output<'_>> =
        APPS.iter().zip(&folders).map(|((app, algorithm), folder)| output(app, algorithm, folder)).collect();
    outputs[2].revision = Some(&revision);
    outputs[2].origin = Some(&revision);
    let source_watcher = SourceWatcher::new(scene, &volume, server.address());
    source_watcher.reconcile("gen", &outputs).await?;
    ensure!(drift(scene, &volume, "gen").await?.is_none(), "source-watcher itself would not leave it so");

    let mut serving = source_watcher.serve().await?;
    let mut consumers = BTreeMap::new();
    for (app, _) in &APPS[..2] {
        scene.apply(kustomization(app, &scene.namespace, (Kind::ExternalArtifact, app), "./")).await?;
        scene.config_map(app, "key", "first").await?;
        consumers.insert((*app).to_owned(), scene.ready(Kind::Kustomization, app).await?);
    }
    let outputs = published(scene).await?;
    serving.terminate().await?;
    Ok(Left { server, repository, outputs, consumers })
}

fn output<'a>(name: &'a str, algorithm: &'a str, folder: &'a Path) -> Output<'a> {
    Output { name, folder, algorithm, revision: None, origin: None }
}

/// The outputs of `gen`.
async fn published(scene: &Scene) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for (app, _) in APPS {
        found.insert(app.to_owned(), scene.get(Kind::ExternalArtifact, app).await?.context("it is gone")?);
    }
    Ok(found)
}

/// Weir comes. Waits until both programs are ready.
async fn start(scene: &Scene, server: &mut ArtifactServer) -> Result<Controller> {
    server.restart().await?;
    let kubeconfig = scene.stage.control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
    let arguments = ["--watch-all-namespaces=false"];
    Controller::start(&scene.stage.run, server, &kubeconfig, &scene.namespace, &arguments).await
}

/// Waits until the outputs are Weir's: it gives each an owner.
async fn taken_over(scene: &Scene, generator: &str, outputs: &[&str]) -> Result<()> {
    let generator = scene.ready(Kind::ArtifactGenerator, generator).await?;
    for name in outputs {
        scene
            .wait(Kind::ExternalArtifact, name, "owned by the generator", |object| {
                let owner = &object["metadata"]["ownerReferences"][0]["uid"];
                ensure!(*owner == generator["metadata"]["uid"], "{}", object["metadata"]);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// Asks for a reconcile and waits for its end.
async fn reconciled(scene: &Scene, name: &str) -> Result<Value> {
    scene.reconcile(Kind::ArtifactGenerator, name).await?;
    scene
        .wait(Kind::ArtifactGenerator, name, "the request is handled", |object| {
            let asked = &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
            ensure!(object["status"]["lastHandledReconcileAt"] == *asked, "{}", object["status"]);
            Ok(object.clone())
        })
        .await
}

/// Everything but the owner is as source-watcher wrote it, down to who manages each field.
fn ensure_same(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Result<()> {
    for (name, was) in before {
        let is = &after[name];
        for field in FIELDS {
            let (was, is) = (&was["status"]["artifact"][field], &is["status"]["artifact"][field]);
            ensure!(was == is, "the {field} of {name} changed from {was} to {is}");
        }
        ensure!(was["status"] == is["status"], "{name}: {} became {}", was["status"], is["status"]);
        ensure!(was["spec"] == is["spec"], "{name}: {} became {}", was["spec"], is["spec"]);
        ensure!(was["metadata"]["labels"] == is["metadata"]["labels"], "{name}: {}", is["metadata"]);
        let managers = is["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        ensure!(managers.len() == 2, "one for the object, one for its status: {managers:?}");
        ensure!(
            managers.iter().all(|entry| entry["manager"] == MANAGER && entry["operation"] == "Apply"),
            "{managers:?}"
        );
    }
    Ok(())
}

/// What the artifact server counted, by outcome.
async fn count(server: &ArtifactServer, outcome: &str) -> Result<f64> {
    let text = reqwest::get(server.metrics_url()).await?.text().await?;
    let name = format!("weir_build_artifacts_total{{outcome=\"{outcome}\"}} ");
    let found = text.lines().find_map(|line| line.strip_prefix(&name));
    Ok(found.map_or(Ok(0.0), str::parse)?)
}

/// Where the volume has the file of an output.
fn file(volume: &Path, output: &Value) -> Result<PathBuf> {
    Ok(volume.join(output["status"]["artifact"]["path"].as_str().context("no path")?))
}

/// On a volume that stays, no revision, digest or URL moves, nothing is archived and no consumer runs. What source-watcher left behind
/// goes; what is nobody's stays. The next commit moves what it touches.
pub(crate) async fn a_persistent_volume_changes_nothing(scene: Scene) -> Result<()> {
    let Left { mut server, repository, outputs, consumers } = left(&scene).await?;
    let volume = server.storage().to_owned();
    let folder = file(&volume, &outputs["one"])?.parent().context("a folder")?.to_owned();
    let half = format!("{}4026531840", file(&volume, &outputs["one"])?.display());
    fs::write(&half, "half")?;
    fs::create_dir(volume.join("lost+found"))?;
    fs::write(folder.join("notes.lock"), "")?;
    let before = server.files()?;
    ensure!(before.iter().filter(|file| file.ends_with(".tar.gz.lock")).count() == APPS.len(), "{before:?}");

    let mut controller = start(&scene, &mut server).await?;
    taken_over(&scene, "gen", &["one", "two", "three"]).await?;
    ensure_same(&outputs, &published(&scene).await?)?;
    ensure!(
        count(&server, "built").await? == 0.0 && count(&server, "unchanged").await? == 3.0,
        "something was archived"
    );
    let generator = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let finalizers = &generator["metadata"]["finalizers"];
    ensure!(*finalizers == json!(["source.extensions.fluxcd.io/finalizer"]), "{finalizers}");
    let left = server.files()?;
    let records = left.iter().filter(|file| file.ends_with(".record")).count();
    let locks: Vec<_> = left.iter().filter(|file| file.ends_with(".lock")).collect();
    ensure!(records == APPS.len() && locks.len() == 1 && locks[0].ends_with("/notes.lock"), "{left:?}");
    ensure!(!Path::new(&half).exists() && volume.join("lost+found").exists());

    // Also both programs coming anew, and a look at everything, move nothing.
    let taken = published(&scene).await?;
    controller.stop().await?;
    server.stop().await?;
    server.restart().await?;
    controller.restart().await?;
    reconciled(&scene, "gen").await?;
    ensure!(published(&scene).await? == taken, "an output was written again");
    ensure!(count(&server, "built").await? == 0.0, "something was archived");

    let map = config_map_yaml("one", "key", "second");
    scene.push("repo", &repository, &[("one/map.yaml", &map)]).await?;
    scene.config_map("one", "key", "second").await?;
    let one = moved(&scene, "one", &taken).await?;
    let digest = one["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).context("no digest")?;
    ensure!(one["path"] == format!("externalartifact/{}/one/{digest}.tar.gz", scene.namespace), "{one}");
    moved(&scene, "three", &taken).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(count(&server, "built").await? == 1.0, "one app changed");
    let now = published(&scene).await?;
    ensure!(now["two"] == taken["two"], "it was written again: {}", now["two"]);
    // kustomize-controller heard of the owners before it heard of the commit.
    scene.ready(Kind::Kustomization, "one").await?;
    ensure!(runs(&scene, "one").await? == 2, "one run for each revision");
    ensure!(scene.get(Kind::Kustomization, "two").await?.as_ref() == Some(&consumers["two"]), "it ran again");
    // The source's revision moved; the content, and so the file and where it came from, did not.
    let (was, is) = (&taken["three"]["status"]["artifact"], &now["three"]["status"]["artifact"]);
    ensure!(is["revision"] != was["revision"], "{is}");
    ensure!(["digest", "url", "metadata"].iter().all(|field| is[field] == was[field]), "{was} became {is}");
    controller.stop().await?;
    server.stop().await?;
    Ok(())
}

/// Waits until an output has another revision than before, and returns its artifact.
async fn moved(scene: &Scene, name: &str, before: &BTreeMap<String, Value>) -> Result<Value> {
    scene
        .wait(Kind::ExternalArtifact, name, "a new revision", |object| {
            let (is, was) = (&object["status"]["artifact"], &before[name]["status"]["artifact"]);
            ensure!(is["revision"] != was["revision"], "{is}");
            Ok(is.clone())
        })
        .await
}

/// How often kustomize-controller has applied the Kustomization.
async fn runs(scene: &Scene, name: &str) -> Result<u64> {
    let object = scene.get(Kind::Kustomization, name).await?.context("it is gone")?;
    let history = object["status"]["history"].as_array().cloned().unwrap_or_default();
    ensure!(!history.is_empty(), "it has no history: {}", object["status"]);
    Ok(history.iter().filter_map(|entry| entry["totalReconciliations"].as_u64()).sum())
}

/// What the spec named when source-watcher last ran, and names no more, goes.
pub(crate) async fn an_orphan_of_source_watcher_is_removed(scene: Scene) -> Result<()> {
    let Left { mut server, repository, .. } = left(&scene).await?;
    let volume = server.storage().to_owned();
    let copies = [("@repo/two/**", "@artifact/")];
    let mut less = artifact_generator("less", "repo", json!([artifact("kept", &copies), artifact("dropped", &copies)]));
    scene.apply(less.clone()).await?;
    let folder = repository.work_tree().join("two");
    let outputs = ["kept", "dropped"].map(|name| output(name, "sha256", &folder));
    SourceWatcher::new(&scene, &volume, server.address()).reconcile("less", &outputs).await?;
    let kept = scene.ready(Kind::ExternalArtifact, "kept").await?;
    let dropped = scene.ready(Kind::ExternalArtifact, "dropped").await?;
    ensure!(file(&volume, &dropped)?.exists());
    less["spec"]["artifacts"] = json!([artifact("kept", &copies)]);
    scene.apply(less).await?;
    ensure!(drift(&scene, &volume, "less").await? == Some(Drift::GenerationChanged));

    let mut controller = start(&scene, &mut server).await?;
    scene.gone(Kind::ExternalArtifact, "dropped").await?;
    taken_over(&scene, "less", &["kept"]).await?;
    let is = scene.get(Kind::ExternalArtifact, "kept").await?.context("it is gone")?;
    ensure!(is["status"] == kept["status"], "{} became {}", kept["status"], is["status"]);
    ensure!(!file(&volume, &dropped)?.parent().context("a folder")?.exists(), "{:?}", server.files()?);
    ensure!(count(&server, "built").await? == 0.0, "something was archived");
    ensure!(drift(&scene, &volume, "less").await?.is_none());
    controller.stop().await?;
    server.stop().await?;
    Ok(())
}

/// With an empty volume everything is built anew, and each consumer runs once: its revision is the content's from now on. One that has
/// the source's revision keeps it.
pub(crate) async fn an_empty_volume_changes_each_revision_once(scene: Scene) -> Result<()> {
    let Left { mut server, outputs, .. } = left(&scene).await?;
    fs::remove_dir_all(server.storage().join("externalartifact"))?;
    let mut controller = start(&scene, &mut server).await?;
    taken_over(&scene, "gen", &["one", "two", "three"]).await?;
    // The owner is written first, and then the status.
    for (name, was) in &outputs {
        scene
            .wait(Kind::ExternalArtifact, name, "Ready with another URL", |object| {
                ensure_ready(object)?;
                let (is, was) = (&object["status"]["artifact"]["url"], &was["status"]["artifact"]["url"]);
                ensure!(is != was, "{name}: a file of ours under a name of theirs: {is}");
                Ok(())
            })
            .await?;
    }
    let now = published(&scene).await?;
    for (name, output) in &now {
        let (is, was) = (&output["status"]["artifact"], &outputs[name]["status"]["artifact"]);
        scene.download(output).await?;
        ensure!((is["revision"] == was["revision"]) == (name == "three"), "{name}: {was} became {is}");
    }
    for app in ["one", "two"] {
        let revision = &now[app]["status"]["artifact"]["revision"];
        scene
            .wait(Kind::Kustomization, app, "the new revision is applied", |object| {
                ensure!(object["status"]["lastAppliedRevision"] == *revision, "{}", object["status"]);
                Ok(())
            })
            .await?;
        scene.ready(Kind::Kustomization, app).await?;
        ensure!(runs(&scene, app).await? == 2, "one run for each revision");
    }
    reconciled(&scene, "gen").await?;
    ensure!(published(&scene).await? == now, "once is enough");
    controller.stop().await?;
    server.stop().await?;
    Ok(())
}

/// After a swap, and after commits that Weir has carried out, source-watcher comes back and finds nothing to do.
pub(crate) async fn the_way_back_rebuilds_nothing(scene: Scene) -> Result<()> {
    let Left { mut server, repository, .. } = left(&scene).await?;
    let volume = server.storage().to_owned();
    let mut controller = start(&scene, &mut server).await?;
    taken_over(&scene, "gen", &["one", "two", "three"]).await?;
    // A run that takes long says meanwhile that it is at work, which is drift to source-watcher.
    reconciled(&scene, "gen").await?;
    ensure!(drift(&scene, &volume, "gen").await?.is_none(), "right after the swap");
    scene.push("repo", &repository, &[("one/map.yaml", &config_map_yaml("one", "key", "second"))]).await?;
    scene.config_map("one", "key", "second").await?;
    reconciled(&scene, "gen").await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    controller.stop().await?;
    server.stop().await?;
    ensure!(drift(&scene, &volume, "gen").await?.is_none(), "after a commit");

    // What it would find if something were wrong.
    let one = scene.get(Kind::ExternalArtifact, "one").await?.context("one is gone")?;
    let (path, bytes) = (file(&volume, &one)?, fs::read(file(&volume, &one)?)?);
    fs::write(&path, "other bytes")?;
    ensure!(drift(&scene, &volume, "gen").await? == Some(Drift::ArtifactCorrupted));
    fs::remove_file(&path)?;
    ensure!(drift(&scene, &volume, "gen").await? == Some(Drift::ArtifactMissing));
    fs::write(&path, bytes)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let edited = json!({"status": {"artifact": {"digest": "sha256:00"}}});
    scene.patch_status(Kind::ExternalArtifact, "one", edited).await?;
    ensure!(drift(&scene, &volume, "gen").await? == Some(Drift::ExternalArtifactsChanged));
    let ready = scene.get(Kind::ArtifactGenerator, "gen").await?.context("gen is gone")?;
    ensure!(condition(&ready, "Stalled").is_none(), "{}", ready["status"]);

    // Its file server has what is published.
    let mut serving = SourceWatcher::new(&scene, &volume, server.address()).serve().await?;
    for (app, algorithm) in &APPS[..2] {
        let object = scene.get(Kind::ExternalArtifact, app).await?.context("it is gone")?;
        let url = object["status"]["artifact"]["url"].as_str().context("no URL")?;
        eventually(&format!("{app} ({algorithm}) is served"), PATIENCE, || async {
            reqwest::get(url).await?.error_for_status()?;
            Ok(())
        })
        .await?;
    }
    serving.terminate().await?;
    Ok(())
}
