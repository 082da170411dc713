//! The way of an event from a reconcile to the API: a bounded queue, and one task that correlates and writes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Notice,
    correlator::{Action, Correlator, event_name},
};
use crate::api::{
    FIELD_MANAGER,
    artifact_generator::{API_VERSION, ArtifactGenerator, KIND},
};

/// Events that may wait to be written. More are dropped and counted, as client-go does.
const QUEUE: usize = 1000;
/// How often an event is tried while the API can not be reached.
const TRIES: u32 = 12;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(10);
/// Annotations of a generator that start like this are passed on.
const PASSED_ON: &str = "event.toolkit.fluxcd.io/";

/// What became of events; register both with the metrics of the process.
#[derive(Clone, Debug, Default)]
pub struct RecorderMetrics {
    /// Events written, new or counted up.
    pub written: Counter,
    /// Events lost: the queue was full, or the API refused them.
    pub dropped: Counter,
}

/// The near end: cheap to clone, never waits.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Event>,
    host: String,
    metrics: RecorderMetrics,
}

/// The far end: run it in one task.
pub struct Writer {
    queue: mpsc::Receiver<Event>,
    client: Client,
    correlator: Correlator,
    metrics: RecorderMetrics,
}

/// Makes both ends. `host` is the name of this pod.
pub fn recorder(client: Client, host: &str, metrics: RecorderMetrics) -> (Recorder, Writer) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let recorder = Recorder { queue: sender, host: host.to_owned(), metrics: metrics.clone() };
    (recorder, Writer { queue: receiver, client, correlator: Correlator::default(), metrics })
}

impl Recorder {
    /// Says `notice` about a generator, some time later. When too many wait already, it is dropped.
    pub fn record(&self, generator: &ArtifactGenerator, notice: &Notice) {
        let Notice { reason, message, warning, .. } = notice;
        tracing::trace!(reason = %reason, warning, "event: {message}");
        let event = build(generator, notice, &self.host, Timestamp::now());
        if self.queue.try_send(event).is_err() {
            self.metrics.dropped.inc();
            tracing::error!(reason = %reason, "unable to record event: too many queued events, dropped one");
        }
    }
}

/// The event of a notice before correlation.
fn build(generator: &ArtifactGenerator, notice: &Notice, host: &str, now: Timestamp) -> Event {
    let meta = &generator.metadata;
    let annotations = meta.annotations.clone().unwrap_or_default();
    let passed_on: std::collections::BTreeMap<_, _> =
        annotations.into_iter().filter(|(key, _)| key.starts_with(PASSED_ON)).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(meta.name.as_deref().unwrap_or_default(), now)),
            namespace: meta.namespace.clone(),
            annotations: Some(passed_on).filter(|annotations| !annotations.is_empty()),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: Some(API_VERSION.to_owned()),
            kind: Some(KIND.to_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        },
        type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(notice.reason.clone()),
        message: Some(notice.message.clone()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        source: Some(EventSource { component: Some(FIELD_MANAGER.to_owned()), host: Some(host.to_owned()) }),
        reporting_component: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(host.to_owned()),
        ..Default::default()
    }
}

impl Writer {
    /// Writes events until every [`Recorder`] is dropped and the queue is empty. Drop the future to end at once.
    pub async fn run(mut self) {
        while let Some(event) = self.queue.recv().await {
            let action = self.correlator.correlate(event, Timestamp::now());
            if action == Action::Drop {
                continue;
            }
            if self.write(&action).await {
                self.metrics.written.inc();
            } else {
                self.metrics.dropped.inc();
            }
        }
    }

    /// Tries until the API has answered; whether it took the event.
    async fn write(&self, action: &Action) -> bool {
        for attempt in 1..=TRIES {
            match self.try_write(action).await {
                Ok(()) => return true,
                Err(kube::Error::Api(status)) => {
                    let expected = status.is_already_exists() || status.message.contains("being terminated");
                    if !expected {
                        tracing::error!(error = %status.message, "server rejected event");
                    }
                    return false;
                }
                Err(error) if attempt < TRIES => {
                    tracing::debug!(error = %error, attempt, "unable to write event, will try again");
                    let first = if attempt == 1 { rand::random::<f64>() } else { 1.0 };
                    tokio::time::sleep(PAUSE.mul_f64(first)).await;
                }
                Err(error) => tracing::error!(error = %error, "unable to write event"),
            }
        }
        false
    }

    async fn try_write(&self, action: &Action) -> Result<(), kube::Error> {
        let (event, counted) = match action {
            Action::Create(event) => (event, false),
            Action::Count(event) => (event, true),
            Action::Drop => return Ok(()),
        };
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        if counted {
            let name = event.metadata.name.as_deref().unwrap_or_default();
            let Event { count, last_timestamp, message, .. } = event.as_ref();
            let body = json!({"count": count, "lastTimestamp": last_timestamp, "message": message});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(body)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                other => return other.map(drop),
            }
        }
        api.create(&PostParams::default(), event).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_name_their_generator() {
        let generator: ArtifactGenerator = serde_json::from_value(json!({"metadata": {
            "name": "gen", "namespace": "apps", "uid": "u", "resourceVersion": "7",
            "annotations": {"event.toolkit.fluxcd.io/team": "a", "other": "b"},
        }}))
        .unwrap();
        let now: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
        let got = serde_json::to_value(build(&generator, &Notice::failed("BuildFailed", "bad"), "pod-1", now)).unwrap();
        let wanted = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": format!("gen.{:x}", now.as_nanosecond()),
                "namespace": "apps",
                "annotations": {"event.toolkit.fluxcd.io/team": "a"},
            },
            "involvedObject": {
                "apiVersion": "source.extensions.fluxcd.io/v1beta1", "kind": "ArtifactGenerator", "namespace": "apps",
                "name": "gen", "uid": "u", "resourceVersion": "7",
            },
            "type": "Warning",
            "reason": "BuildFailed",
            "message": "bad",
            "count": 1,
            "firstTimestamp": "2026-01-02T03:04:05Z",
            "lastTimestamp": "2026-01-02T03:04:05Z",
            "source": {"component": "source-watcher", "host": "pod-1"},
            "reportingComponent": "source-watcher",
            "reportingInstance": "pod-1",
        });
        assert_eq!(got, wanted);
    }

    #[test]
    fn the_table_of_notices() {
        let entry = |name: &str| crate::api::artifact_generator::InventoryEntry {
            name: name.into(),
            namespace: "n".into(),
            digest: "sha256:1".into(),
            filename: "f".into(),
        };
        let changed = Notice::changed(&[entry("a"), entry("b")]).unwrap();
        // (row, notice, warning, for everybody, reason, message)
        let rows = [
            ("§14 paused", Notice::paused(), false, false, "ReconciliationDisabled", "Reconciliation is disabled"),
            ("§14 no drift", Notice::no_drift(3), false, false, "Ready", "No drift detected, 3 artifact(s) up to date"),
            (
                "§14 published",
                Notice::published("n", "a", "latest@sha256:1"),
                false,
                false,
                "Ready",
                "ExternalArtifact/n/a reconciled with revision latest@sha256:1",
            ),
            (
                "§14 success",
                Notice::succeeded(2),
                false,
                false,
                "Ready",
                "reconciliation succeeded, generated 2 artifact(s)",
            ),
            (
                "§14 changed",
                changed,
                false,
                true,
                "Ready",
                "external artifacts reconciled: n/a (sha256:1)\nn/b (sha256:1)",
            ),
            ("§14 warning", Notice::failed("SourceFetchFailed", "x"), true, true, "SourceFetchFailed", "x"),
        ];
        for (row, notice, warning, everybody, reason, message) in rows {
            assert_eq!((notice.warning, notice.is_for_everybody()), (warning, everybody), "row {row}");
            assert_eq!((notice.reason.as_str(), notice.message.as_str()), (reason, message), "row {row}");
        }
        assert_eq!(Notice::changed(&[]), None, "§14 nothing changed, nothing said");
    }
}
