//! Files lost or changed behind the server's back: repaired without a touch,
//! and never served wrong meanwhile.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator, condition};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A generator with three artifacts, Ready; returns their objects.
async fn published(scene: &Scene) -> Result<Vec<Value>> {
    let files = NAMES.map(|name| (format!("{name}/file"), name.repeat(5000)));
    let files = files.each_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    scene.repository("app", &files).await?;
    let artifacts = NAMES.map(|name| artifact(name, &[(&format!("@repo/{name}/**"), "@artifact/")]));
    scene.apply(artifact_generator("app", "app", json!(artifacts))).await?;
    scene.ready(Kind::ArtifactGenerator, "app").await?;
    let mut objects = Vec::new();
    for name in NAMES {
        let object = scene.ready(Kind::ExternalArtifact, name).await?;
        scene.download(&object).await?;
        objects.push(object);
    }
    Ok(objects)
}

/// Waits until each artifact downloads as published and is Ready.
async fn repaired(scene: &Scene, objects: &[Value]) -> Result<()> {
    for object in objects {
        eventually("the published artifact downloads again", PATIENCE, || scene.download(object)).await?;
        let name = object["metadata"]["name"].as_str().context("a name")?;
        let now = scene.ready(Kind::ExternalArtifact, name).await?;
        for field in ["revision", "digest", "url"] {
            let (was, is) = (&object["status"]["artifact"][field], &now["status"]["artifact"][field]);
            ensure!(was == is, "the {field} of {name} changed from {was} to {is}");
        }
    }
    scene.ready(Kind::ArtifactGenerator, "app").await?;
    Ok(())
}

/// Watches the ExternalArtifacts from now on. Ends when each was seen not Ready,
/// with its artifact kept.
async fn record(scene: &Scene) -> Result<JoinHandle<Result<()>>> {
    let config = watcher::Config::default();
    let mut events = watcher(scene.api(Kind::ExternalArtifact), config).applied_objects().boxed();
    // The first three are those that exist: from here on no version is missed.
    for _ in NAMES {
        events.try_next().await?;
    }
    let recording = tokio::spawn(async move {
        let mut missing: Vec<_> = NAMES.to_vec();
        while let Some(object) = events.try_next().await? {
            let object = serde_json::to_value(object)?;
            let ready = condition(&object, "Ready").cloned().unwrap_or_default();
            if ready["status"] == "False" && ready["reason"] == "StorageOperationFailed" {
                ensure!(object["status"]["artifact"]["url"].is_string(), "the artifact went: {}", object["status"]);
                missing.retain(|name| object["metadata"]["name"] != *name);
            }
            if missing.is_empty() {
                break;
            }
        }
        Ok(())
    });
    Ok(recording)
}

async fn seen_not_ready(recording: JoinHandle<Result<()>>) -> Result<()> {
    let seen = tokio::time::timeout(PATIENCE, recording).await;
    seen.context("not every ExternalArtifact stopped being Ready while its bytes were gone")??
}

/// Removes everything below a folder, all in one moment: what a run that is under way has not lost yet it would make anew before anybody
/// sees it missing.
#[expect(clippy::disallowed_methods, reason = "nothing that is moved away here is to last")]
fn empty(folder: &Path) -> Result<()> {
    let away = tempfile::tempdir()?;
    for entry in folder.read_dir()? {
        let entry = entry?;
        let path = away.path().join(entry.file_name());
        std::fs::rename(entry.path(), &path)?;
        if path.is_dir() { std::fs::remove_dir_all(&path)? } else { std::fs::remove_file(&path)? }
    }
    Ok(())
}

/// The volume is emptied under the running server.
pub(crate) async fn emptied_while_running_is_repaired(scene: Scene) -> Result<()> {
    let weir = Weir::start(&scene).await?;
    let objects = published(&scene).await?;
    let recording = record(&scene).await?;
    empty(&weir.server.storage().join("externalartifact"))?;
    seen_not_ready(recording).await?;
    repaired(&scene, &objects).await
}

/// The server comes back with an empty volume.
pub(crate) async fn emptied_while_stopped_is_repaired(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let objects = published(&scene).await?;
    let recording = record(&scene).await?;
    weir.server.stop().await?;
    empty(weir.server.storage())?;
    weir.server.restart().await?;
    seen_not_ready(recording).await?;
    repaired(&scene, &objects).await
}

/// One file is removed under the running server.
pub(crate) async fn lost_file_is_repaired(scene: Scene) -> Result<()> {
    let weir = Weir::start(&scene).await?;
    let objects = published(&scene).await?;
    std::fs::remove_file(file(&weir, &objects[1])?)?;
    repaired(&scene, &objects).await
}

/// A byte is flipped under the running server, in a file that it has served.
pub(crate) async fn corrupted_while_running_is_repaired(scene: Scene) -> Result<()> {
    let weir = Weir::start(&scene).await?;
    let objects = published(&scene).await?;
    corrupt(&file(&weir, &objects[0])?)?;
    never_wrong(&objects[0]).await?;
    repaired(&scene, &objects).await
}

/// A byte is flipped while the server is stopped.
pub(crate) async fn corrupted_while_stopped_is_repaired(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let objects = published(&scene).await?;
    weir.server.kill().await?;
    corrupt(&file(&weir, &objects[0])?)?;
    weir.server.restart().await?;
    never_wrong(&objects[0]).await?;
    repaired(&scene, &objects).await
}

/// Where the server keeps the file of an artifact.
fn file(weir: &Weir, object: &Value) -> Result<PathBuf> {
    let path = object["status"]["artifact"]["path"].as_str().context("no path")?;
    Ok(weir.server.storage().join(path))
}

/// Flips a byte in the middle: same length, same inode.
fn corrupt(file: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let handle = std::fs::File::options().read(true).write(true).open(file)?;
    let middle = handle.metadata()?.len() / 2;
    let mut byte = [0];
    handle.read_exact_at(&mut byte, middle)?;
    handle.write_all_at(&[!byte[0]], middle)?;
    Ok(())
}

/// Asks until the right bytes are back. Whatever comes with 200 meanwhile must
/// be the right bytes.
async fn never_wrong(object: &Value) -> Result<()> {
    let artifact = &object["status"]["artifact"];
    let url = artifact["url"].as_str().context("no URL")?;
    let digest = eventually("an answer with 200", PATIENCE, || async {
        let response = weir_e2e::fetch::get(url).await?;
        ensure!(response.status() == 200, "{}", response.status());
        Ok(format!("sha256:{}", hex::encode(Sha256::digest(&response.bytes().await?))))
    })
    .await?;
    ensure!(artifact["digest"] == digest, "{url} gave the bytes of {digest} with 200");
    Ok(())
}
