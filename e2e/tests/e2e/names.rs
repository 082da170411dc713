//! One name is wanted by two generators.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator, condition};
use weir_e2e::scene::{Scene, ensure_ready};
use weir_e2e::weir::Weir;

use crate::reconcile::{message, reason, two_apps};

/// The generator whose name is taken waits for the name alone: it is stalled, and told whose it is.
async fn stalled(scene: &Scene, loser: &str, owner: &str) -> Result<()> {
    let refused = reason(scene, loser, "ReconciliationFailed").await?;
    let text = format!("belongs to ArtifactGenerator/{}/{owner}: rename one of the two", scene.namespace);
    let stall = condition(&refused, "Stalled").context("no Stalled condition")?;
    ensure!(stall["status"] == "True" && stall["message"] == message(&refused), "{}", refused["status"]);
    ensure!(message(&refused).ends_with(&text), "{}", message(&refused));
    ensure!(condition(&refused, "Reconciling").is_none(), "{}", refused["status"]);
    Ok(())
}

/// The generator has the name, and nothing reminds of its wait.
async fn has_wanted(scene: &Scene, owner: &str) -> Result<()> {
    let ready = scene.ready(Kind::ArtifactGenerator, owner).await?;
    ensure!(condition(&ready, "Stalled").is_none(), "{}", ready["status"]);
    let wanted = scene.ready(Kind::ExternalArtifact, "wanted").await?;
    ensure!(wanted["spec"]["sourceRef"]["name"] == owner, "{}", wanted["spec"]);
    let label = &wanted["metadata"]["labels"]["source.extensions.fluxcd.io/generator"];
    ensure!(*label == ready["metadata"]["uid"], "{}", wanted["metadata"]);
    scene.download(&wanted).await.map(drop)
}

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
    stalled(&scene, loser, winner).await?;
    has_wanted(&scene, winner).await?;

    scene.delete(Kind::ArtifactGenerator, winner).await?;
    scene.gone(Kind::ArtifactGenerator, winner).await?;
    has_wanted(&scene, loser).await?;
    weir.stop().await
}

/// An owner that went without its finalizer leaves the object behind. It is nobody's then, also when a generator of the same name comes
/// back: whoever waits for the name gets it, without a timer.
pub(crate) async fn an_owner_that_vanished_is_no_owner(scene: Scene) -> Result<()> {
    let hour = ["--min-retry-delay=1h", "--max-retry-delay=1h", "--requeue-dependency=1h"];
    let mut weir = Weir::start_with(&scene, &[], &hour).await?;
    two_apps(&scene).await?;
    let generator = |name: &str, wanted: &str, app: &str| {
        let copy = artifact(wanted, &[(&format!("@repo/apps/{app}/**"), "@artifact/")]);
        artifact_generator(name, "repo", json!([copy]))
    };
    scene.apply(generator("first", "wanted", "one")).await?;
    has_wanted(&scene, "first").await?;
    scene.apply(generator("second", "wanted", "two")).await?;
    stalled(&scene, "second", "first").await?;
    let vanish = async |name: &str| {
        scene.patch(Kind::ArtifactGenerator, name, json!({"metadata": {"finalizers": null}})).await?;
        scene.delete(Kind::ArtifactGenerator, name).await?;
        scene.gone(Kind::ArtifactGenerator, name).await
    };
    vanish("first").await?;
    has_wanted(&scene, "second").await?;
    // Recreated, as after a restore: what carries its old UID is not its own, nor anybody else's.
    scene.apply(generator("first", "wanted", "one")).await?;
    stalled(&scene, "first", "second").await?;
    vanish("second").await?;
    has_wanted(&scene, "first").await?;
    weir.stop().await
}
