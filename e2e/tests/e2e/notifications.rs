//! What a receiver at `--events-addr` hears.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::receiver::Receiver;
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, reason, two_apps};

/// As long as an outage may take that nobody is to notice.
const AWAY: Duration = Duration::from_secs(65);
const RUNS: &str = "controller_runtime_reconcile_time_seconds_count{controller=\"artifactgenerator\"}";
/// Runs that took no more than 10 s: one delivery that fails takes 15.
const QUICK_RUNS: &str =
    "controller_runtime_reconcile_time_seconds_bucket{controller=\"artifactgenerator\",le=\"10.0\"}";

/// Success, each kind of failure, and recovery: each arrives once, word for word, as Kubernetes has it too.
pub(crate) async fn arrive_exactly_as_documented(scene: Scene) -> Result<()> {
    let receiver = Receiver::start().await?;
    // No try of its own meets the source half-way.
    let arguments = [&format!("--events-addr={}", receiver.url()) as &str, "--requeue-dependency=1h"];
    let mut weir = Weir::start_with(&scene, &[], &arguments).await?;
    let mut wanted = Vec::new();

    apply(&scene, generator()).await?;
    let text = "get sources failed: GitRepository.source.toolkit.fluxcd.io \"repo\" not found".to_owned();
    wanted.push(("error", "SourceFetchFailed", text, None));
    heard(&receiver, &scene, &wanted).await?;
    scene.reconcile(Kind::ArtifactGenerator, "gen").await?;
    eventually("it is said again", PATIENCE, || async {
        ensure!(receiver.received().iter().any(|one| one.status == 429), "not yet");
        Ok(())
    })
    .await?;

    let repository = two_apps(&scene).await?;
    wanted.push(("info", "Ready", changed(&scene, &["one", "two"]).await?, Some(revision(&scene).await?)));
    heard(&receiver, &scene, &wanted).await?;

    let mut bad = generator();
    bad["spec"]["artifacts"][0]["copy"][0]["from"] = json!("@repo/apps/none");
    bad["spec"]["artifacts"][1]["copy"][0]["to"] = json!("@artifact/elsewhere/");
    apply(&scene, bad).await?;
    let failed = reason(&scene, "gen", "BuildFailed").await?;
    let text = crate::reconcile::message(&failed).to_owned();
    wanted.push(("error", "BuildFailed", text, Some(revision(&scene).await?)));
    // The other one is published all the same.
    wanted.push(("info", "Ready", lines(&scene, &["two"]).await?, Some(revision(&scene).await?)));
    heard(&receiver, &scene, &wanted).await?;

    let mut broken = generator();
    broken["spec"]["sources"] = json!([broken["spec"]["sources"][0], broken["spec"]["sources"][0]]);
    apply(&scene, broken).await?;
    wanted.push(("error", "ValidationFailed", "duplicate source alias 'repo' found".to_owned(), None));
    heard(&receiver, &scene, &wanted).await?;

    // Stalled, it looks at the new source all the same and says the same again. Then nothing is made of the old source any more.
    let again = || receiver.received().iter().filter(|one| one.status == 429).count();
    let before = again();
    scene.push("repo", &repository, &[("apps/two/a.yaml", "two: 2\n")]).await?;
    eventually("the new source is seen", PATIENCE, || async {
        ensure!(again() > before, "not yet");
        Ok(())
    })
    .await?;
    apply(&scene, generator()).await?;
    wanted.push(("info", "Ready", changed(&scene, &["two"]).await?, Some(revision(&scene).await?)));
    heard(&receiver, &scene, &wanted).await?;

    recorded(&scene, &receiver).await?;
    weir.stop().await
}

/// What is expected of one: severity, reason, message, and the revision in its metadata.
type Wanted = (&'static str, &'static str, String, Option<String>);

/// With annotations: one that receivers want, and one that is nobody's business.
async fn apply(scene: &Scene, mut generator: Value) -> Result<()> {
    generator["metadata"]["annotations"] = json!({"event.toolkit.fluxcd.io/team": "a", "example.com/other": "b"});
    scene.apply(generator).await
}

async fn revision(scene: &Scene) -> Result<String> {
    let source = scene.ready(Kind::GitRepository, "repo").await?;
    Ok(source["status"]["artifact"]["revision"].as_str().context("no revision")?.to_owned())
}

/// The message about these outputs, once the generator is Ready.
async fn changed(scene: &Scene, names: &[&str]) -> Result<String> {
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    lines(scene, names).await
}

/// The message about what these outputs publish now.
async fn lines(scene: &Scene, names: &[&str]) -> Result<String> {
    let mut lines = Vec::new();
    for name in names {
        let output = scene.ready(Kind::ExternalArtifact, name).await?;
        let digest = output["status"]["artifact"]["digest"].as_str().context("no digest")?;
        lines.push(format!("{}/{name} ({digest})", scene.namespace));
    }
    Ok(format!("external artifacts reconciled: {}", lines.join("\n")))
}

/// Waits until the receiver has taken these and no others, in this order.
async fn heard(receiver: &Receiver, scene: &Scene, wanted: &[Wanted]) -> Result<()> {
    let object = scene.get(Kind::ArtifactGenerator, "gen").await?.context("gen is gone")?;
    let all: Vec<_> = wanted.iter().map(|one| payload(&object, one)).collect();
    eventually("the receiver has heard of it", PATIENCE, || async {
        let refused: Vec<_> = receiver.received().into_iter().filter(|one| one.status == 400).collect();
        ensure!(refused.is_empty(), "it can not read {refused:?}");
        let mut found = receiver.accepted();
        for one in &mut found {
            // Times and versions pass: the receiver has checked their form.
            one["timestamp"] = Value::Null;
            one["involvedObject"]["resourceVersion"] = Value::Null;
        }
        ensure!(found == all, "found {found:#?}, wanted {all:#?}");
        Ok(())
    })
    .await
}

fn payload(object: &Value, (severity, reason, message, revision): &Wanted) -> Value {
    let mut metadata = json!({"event.toolkit.fluxcd.io/team": "a"});
    if let Some(revision) = revision {
        metadata["source.extensions.fluxcd.io/revision"] = json!(revision);
    }
    let mut payload = json!({
        "involvedObject": {
            "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator",
            "namespace": object["metadata"]["namespace"], "name": "gen", "uid": object["metadata"]["uid"],
            "resourceVersion": null,
        },
        "severity": severity, "timestamp": null, "message": message, "reason": reason, "metadata": metadata,
        "reportingController": "source-watcher",
    });
    if let Some(host) = std::env::var_os("HOSTNAME").filter(|host| !host.is_empty()) {
        payload["reportingInstance"] = json!(host.to_string_lossy());
    }
    payload
}

/// Each that arrived is an event in the cluster. There are more: traces, which never leave it.
async fn recorded(scene: &Scene, receiver: &Receiver) -> Result<()> {
    let events: Api<Event> = Api::namespaced(scene.client(), &scene.namespace);
    let sent: BTreeSet<String> =
        receiver.accepted().iter().filter_map(|one| one["message"].as_str().map(str::to_owned)).collect();
    eventually("the events of the cluster", PATIENCE, || async {
        let list = events.list(&ListParams::default()).await?;
        let written: BTreeSet<String> = list.items.into_iter().filter_map(|event| event.message).collect();
        let missing: Vec<_> = sent.difference(&written).collect();
        ensure!(missing.is_empty(), "not in the cluster: {missing:?}");
        ensure!(written.iter().any(|message| message.starts_with("reconciliation succeeded")), "{written:?}");
        Ok(())
    })
    .await
}

/// A receiver that is gone, and then one that takes connections and says nothing: runs go on as if it were there. When it is back it
/// hears everything in order, but for what five tries over 15 seconds could not bring it.
pub(crate) async fn a_dead_receiver_slows_nobody(scene: Scene) -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let arguments = [&format!("--events-addr={}", receiver.url()) as &str];
    let mut weir = Weir::start_with(&scene, &[], &arguments).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(generator()).await?;
    let mut wanted = vec![changed(&scene, &["one", "two"]).await?];
    eventually("the first is heard", PATIENCE, || async {
        ensure!(receiver.accepted().len() == 1, "{:?}", receiver.received());
        Ok(())
    })
    .await?;
    receiver.kill();
    let address = receiver.url();
    let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
    for number in 2..=5 {
        // The second half of them meets a receiver that is silent.
        let silent = if number > 3 { Some(TcpListener::bind(&address).await?) } else { None };
        let text = format!("one: {number}\n");
        let before = scene.get(Kind::ExternalArtifact, "one").await?.context("one is gone")?;
        scene.push("repo", &repository, &[("apps/one/a.yaml", &text)]).await?;
        scene
            .wait(Kind::ExternalArtifact, "one", "a new digest", |object| {
                ensure!(object["status"]["artifact"]["digest"] != before["status"]["artifact"]["digest"]);
                Ok(())
            })
            .await?;
        wanted.push(changed(&scene, &["one"]).await?);
        drop(silent);
    }
    nobody_waited(&weir).await?;
    receiver.restart().await?;
    let failed = "weir_notifications_total{outcome=\"failed\"}";
    eventually("the others are heard", PATIENCE, || async {
        let lost = figure(&weir, failed).await?;
        let found: Vec<_> = receiver.accepted().iter().map(|one| one["message"].clone()).collect();
        let last = wanted.iter().filter(|message| found.contains(&json!(message))).collect::<Vec<_>>();
        ensure!(found == last.iter().map(|message| json!(message)).collect::<Vec<_>>(), "out of order: {found:?}");
        ensure!(
            found.len() as f64 + lost == wanted.len() as f64,
            "{} and {lost} lost of {}",
            found.len(),
            wanted.len()
        );
        Ok(())
    })
    .await?;
    let dropped = figure(&weir, "weir_notifications_total{outcome=\"dropped\"}").await?;
    ensure!(dropped == 0.0, "{dropped} were dropped");
    weir.stop().await
}

/// The receiver is away for a minute, in which one generator says again and again that its source is missing, and another one
/// publishes: runs go on as if nothing were, and what either says last arrives.
pub(crate) async fn a_minute_without_a_receiver_costs_old_news_only(scene: Scene) -> Result<()> {
    let mut receiver = Receiver::start().await?;
    let arguments = [&format!("--events-addr={}", receiver.url()) as &str, "--requeue-dependency=1s"];
    let mut weir = Weir::start_with(&scene, &[], &arguments).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(generator()).await?;
    changed(&scene, &["one", "two"]).await?;
    let runs = figure(&weir, RUNS).await?;
    receiver.kill();
    let gone = Instant::now();
    let waits = |source: &str| {
        let mut waits = generator();
        waits["metadata"]["name"] = json!("waits");
        waits["spec"]["sources"][0]["name"] = json!(source);
        waits["spec"]["artifacts"] = json!([{"name": "three", "copy": [{"from": "@repo/**", "to": "@artifact/"}]}]);
        waits
    };
    scene.apply(waits("missing")).await?;
    eventually("a minute is over", AWAY * 2, || async {
        ensure!(gone.elapsed() > AWAY, "not yet");
        Ok(())
    })
    .await?;
    let runs = figure(&weir, RUNS).await? - runs;
    ensure!(runs > 20.0, "only {runs} runs, which say nothing of what piles up");
    scene.apply(waits("other")).await?;
    let last = "get sources failed: GitRepository.source.toolkit.fluxcd.io \"other\" not found";
    scene
        .wait(Kind::ArtifactGenerator, "waits", "it waits for the other one", |object| {
            ensure!(crate::reconcile::message(object) == last, "{}", object["status"]);
            Ok(())
        })
        .await?;
    let old = scene.get(Kind::ExternalArtifact, "one").await?.context("one is gone")?;
    scene.push("repo", &repository, &[("apps/one/a.yaml", "one: 2\n")]).await?;
    scene
        .wait(Kind::ExternalArtifact, "one", "a new digest", |object| {
            ensure!(object["status"]["artifact"]["digest"] != old["status"]["artifact"]["digest"]);
            Ok(())
        })
        .await?;
    let newest = [changed(&scene, &["one"]).await?, last.to_owned()];
    nobody_waited(&weir).await?;
    receiver.restart().await?;
    eventually("the newest are heard", PATIENCE, || async {
        let found: Vec<_> = receiver.accepted().iter().map(|one| one["message"].clone()).collect();
        ensure!(newest.iter().all(|message| found.contains(&json!(message))), "{found:?} without {newest:?}");
        Ok(())
    })
    .await?;
    let dropped = figure(&weir, "weir_notifications_total{outcome=\"dropped\"}").await?;
    ensure!(dropped == 0.0, "{dropped} were dropped");
    weir.stop().await
}

/// No run so far has taken as long as a delivery that fails.
async fn nobody_waited(weir: &Weir) -> Result<()> {
    let (runs, quick) = (figure(weir, RUNS).await?, figure(weir, QUICK_RUNS).await?);
    // A run may have ended between the two.
    ensure!(quick >= runs && runs > 0.0, "{quick} of {runs} runs took no more than 10 s");
    Ok(())
}

/// A figure of the controller.
async fn figure(weir: &Weir, name: &str) -> Result<f64> {
    let metrics = reqwest::get(weir.controller.metrics_url()).await?.text().await?;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name}"))?.parse()?)
}

/// SIGTERM right after a run: what it said is still sent.
pub(crate) async fn are_sent_before_the_end(scene: Scene) -> Result<()> {
    let receiver = Receiver::start().await?;
    let mut weir = Weir::start_with(&scene, &[], &[&format!("--events-addr={}", receiver.url())]).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    let wanted = changed(&scene, &["one", "two"]).await?;
    let status = weir.controller.stop().await?;
    ensure!(status == "exit status: 0", "it ended with {status:?}");
    let found: Vec<_> = receiver.accepted().iter().map(|one| one["message"].clone()).collect();
    ensure!(found == [json!(wanted)], "{found:?}");
    weir.server.stop().await?;
    Ok(())
}
