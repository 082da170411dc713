//! Outputs that somebody else keeps changing, or changed while the controller was away.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator, condition};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, two_apps};
use crate::repair::restored;

/// How many artifacts the server was asked to build, whatever came of it.
pub(crate) async fn builds(weir: &Weir) -> Result<u64> {
    let metrics = reqwest::get(weir.server.metrics_url()).await?.text().await?;
    let counts = metrics.lines().filter(|line| line.starts_with("weir_build_artifacts_total{"));
    counts.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
}

/// Waits until no run is under way.
async fn idle(weir: &Weir) -> Result<()> {
    eventually("no run is under way", PATIENCE, || async {
        let metrics = reqwest::get(weir.controller.metrics_url()).await?.text().await?;
        let idle = "controller_runtime_active_workers{controller=\"artifactgenerator\"} 0";
        ensure!(metrics.lines().any(|line| line == idle), "one is");
        Ok(())
    })
    .await
}

/// A generator whose outputs have labels and annotations of its own, and what its first output is like.
pub(crate) async fn published(scene: &Scene) -> Result<Value> {
    two_apps(scene).await?;
    let mut object = generator();
    object["spec"]["commonMetadata"] = json!({"labels": {"team": "a"}, "annotations": {"note": "b"}});
    scene.apply(object).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    scene.ready(Kind::ExternalArtifact, "one").await
}

/// A generator `folders` with two artifacts of each app, `of-…` and `at-…`, which differ in what their revision is.
pub(crate) fn folders() -> Value {
    let mut artifacts = ["of-{app}", "at-{app}"].map(|name| artifact(name, &[("@repo/apps/{app}/**", "@artifact/")]));
    artifacts[1]["revision"] = json!("@repo");
    let mut object = artifact_generator("folders", "repo", json!(artifacts));
    object["spec"]["pathPattern"] = json!("@repo/apps/{app}");
    object
}

/// Everything about an output is edited, one of a path pattern is too, and another one is deleted while the controller is away. All of it
/// comes back, and nothing is built.
pub(crate) async fn made_while_nobody_watched_are_corrected(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let one = published(&scene).await?;
    let two = scene.ready(Kind::ExternalArtifact, "two").await?;
    scene.apply(folders()).await?;
    scene.ready(Kind::ArtifactGenerator, "folders").await?;
    let of_one = scene.ready(Kind::ExternalArtifact, "of-one").await?;
    let builds_before = builds(&weir).await?;
    let path = one["status"]["artifact"]["path"].as_str().context("no path")?;
    let condition = |field: &str, value: Value| {
        let mut ready = condition(&one, "Ready").cloned().unwrap_or_default();
        ready[field] = value;
        json!({"conditions": [ready]})
    };
    let metadata = [
        json!({"metadata": {"labels": {"team": "z", "app.kubernetes.io/managed-by": null}}}),
        json!({"metadata": {"annotations": {"note": null}}}),
        json!({"metadata": {"ownerReferences": null}}),
        json!({"spec": {"sourceRef": {"name": "other"}}}),
    ];
    let status = [
        json!({"artifact": {"url": format!("http://elsewhere.example/{path}")}}),
        json!({"artifact": {"revision": "latest@other"}}),
        json!({"artifact": {"digest": format!("sha256:{}", "0".repeat(64))}}),
        json!({"artifact": {"size": 1}}),
        condition("reason", json!("Other")),
        condition("message", json!("other")),
    ];
    let status = status.map(|status| json!({"status": status}));
    for (edit, of_status) in metadata.into_iter().map(|edit| (edit, false)).chain(status.map(|edit| (edit, true))) {
        weir.controller.stop().await?;
        if of_status {
            scene.patch_status(Kind::ExternalArtifact, "one", edit).await?;
        } else {
            scene.patch(Kind::ExternalArtifact, "one", edit).await?;
        }
        weir.controller.restart().await?;
        restored(&scene, &one).await?;
        // A run that is cut off may have said that it is at work, which the next controller takes for drift.
        idle(&weir).await?;
    }
    weir.controller.stop().await?;
    scene.delete(Kind::ExternalArtifact, "two").await?;
    let edit = json!({"status": {"artifact": {"revision": "latest@other"}}});
    scene.patch_status(Kind::ExternalArtifact, "of-one", edit).await?;
    weir.controller.restart().await?;
    for (name, was) in [("two", &two), ("of-one", &of_one)] {
        scene
            .wait(Kind::ExternalArtifact, name, "as it was", |object| {
                ensure!(object["status"]["artifact"] == was["status"]["artifact"], "{}", object["status"]);
                Ok(())
            })
            .await?;
    }
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    scene.ready(Kind::ArtifactGenerator, "folders").await?;
    let builds = builds(&weir).await?;
    ensure!(builds == builds_before, "{builds} artifacts were built, {builds_before} before");
    weir.stop().await
}

/// Somebody answers each repair with the same edit. The first ones are repaired at once, further ones later each time, and an event
/// says who it is.
pub(crate) async fn in_a_fight_are_repaired_later_each_time(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    published(&scene).await?;
    let rival = PatchParams { field_manager: Some("rival".into()), ..PatchParams::default() };
    let edit = Patch::Merge(json!({"metadata": {"labels": {"team": "rivals"}}}));
    let mut begun = Instant::now();
    for round in 1..=8 {
        if round == 6 {
            begun = Instant::now();
        }
        scene.api(Kind::ExternalArtifact).patch("one", &rival, &edit).await?;
        scene
            .wait(Kind::ExternalArtifact, "one", &format!("repair {round}"), |object| {
                ensure!(object["metadata"]["labels"]["team"] == "a", "{}", object["metadata"]["labels"]);
                Ok(())
            })
            .await?;
    }
    // The sixth waits a second, the next ones twice as long each.
    ensure!(begun.elapsed() >= Duration::from_secs(1 + 2 + 4), "three repairs took {:?}", begun.elapsed());
    let events: Api<Event> = Api::namespaced(scene.client(), &scene.namespace);
    eventually("an event names the rival", PATIENCE, || async {
        let list = events.list(&ListParams::default()).await?;
        let messages: Vec<_> = list.items.into_iter().filter_map(|event| event.message).collect();
        let named = messages.iter().any(|text| text.contains("/one was changed") && text.contains("\"rival\""));
        ensure!(named, "{messages:#?}");
        Ok(())
    })
    .await?;
    let log = std::fs::read_to_string(weir.controller.process()?.log())?;
    ensure!(log.contains(r#""manager":"rival""#), "the log does not name it");
    weir.stop().await
}
