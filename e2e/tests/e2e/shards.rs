//! Several controllers, each with a part of the generators, on one artifact server.

use anyhow::{Context, Result, ensure};
use kube::api::DeleteParams;
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::flux::NAMESPACE;
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::Scene;
use weir_e2e::weir::{ArtifactServer, Controller, SERVICE_ACCOUNT};

use crate::edits::folders;
use crate::reconcile::{generator, message, reason, two_apps};

const LABEL: &str = "sharding.fluxcd.io/key";

/// Two controllers that differ in their selector and in what their URLs start with.
struct Shards {
    server: ArtifactServer,
    one: Controller,
    two: Controller,
}

impl Shards {
    /// The arguments are those of Flux's installers, in their order: what makes a shard is added at the end, and the last one wins.
    async fn start(scene: &Scene, more: &[&str]) -> Result<Self> {
        let server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &[]).await?;
        let port = server.address().port();
        let [first, second] = ["1", "2"].map(|number| key(scene, number));
        let one = start(scene, &server, 1, &format!("{LABEL}={first}"), &format!("127.0.0.1:{port}"), more).await?;
        let set = format!("{LABEL} in ({second}, {second}-more)");
        let two = start(scene, &server, 2, &set, &format!("localhost:{port}"), more).await?;
        Ok(Self { server, one, two })
    }

    async fn stop(mut self) -> Result<()> {
        self.one.stop().await?;
        self.two.stop().await?;
        self.server.stop().await?;
        Ok(())
    }

    /// How many artifacts the server was asked to build, whatever came of it.
    async fn builds(&self) -> Result<u64> {
        let metrics = reqwest::get(self.server.metrics_url()).await?.text().await?;
        let counts = metrics.lines().filter(|line| line.starts_with("weir_build_artifacts_total{"));
        counts.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<u64>()?)).sum()
    }
}

async fn start(
    scene: &Scene,
    server: &ArtifactServer,
    number: u8,
    selector: &str,
    advertised: &str,
    more: &[&str],
) -> Result<Controller> {
    let kubeconfig = scene.stage.control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
    let (advertised, selector) =
        (format!("--storage-adv-addr={advertised}"), format!("--watch-label-selector={selector}"));
    let mut arguments = vec![
        "--watch-all-namespaces=true",
        "--log-level=info",
        "--log-encoding=json",
        "--storage-path=/data",
        "--storage-adv-addr=source-watcher.flux-system.svc.cluster.local.",
        &advertised,
        &selector,
    ];
    arguments.extend(more);
    let label = format!("{}-shard{number}", scene.namespace);
    Controller::start(&scene.stage.run, server, &kubeconfig, &label, &arguments).await
}

/// The label of a shard, which is this test's only: others run in the same cluster.
fn key(scene: &Scene, number: &str) -> String {
    format!("{}-{number}", scene.namespace)
}

fn labelled(scene: &Scene, mut generator: Value, number: &str) -> Value {
    generator["metadata"]["labels"] = json!({LABEL: key(scene, number)});
    generator
}

async fn move_to(scene: &Scene, name: &str, number: &str) -> Result<()> {
    scene.patch(Kind::ArtifactGenerator, name, json!({"metadata": {"labels": {LABEL: key(scene, number)}}})).await
}

/// Waits until an output is downloaded from this host, and returns it.
async fn served_by(scene: &Scene, name: &str, host: &str) -> Result<Value> {
    let found = scene
        .wait(Kind::ExternalArtifact, name, &format!("served by {host}"), |object| {
            let url = object["status"]["artifact"]["url"].as_str().unwrap_or_default();
            ensure!(url.starts_with(&format!("http://{host}:")), "{url}");
            Ok(object.clone())
        })
        .await?;
    scene.download(&found).await?;
    Ok(found)
}

/// Of which sources each generator of the move is Ready.
async fn observed(scene: &Scene) -> Result<Vec<Value>> {
    let mut digests = Vec::new();
    for name in ["gen", "stays", "folders"] {
        let ready = scene.ready(Kind::ArtifactGenerator, name).await?;
        digests.push(ready["status"]["observedSourcesDigest"].clone());
    }
    Ok(digests)
}

/// Everything of an output that a consumer acts upon.
fn content(output: &Value) -> [&Value; 4] {
    ["revision", "digest", "path", "lastUpdateTime"].map(|field| &output["status"]["artifact"][field])
}

/// A generator goes to another shard and comes back. Each time its new owner takes over what there is: nothing is built again, nothing is
/// removed, and what was published by the other one meanwhile is not undone.
pub(crate) async fn a_generator_moves_and_nothing_is_lost(scene: Scene) -> Result<()> {
    let shards = Shards::start(&scene, &[]).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(labelled(&scene, generator(), "1")).await?;
    let stays = artifact_generator("stays", "repo", json!([artifact("stay", &[("@repo/apps/**", "@artifact/")])]));
    scene.apply(labelled(&scene, stays, "2-more")).await?;
    let nobodys = artifact_generator("nobodys", "repo", json!([artifact("none", &[("@repo/apps/**", "@artifact/")])]));
    scene.apply(nobodys).await?;
    scene.apply(labelled(&scene, folders(), "1")).await?;
    let made = [served_by(&scene, "one", "127.0.0.1").await?, served_by(&scene, "two", "127.0.0.1").await?];
    let folder = served_by(&scene, "of-one", "127.0.0.1").await?;
    scene.ready(Kind::ArtifactGenerator, "folders").await?;
    served_by(&scene, "stay", "localhost").await?;
    let before = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    scene.ready(Kind::ArtifactGenerator, "stays").await?;
    let builds = shards.builds().await?;

    move_to(&scene, "folders", "2").await?;
    let moved = served_by(&scene, "of-one", "localhost").await?;
    ensure!(content(&moved) == content(&folder), "{} became {}", folder["status"], moved["status"]);
    move_to(&scene, "gen", "2").await?;
    for was in &made {
        let name = was["metadata"]["name"].as_str().context("no name")?;
        let is = served_by(&scene, name, "localhost").await?;
        ensure!(content(&is) == content(was), "{} became {}", was["status"], is["status"]);
        ensure!(is["metadata"]["uid"] == was["metadata"]["uid"], "{name} was made anew");
        // Who downloads by the old URL still can.
        scene.download(was).await?;
    }
    let moved = scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(moved["metadata"]["finalizers"] == before["metadata"]["finalizers"], "{}", moved["metadata"]);
    ensure!(shards.builds().await? == builds, "something was built again");

    let before = observed(&scene).await?;
    scene.push("repo", &repository, &[("apps/two/a.yaml", "two: 2\n")]).await?;
    let second = scene
        .wait(Kind::ExternalArtifact, "two", "a new revision", |object| {
            ensure!(content(object)[0] != content(&made[1])[0], "{}", object["status"]["artifact"]);
            Ok(object.clone())
        })
        .await?;
    scene
        .wait(Kind::ExternalArtifact, "of-two", "a new revision", |object| {
            ensure!(content(object)[0] == content(&second)[0], "{}", object["status"]["artifact"]);
            Ok(())
        })
        .await?;
    eventually("all have followed the commit", PATIENCE, || async {
        let now = observed(&scene).await?;
        ensure!(now.iter().zip(&before).all(|(now, before)| now != before), "{now:?}");
        Ok(())
    })
    .await?;
    let builds = shards.builds().await?;

    move_to(&scene, "gen", "1").await?;
    let back = served_by(&scene, "two", "127.0.0.1").await?;
    ensure!(content(&back) == content(&second), "{} became {}", second["status"], back["status"]);
    let one = served_by(&scene, "one", "127.0.0.1").await?;
    ensure!(content(&one) == content(&made[0]), "{}", one["status"]);
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    ensure!(shards.builds().await? == builds, "something was built again");

    // What is left behind goes with the next commit by whoever has it now.
    scene.push("repo", &repository, &[("apps/one/a.yaml", "one: 2\n")]).await?;
    scene
        .wait(Kind::ExternalArtifact, "one", "a new revision", |object| {
            ensure!(content(object)[0] != content(&one)[0], "{}", object["status"]["artifact"]);
            Ok(())
        })
        .await?;
    let nobodys = scene.get(Kind::ArtifactGenerator, "nobodys").await?.context("it is gone")?;
    ensure!(nobodys["metadata"]["finalizers"].is_null() && nobodys["status"].is_null(), "{nobodys}");
    shards.stop().await
}

/// A shard comes back after one of its generators was taken away by force. It removes the files of that one, and nothing of the other
/// shard's.
pub(crate) async fn a_sweep_spares_what_another_shard_has(scene: Scene) -> Result<()> {
    let mut shards = Shards::start(&scene, &[]).await?;
    two_apps(&scene).await?;
    let one = |name: &str, output: &str| {
        artifact_generator(name, "repo", json!([artifact(output, &[("@repo/apps/**", "@artifact/")])]))
    };
    scene.apply(labelled(&scene, one("goes", "lost"), "1")).await?;
    scene.apply(labelled(&scene, one("stays", "kept"), "2")).await?;
    served_by(&scene, "lost", "127.0.0.1").await?;
    let kept = served_by(&scene, "kept", "localhost").await?;
    scene.ready(Kind::ArtifactGenerator, "goes").await?;
    scene.ready(Kind::ArtifactGenerator, "stays").await?;

    shards.one.stop().await?;
    scene.patch(Kind::ArtifactGenerator, "goes", json!({"metadata": {"finalizers": null}})).await?;
    scene.api(Kind::ArtifactGenerator).delete("goes", &DeleteParams::default()).await?;
    scene.gone(Kind::ArtifactGenerator, "goes").await?;
    shards.one.restart().await?;
    let of = |files: Vec<String>, name: &str| files.iter().any(|file| file.contains(&format!("/{name}/")));
    eventually("the files are swept", PATIENCE, || async {
        let files = shards.server.files()?;
        ensure!(!of(files.clone(), "lost"), "{files:?}");
        Ok(())
    })
    .await?;
    ensure!(of(shards.server.files()?, "kept"), "{:?}", shards.server.files()?);
    let still = scene.ready(Kind::ExternalArtifact, "kept").await?;
    ensure!(still["metadata"]["resourceVersion"] == kept["metadata"]["resourceVersion"], "it was written again");
    scene.download(&still).await?;
    shards.stop().await
}

/// A name that a generator of another shard has is not taken from it, and is free as soon as that one is gone. Neither may try again for
/// an hour by itself.
pub(crate) async fn two_shards_do_not_share_a_name(scene: Scene) -> Result<()> {
    let hour = ["--min-retry-delay=1h", "--max-retry-delay=1h", "--requeue-dependency=1h"];
    let shards = Shards::start(&scene, &hour).await?;
    two_apps(&scene).await?;
    let wants = |name: &str, app: &str| {
        let copy = artifact("wanted", &[(&format!("@repo/apps/{app}/**"), "@artifact/")]);
        artifact_generator(name, "repo", json!([copy]))
    };
    scene.apply(labelled(&scene, wants("first", "one"), "1")).await?;
    let first = served_by(&scene, "wanted", "127.0.0.1").await?;
    scene.ready(Kind::ArtifactGenerator, "first").await?;
    scene.apply(labelled(&scene, wants("second", "two"), "2")).await?;
    let refused = reason(&scene, "second", "ReconciliationFailed").await?;
    let text = format!("belongs to ArtifactGenerator/{}/first: rename one of the two", scene.namespace);
    ensure!(message(&refused).ends_with(&text), "{}", message(&refused));
    let still = scene.ready(Kind::ExternalArtifact, "wanted").await?;
    ensure!(content(&still) == content(&first), "{}", still["status"]);

    scene.delete(Kind::ArtifactGenerator, "first").await?;
    scene.gone(Kind::ArtifactGenerator, "first").await?;
    scene.ready(Kind::ArtifactGenerator, "second").await?;
    let wanted = served_by(&scene, "wanted", "localhost").await?;
    ensure!(wanted["spec"]["sourceRef"]["name"] == "second", "{}", wanted["spec"]);
    shards.stop().await
}
