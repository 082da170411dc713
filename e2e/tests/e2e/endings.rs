//! What a user reads of each way that a run can end: conditions, events, metrics, and whether another one follows by itself.

use std::cell::Cell;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::resources::{Kind, condition};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

use crate::reconcile::{generator, two_apps};

/// What `controller_runtime_reconcile_total` calls it, and what follows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// `success`: nothing follows.
    Nothing,
    /// `requeue_after`: it follows in an hour, which no test waits for.
    Hourly,
    /// `requeue_after`: it follows after `--requeue-dependency`.
    Dependency,
    /// `error`: it follows after `--min-retry-delay`.
    Backoff,
    /// `error`, and a terminal one: nothing follows.
    Stalled,
}

/// One way to end. NAMESPACE in a message stands for that of the test.
struct Row {
    name: &'static str,
    /// All conditions, as `Type=Status/Reason`.
    conditions: &'static [&'static str],
    /// All events, as type, reason and start of the message.
    events: &'static [(&'static str, &'static str, &'static str)],
    then: Then,
}

const MISSING: Row = Row {
    name: "a source is missing from the first pass on",
    conditions: &["Reconciling=True/ProgressingWithRetry", "Ready=False/SourceFetchFailed"],
    events: &[(
        "Warning",
        "SourceFetchFailed",
        "get sources failed: GitRepository.source.toolkit.fluxcd.io \"repo\" not found",
    )],
    then: Then::Dependency,
};
const SUCCESS: Row = Row {
    name: "everything is new",
    conditions: &["Ready=True/Succeeded"],
    events: &[
        ("Normal", "Ready", "ExternalArtifact/NAMESPACE/one reconciled with revision latest@sha256:"),
        ("Normal", "Ready", "ExternalArtifact/NAMESPACE/two reconciled with revision latest@sha256:"),
        ("Normal", "Ready", "external artifacts reconciled: NAMESPACE/one (sha256:"),
        ("Normal", "Ready", "reconciliation succeeded, generated 2 artifact(s)"),
    ],
    then: Then::Hourly,
};
const NO_DRIFT: Row = Row {
    name: "nothing is new",
    conditions: &["Ready=True/Succeeded"],
    events: &[("Normal", "Ready", "No drift detected, 2 artifact(s) up to date")],
    then: Then::Hourly,
};
const INVALID: Row = Row {
    name: "the spec can not be carried out",
    conditions: &["Stalled=True/ValidationFailed", "Ready=False/ValidationFailed"],
    events: &[("Warning", "ValidationFailed", "duplicate source alias 'repo' found")],
    then: Then::Stalled,
};
const DENIED: Row = Row {
    name: "a source of another namespace is not allowed",
    conditions: &["Stalled=True/AccessDenied", "Ready=False/AccessDenied"],
    events: &[(
        "Warning",
        "AccessDenied",
        "cross-namespace reference to source GitRepository/elsewhere/repo is not allowed",
    )],
    then: Then::Stalled,
};
const STALE: Row = Row {
    name: "a source is missing, and the generator was stalled",
    conditions: &["Stalled=True/AccessDenied", "Ready=False/SourceFetchFailed"],
    events: &[(
        "Warning",
        "SourceFetchFailed",
        "get sources failed: GitRepository.source.toolkit.fluxcd.io \"gone\" not found",
    )],
    then: Then::Dependency,
};
const PATTERN: Row = Row {
    name: "a path pattern can not be expanded",
    conditions: &["Stalled=True/BuildFailed", "Ready=False/BuildFailed"],
    events: &[("Warning", "BuildFailed", "failed to expand path pattern: ")],
    then: Then::Stalled,
};
const UNFETCHED: Row = Row {
    name: "a source can not be fetched",
    conditions: &["Reconciling=True/ProgressingWithRetry", "Ready=False/SourceFetchFailed"],
    events: &[("Warning", "SourceFetchFailed", "fetch sources failed: ")],
    then: Then::Dependency,
};
const BUILD: Row = Row {
    name: "a copy fails",
    conditions: &["Reconciling=True/ProgressingWithRetry", "Ready=False/BuildFailed"],
    events: &[("Warning", "BuildFailed", "one build failed: failed to apply copy operations: ")],
    then: Then::Backoff,
};
const APPLY: Row = Row {
    name: "the API server refuses an output",
    conditions: &["Reconciling=True/ProgressingWithRetry", "Ready=False/ReconciliationFailed"],
    events: &[("Warning", "ReconciliationFailed", "one reconcile failed: failed to apply ExternalArtifact: ")],
    then: Then::Backoff,
};
const UNCHANGED: Row = Row {
    name: "the spec is new, the contents are not: nobody is notified",
    events: &[("Normal", "Ready", "reconciliation succeeded, generated 2 artifact(s)")],
    ..SUCCESS
};
const PAUSED: Row = Row {
    name: "it is paused: its conditions stay",
    events: &[("Normal", "ReconciliationDisabled", "Reconciliation is disabled")],
    then: Then::Nothing,
    ..NO_DRIFT
};
const LOST: Row = Row {
    name: "a source is missing, and the generator was Ready: there was no Reconciling, and there is none",
    conditions: &["Ready=False/SourceFetchFailed"],
    ..MISSING
};

/// §11, §13, §14: one row after the other, on one generator and on its successor.
pub(crate) async fn have_their_conditions_events_and_next_runs(scene: Scene) -> Result<()> {
    let waits = ["--requeue-dependency=1s", "--min-retry-delay=1s", "--max-retry-delay=1s"];
    let arguments = [&waits[..], &["--no-cross-namespace-refs"]].concat();
    // Known from the start, so that no run comes before the news of it.
    unreachable(&scene).await?;
    let mut weir = Weir::start_with(&scene, &[], &arguments).await?;
    let trial = Trial { scene: &scene, weir: &weir, before: Cell::new(None) };
    trial.row(&MISSING, scene.apply(generator())).await?;
    trial.row(&SUCCESS, async { two_apps(&scene).await.map(drop) }).await?;
    trial.row(&NO_DRIFT, scene.reconcile(Kind::ArtifactGenerator, "gen")).await?;
    trial.spec(&INVALID, |spec| spec["sources"] = json!([spec["sources"][0], spec["sources"][0]])).await?;
    trial.spec(&DENIED, |spec| spec["sources"][0]["namespace"] = json!("elsewhere")).await?;
    trial.spec(&STALE, |spec| spec["sources"][0]["name"] = json!("gone")).await?;
    trial.spec(&PATTERN, |spec| spec["pathPattern"] = json!("@repo/{")).await?;
    // One object gets 25 warnings, and those that are tried again take some for each second: the other half is said of another object.
    scene.delete(Kind::ArtifactGenerator, "gen").await?;
    scene.gone(Kind::ArtifactGenerator, "gen").await?;
    trial.row(&SUCCESS, scene.apply(generator())).await?;
    let upstream = json!([{"alias": "repo", "kind": "ExternalArtifact", "name": "upstream"}]);
    trial.spec(&UNFETCHED, |spec| spec["sources"] = upstream.clone()).await?;
    trial.spec(&BUILD, |spec| spec["artifacts"][0]["copy"][0]["from"] = json!("@repo/apps/none")).await?;
    let labels = |key: &str| json!({"labels": {key: "a"}, "annotations": {"note": "b"}});
    trial.spec(&APPLY, |spec| spec["commonMetadata"] = labels("no label")).await?;

    // What commonMetadata has is on the outputs, and goes when it goes.
    trial.spec(&UNCHANGED, |spec| spec["commonMetadata"] = labels("team")).await?;
    let with = metadata(&scene).await?;
    ensure!(with == (json!("a"), json!("b")), "{with:?}");
    trial.spec(&UNCHANGED, |_| {}).await?;
    let without = metadata(&scene).await?;
    ensure!(without == (Value::Null, Value::Null), "{without:?}");

    let pause = |value| json!({"metadata": {"annotations": {"source.extensions.fluxcd.io/reconcile": value}}});
    trial.row(&PAUSED, scene.patch(Kind::ArtifactGenerator, "gen", pause(Some("disabled")))).await?;
    trial.row(&NO_DRIFT, scene.patch(Kind::ArtifactGenerator, "gen", pause(None))).await?;
    trial.row(&LOST, scene.delete(Kind::GitRepository, "repo")).await?;
    weir.stop().await
}

/// A source that nobody can download.
async fn unreachable(scene: &Scene) -> Result<()> {
    scene.apply(Kind::ExternalArtifact.object("upstream")).await?;
    let artifact = json!({"url": "ftp://127.0.0.1:1/a.tar.gz", "path": "a", "revision": "r", "size": 1,
        "digest": format!("sha256:{}", "0".repeat(64)), "lastUpdateTime": "2025-01-01T00:00:00Z"});
    scene.patch_status(Kind::ExternalArtifact, "upstream", json!({"status": {"artifact": artifact}})).await
}

/// The label `team` and the annotation `note` of an output.
async fn metadata(scene: &Scene) -> Result<(Value, Value)> {
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    Ok((one["metadata"]["labels"]["team"].clone(), one["metadata"]["annotations"]["note"].clone()))
}

struct Trial<'a> {
    scene: &'a Scene,
    weir: &'a Weir,
    /// Type and reason of the events of the row before, if its runs went on: some more may come.
    before: Cell<Option<(&'static str, &'static str)>>,
}

/// Reconciles by result, and terminal errors.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    success: u32,
    requeue_after: u32,
    error: u32,
    terminal: u32,
}

impl Trial<'_> {
    /// Applies the generator with another spec.
    async fn spec(&self, row: &Row, edit: impl FnOnce(&mut Value)) -> Result<()> {
        let mut object = generator();
        edit(&mut object["spec"]);
        self.row(row, self.scene.apply(object)).await
    }

    /// Does something, and waits for all that the row says of it.
    async fn row(&self, row: &Row, cause: impl Future<Output = Result<()>>) -> Result<()> {
        let events: Api<Event> = Api::namespaced(self.scene.client(), &self.scene.namespace);
        events.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        let before = self.counts().await?;
        cause.await?;
        self.said(row, &events).await.with_context(|| row.name.to_owned())?;
        self.followed(row, before).await.with_context(|| row.name.to_owned())?;
        let goes_on = matches!(row.then, Then::Dependency | Then::Backoff);
        self.before.set(row.events.first().filter(|_| goes_on).map(|event| (event.0, event.1)));
        Ok(())
    }

    async fn said(&self, row: &Row, events: &Api<Event>) -> Result<()> {
        eventually("conditions and events", PATIENCE, || async {
            let object = self.scene.get(Kind::ArtifactGenerator, "gen").await?.context("it is gone")?;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let one = |one: &Value| format!("{}={}/{}", text(&one["type"]), text(&one["status"]), text(&one["reason"]));
            let found: Vec<String> = conditions.iter().map(one).collect();
            ensure!(found == row.conditions, "conditions are {}", object["status"]["conditions"]);
            let ready = condition(&object, "Ready").context("no Ready condition")?;
            ensure!(ready["observedGeneration"] == object["metadata"]["generation"], "{ready}");
            if let Some(stalled) = condition(&object, "Stalled").filter(|_| row.then == Then::Stalled) {
                ensure!(stalled["message"] == ready["message"], "{stalled}");
            }
            let ours = ListParams::default().fields("involvedObject.kind=ArtifactGenerator,involvedObject.name=gen");
            let mut found: Vec<_> = events.list(&ours).await?.items.into_iter().map(told).collect();
            found.retain(|(kind, reason, _)| self.before.get() != Some((kind.as_str(), reason.as_str())));
            found.sort();
            let fits = |(found, wanted): (&(String, String, String), &(&str, &str, &str))| {
                let start = wanted.2.replace("NAMESPACE", &self.scene.namespace);
                (found.0.as_str(), found.1.as_str()) == (wanted.0, wanted.1) && found.2.starts_with(&start)
            };
            ensure!(found.len() == row.events.len() && found.iter().zip(row.events).all(fits), "events are {found:#?}");
            Ok(())
        })
        .await
    }

    /// Whether another run follows, by the counts before the first one.
    async fn followed(&self, row: &Row, before: Counts) -> Result<()> {
        let so_far = self.counts().await?;
        let (is, was): (fn(Counts) -> u32, u32) = match row.then {
            Then::Nothing => (|counts| counts.success, before.success),
            Then::Hourly | Then::Dependency => (|counts| counts.requeue_after, before.requeue_after),
            Then::Backoff | Then::Stalled => (|counts| counts.error, before.error),
        };
        if matches!(row.then, Then::Dependency | Then::Backoff) {
            return eventually("more runs follow", PATIENCE, || async {
                let now = self.counts().await?;
                ensure!(is(now) > is(so_far).max(was + 1), "{before:?}, {so_far:?}, {now:?}");
                ensure!(now.terminal == before.terminal, "{before:?}, {now:?}");
                Ok(())
            })
            .await;
        }
        let last = self.rest().await?;
        ensure!(is(last) > was, "{before:?}, {last:?}");
        ensure!((last.terminal > before.terminal) == (row.then == Then::Stalled), "{before:?}, {last:?}");
        Ok(())
    }

    /// Waits until no run has begun for longer than the waits after failures.
    async fn rest(&self) -> Result<Counts> {
        let mut last = self.counts().await?;
        for _ in 0..3 {
            sleep(Duration::from_millis(2500)).await;
            let now = self.counts().await?;
            if format!("{now:?}") == format!("{last:?}") {
                return Ok(now);
            }
            last = now;
        }
        anyhow::bail!("runs follow each other by themselves: {last:?}")
    }

    async fn counts(&self) -> Result<Counts> {
        let text = reqwest::get(self.weir.controller.metrics_url()).await?.text().await?;
        let count = |name: &str, labels: &str| {
            let start = format!("controller_runtime_{name}{{controller=\"artifactgenerator\"{labels}}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.with_context(|| format!("no {start}"))?.parse::<u32>().context("not a number")
        };
        let result = |result: &str| count("reconcile_total", &format!(",result=\"{result}\""));
        Ok(Counts {
            success: result("success")?,
            requeue_after: result("requeue_after")?,
            error: result("error")?,
            terminal: count("terminal_reconcile_errors_total", "")?,
        })
    }
}

/// Type, reason and message of an event; of one that is not the controller's, who says it.
fn told(event: Event) -> (String, String, String) {
    let component = event.source.and_then(|source| source.component).unwrap_or_default();
    let reason = event.reason.unwrap_or_default();
    let reason = if component == "source-watcher" { reason } else { format!("{reason} of {component:?}") };
    (event.type_.unwrap_or_default(), reason, event.message.unwrap_or_default())
}
