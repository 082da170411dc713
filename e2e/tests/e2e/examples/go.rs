//! `examples/configmaps-go`, with the rights that its own manifests give it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::process::{Process, Program};
use weir_e2e::resources::{Kind, condition, config_map_yaml, kustomization};
use weir_e2e::scene::Scene;
use weir_e2e::tools::Part;
use weir_e2e::weir::ArtifactServer;
use weir_e2e::{fetch, port};

/// What the manifests call the account.
const NAME: &str = "configmaps-go";

/// A ConfigMap becomes an artifact that kustomize-controller applies; it follows changes, edits, lost files, an emptied volume and a server
/// that was away; and it leaves nothing, without its label or deleted. No interval passes meanwhile: all of it is heard of.
pub(crate) async fn configmaps_in_go(scene: Scene) -> Result<()> {
    let mut server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &[]).await?;
    let _example = start(&scene, &server, "1h").await?;
    scene.apply(kustomization("app", &scene.namespace, (Kind::ExternalArtifact, "app"), "./")).await?;
    scene.apply(config_map("app", "one")).await?;
    scene.config_map("settings", "greeting", "one").await?;
    let first = scene.ready(Kind::ExternalArtifact, "app").await?;
    let from = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "app", "namespace": scene.namespace});
    ensure!(first["spec"]["sourceRef"] == from, "the source is {}", first["spec"]);

    scene.patch(Kind::ConfigMap, "app", data("two")).await?;
    scene.config_map("settings", "greeting", "two").await?;
    let second = scene.ready(Kind::ExternalArtifact, "app").await?;
    for field in ["revision", "digest", "url"] {
        let (old, new) = (&first["status"]["artifact"][field], &second["status"]["artifact"][field]);
        ensure!(old != new, "the {field} is still {old}");
    }
    scene.download(&first).await.context("who read the object before the change")?;

    scene
        .patch_status(Kind::ExternalArtifact, "app", json!({"status": {"artifact": null, "conditions": null}}))
        .await?;
    published(&scene, &second).await.context("after an edit")?;
    std::fs::remove_file(server.storage().join(path(&second)?))?;
    published(&scene, &second).await.context("after the loss of a file")?;
    server.kill().await?;
    std::fs::remove_dir_all(server.storage().join("externalartifact"))?;
    server.restart().await?;
    published(&scene, &second).await.context("after the loss of the volume")?;

    server.kill().await?;
    scene.patch(Kind::ConfigMap, "app", data("three")).await?;
    scene
        .wait(Kind::ExternalArtifact, "app", "is not Ready, and keeps what it had", |object| {
            let reason = condition(object, "Ready").map(|ready| (&ready["status"], &ready["reason"]));
            ensure!(reason == Some((&json!("False"), &json!("StorageOperationFailed"))), "{}", object["status"]);
            ensure!(object["status"]["artifact"]["url"] == second["status"]["artifact"]["url"], "{}", object["status"]);
            Ok(())
        })
        .await?;
    server.restart().await?;
    scene.config_map("settings", "greeting", "three").await?;
    let third = scene.ready(Kind::ExternalArtifact, "app").await?;

    for label in [json!(null), json!("true")] {
        let change = json!({"metadata": {"labels": {"manifests.weir.dev/publish": label}}});
        scene.patch(Kind::ConfigMap, "app", change).await?;
        if label.is_null() {
            nothing_left(&scene, &server, "app", &third).await.context("without the label")?;
        } else {
            published(&scene, &third).await.context("with the label again")?;
        }
    }
    scene.delete(Kind::ConfigMap, "app").await?;
    scene.gone(Kind::ConfigMap, "app").await?;
    nothing_left(&scene, &server, "app", &third).await
}

/// It leaves alone what is not its own, and keeps no more old files than the server is told to.
pub(crate) async fn configmaps_in_go_share(scene: Scene) -> Result<()> {
    let server = ArtifactServer::start(&scene.stage.run, &scene.namespace, &["--artifact-retention-ttl=1s"]).await?;
    let _example = start(&scene, &server, "1s").await?;
    let mut theirs = Kind::ExternalArtifact.object("taken");
    theirs["spec"] = json!({"sourceRef": {"kind": "Bucket", "name": "taken"}});
    scene.apply(theirs).await?;
    scene.apply(config_map("taken", "one")).await?;
    let mut plain = config_map("plain", "one");
    plain["metadata"].as_object_mut().context("no metadata")?.remove("labels");
    scene.apply(plain).await?;

    let mut app = config_map("app", "one");
    app["binaryData"] = json!({"logo.bin": "AP8="});
    scene.apply(app).await?;
    let first = scene.ready(Kind::ExternalArtifact, "app").await?;
    let files = files(&scene.download(&first).await?)?;
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    ensure!(names == ["logo.bin", "settings.yaml"] && files["logo.bin"] == [0, 255], "the artifact holds {files:?}");
    let mut paths = vec![path(&first)?];
    for greeting in ["two", "three"] {
        scene.patch(Kind::ConfigMap, "app", data(greeting)).await?;
        let next = scene
            .wait(Kind::ExternalArtifact, "app", "has a new file", |object| {
                let next = path(object)?;
                ensure!(!paths.contains(&next), "still {next}");
                Ok(next)
            })
            .await?;
        paths.push(next);
    }
    // The one before the last is spared: consumers may be on their way to it.
    let mut kept = paths[1..].to_vec();
    kept.sort();
    eventually("the oldest file is collected, and nothing else is stored", PATIENCE, || async {
        let mut files = server.files()?;
        files.retain(|file| file.ends_with(".tar.gz"));
        ensure!(files == kept, "{files:?}, should be {kept:?}");
        Ok(())
    })
    .await?;

    without_keys_it_stays(&scene, paths.last()).await?;

    // It had its turn: what is in its way is told where it was asked for.
    eventually("an event about the name that is taken", PATIENCE, || async {
        let events: kube::Api<k8s_openapi::api::events::v1::Event> =
            kube::Api::namespaced(scene.client(), &scene.namespace);
        let notes = events.list(&kube::api::ListParams::default()).await?;
        let notes: Vec<_> = notes.items.into_iter().filter_map(|event| event.note).collect();
        ensure!(notes.iter().any(|note| note.contains("/taken is somebody else's")), "{notes:?}");
        Ok(())
    })
    .await?;
    let theirs = scene.get(Kind::ExternalArtifact, "taken").await?.context("it is gone")?;
    ensure!(theirs["spec"]["sourceRef"]["kind"] == "Bucket" && theirs["status"].is_null(), "it became {theirs}");
    ensure!(scene.get(Kind::ExternalArtifact, "plain").await?.is_none(), "published without a label");
    scene.delete(Kind::ConfigMap, "taken").await?;
    scene.gone(Kind::ConfigMap, "taken").await?;
    ensure!(scene.get(Kind::ExternalArtifact, "taken").await?.is_some(), "it went with a ConfigMap that it is not of");
    Ok(())
}

/// An artifact without files would have Flux delete what it applied.
async fn without_keys_it_stays(scene: &Scene, last: Option<&String>) -> Result<()> {
    scene.patch(Kind::ConfigMap, "app", json!({"data": null, "binaryData": null})).await?;
    scene
        .wait(Kind::ExternalArtifact, "app", "is not Ready, and keeps what it had", |object| {
            let ready = condition(object, "Ready").unwrap_or(&Value::Null);
            let said = ready["message"].as_str().is_some_and(|said| said.contains("/app has no keys: add one"));
            ensure!(ready["status"] == "False" && said, "{ready}");
            ensure!(Some(&path(object)?) == last, "{}", object["status"]);
            Ok(())
        })
        .await
}

/// Starts it under the account and the roles of its manifests, which the API server accepts as a whole.
async fn start(scene: &Scene, server: &ArtifactServer, interval: &str) -> Result<Process> {
    super::apply(scene, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/configmaps-go/deploy/deploy.yaml"))
        .await?;
    let kubeconfig = scene.stage.control_plane.service_account_kubeconfig(&scene.namespace, NAME).await?;
    let health = port::free()?;
    let process = Program::new(format!("{NAME}@{}", scene.namespace), scene.stage.tools.program(Part::ConfigMaps)?)
        .env("KUBECONFIG", kubeconfig)
        .arg(format!("--artifact-server={}", server.endpoint()))
        .arg(format!("--namespace={}", scene.namespace))
        .arg(format!("--health-addr={health}"))
        .arg(format!("--interval={interval}"))
        .start(&scene.stage.run)
        .await?;
    let probe = format!("http://{health}/healthz");
    process
        .until("it answers", Duration::from_secs(60), || async {
            fetch::get(&probe).await?.error_for_status()?;
            Ok(())
        })
        .await?;
    Ok(process)
}

/// A labelled ConfigMap whose one file is a ConfigMap.
fn config_map(name: &str, greeting: &str) -> Value {
    let mut object = Kind::ConfigMap.object(name);
    object["metadata"]["labels"] = json!({"manifests.weir.dev/publish": "true"});
    object["data"] = data(greeting)["data"].take();
    object
}

fn data(greeting: &str) -> Value {
    json!({"data": {"settings.yaml": config_map_yaml("settings", "greeting", greeting)}})
}

/// The files in an artifact.
fn files(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let (mut tar, mut found) = (tar::Archive::new(flate2::read::GzDecoder::new(archive)), BTreeMap::new());
    for entry in tar.entries()? {
        let mut entry = entry?;
        let (name, mut content) = (entry.path()?.display().to_string(), Vec::new());
        entry.read_to_end(&mut content)?;
        found.insert(name, content);
    }
    found.remove(".");
    Ok(found)
}

/// Where the published file lies.
fn path(object: &Value) -> Result<String> {
    Ok(object["status"]["artifact"]["path"].as_str().with_context(|| format!("none: {}", object["status"]))?.to_owned())
}

/// The object is Ready with the artifact that it had, and the bytes are those.
async fn published(scene: &Scene, before: &Value) -> Result<()> {
    let wanted = &before["status"]["artifact"];
    eventually("the same artifact is published and served", PATIENCE, || async {
        let object = scene.get(Kind::ExternalArtifact, "app").await?.context("it is gone")?;
        for field in ["path", "url", "revision", "digest", "size"] {
            let found = &object["status"]["artifact"][field];
            ensure!(*found == wanted[field], "{field} is {found}, was {}", wanted[field]);
        }
        scene.download(&object).await.map(drop)
    })
    .await?;
    scene.ready(Kind::ExternalArtifact, "app").await.map(drop)
}

/// Neither object nor file, and the URL says so.
async fn nothing_left(scene: &Scene, server: &ArtifactServer, name: &str, last: &Value) -> Result<()> {
    scene.gone(Kind::ExternalArtifact, name).await?;
    eventually("no file is left", PATIENCE, || async {
        let files = server.files()?;
        ensure!(files.is_empty(), "{files:?}");
        Ok(())
    })
    .await?;
    let url = last["status"]["artifact"]["url"].as_str().context("no URL")?;
    let status = fetch::get(url).await?.status();
    ensure!(status == 404, "{url} answers {status}");
    Ok(())
}
