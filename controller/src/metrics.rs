//! Figures for Prometheus, under the names of controller-runtime wherever the figure is the same.

mod generators;
mod queue;
#[cfg(test)]
mod scrape_tests;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Instant;

use crate::{
    api::ObjectKey,
    error::{Next, ReconcileError},
    events::{NotificationMetrics, RecorderMetrics},
};
pub use generators::Conditions;
use generators::Generators;
pub use queue::{Queue, Turning};

/// Value of the label `controller`: the kind in lower case.
const CONTROLLER: &str = "artifactgenerator";

/// Upper bounds of the duration histogram in seconds: those of controller-runtime.
const BUCKETS: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5,
    1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    controller: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    code: String,
    method: String,
    host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabel {
    name: String,
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// Nothing more to do until something changes.
    Done,
    /// Looked at again after some time.
    RequeueAfter,
    /// With an error.
    Failed(&'a ReconcileError),
}

/// All figures of this process.
pub struct Metrics {
    registry: Registry,
    results: Family<ResultLabel, Counter>,
    errors: Counter,
    terminal: Counter,
    panics: Counter,
    timeouts: Counter,
    causes: Family<CauseLabel, Counter>,
    seconds: Histogram,
    active: Gauge,
    requests: Family<RequestLabel, Counter>,
    leads: Family<LeaseLabel, Gauge>,
    events: RecorderMetrics,
    notifications: NotificationMetrics,
    queue: Queue,
    generators: Generators,
}

impl Metrics {
    /// All figures at zero. `concurrent` is the number of reconciles that may run at a time.
    pub fn new(concurrent: usize) -> Arc<Self> {
        let mut metrics = Self {
            registry: Registry::default(),
            results: Family::default(),
            errors: Counter::default(),
            terminal: Counter::default(),
            panics: Counter::default(),
            timeouts: Counter::default(),
            causes: Family::default(),
            seconds: Histogram::new(BUCKETS),
            active: Gauge::default(),
            requests: Family::default(),
            leads: Family::default(),
            events: RecorderMetrics::default(),
            notifications: NotificationMetrics::default(),
            queue: Queue::default(),
            generators: Generators::default(),
        };
        metrics.register(concurrent);
        for result in ["success", "error", "requeue", "requeue_after"] {
            drop(metrics.results.get_or_create(&ResultLabel { controller: CONTROLLER, result }));
        }
        Arc::new(metrics)
    }

    /// Counters are named without `_total`: the text format adds it.
    fn register(&mut self, concurrent: usize) {
        let most = Gauge::<i64>::default();
        most.set(i64::try_from(concurrent).unwrap_or(i64::MAX));
        let registry = &mut self.registry;
        let name = |rest: &str| format!("controller_runtime_{rest}");
        let reconcile = "Reconciles by result";
        registry.register(name("reconcile"), reconcile, self.results.clone());
        registry.register("weir_reconcile_failures", "Failed reconciles by cause", self.causes.clone());
        registry.register("rest_client_requests", "Requests to kube-apiserver", self.requests.clone());
        registry.register("leader_election_master_status", "Whether this instance holds the Lease", self.leads.clone());
        registry.register("weir_events_written", "Kubernetes events written", self.events.written.clone());
        registry.register("weir_events_dropped", "Kubernetes events lost", self.events.dropped.clone());
        let limited = "Kubernetes events left out, as their object had too many";
        registry.register("weir_events_limited", limited, self.events.limited.clone());
        let notifications = "Events for the notification receiver by what became of them";
        registry.register("weir_notifications", notifications, self.notifications.family());
        registry.register_collector(Box::new(weir_proto::process::Figures));
        self.queue.register(registry);
        registry.register_collector(Box::new(self.generators.clone()));
        let label = std::iter::once(("controller".into(), CONTROLLER.into()));
        let labelled = registry.sub_registry_with_labels(label);
        labelled.register(name("reconcile_errors"), "Reconciles that failed", self.errors.clone());
        let terminal = "Reconciles that failed until the spec changes";
        labelled.register(name("terminal_reconcile_errors"), terminal, self.terminal.clone());
        labelled.register(name("reconcile_panics"), "Reconciles that panicked", self.panics.clone());
        labelled.register(name("reconcile_timeouts"), "Reconciles that took too long", self.timeouts.clone());
        labelled.register(name("reconcile_time_seconds"), "Duration of reconciles", self.seconds.clone());
        labelled.register(name("active_workers"), "Reconciles that run", self.active.clone());
        labelled.register(name("max_concurrent_reconciles"), "Reconciles that may run at a time", most);
    }

    /// Counts a reconcile as running until the answer is finished or dropped.
    pub fn running(self: &Arc<Self>) -> Running {
        self.active.inc();
        Running { metrics: Arc::clone(self), since: Instant::now() }
    }

    /// The reconciles that wait, and that run.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Says how the conditions of all generators can be seen, for the scrapes.
    pub fn look_at_generators(&self, look: impl Fn() -> Conditions + Send + Sync + 'static) {
        self.generators.look_at(Box::new(look));
    }

    /// A reconcile of this generator took so long, however it ended.
    pub fn took(&self, key: &ObjectKey, duration: Duration) {
        self.generators.took(key, duration);
    }

    /// Counters for the event recorder.
    pub fn events(&self) -> RecorderMetrics {
        self.events.clone()
    }

    /// 1 while this instance holds the Lease of that name. Not there until it is asked for: without leader election there is none.
    pub fn leads(&self, lease: &str) -> Gauge {
        self.leads.get_or_create(&LeaseLabel { name: lease.to_owned() }).clone()
    }

    /// Counters for notifications.
    pub fn notifications(&self) -> NotificationMetrics {
        self.notifications.clone()
    }

    /// Counts an answered request to kube-apiserver. `code` is `<error>` when there was no answer.
    pub fn request(&self, code: &str, method: &str, host: &str) {
        let label = RequestLabel { code: code.to_owned(), method: method.to_owned(), host: host.to_owned() };
        self.requests.get_or_create(&label).inc();
    }

    /// All figures as OpenMetrics text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A reconcile on its way.
pub struct Running {
    metrics: Arc<Metrics>,
    since: Instant,
}

impl Running {
    /// Counts how it ended.
    pub fn finish(self, outcome: Outcome<'_>) {
        let metrics = &self.metrics;
        metrics.seconds.observe(self.since.elapsed().as_secs_f64());
        // A source that is not ready is an error to us, but no error of the work queue: it is looked at again later.
        let result = match outcome {
            Outcome::Done => "success",
            Outcome::RequeueAfter => "requeue_after",
            Outcome::Failed(error) if error.next() == Next::Dependency => "requeue_after",
            Outcome::Failed(_) => "error",
        };
        metrics.results.get_or_create(&ResultLabel { controller: CONTROLLER, result }).inc();
        let Outcome::Failed(error) = outcome else { return };
        metrics.causes.get_or_create(&CauseLabel { cause: error.label() }).inc();
        if result == "error" {
            metrics.errors.inc();
        }
        if error.next() == Next::Stall {
            metrics.terminal.inc();
        }
        match error {
            ReconcileError::Panic(_) => _ = metrics.panics.inc(),
            ReconcileError::Timeout(_) => _ = metrics.timeouts.inc(),
            _ => {}
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.metrics.active.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::validate::Invalid;

    fn has(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.text().unwrap();
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrape_has_the_names_of_controller_runtime() {
        let metrics = Metrics::new(10);
        let running = metrics.running();
        tokio::time::advance(Duration::from_millis(30)).await;
        has(&metrics, &["controller_runtime_active_workers{controller=\"artifactgenerator\"} 1"]);
        running.finish(Outcome::RequeueAfter);
        metrics.running().finish(Outcome::Done);
        drop(metrics.running());
        metrics.request("200", "GET", "10.0.0.1:443");
        metrics.leads("source-watcher-leader-election").set(1);
        metrics.events().dropped.inc();
        metrics.events().limited.inc_by(2);
        let lines = [
            "controller_runtime_active_workers{controller=\"artifactgenerator\"} 0",
            "controller_runtime_max_concurrent_reconciles{controller=\"artifactgenerator\"} 10",
            "controller_runtime_reconcile_total{controller=\"artifactgenerator\",result=\"requeue_after\"} 1",
            "controller_runtime_reconcile_total{controller=\"artifactgenerator\",result=\"success\"} 1",
            "controller_runtime_reconcile_total{controller=\"artifactgenerator\",result=\"error\"} 0",
            "controller_runtime_reconcile_time_seconds_count{controller=\"artifactgenerator\"} 2",
            "controller_runtime_reconcile_time_seconds_bucket{controller=\"artifactgenerator\",le=\"0.025\"} 1",
            "controller_runtime_reconcile_time_seconds_bucket{controller=\"artifactgenerator\",le=\"0.05\"} 2",
            "rest_client_requests_total{code=\"200\",method=\"GET\",host=\"10.0.0.1:443\"} 1",
            "leader_election_master_status{name=\"source-watcher-leader-election\"} 1",
            "weir_events_dropped_total 1",
            "weir_events_limited_total 2",
            "weir_notifications_total{outcome=\"dropped\"} 0",
        ];
        has(&metrics, &lines);
    }

    #[tokio::test]
    async fn errors_are_counted_by_kind() {
        let why = || "x".to_owned();
        let errors = [
            ReconcileError::Invalid(Invalid::DuplicateAlias("a".into())),
            ReconcileError::Panic(why()),
            ReconcileError::Timeout(Duration::from_secs(1)),
            ReconcileError::Build { name: why(), why: why() },
            ReconcileError::Fetch(why()),
        ];
        let metrics = Metrics::new(1);
        for error in &errors {
            metrics.running().finish(Outcome::Failed(error));
        }
        let lines = [
            "controller_runtime_reconcile_errors_total{controller=\"artifactgenerator\"} 4",
            "controller_runtime_terminal_reconcile_errors_total{controller=\"artifactgenerator\"} 1",
            "controller_runtime_reconcile_panics_total{controller=\"artifactgenerator\"} 1",
            "controller_runtime_reconcile_timeouts_total{controller=\"artifactgenerator\"} 1",
            "controller_runtime_reconcile_total{controller=\"artifactgenerator\",result=\"error\"} 4",
            "controller_runtime_reconcile_total{controller=\"artifactgenerator\",result=\"requeue_after\"} 1",
            "weir_reconcile_failures_total{cause=\"source_fetch\"} 1",
            "weir_reconcile_failures_total{cause=\"invalid_spec\"} 1",
        ];
        has(&metrics, &lines);
    }
}
