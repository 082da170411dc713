//! Outputs that have another owner beside their generator.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, two_apps};

/// An object of the wanted name is another controller's, as its owner says: it is taken over all the same, and keeps that owner. Who wants
/// to control an output that is there already may do so. In the API only one owner can.
pub(crate) async fn that_control_them_stay(scene: Scene) -> Result<()> {
    let theirs = another_controller(&scene).await?;
    let mut taken = Kind::ExternalArtifact.object("one");
    taken["metadata"]["ownerReferences"] = json!([theirs]);
    scene.apply(taken).await?;
    let mut weir = Weir::start(&scene).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    let ready = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let ours = json!({
        "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator", "name": "gen",
        "uid": ready["metadata"]["uid"], "blockOwnerDeletion": true,
    });
    owned_by(&scene, "one", &[&theirs, &ours]).await?;
    scene.download(&scene.ready(Kind::ExternalArtifact, "one").await?).await?;

    owned_by(&scene, "two", &[&ours]).await?;
    let mut greedy = ours.clone();
    greedy["controller"] = json!(true);
    own(&scene, &[&greedy]).await?;
    owned_by(&scene, "two", &[&ours]).await.context("the generator does not control it")?;
    own(&scene, &[&ours, &theirs]).await?;
    // What somebody else adds is no edit: one that is, and comes back, shows that it was looked at since.
    scene.patch(Kind::ExternalArtifact, "two", json!({"spec": {"sourceRef": {"name": "other"}}})).await?;
    scene
        .wait(Kind::ExternalArtifact, "two", "restored", |object| {
            ensure!(object["spec"]["sourceRef"]["name"] == "gen", "{}", object["spec"]);
            Ok(())
        })
        .await?;
    owned_by(&scene, "two", &[&ours, &theirs]).await?;

    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    scene.gone(Kind::ArtifactGenerator, "gen").await?;
    for name in ["one", "two"] {
        ensure!(scene.get(Kind::ExternalArtifact, name).await?.is_none(), "{name} is left");
    }
    weir.stop().await
}

/// A reference to an object of somebody else, who controls what it refers to.
async fn another_controller(scene: &Scene) -> Result<Value> {
    scene.apply(Kind::ConfigMap.object("theirs")).await?;
    let owner = scene.get(Kind::ConfigMap, "theirs").await?.context("it is gone")?;
    let uid = &owner["metadata"]["uid"];
    Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": uid, "controller": true}))
}

/// Writes the owners of the output `two`.
async fn own(scene: &Scene, owners: &[&Value]) -> Result<()> {
    scene.patch(Kind::ExternalArtifact, "two", json!({"metadata": {"ownerReferences": owners}})).await
}

/// Waits until the output has these owners, in whatever order.
async fn owned_by(scene: &Scene, name: &str, owners: &[&Value]) -> Result<()> {
    scene
        .wait(Kind::ExternalArtifact, name, "its owners", |object| {
            let found = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let has_all = owners.iter().all(|owner| found.contains(owner));
            ensure!(has_all && found.len() == owners.len(), "{found:?}");
            Ok(())
        })
        .await
}
