//! The way of an event from a reconcile to the API: it is correlated at once, waits in a bounded queue, and one task writes.
//!
//! client-go correlates behind its queue. There, one object that has much to say takes the room of all others.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Notice, Notifier,
    correlator::{Action, Correlator, event_name},
};
use crate::api::{
    FIELD_MANAGER,
    artifact_generator::{API_VERSION, ArtifactGenerator, KIND},
};

/// Events that may wait to be written, of which one object can have few. More are dropped and counted, as client-go does.
const QUEUE: usize = 1000;
/// How often an event is tried while the API can not be reached.
const TRIES: u32 = 12;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_secs(10);
/// Annotations of a generator that start like this are passed on.
const PASSED_ON: &str = "event.toolkit.fluxcd.io/";

/// Annotation of an event: how many files the artifact has that it is about.
const FILES: &str = "source.extensions.fluxcd.io/files";

/// What became of events; register all with the metrics of the process.
#[derive(Clone, Debug, Default)]
pub struct RecorderMetrics {
    /// Events written, new or counted up.
    pub written: Counter,
    /// Events lost: the queue was full, or the API refused them.
    pub dropped: Counter,
    /// Events left out, as their object has had too many of late.
    pub limited: Counter,
}

/// The near end: cheap to clone, never waits.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Action>,
    correlator: Arc<Mutex<Correlator>>,
    host: String,
    metrics: RecorderMetrics,
    notifier: Option<Notifier>,
}

/// The far end: run it in one task.
pub struct Writer {
    queue: mpsc::Receiver<Action>,
    client: Client,
    metrics: RecorderMetrics,
}

/// Makes both ends. `host` is the name of this pod.
pub fn recorder(client: Client, host: &str, metrics: RecorderMetrics) -> (Recorder, Writer) {
    let (recorder, queue) = near_end(host, metrics.clone());
    (recorder, Writer { queue, client, metrics })
}

fn near_end(host: &str, metrics: RecorderMetrics) -> (Recorder, mpsc::Receiver<Action>) {
    let (queue, actions) = mpsc::channel(QUEUE);
    (Recorder { queue, correlator: Arc::default(), host: host.to_owned(), metrics, notifier: None }, actions)
}

impl Recorder {
    /// Tells the notification receiver too.
    #[must_use]
    pub fn notifying(self, notifier: Notifier) -> Self {
        Self { notifier: Some(notifier), ..self }
    }

    /// Says `notice` about a generator, some time later. In the cluster it is left out when the generator has had too many of late,
    /// and dropped when too many of all generators wait already.
    pub fn record(&self, generator: &ArtifactGenerator, notice: &Notice) {
        let Notice { reason, message, warning, .. } = notice;
        tracing::trace!(reason = %reason, warning, "event: {message}");
        let now = Timestamp::now();
        let event = build(generator, notice, &self.host, now);
        if let Some(notifier) = self.notifier.as_ref().filter(|_| notice.is_for_everybody()) {
            notifier.notify(&event, notice.commit.as_ref());
        }
        // Held until the event is in the queue: what counts another one up must not come before it.
        let mut correlator = self.correlator.lock();
        let action = correlator.correlate(event, now);
        if action == Action::Drop {
            self.metrics.limited.inc();
        } else if self.queue.try_send(action).is_err() {
            self.metrics.dropped.inc();
            tracing::error!(reason = %reason, "unable to record event: too many queued events, dropped one");
        }
    }
}

/// The event of a notice before correlation.
fn build(generator: &ArtifactGenerator, notice: &Notice, host: &str, now: Timestamp) -> Event {
    let meta = &generator.metadata;
    let annotations = meta.annotations.clone().unwrap_or_default();
    let mut passed_on: std::collections::BTreeMap<_, _> =
        annotations.into_iter().filter(|(key, _)| key.starts_with(PASSED_ON)).collect();
    passed_on.extend(notice.files.map(|files| (FILES.to_owned(), files.to_string())));
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
        while let Some(action) = self.queue.recv().await {
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
    use crate::events::Contents;

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
        let contents = Contents { files: 3, ..Contents::default() };
        let notice = Notice::published("apps", "one", "r").holding(Some(&contents));
        let annotations = build(&generator, &notice, "pod-1", now).metadata.annotations.unwrap();
        assert_eq!(annotations.get(FILES).map(String::as_str), Some("3"), "the message stays the one of the reference");
    }

    fn generator(name: &str) -> ArtifactGenerator {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "apps", "uid": name}})).unwrap()
    }

    #[test]
    fn a_storm_about_one_object_leaves_room_for_all_others() {
        let metrics = RecorderMetrics::default();
        let (recorder, mut queue) = near_end("pod", metrics.clone());
        for number in 0..2 * QUEUE {
            recorder.record(&generator("noisy"), &Notice::published("apps", "out", &number.to_string()));
        }
        recorder.record(&generator("quiet"), &Notice::failed("BuildFailed", "bad"));
        let mut waiting = std::collections::BTreeMap::<_, usize>::new();
        while let Ok(Action::Create(event) | Action::Count(event)) = queue.try_recv() {
            *waiting.entry(event.involved_object.name.unwrap()).or_default() += 1;
        }
        assert_eq!(waiting, [("noisy".to_owned(), 25), ("quiet".to_owned(), 1)].into());
        assert_eq!((metrics.limited.get(), metrics.dropped.get()), (2 * QUEUE as u64 - 25, 0), "counted");
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let metrics = RecorderMetrics::default();
        let (recorder, queue) = near_end("pod", metrics.clone());
        for number in 0..QUEUE + 3 {
            recorder.record(&generator(&format!("g{number}")), &Notice::paused());
        }
        assert_eq!((queue.len(), metrics.dropped.get(), metrics.limited.get()), (QUEUE, 3, 0));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn the_table_of_notices() {
        let entry = |name: &str| crate::api::artifact_generator::InventoryEntry {
            name: name.into(),
            namespace: "n".into(),
            digest: "sha256:1".into(),
            filename: "f".into(),
        };
        let changed = Notice::changed(&[entry("a"), entry("b")]).unwrap();
        let contents = |ignored, examples: &[&str]| Contents {
            files: 3,
            ignored,
            examples: examples.iter().map(|path| (*path).to_owned()).collect(),
        };
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
            (
                "files left out",
                Notice::ignored("n", "a", &contents(12, &["a.png", "b/c.zip"])).unwrap(),
                true,
                false,
                "FilesIgnored",
                "ExternalArtifact/n/a is without 12 file(s) that the default ignore list leaves out: a.png, b/c.zip and 10 more",
            ),
            (
                "one file left out",
                Notice::ignored("n", "a", &contents(1, &["a.png"])).unwrap(),
                true,
                false,
                "FilesIgnored",
                "ExternalArtifact/n/a is without 1 file(s) that the default ignore list leaves out: a.png",
            ),
            (
                "a fight",
                Notice::fought("n", "a", 7, Some("kubectl-edit")),
                true,
                false,
                "DriftDetected",
                "ExternalArtifact/n/a was changed or deleted by others 7 times, last by field manager \"kubectl-edit\": it is \
                 repaired, but later each time until that stops",
            ),
            (
                "a fight with nobody known",
                Notice::fought("n", "a", 6, None),
                true,
                false,
                "DriftDetected",
                "ExternalArtifact/n/a was changed or deleted by others 6 times: it is repaired, but later each time until that stops",
            ),
            ("a wait is no warning", Notice::waits("DependencyNotReady", "x"), false, true, "DependencyNotReady", "x"),
            ("§14 warning", Notice::failed("SourceFetchFailed", "x"), true, true, "SourceFetchFailed", "x"),
        ];
        for (row, notice, warning, everybody, reason, message) in rows {
            assert_eq!((notice.warning, notice.is_for_everybody()), (warning, everybody), "row {row}");
            assert_eq!((notice.reason.as_str(), notice.message.as_str()), (reason, message), "row {row}");
        }
        assert_eq!(Notice::changed(&[]), None, "§14 nothing changed, nothing said");
        assert_eq!(Notice::ignored("n", "a", &contents(0, &[])), None, "nothing was left out");
    }
}
