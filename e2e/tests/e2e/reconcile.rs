//! What a generator's spec and state lead to, on a real API server, source-controller and artifact server.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::git_server::Repository;
use weir_e2e::resources::{Kind, artifact, artifact_generator, condition};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

/// A repository with a folder for each of two apps.
pub(crate) async fn two_apps(scene: &Scene) -> Result<Repository> {
    let files = [("apps/one/a.yaml", "one: 1\n"), ("apps/two/a.yaml", "two: 1\n")];
    scene.repository("repo", &files).await
}

/// One artifact for each of the two apps.
pub(crate) fn generator() -> Value {
    let copies = |app: &str| artifact(app, &[(&format!("@repo/apps/{app}/**"), "@artifact/")]);
    artifact_generator("gen", "repo", json!([copies("one"), copies("two")]))
}

/// Waits until the generator's Ready condition has this reason; returns the generator.
pub(crate) async fn reason(scene: &Scene, name: &str, reason: &str) -> Result<Value> {
    scene
        .wait(Kind::ArtifactGenerator, name, &format!("Ready says {reason}"), |object| {
            let ready = condition(object, "Ready").context("no Ready condition")?;
            ensure!(ready["reason"] == reason, "conditions are {}", object["status"]["conditions"]);
            Ok(object.clone())
        })
        .await
}

/// The message of the Ready condition.
pub(crate) fn message(object: &Value) -> &str {
    condition(object, "Ready").and_then(|ready| ready["message"].as_str()).unwrap_or_default()
}

/// Names of the outputs, in order.
pub(crate) async fn outputs(scene: &Scene) -> Result<Vec<String>> {
    let objects = scene.list(Kind::ExternalArtifact).await?;
    let mut names: Vec<String> =
        objects.iter().filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

/// The files stored for a namespace, without records and folders.
pub(crate) fn stored(weir: &Weir, namespace: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![weir.server.storage().join("externalartifact").join(namespace)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.display().to_string());
            }
        }
    }
    Ok(files)
}

/// Commit, generator, outputs; a second commit moves only the output that it touches.
pub(crate) async fn a_commit_moves_only_what_it_touches(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(generator()).await?;
    let ready = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(message(&ready) == "reconciliation succeeded, generated 2 artifact(s)", "{}", message(&ready));
    let [one, two] =
        [scene.ready(Kind::ExternalArtifact, "one").await?, scene.ready(Kind::ExternalArtifact, "two").await?];
    let (labels, uid) = (&one["metadata"]["labels"], &ready["metadata"]["uid"]);
    ensure!(labels["source.extensions.fluxcd.io/generator"] == *uid, "labels are {labels}");
    ensure!(labels["app.kubernetes.io/managed-by"] == "source-watcher", "labels are {labels}");
    ensure!(one["metadata"]["ownerReferences"][0]["uid"] == *uid, "{}", one["metadata"]);
    ensure!(one["spec"]["sourceRef"]["name"] == "gen", "{}", one["spec"]);
    let managers: Vec<&Value> =
        one["metadata"]["managedFields"].as_array().into_iter().flatten().map(|entry| &entry["manager"]).collect();
    ensure!(managers.iter().all(|manager| **manager == "source-watcher"), "managers are {managers:?}");
    scene.download(&one).await?;

    scene.push("repo", &repository, &[("apps/two/a.yaml", "two: 2\n")]).await?;
    let moved = scene
        .wait(Kind::ExternalArtifact, "two", "a new revision", |object| {
            ensure!(object["status"]["artifact"]["revision"] != two["status"]["artifact"]["revision"]);
            Ok(object.clone())
        })
        .await?;
    scene.download(&moved).await?;
    let source = scene.ready(Kind::GitRepository, "repo").await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let still = scene.get(Kind::ExternalArtifact, "one").await?.context("one is gone")?;
    ensure!(still["metadata"]["resourceVersion"] == one["metadata"]["resourceVersion"], "one was written again");
    ensure!(source["status"]["artifact"]["revision"].is_string());
    weir.stop().await
}

/// §6: a spec that can not be carried out stalls, and a better one is carried out.
pub(crate) async fn a_spec_that_breaks_a_rule_stalls(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    let mut bad = generator();
    bad["spec"]["sources"] = json!([bad["spec"]["sources"][0], bad["spec"]["sources"][0]]);
    scene.apply(bad).await?;
    let stalled = reason(&scene, "gen", "ValidationFailed").await?;
    let text = "duplicate source alias 'repo' found";
    let stall = condition(&stalled, "Stalled").context("no Stalled condition")?;
    ensure!(stall["status"] == "True" && stall["reason"] == "ValidationFailed", "{stall}");
    ensure!(stall["message"] == text && message(&stalled) == text, "{stall}");
    ensure!(condition(&stalled, "Reconciling").is_none(), "{}", stalled["status"]);
    scene.apply(generator()).await?;
    let ready = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(condition(&ready, "Stalled").is_none(), "{}", ready["status"]);
    weir.stop().await
}

/// §5: a paused generator is left alone, by the annotation or by the field. A resumed one goes on at once, whatever the timers say.
pub(crate) async fn a_paused_generator_goes_on_once_it_is_resumed(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let repository = two_apps(&scene).await?;
    let pause = |value: &str| json!({"metadata": {"annotations": {"source.extensions.fluxcd.io/reconcile": value}}});
    let mut paused = generator();
    paused["metadata"]["annotations"] = pause("Disabled")["metadata"]["annotations"].clone();
    scene.apply(paused).await?;
    let object = reason(&scene, "gen", "ReconciliationDisabled").await?;
    ensure!(message(&object) == "Initialized with reconciliation suspended", "{}", message(&object));
    ensure!(outputs(&scene).await?.is_empty());
    ask(&scene, "first").await?;
    ensure!(outputs(&scene).await?.is_empty(), "a paused generator published");
    scene.patch(Kind::ArtifactGenerator, "gen", pause("enabled")).await?;
    let resumed = reason(&scene, "gen", "Succeeded").await?;
    ensure!(outputs(&scene).await? == ["one", "two"]);
    ensure!(resumed["status"]["lastHandledReconcileAt"] == "first", "{}", resumed["status"]);

    let before = scene.ready(Kind::ExternalArtifact, "one").await?["status"]["artifact"].clone();
    scene.patch(Kind::ArtifactGenerator, "gen", json!({"spec": {"suspend": true}})).await?;
    ask(&scene, "second").await?;
    scene.push("repo", &repository, &[("apps/one/a.yaml", "one: 2\n")]).await?;
    ask(&scene, "third").await?;
    let object = reason(&scene, "gen", "Succeeded").await?;
    ensure!(condition(&object, "Reconciling").is_none(), "{}", object["status"]);
    let still = scene.ready(Kind::ExternalArtifact, "one").await?;
    ensure!(still["status"]["artifact"] == before, "a suspended generator published {}", still["status"]);
    scene.patch(Kind::ArtifactGenerator, "gen", json!({"spec": {"suspend": false}})).await?;
    scene
        .wait(Kind::ExternalArtifact, "one", "it goes on", |object| {
            ensure!(object["status"]["artifact"]["digest"] != before["digest"]);
            Ok(())
        })
        .await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    // A paused generator can be deleted like any other.
    scene.patch(Kind::ArtifactGenerator, "gen", pause("disabled")).await?;
    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    scene.gone(Kind::ArtifactGenerator, "gen").await?;
    ensure!(outputs(&scene).await?.is_empty());
    weir.stop().await
}

/// Asks for a reconcile with this token, and waits for the answer.
async fn ask(scene: &Scene, token: &str) -> Result<()> {
    let change = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": token}}});
    scene.patch(Kind::ArtifactGenerator, "gen", change).await?;
    handled(scene, token).await
}

async fn handled(scene: &Scene, token: &str) -> Result<()> {
    scene
        .wait(Kind::ArtifactGenerator, "gen", &format!("request {token} is handled"), |object| {
            ensure!(object["status"]["lastHandledReconcileAt"] == token, "{}", object["status"]);
            Ok(())
        })
        .await
}

/// §7: a source that is not there is waited for, and its appearance is noticed.
pub(crate) async fn a_missing_source_is_waited_for(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--requeue-dependency=1h"]).await?;
    scene.apply(generator()).await?;
    let waiting = reason(&scene, "gen", "SourceFetchFailed").await?;
    let text = "get sources failed: GitRepository.source.toolkit.fluxcd.io \"repo\" not found";
    ensure!(message(&waiting) == text, "{}", message(&waiting));
    let reconciling = condition(&waiting, "Reconciling").context("no Reconciling condition")?;
    ensure!(reconciling["reason"] == "ProgressingWithRetry", "{reconciling}");
    two_apps(&scene).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}

/// §13: all artifacts are attempted; what was published of a run that failed is remembered.
pub(crate) async fn a_failing_copy_spares_the_others(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    let mut half = generator();
    half["spec"]["artifacts"][0]["copy"][0]["from"] = json!("@repo/apps/none");
    scene.apply(half).await?;
    let failed = reason(&scene, "gen", "BuildFailed").await?;
    ensure!(message(&failed).starts_with("one build failed: failed to apply copy operations"), "{}", message(&failed));
    let two = scene.ready(Kind::ExternalArtifact, "two").await?;
    scene.download(&two).await?;
    let inventory = eventually("the inventory", PATIENCE, || async {
        let object = scene.get(Kind::ArtifactGenerator, "gen").await?.context("gen is gone")?;
        let names: Vec<Value> =
            object["status"]["inventory"].as_array().into_iter().flatten().map(|entry| entry["name"].clone()).collect();
        ensure!(!names.is_empty(), "it is empty");
        Ok(names)
    });
    ensure!(inventory.await? == ["two"]);
    // Renamed before a success: the old one must go all the same.
    let mut renamed = generator();
    renamed["spec"]["artifacts"][1]["name"] = json!("three");
    scene.apply(renamed).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    scene.gone(Kind::ExternalArtifact, "two").await?;
    ensure!(outputs(&scene).await? == ["one", "three"]);
    weir.stop().await
}

/// §12: what the spec no longer names goes, object and files; with the generator goes everything.
pub(crate) async fn orphans_and_deleted_generators_leave_nothing(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(outputs(&scene).await? == ["one", "two"]);
    let mut less = generator();
    less["spec"]["artifacts"] = json!([less["spec"]["artifacts"][1]]);
    scene.apply(less).await?;
    scene.gone(Kind::ExternalArtifact, "one").await?;
    let ready = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(ready["status"]["inventory"].as_array().map(Vec::len) == Some(1), "{}", ready["status"]);
    ensure!(stored(&weir, &scene.namespace)?.iter().all(|file| file.contains("/two/")));

    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    scene.gone(Kind::ArtifactGenerator, "gen").await?;
    ensure!(outputs(&scene).await?.is_empty());
    let left = stored(&weir, &scene.namespace)?;
    ensure!(left.is_empty(), "left on the volume: {left:?}");
    weir.stop().await
}

/// A generator whose finalizer somebody removed leaves files; they are swept at the next connection.
pub(crate) async fn files_without_a_generator_are_swept(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.controller.stop().await?;
    scene.patch(Kind::ArtifactGenerator, "gen", json!({"metadata": {"finalizers": []}})).await?;
    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    scene.gone(Kind::ArtifactGenerator, "gen").await?;
    ensure!(!stored(&weir, &scene.namespace)?.is_empty());
    weir.controller.restart().await?;
    eventually("the volume is swept", PATIENCE, || async {
        let left = stored(&weir, &scene.namespace)?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
    .await?;
    weir.stop().await
}

/// A run that died may have noted the new generation without carrying it out: Unknown is drift.
pub(crate) async fn an_interrupted_run_is_drift(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.controller.kill().await?;
    let mut changed = generator();
    changed["spec"]["artifacts"][0]["name"] = json!("renamed");
    scene.apply(changed).await?;
    let object = scene.get(Kind::ArtifactGenerator, "gen").await?.context("gen is gone")?;
    let progress = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": "Progressing", "message": "Reconciliation in progress",
            "observedGeneration": object["metadata"]["generation"], "lastTransitionTime": "2025-01-01T00:00:00Z"})
    };
    let status = json!({"status": {"conditions": [progress("Reconciling", "True"), progress("Ready", "Unknown")]}});
    let parameters = kube::api::PatchParams::default();
    scene.api(Kind::ArtifactGenerator).patch_status("gen", &parameters, &kube::api::Patch::Merge(status)).await?;
    weir.controller.restart().await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(outputs(&scene).await? == ["renamed", "two"]);
    weir.stop().await
}

/// Two generators that want one name do not fight: the second is told whose it is, and gets it when it is free.
pub(crate) async fn a_taken_name_is_refused(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let mut second = generator();
    second["metadata"]["name"] = json!("second");
    second["spec"]["artifacts"] = json!([second["spec"]["artifacts"][0]]);
    scene.apply(second).await?;
    let refused = reason(&scene, "second", "ReconciliationFailed").await?;
    let text = format!("belongs to ArtifactGenerator/{}/gen", scene.namespace);
    ensure!(message(&refused).contains(&text), "{}", message(&refused));
    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    scene.gone(Kind::ArtifactGenerator, "gen").await?;
    scene.ready(Kind::ArtifactGenerator, "second").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    scene.download(&one).await?;
    weir.stop().await
}

/// An output can be the source of another generator, which follows it.
pub(crate) async fn generators_chain(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(generator()).await?;
    let mut next = artifact_generator("next", "one", json!([artifact("last", &[("@repo/**", "@artifact/copy/")])]));
    next["spec"]["sources"][0]["kind"] = json!("ExternalArtifact");
    scene.apply(next).await?;
    scene.ready(Kind::ArtifactGenerator, "next").await?;
    let before = scene.ready(Kind::ExternalArtifact, "last").await?;
    scene.push("repo", &repository, &[("apps/one/a.yaml", "one: 2\n")]).await?;
    let after = scene
        .wait(Kind::ExternalArtifact, "last", "a new digest", |object| {
            ensure!(object["status"]["artifact"]["digest"] != before["status"]["artifact"]["digest"]);
            Ok(object.clone())
        })
        .await?;
    scene.download(&after).await?;
    weir.stop().await
}

/// The artifact server is away: nothing becomes Ready that is not, and everything goes on when it is back.
pub(crate) async fn an_absent_server_is_waited_for(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.server.kill().await?;
    let commit = repository.commit("Change", &[("apps/one/a.yaml", "one: 2\n")]).await?;
    scene.reconcile(Kind::GitRepository, "repo").await?;
    scene.fetched("repo", &commit).await?;
    let failed = reason(&scene, "gen", "StorageOperationFailed").await?;
    ensure!(message(&failed).contains("is weir-artifact-server running?"), "{}", message(&failed));
    weir.server.restart().await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    scene.download(&one).await?;
    weir.stop().await
}
