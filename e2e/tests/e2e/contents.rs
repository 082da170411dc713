//! What events say of the contents of artifacts, and copies that need not find anything.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{message, reason};

/// Events count the files of each artifact that is new, and name what the default ignore list left out of it.
pub(crate) async fn are_told_in_events(scene: Scene) -> Result<()> {
    let files = [("one/a.yaml", "a"), ("one/logo.png", "x"), ("two/a.yaml", "a"), ("two/b.yaml", "b")];
    scene.repository("repo", &files).await?;
    // Else source-controller leaves out the same files first.
    scene.patch(Kind::GitRepository, "repo", json!({"spec": {"ignore": "/nothing"}})).await?;
    scene
        .wait(Kind::GitRepository, "repo", "an artifact of all files", |object| {
            ensure!(object["status"]["observedIgnore"] == "/nothing", "{}", object["status"]);
            Ok(())
        })
        .await?;
    // Not before: of the first artifact of the source it would make the same, and then have nothing to say of the second.
    let mut weir = Weir::start(&scene).await?;
    let copies = |name: &str| artifact(name, &[(&format!("@repo/{name}/**"), "@artifact/")]);
    scene.apply(artifact_generator("gen", "repo", json!([copies("one"), copies("two")]))).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let events: Api<Event> = Api::namespaced(scene.client(), &scene.namespace);
    let prefix = format!("ExternalArtifact/{}/", scene.namespace);
    eventually("the events", PATIENCE, || async {
        let list = events.list(&ListParams::default()).await?.items;
        let mut counts = BTreeMap::new();
        for event in &list {
            let text = event.message.as_deref().unwrap_or_default();
            let name = text
                .strip_prefix(&prefix)
                .and_then(|rest| rest.strip_suffix(&text[text.rfind(" reconciled").unwrap_or(0)..]));
            let count =
                event.metadata.annotations.as_ref().and_then(|all| all.get("source.extensions.fluxcd.io/files"));
            counts.extend(name.zip(count.map(String::as_str)));
        }
        ensure!(counts == BTreeMap::from([("one", "1"), ("two", "2")]), "{counts:?} in {list:?}");
        let warnings: Vec<_> = list.iter().filter(|event| event.reason.as_deref() == Some("FilesIgnored")).collect();
        ensure!(warnings.len() == 1, "{warnings:?}");
        let text = format!("{prefix}one is without 1 file(s) that the default ignore list leaves out: logo.png");
        ensure!(warnings[0].message.as_ref() == Some(&text), "{warnings:?}");
        ensure!(warnings[0].type_.as_deref() == Some("Warning"), "{warnings:?}");
        Ok(())
    })
    .await?;
    weir.stop().await
}

/// `optional: true` skips what is not there; without it the artifact fails.
pub(crate) async fn may_be_optional(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    scene.repository("repo", &[("one/a.yaml", "a")]).await?;
    let copies = [("@repo/one/**", "@artifact/"), ("@repo/overlay/**", "@artifact/")];
    let mut generator = artifact_generator("gen", "repo", json!([artifact("one", &copies)]));
    scene.apply(generator.clone()).await?;
    let failed = reason(&scene, "gen", "BuildFailed").await?;
    ensure!(message(&failed).ends_with("no files match pattern 'overlay/**' in source 'repo'"), "{}", message(&failed));
    generator["spec"]["artifacts"][0]["copy"][1]["optional"] = json!(true);
    scene.apply(generator).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    scene.download(&one).await?;
    weir.stop().await
}
