//! A file whose object is gone already, of an artifact that no inventory names, when the controller dies.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::edits::builds;
use crate::reconcile::stored;

/// So many that their removal takes longer than it takes to see its beginning.
const ORPHANS: usize = 80;

/// How often a kill may miss the moment.
const TRIES: usize = 20;

/// What the controller finds when it starts again.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// The run that was killed is still to be done.
    Unfinished,
    /// All that can be seen in the cluster is as it should be.
    Quiet,
    /// The generator is to be deleted.
    Deleted,
}

/// Orphans that only their label tells of lose their objects first. Killed before their files are removed, the next controller finds
/// those all the same.
pub(crate) async fn are_removed_after_a_kill_between_the_two_deletions(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    scene.repository("repo", &[("a.yaml", "a: 1\n")]).await?;
    for start in [Start::Unfinished, Start::Quiet, Start::Deleted] {
        let left = killed_in_between(&scene, &mut weir).await?;
        let builds_before = builds(&weir).await?;
        prepare(&scene, start).await?;
        weir.controller.restart().await?;
        let kept = if matches!(start, Start::Deleted) { BTreeSet::new() } else { ["out-0".to_owned()].into() };
        eventually(&format!("{start:?}: {} files without an object go", left.len()), PATIENCE, || async {
            let files = with_files(&scene, &weir)?;
            ensure!(files == kept, "left: {files:?}");
            Ok(())
        })
        .await?;
        match start {
            Start::Deleted => scene.gone(Kind::ArtifactGenerator, "gen").await?,
            Start::Unfinished => _ = scene.ready(Kind::ArtifactGenerator, "gen").await?,
            Start::Quiet => ensure!(builds(&weir).await? == builds_before, "it was no quiet start"),
        }
    }
    weir.stop().await
}

fn generator(artifacts: usize) -> Value {
    let artifacts: Vec<_> =
        (0..artifacts).map(|number| artifact(&format!("out-{number}"), &[("@repo/a.yaml", "@artifact/")])).collect();
    artifact_generator("gen", "repo", json!(artifacts))
}

/// Kills the controller while it removes orphans, until some have files and no object. Returns their names.
async fn killed_in_between(scene: &Scene, weir: &mut Weir) -> Result<BTreeSet<String>> {
    for _ in 0..TRIES {
        scene.apply(generator(1 + ORPHANS)).await?;
        scene.ready(Kind::ArtifactGenerator, "gen").await?;
        weir.controller.stop().await?;
        // As after a run that died before it could write down what it published.
        let object = scene.get(Kind::ArtifactGenerator, "gen").await?.context("gen is gone")?;
        let first = json!([object["status"]["inventory"][0]]);
        scene.patch_status(Kind::ArtifactGenerator, "gen", json!({"status": {"inventory": first}})).await?;
        scene.apply(generator(1)).await?;
        weir.controller.restart().await?;
        // Without a pause: it is over soon.
        let begun = tokio::time::Instant::now();
        while with_objects(scene).await?.len() > ORPHANS {
            ensure!(begun.elapsed() < PATIENCE, "no orphan goes");
        }
        weir.controller.kill().await?;
        let objects = with_objects(scene).await?;
        let strays: BTreeSet<_> = with_files(scene, weir)?.difference(&objects).cloned().collect();
        if !strays.is_empty() {
            return Ok(strays);
        }
        weir.controller.restart().await?;
        scene.ready(Kind::ArtifactGenerator, "gen").await?;
    }
    anyhow::bail!("none of {TRIES} kills came between the deletion of an object and that of its file")
}

async fn prepare(scene: &Scene, start: Start) -> Result<()> {
    match start {
        Start::Unfinished => Ok(()),
        Start::Deleted => scene.delete(Kind::ArtifactGenerator, "gen").await,
        Start::Quiet => {
            for name in with_objects(scene).await?.iter().filter(|name| *name != "out-0") {
                match scene.api(Kind::ExternalArtifact).delete(name, &DeleteParams::default()).await {
                    // A deletion that was on its way when the controller was killed.
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    answer => drop(answer?),
                }
            }
            let object = scene.get(Kind::ArtifactGenerator, "gen").await?.context("gen is gone")?;
            let ready = json!({"type": "Ready", "status": "True", "reason": "Succeeded", "message": "as it should be",
                "observedGeneration": object["metadata"]["generation"], "lastTransitionTime": "2025-01-01T00:00:00Z"});
            scene.patch_status(Kind::ArtifactGenerator, "gen", json!({"status": {"conditions": [ready]}})).await
        }
    }
}

/// Names of the outputs.
async fn with_objects(scene: &Scene) -> Result<BTreeSet<String>> {
    let objects = scene.list(Kind::ExternalArtifact).await?;
    Ok(objects.iter().filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

/// Names of the artifacts that have files.
fn with_files(scene: &Scene, weir: &Weir) -> Result<BTreeSet<String>> {
    let files = stored(weir, &scene.namespace)?;
    Ok(files.iter().filter_map(|file| file.rsplit('/').nth(1).map(str::to_owned)).collect())
}
