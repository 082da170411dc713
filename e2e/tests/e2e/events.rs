//! Kubernetes events through the recorder of the controller, with the controller's own rights, on a real API server.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use weir_controller::api::artifact_generator::ArtifactGenerator;
use weir_controller::events::{Notice, RecorderMetrics, recorder};
use weir_e2e::scene::Scene;

/// Equal events become one with a count, similar ones are combined, and one object gets 25 of a type at most.
pub(crate) async fn are_counted_and_bounded(scene: Scene) -> Result<()> {
    let events: Api<Event> = Api::namespaced(scene.client(), &scene.namespace);
    say(&scene, (0..3).map(|_| Notice::no_drift(7)).collect()).await?;
    let found = list(&events).await?;
    ensure!(found == [("No drift detected, 7 artifact(s) up to date".to_owned(), 3)], "{found:?}");

    // 9 of their own, the rest combined; two objects could not share a budget, so 25 are written and 15 left out.
    events.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let notices = (0..40).map(|number| Notice::published(&scene.namespace, "out", &format!("r{number}"))).collect();
    let metrics = say(&scene, notices).await?;
    let counts = (metrics.written.get(), metrics.limited.get(), metrics.dropped.get());
    ensure!(counts == (25, 15, 0), "(written, limited, dropped) are {counts:?}");
    let found = list(&events).await?;
    let combined = found.iter().find(|(message, _)| message.starts_with("(combined from similar events): "));
    ensure!(found.len() == 10, "{found:?}");
    ensure!(combined.is_some_and(|(_, count)| *count == 16), "{found:?}");
    Ok(())
}

/// An event that is gone when it should be counted up is made anew.
pub(crate) async fn deleted_event_comes_back(scene: Scene) -> Result<()> {
    let events: Api<Event> = Api::namespaced(scene.client(), &scene.namespace);
    let (recorder, writer) = recorder(controller(&scene).await?, "pod", RecorderMetrics::default());
    let writer = tokio::spawn(writer.run());
    let generator = generator(&scene)?;
    for pass in 1..=2 {
        recorder.record(&generator, &Notice::failed("BuildFailed", "bad"));
        weir_e2e::eventually::eventually("the event", weir_e2e::eventually::PATIENCE, || async {
            let found = list(&events).await?;
            ensure!(found == [("bad".to_owned(), pass)], "{found:?}");
            Ok(())
        })
        .await?;
        events.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    }
    drop(recorder);
    writer.await.context("the writer")
}

/// Records everything and waits until it is written.
async fn say(scene: &Scene, notices: Vec<Notice>) -> Result<RecorderMetrics> {
    let metrics = RecorderMetrics::default();
    let (recorder, writer) = recorder(controller(scene).await?, "pod", metrics.clone());
    let generator = generator(scene)?;
    for notice in &notices {
        recorder.record(&generator, notice);
    }
    drop(recorder);
    writer.run().await;
    Ok(metrics)
}

async fn controller(scene: &Scene) -> Result<kube::Client> {
    scene.stage.control_plane.service_account("flux-system", "source-watcher").await?.client()
}

fn generator(scene: &Scene) -> Result<ArtifactGenerator> {
    let metadata = json!({"name": "gen", "namespace": scene.namespace, "uid": "1f0c"});
    Ok(serde_json::from_value(json!({"metadata": metadata}))?)
}

/// Message and count of each event in the namespace.
async fn list(events: &Api<Event>) -> Result<Vec<(String, i32)>> {
    let list = events.list(&ListParams::default()).await?;
    let pair = |event: Event| (event.message.unwrap_or_default(), event.count.unwrap_or_default());
    Ok(list.items.into_iter().map(pair).collect())
}
