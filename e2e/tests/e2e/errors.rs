//! Whose fault it is when a run fails, as its user reads it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, message, reason, two_apps};

/// A generator whose only source is an ExternalArtifact that says what the test wants, at first what is true of `repo`.
pub(crate) async fn with_upstream(scene: &Scene) -> Result<Value> {
    let source = scene.ready(Kind::GitRepository, "repo").await?;
    scene.apply(Kind::ExternalArtifact.object("upstream")).await?;
    let artifact = source["status"]["artifact"].clone();
    scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": artifact}})).await?;
    let mut object = generator();
    object["spec"]["sources"] = json!([{"alias": "repo", "kind": "ExternalArtifact", "name": "upstream"}]);
    scene.apply(object).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    Ok(artifact)
}

/// A source that is not what its digest says, or that can not be asked for, is the source's fault; a volume that does not take a file
/// is the storage's.
pub(crate) async fn sources_and_storage_are_told_apart(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--max-retry-delay=1s"]).await?;
    two_apps(&scene).await?;
    let artifact = with_upstream(&scene).await?;
    let nothing = format!("sha256:{}", "0".repeat(64));
    let rows = [
        ("another digest", "digest", nothing, "digest"),
        ("a digest of no kind", "digest", "md5:00".to_owned(), "digest"),
        ("a scheme that is not spoken", "url", "ftp://127.0.0.1:1/a.tar.gz".to_owned(), "scheme must be http"),
    ];
    for (row, field, value, part) in rows {
        let mut wrong = artifact.clone();
        wrong[field] = json!(value);
        wrong["revision"] = json!(row);
        scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": wrong}})).await?;
        scene
            .wait(Kind::ArtifactGenerator, "gen", &format!("{row}: SourceFetchFailed"), |object| {
                let text = message(object);
                ensure!(text.starts_with("fetch sources failed: ") && text.contains(part), "{}", object["status"]);
                Ok(())
            })
            .await?;
        reason(&scene, "gen", "SourceFetchFailed").await?;
    }

    // A file lies where the folder of a new artifact belongs.
    let blocked = weir.server.storage().join("externalartifact").join(&scene.namespace).join("three");
    std::fs::write(&blocked, "in the way")?;
    let mut renamed = generator();
    renamed["spec"]["artifacts"][0]["name"] = json!("three");
    scene.apply(renamed).await?;
    let failed = reason(&scene, "gen", "StorageOperationFailed").await?;
    ensure!(message(&failed).starts_with("three build failed: "), "{}", message(&failed));
    std::fs::remove_file(&blocked)?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}

/// Another instance has written with a higher epoch. What this one says of a generator could undo what that one says, so it says
/// nothing.
pub(crate) async fn who_leads_no_more_writes_nothing(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--max-retry-delay=1s"]).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(generator()).await?;
    let before = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.server.kill().await?;
    std::fs::write(weir.server.storage().join(".weir/epochs.json"), r#"{"source-watcher": 7}"#)?;
    weir.server.restart().await?;
    scene.push("repo", &repository, &[("apps/one/a.yaml", "one: 2\n")]).await?;
    refused(&weir, 1).await?;
    // A request is what each other run answers in the status.
    scene.reconcile(Kind::ArtifactGenerator, "gen").await?;
    refused(&weir, 4).await?;
    let after = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(after["status"] == before["status"], "{}", after["status"]);
    weir.stop().await
}

/// Waits until so many more runs were refused.
async fn refused(weir: &Weir, more: u32) -> Result<()> {
    let count = || async {
        let metrics = reqwest::get(weir.controller.metrics_url()).await?.text().await?;
        let failures = r#"weir_reconcile_failures_total{cause="stale_epoch"} "#;
        Ok::<u32, anyhow::Error>(metrics.lines().find_map(|line| line.strip_prefix(failures)).unwrap_or("0").parse()?)
    };
    let before = count().await?;
    eventually("runs are refused", PATIENCE, || async {
        let now = count().await?;
        ensure!(now >= before + more, "{now} were, {before} before");
        Ok(())
    })
    .await
}
