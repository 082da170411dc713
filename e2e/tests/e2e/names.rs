//! One name is wanted by two generators.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::{Scene, ensure_ready};
use weir_e2e::weir::Weir;

use crate::reconcile::{message, reason, two_apps};

/// Both wait for the same source, so that they start in the same moment. One gets the name, and the other one as soon as the
/// first is deleted: neither may try again for an hour by itself.
pub(crate) async fn two_generators_at_once_do_not_share_one(scene: Scene) -> Result<()> {
    let hour = ["--min-retry-delay=1h", "--max-retry-delay=1h", "--requeue-dependency=1h"];
    let mut weir = Weir::start_with(&scene, &[], &hour).await?;
    for (name, app) in [("first", "one"), ("second", "two")] {
        let copy = artifact("wanted", &[(&format!("@repo/apps/{app}/**"), "@artifact/")]);
        scene.apply(artifact_generator(name, "repo", json!([copy]))).await?;
        reason(&scene, name, "SourceFetchFailed").await?;
    }
    two_apps(&scene).await?;
    let (winner, loser) = eventually("one has the name, the other one says so", PATIENCE, || async {
        let mut has = Vec::new();
        let mut lacks = Vec::new();
        for name in ["first", "second"] {
            let object = scene.get(Kind::ArtifactGenerator, name).await?.context("it is gone")?;
            let is_refused = message(&object).contains("belongs to ArtifactGenerator/");
            if ensure_ready(&object).is_ok() {
                has.push(name)
            } else if is_refused {
                lacks.push(name)
            }
        }
        ensure!(has.len() == 1 && lacks.len() == 1, "Ready are {has:?}, refused are {lacks:?}");
        Ok((has[0], lacks[0]))
    })
    .await?;
    let refused = reason(&scene, loser, "ReconciliationFailed").await?;
    let text = format!("belongs to ArtifactGenerator/{}/{winner}: rename one of the two", scene.namespace);
    ensure!(message(&refused).ends_with(&text), "{}", message(&refused));
    let wanted = scene.ready(Kind::ExternalArtifact, "wanted").await?;
    ensure!(wanted["spec"]["sourceRef"]["name"] == winner, "{}", wanted["spec"]);
    scene.download(&wanted).await?;

    scene.delete(Kind::ArtifactGenerator, winner).await?;
    scene.gone(Kind::ArtifactGenerator, winner).await?;
    scene.ready(Kind::ArtifactGenerator, loser).await?;
    let wanted = scene.ready(Kind::ExternalArtifact, "wanted").await?;
    ensure!(wanted["spec"]["sourceRef"]["name"] == loser, "{}", wanted["spec"]);
    scene.download(&wanted).await?;
    weir.stop().await
}
