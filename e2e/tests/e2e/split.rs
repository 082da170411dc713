//! The two programs apart, over mutual TLS, as in a cluster where each has its own Deployment.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;
use weir_e2e::port;
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, two_apps};
use crate::repair::served;
use weir_e2e::certificates::{Authority, of_controller, of_server, words};

/// What the controller is to the policy.
const CONTROLLER: &str = "weir-controller.test";

/// A new authority, and of it a certificate for each side.
fn issue(folder: &Path, name: &str) -> Result<()> {
    let authority = Authority::in_folder(name, folder)?;
    authority.issue(folder, "server", "127.0.0.1")?;
    authority.issue(folder, "controller", CONTROLLER)
}

fn allow(folder: &Path, name: &str) -> Result<()> {
    let rule = format!(
        "rules:\n  - identities: [{{dns: {name}}}]\n    kinds: [ExternalArtifact]\n    namespaces: ['*']\n    \
         controllers: [source-watcher]\n"
    );
    Ok(std::fs::write(folder.join("policy.yaml"), rule)?)
}

/// Artifacts are made, certificates of both sides are replaced by those of another authority while both run, the server starts anew
/// without its files, and the policy shuts the controller out and lets it in again.
pub(crate) async fn works_over_mutual_tls(scene: Scene) -> Result<()> {
    let folder = &scene.stage.run.folder("split")?;
    issue(folder, "one")?;
    allow(folder, CONTROLLER)?;
    let port = port::free()?.port();
    let (server, mut controller) = (of_server(folder, port), of_controller(folder, port, "controller"));
    controller.push("--max-retry-delay=1s".to_owned());
    let mut weir = Weir::start_with(&scene, &words(&server), &words(&controller)).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    served(&scene, &one).await?;

    issue(folder, "two")?;
    lose_files(&mut weir).await?;
    served(&scene, &one).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;

    allow(folder, "somebody.else")?;
    lose_files(&mut weir).await?;
    // Its watch is refused, too, so nobody tells the generator.
    let asked = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "now"}}});
    scene.patch(Kind::ArtifactGenerator, "gen", asked).await?;
    let message = format!("a certificate of dns {CONTROLLER} may not");
    scene
        .wait(Kind::ArtifactGenerator, "gen", "says that the controller is refused", |found| {
            ensure!(found["status"]["conditions"].to_string().contains(&message), "{}", found["status"]);
            Ok(())
        })
        .await?;
    allow(folder, CONTROLLER)?;
    served(&scene, &one).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}

/// The server starts anew on an empty volume.
async fn lose_files(weir: &mut Weir) -> Result<()> {
    weir.server.kill().await?;
    std::fs::remove_dir_all(weir.server.storage().join("externalartifact"))?;
    weir.server.restart().await
}
