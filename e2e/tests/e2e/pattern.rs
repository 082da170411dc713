//! Generators with a path pattern, on a real API server, source-controller and artifact server.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::git_server::Repository;
use weir_e2e::resources::{Kind, artifact, artifact_generator, condition};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{message, outputs, reason, stored};

const CONFIRM: &str = "source.extensions.fluxcd.io/confirm-prune";

/// One artifact for each folder below `apps`.
fn generator() -> Value {
    let copies = artifact("{app}", &[("@repo/apps/{app}/**", "@artifact/")]);
    let mut object = artifact_generator("gen", "repo", json!([copies]));
    object["spec"]["pathPattern"] = json!("@repo/apps/{app}");
    object["spec"]["commonMetadata"] = json!({"labels": {"app": "none", "team": "shop"}});
    object
}

/// Waits until the generator has an output for each name, and no others.
async fn has_outputs(scene: &Scene, names: &[&str]) -> Result<()> {
    eventually(&format!("the outputs are {names:?}"), PATIENCE, || async {
        let found = outputs(scene).await?;
        ensure!(found == names, "they are {found:?}");
        Ok(())
    })
    .await
}

/// Commits that a folder is gone, or back with what it had.
async fn without(scene: &Scene, repository: &Repository, folder: &str) -> Result<()> {
    std::fs::remove_dir_all(repository.work_tree().join(folder))?;
    scene.push("repo", repository, &[]).await.map(drop)
}

/// How often sources were asked of the artifact server, and how often that was a download.
async fn asked_and_downloaded(weir: &Weir) -> Result<(f64, f64)> {
    let metrics = reqwest::get(weir.server.metrics_url()).await?.text().await?;
    let figure = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.with_context(|| format!("no {name}"))?.parse::<f64>().context("not a number")
    };
    let downloads = figure("weir_source_cache_misses_total")?;
    Ok((figure("weir_source_cache_hits_total")? + downloads, downloads))
}

/// §10.2: folders become artifacts with labels; one that goes takes just its own along; what did not change costs nothing.
pub(crate) async fn each_folder_becomes_an_artifact(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let files = [("apps/Web/a.yaml", "web: 1\n"), ("apps/db/a.yaml", "db: 1\n"), ("apps/README.md", "no folder\n")];
    let repository = scene.repository("repo", &files).await?;
    scene.apply(generator()).await?;
    let ready = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(message(&ready) == "reconciliation succeeded, generated 2 artifact(s)", "{}", message(&ready));
    has_outputs(&scene, &["db", "web"]).await?;
    let [db, web] =
        [scene.ready(Kind::ExternalArtifact, "db").await?, scene.ready(Kind::ExternalArtifact, "web").await?];
    for (object, app) in [(&db, "db"), (&web, "web")] {
        let labels = &object["metadata"]["labels"];
        ensure!(labels["app"] == app && labels["team"] == "shop", "labels are {labels}");
        ensure!(labels["source.extensions.fluxcd.io/generator"] == ready["metadata"]["uid"], "labels are {labels}");
        scene.download(object).await?;
    }
    let inventory = ready["status"]["inventory"].as_array().into_iter().flatten().map(|entry| &entry["name"]);
    ensure!(inventory.collect::<Vec<_>>() == ["web", "db"], "§10.2 order: {}", ready["status"]["inventory"]);
    ensure!(
        asked_and_downloaded(&weir).await? == (2.0, 1.0),
        "once for the folders and once for the build, one download"
    );

    scene.reconcile(Kind::ArtifactGenerator, "gen").await?;
    scene
        .wait(Kind::ArtifactGenerator, "gen", "the request is handled", |object| {
            let token = &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
            ensure!(object["status"]["lastHandledReconcileAt"] == *token, "{}", object["status"]);
            Ok(())
        })
        .await?;
    ensure!(asked_and_downloaded(&weir).await? == (2.0, 1.0), "nothing changed, but the source was asked for");

    scene.patch(Kind::ExternalArtifact, "web", json!({"metadata": {"labels": {"app": "other"}}})).await?;
    let label = |object: &Value| {
        ensure!(object["metadata"]["labels"]["app"] == "web", "{}", object["metadata"]["labels"]);
        Ok(())
    };
    scene.wait(Kind::ExternalArtifact, "web", "the label of the capture is back", label).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(asked_and_downloaded(&weir).await? == (2.0, 1.0), "a repair asked for the source");

    without(&scene, &repository, "apps/Web").await?;
    has_outputs(&scene, &["db"]).await?;
    let still = scene.ready(Kind::ExternalArtifact, "db").await?;
    ensure!(still["metadata"]["resourceVersion"] == db["metadata"]["resourceVersion"], "db was written again");
    scene.push("repo", &repository, &[("apps/cache/a.yaml", "cache: 1\n")]).await?;
    has_outputs(&scene, &["cache", "db"]).await?;
    weir.stop().await
}

/// §10.2, §11: what can not be expanded stalls until spec or source change; what passes by itself is tried again.
pub(crate) async fn what_can_not_be_expanded_stalls(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--max-retry-delay=1s"]).await?;
    let files = [("apps/web/a.yaml", "web: 1\n"), ("apps/Web/a.yaml", "web: 2\n")];
    let repository = scene.repository("repo", &files).await?;
    scene.apply(generator()).await?;
    let start = "failed to expand path pattern: pathPattern \"@repo/apps/{app}\": ";
    let text = format!("{start}directories \"apps/Web\" and \"apps/web\" both resolve to artifact name \"web\"");
    let stalled = reason(&scene, "gen", "BuildFailed").await?;
    let stall = condition(&stalled, "Stalled").context("no Stalled condition")?;
    ensure!(message(&stalled) == text && stall["message"] == text, "{}", stalled["status"]);
    ensure!(stall["status"] == "True" && stall["reason"] == "BuildFailed", "{stall}");
    ensure!(condition(&stalled, "Reconciling").is_none(), "{}", stalled["status"]);
    ensure!(outputs(&scene).await?.is_empty(), "§10.2 all or nothing");

    without(&scene, &repository, "apps/Web").await?;
    let ready = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(condition(&ready, "Stalled").is_none(), "{}", ready["status"]);
    let mut broken = generator();
    broken["spec"]["pathPattern"] = json!("@repo/apps/{app}/{");
    scene.apply(broken).await?;
    let stalled = reason(&scene, "gen", "BuildFailed").await?;
    ensure!(
        message(&stalled).ends_with("invalid capture starting at offset 11: missing closing brace"),
        "{}",
        message(&stalled)
    );
    has_outputs(&scene, &["web"]).await?;

    weir.server.kill().await?;
    scene.apply(generator()).await?;
    let failed = reason(&scene, "gen", "StorageOperationFailed").await?;
    ensure!(condition(&failed, "Stalled").is_none(), "it passes by itself: {}", failed["status"]);
    weir.server.restart().await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}

/// The token that the condition Ready asks for.
async fn asked_for(scene: &Scene, count: usize) -> Result<String> {
    let blocked = reason(scene, "gen", "PruneBlocked").await?;
    let text = message(&blocked);
    let kept = format!("matches no directory any more: {count} artifact(s) would be deleted");
    let command =
        format!("kubectl annotate --overwrite --namespace {} artifactgenerator/gen {CONFIRM}=", scene.namespace);
    let token = text.split_once(&command).with_context(|| text.to_owned())?.1.to_owned();
    ensure!(text.contains(&kept) && !token.contains(' '), "{text}");
    let ready = condition(&blocked, "Ready").context("no Ready condition")?;
    let stall = condition(&blocked, "Stalled").context("no Stalled condition")?;
    ensure!(ready["status"] == "False" && stall["reason"] == "PruneBlocked", "{}", blocked["status"]);
    Ok(token)
}

async fn confirm(scene: &Scene, token: &str) -> Result<()> {
    scene.patch(Kind::ArtifactGenerator, "gen", json!({"metadata": {"annotations": {CONFIRM: token}}})).await
}

/// Waits until a run has looked at the newest state.
async fn looked_at(scene: &Scene) -> Result<()> {
    scene.reconcile(Kind::ArtifactGenerator, "gen").await?;
    scene
        .wait(Kind::ArtifactGenerator, "gen", "the request is handled", |object| {
            let token = &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
            ensure!(object["status"]["lastHandledReconcileAt"] == *token, "{}", object["status"]);
            Ok(())
        })
        .await
}

/// A commit that leaves nothing to find deletes nothing until somebody confirms just that.
pub(crate) async fn that_finds_nothing_any_more_deletes_nothing_unasked(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let files = [("apps/one/a.yaml", "one: 1\n"), ("apps/two/a.yaml", "two: 1\n"), ("README.md", "apps\n")];
    let repository = scene.repository("repo", &files).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;

    without(&scene, &repository, "apps").await?;
    let first = asked_for(&scene, 2).await?;
    weir.controller.kill().await?;
    weir.controller.restart().await?;
    scene.push("repo", &repository, &[("README.md", "no apps\n")]).await?;
    looked_at(&scene).await?;
    ensure!(asked_for(&scene, 2).await? == first, "the same deletion waits, after a restart and another commit");
    has_outputs(&scene, &["one", "two"]).await?;
    for name in ["one", "two"] {
        scene.download(&scene.ready(Kind::ExternalArtifact, name).await?).await?;
    }

    scene.push("repo", &repository, &files[..2]).await?;
    let ready = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(condition(&ready, "Stalled").is_none(), "it goes on by itself: {}", ready["status"]);
    without(&scene, &repository, "apps").await?;
    let second = asked_for(&scene, 2).await?;
    ensure!(second != first, "the first deletion is over");
    confirm(&scene, &first).await?;
    looked_at(&scene).await?;
    has_outputs(&scene, &["one", "two"]).await?;
    asked_for(&scene, 2).await?;

    confirm(&scene, &second).await?;
    has_outputs(&scene, &[]).await?;
    let ready = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(message(&ready) == "reconciliation succeeded, generated 0 artifact(s)", "{}", message(&ready));
    let used = scene.wait(Kind::ArtifactGenerator, "gen", "the confirmation is used up", |object| {
        ensure!(object["metadata"]["annotations"][CONFIRM].is_null(), "{}", object["metadata"]["annotations"]);
        Ok(())
    });
    used.await?;
    ensure!(stored(&weir, &scene.namespace)?.is_empty(), "files are left");

    scene.push("repo", &repository, &files[..1]).await?;
    has_outputs(&scene, &["one"]).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let mut typo = generator();
    typo["spec"]["pathPattern"] = json!("@repo/app/{app}");
    scene.apply(typo).await?;
    asked_for(&scene, 1).await?;
    has_outputs(&scene, &["one"]).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}
