//! Runs that are ended before they are done: by their own time limit, and by SIGTERM.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, condition};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::errors::with_upstream;
use crate::reconcile::{generator, message, reason, two_apps};

/// Lets the source be behind a port that takes connections and never answers, as long as the result is kept. Returns what the source
/// was before.
async fn with_silent_source(scene: &Scene) -> Result<(TcpListener, Value)> {
    two_apps(scene).await?;
    let artifact = with_upstream(scene).await?;
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let mut moved = artifact.clone();
    moved["url"] = json!(format!("http://{}/a.tar.gz", silent.local_addr()?));
    moved["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    moved["revision"] = json!("moved");
    scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": moved}})).await?;
    Ok((silent, artifact))
}

/// A run that takes longer than `--reconciliation-timeout` says so in the status, keeps what is published, and is tried again.
pub(crate) async fn by_the_time_limit_is_told(scene: Scene) -> Result<()> {
    let arguments = ["--reconciliation-timeout=3s", "--max-retry-delay=1s"];
    let mut weir = Weir::start_with(&scene, &[], &arguments).await?;
    let (_silent, artifact) = with_silent_source(&scene).await?;
    let late = reason(&scene, "gen", "ReconciliationFailed").await?;
    ensure!(message(&late) == "reconciliation took longer than 3 s (--reconciliation-timeout)", "{}", late["status"]);
    let reconciling = condition(&late, "Reconciling").context("no Reconciling condition")?;
    ensure!(reconciling["reason"] == "ProgressingWithRetry", "{reconciling}");
    ensure!(late["status"]["inventory"].as_array().map(Vec::len) == Some(2), "{}", late["status"]);
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    scene.download(&one).await?;
    eventually("each is counted", PATIENCE, || async {
        let metrics = reqwest::get(weir.controller.metrics_url()).await?.text().await?;
        let timeouts = "controller_runtime_reconcile_timeouts_total{controller=\"artifactgenerator\"} ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(timeouts)).context("no such metric")?;
        ensure!(count.parse::<u32>()? >= 2, "{count} were");
        Ok(())
    })
    .await?;
    scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": artifact}})).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}

/// Without a time a run has no limit, and a generator whose source is missing looks again when the source comes, not before.
pub(crate) async fn no_time_is_no_limit_and_no_wait(scene: Scene) -> Result<()> {
    let arguments = ["--reconciliation-timeout=0s", "--requeue-dependency=0s"];
    let mut weir = Weir::start_with(&scene, &[], &arguments).await?;
    scene.apply(generator()).await?;
    reason(&scene, "gen", "SourceFetchFailed").await?;
    two_apps(&scene).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let metrics = reqwest::get(weir.controller.metrics_url()).await?.text().await?;
    let runs = "controller_runtime_reconcile_time_seconds_count{controller=\"artifactgenerator\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(runs)).context("no such metric")?;
    ensure!(count.parse::<f64>()? < 30.0, "{count} runs: it did not wait");
    weir.stop().await
}

/// SIGTERM while a run waits for its source: the controller ends, with success, and the next one does the rest.
pub(crate) async fn by_a_signal_is_taken_up_by_the_next(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    let (_silent, artifact) = with_silent_source(&scene).await?;
    reason(&scene, "gen", "Progressing").await?;
    let log = weir.controller.process()?.log().to_owned();
    let status = weir.controller.stop().await?;
    ensure!(status == "exit status: 0", "it ended with {status:?}");
    let said = std::fs::read_to_string(&log)?;
    ensure!(said.contains("ending: some reconciles did not finish in time"), "it was not busy");
    ensure!(!said.contains("panic"), "a run panicked");
    // What the run had said stays; what is published is served.
    reason(&scene, "gen", "Progressing").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    scene.download(&one).await?;
    scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": artifact}})).await?;
    weir.controller.restart().await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}
