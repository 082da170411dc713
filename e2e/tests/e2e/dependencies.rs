//! Generators that wait for other objects.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_e2e::resources::{Kind, artifact, artifact_generator, condition, git_repository};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{message, reason, two_apps};

/// A generator of one artifact, which is named like it.
fn generator(name: &str, depends_on: Value) -> Value {
    let mut object = artifact_generator(name, "repo", json!([artifact(name, &[("@repo/apps/one/**", "@artifact/")])]));
    object["spec"]["dependsOn"] = depends_on;
    object
}

/// Waits until the generator says that it waits, and for what.
async fn waits(scene: &Scene, name: &str, text: &str) -> Result<()> {
    scene
        .wait(Kind::ArtifactGenerator, name, &format!("waits: {text}"), |object| {
            let ready = condition(object, "Ready").context("no Ready condition")?;
            ensure!(ready["reason"] == "DependencyNotReady" && ready["status"] == "False", "{}", object["status"]);
            ensure!(message(object) == text, "{}", message(object));
            ensure!(condition(object, "Stalled").is_none(), "{}", object["status"]);
            Ok(())
        })
        .await
}

/// One that waits for another generator goes on when that one is Ready, and not by a timer.
pub(crate) async fn other_generators_come_first(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--requeue-dependency=1h"]).await?;
    two_apps(&scene).await?;
    scene.apply(generator("second", json!([{"name": "first"}]))).await?;
    let first = format!("dependency 'ArtifactGenerator/{}/first'", scene.namespace);
    waits(&scene, "second", &format!("{first} does not exist")).await?;
    let mut broken = generator("first", json!([]));
    broken["spec"]["artifacts"][0]["copy"][0]["from"] = json!("@repo/none");
    scene.apply(broken).await?;
    reason(&scene, "first", "BuildFailed").await?;
    waits(&scene, "second", &format!("{first} is not ready")).await?;
    ensure!(scene.get(Kind::ExternalArtifact, "second").await?.is_none(), "it did not wait");
    scene.apply(generator("first", json!([]))).await?;
    scene.ready(Kind::ArtifactGenerator, "second").await?;
    scene.ready(Kind::ArtifactGenerator, "first").await?;
    scene.ready(Kind::ExternalArtifact, "second").await?;
    weir.stop().await
}

/// Whoever waits for itself is stalled, with the way back; one edit anywhere on that way is enough for all.
pub(crate) async fn a_cycle_stalls_until_it_is_broken(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--requeue-dependency=1h"]).await?;
    two_apps(&scene).await?;
    let edges = [("a", "b"), ("b", "c"), ("c", "a")];
    for (name, next) in edges {
        scene.apply(generator(name, json!([{"name": next}]))).await?;
    }
    for (name, path) in [("a", "a -> b -> c -> a"), ("b", "b -> c -> a -> b"), ("c", "c -> a -> b -> c")] {
        let stalled = reason(&scene, name, "DependencyCycle").await?;
        ensure!(message(&stalled) == format!("dependency cycle in spec.dependsOn: {path}"), "{}", message(&stalled));
        let stall = condition(&stalled, "Stalled").context("no Stalled condition")?;
        ensure!(stall["status"] == "True" && stall["reason"] == "DependencyCycle", "{stall}");
    }
    scene.apply(generator("c", json!([]))).await?;
    for name in ["c", "b", "a"] {
        let ready = scene.ready(Kind::ArtifactGenerator, name).await?;
        ensure!(condition(&ready, "Stalled").is_none(), "{}", ready["status"]);
    }
    weir.stop().await
}

/// Any kind with a condition Ready will do, as far as the controller may read it. What it may not is said, with what to do.
pub(crate) async fn other_kinds_are_asked_for(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let repository = two_apps(&scene).await?;
    let on = |version: &str, kind: &str| json!([{"apiVersion": version, "kind": kind, "name": "other"}]);
    let rows = [
        (
            "kustomize.toolkit.fluxcd.io/v1",
            "Kustomization",
            "can not be read: allow the service account of weir-controller to `get` \
             kustomizations.kustomize.toolkit.fluxcd.io (docs/security.md)",
        ),
        (
            "v1",
            "ConfigMap",
            "can not be read: allow the service account of weir-controller to `get` configmaps (docs/security.md)",
        ),
        ("v1", "Namespace", "is of a kind that has no namespace: name one that has"),
        ("example.com/v1", "Thing", "is of a kind that the API server does not have in \"example.com/v1\""),
        ("v1", "Thing", "is of a kind that the API server does not have in \"v1\""),
        ("source.toolkit.fluxcd.io/v1", "GitRepository", "does not exist"),
    ];
    for (version, kind, why) in rows {
        scene.apply(generator("gen", on(version, kind))).await?;
        waits(&scene, "gen", &format!("dependency '{kind}/{}/other' {why}", scene.namespace)).await?;
    }
    ensure!(scene.get(Kind::ExternalArtifact, "gen").await?.is_none(), "it did not wait");
    scene.apply(git_repository("other", repository.url())).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    scene.ready(Kind::ExternalArtifact, "gen").await?;
    weir.stop().await
}
