//! What others break, and how it comes back: outputs that are edited or deleted, files that vanish.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_e2e::resources::{Kind, condition, git_repository};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::edits::{builds, published};
use crate::reconcile::{generator, reason, two_apps};

/// Labels, annotations of ours, owner references, the artifact and the condition of an output come back; so does the
/// output itself, and no source is asked for. What others added stays.
pub(crate) async fn edited_and_deleted_outputs_are_restored(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let before = published(&scene).await?;
    let builds_before = builds(&weir).await?;
    let edits = [
        json!({"metadata": {"labels": {"source.extensions.fluxcd.io/generator": null}}}),
        json!({"metadata": {"labels": {"team": "z"}, "annotations": {"note": null, "theirs": "stays"}}}),
        json!({"metadata": {"ownerReferences": null}}),
        json!({"spec": {"sourceRef": {"name": "other"}}}),
    ];
    for edit in edits {
        scene.patch(Kind::ExternalArtifact, "one", edit).await?;
        restored(&scene, &before).await?;
    }
    let parameters = kube::api::PatchParams::default();
    for edit in [json!({"artifact": {"revision": "latest@evil"}}), json!({"artifact": null}), json!({"conditions": []})]
    {
        let status = kube::api::Patch::Merge(json!({"status": edit}));
        scene.api(Kind::ExternalArtifact).patch_status("one", &parameters, &status).await?;
        restored(&scene, &before).await?;
    }
    let object = scene.get(Kind::ExternalArtifact, "one").await?.context("one is gone")?;
    ensure!(object["metadata"]["annotations"]["theirs"] == "stays", "{}", object["metadata"]);
    scene.delete(Kind::ExternalArtifact, "one").await?;
    restored(&scene, &before).await?;
    scene.download(&before).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let builds = builds(&weir).await?;
    ensure!(builds == builds_before, "{builds} artifacts were built, {builds_before} before");
    weir.stop().await
}

/// Waits until everything of ours is as it was.
pub(crate) async fn restored(scene: &Scene, before: &Value) -> Result<()> {
    scene
        .wait(Kind::ExternalArtifact, "one", "as it was", |object| {
            let uid = &before["metadata"]["labels"]["source.extensions.fluxcd.io/generator"];
            for (key, value) in before["metadata"]["labels"].as_object().into_iter().flatten() {
                ensure!(object["metadata"]["labels"][key] == *value, "{}", object["metadata"]);
            }
            ensure!(object["metadata"]["annotations"]["note"] == "b", "{}", object["metadata"]);
            ensure!(object["metadata"]["ownerReferences"][0]["uid"] == *uid, "{}", object["metadata"]);
            ensure!(object["spec"] == before["spec"], "{}", object["spec"]);
            ensure!(object["status"]["artifact"] == before["status"]["artifact"], "{}", object["status"]);
            let ready = condition(object, "Ready").context("no Ready condition")?;
            let said = (&ready["status"], &ready["reason"], &ready["message"]);
            ensure!(said == (&json!("True"), &json!("Succeeded"), &json!("Artifact is ready")), "{ready}");
            ensure!(ready["observedGeneration"] == object["metadata"]["generation"], "{ready}");
            Ok(())
        })
        .await
}

/// The volume is emptied while the source is away: the output says so and keeps its artifact; with the source it comes back.
pub(crate) async fn lost_files_take_ready_away_until_rebuilt(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let before = scene.ready(Kind::ExternalArtifact, "one").await?;
    scene.delete(Kind::GitRepository, "repo").await?;
    reason(&scene, "gen", "SourceFetchFailed").await?;
    ensure!(scene.ready(Kind::ExternalArtifact, "one").await.is_ok(), "a missing source took Ready away");

    // What is published counts, also where the inventory does not know it, as after a run that died.
    let object = scene.get(Kind::ArtifactGenerator, "gen").await?.context("gen is gone")?;
    let rest = json!({"status": {"inventory": [object["status"]["inventory"][1]]}});
    scene.patch_status(Kind::ArtifactGenerator, "gen", rest).await?;
    std::fs::remove_dir_all(weir.server.storage().join("externalartifact").join(&scene.namespace))?;
    lost(&scene).await?;
    let url = before["status"]["artifact"]["url"].as_str().context("no url")?;
    ensure!(weir_e2e::fetch::get(url).await?.status() == 404);

    scene.apply(git_repository("repo", repository.url())).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let after = scene.ready(Kind::ExternalArtifact, "one").await?;
    ensure!(after["status"]["artifact"]["revision"] == before["status"]["artifact"]["revision"]);
    scene.download(&after).await?;
    weir.stop().await
}

/// Waits until both outputs say that their files are lost.
pub(crate) async fn lost(scene: &Scene) -> Result<()> {
    for name in ["one", "two"] {
        scene
            .wait(Kind::ExternalArtifact, name, "not Ready, with its artifact", |object| {
                let ready = condition(object, "Ready").context("no Ready condition")?;
                ensure!(ready["status"] == "False" && ready["reason"] == "StorageOperationFailed", "{ready}");
                ensure!(object["status"]["artifact"]["url"].is_string(), "{}", object["status"]);
                Ok(())
            })
            .await?;
    }
    Ok(())
}

/// A paused generator repairs nothing, but what it published must not be said to be there when it is not.
pub(crate) async fn a_paused_generator_takes_ready_from_what_is_lost(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    let before = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    let annotation = |value: &str, token: &str| {
        json!({"metadata": {"annotations": {
            "source.extensions.fluxcd.io/reconcile": value, "reconcile.fluxcd.io/requestedAt": token,
        }}})
    };
    scene.patch(Kind::ArtifactGenerator, "gen", annotation("disabled", "1")).await?;
    weir.server.kill().await?;
    std::fs::remove_dir_all(weir.server.storage().join("externalartifact"))?;
    weir.server.restart().await?;
    lost(&scene).await?;
    let paused = scene.get(Kind::ArtifactGenerator, "gen").await?.context("gen is gone")?;
    ensure!(paused["status"]["conditions"] == before["status"]["conditions"], "{}", paused["status"]);
    scene.patch(Kind::ArtifactGenerator, "gen", annotation("enabled", "2")).await?;
    served(&scene, &one).await?;
    scene.ready(Kind::ExternalArtifact, "one").await?;
    weir.stop().await
}

/// The sources moved while the server was away with the volume, and the new one does not answer: the build takes minutes, and
/// outputs without bytes must not wait for it.
pub(crate) async fn a_stuck_build_does_not_hide_lost_files(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    let source = scene.ready(Kind::GitRepository, "repo").await?;
    let artifact = &source["status"]["artifact"];
    scene.apply(Kind::ExternalArtifact.object("upstream")).await?;
    scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": artifact}})).await?;
    let mut object = generator();
    object["spec"]["sources"] = json!([{"alias": "repo", "kind": "ExternalArtifact", "name": "upstream"}]);
    scene.apply(object).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.server.kill().await?;
    std::fs::remove_dir_all(weir.server.storage().join("externalartifact"))?;
    // Connections are taken by the kernel, and never answered.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let moved =
        json!({"url": format!("http://{}/a.tar.gz", silent.local_addr()?), "revision": "moved", "digest": NOWHERE});
    scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": moved}})).await?;
    reason(&scene, "gen", "StorageOperationFailed").await?;
    weir.server.restart().await?;
    lost(&scene).await?;
    reason(&scene, "gen", "Progressing").await?;
    scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": artifact}})).await?;
    weir.stop().await
}

/// A digest that nothing has.
const NOWHERE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// A server that comes back with an empty volume, and a file that is damaged in place: both are noticed without a touch.
pub(crate) async fn an_emptied_volume_and_a_damaged_file_are_rebuilt(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    weir.server.kill().await?;
    std::fs::remove_dir_all(weir.server.storage().join("externalartifact"))?;
    weir.server.restart().await?;
    served(&scene, &one).await?;

    let path = one["status"]["artifact"]["path"].as_str().context("no path")?;
    std::fs::write(weir.server.storage().join(path), b"damaged")?;
    served(&scene, &one).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    scene.ready(Kind::ExternalArtifact, "one").await?;
    weir.stop().await
}

/// Waits until the artifact can be downloaded with its digest.
pub(crate) async fn served(scene: &Scene, object: &Value) -> Result<()> {
    let what = "the artifact is served again";
    weir_e2e::eventually::eventually(what, weir_e2e::eventually::PATIENCE, || async {
        scene.download(object).await.map(drop)
    })
    .await
}
