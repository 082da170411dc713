//! `workqueue_*`: how long generators wait for their turn, and how long their turn takes.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Instant;

use super::CONTROLLER;
use crate::api::ObjectKey;

/// Upper bounds of both histograms in seconds: those of client-go, from 10 ns to 1000 s.
const BUCKETS: [f64; 12] = [1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0];

/// controller-runtime gives each queue both, with one value.
const LABELS: [(&str, &str); 2] = [("name", CONTROLLER), ("controller", CONTROLLER)];

/// All turns have the priority that controller-runtime gives by default. Its depth is told by priority.
const PRIORITY: &str = "0";

/// Follows each generator from the request for a reconcile to its end. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub struct Queue {
    adds: Counter,
    retries: Counter,
    waited: Histogram,
    worked: Histogram,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<ObjectKey, Turn>,
    /// Since when each runs.
    running: HashMap<ObjectKey, Instant>,
}

/// When a generator is due, and whether it is counted as added: one that is looked at again later is when that time has come.
#[derive(Clone, Copy, Debug)]
struct Turn {
    due: Instant,
    counted: bool,
}

impl Default for Queue {
    fn default() -> Self {
        let (adds, retries, state) = (Counter::default(), Counter::default(), Arc::default());
        Self { adds, retries, waited: Histogram::new(BUCKETS), worked: Histogram::new(BUCKETS), state }
    }
}

impl Queue {
    /// Something asks for a reconcile. A generator that waits already is not counted again.
    pub fn asked(&self, key: &ObjectKey) {
        let (now, mut state) = (Instant::now(), self.state.lock());
        let turn = state.waiting.entry(key.clone()).or_insert(Turn { due: now, counted: false });
        if !turn.counted {
            *turn = Turn { due: turn.due.min(now), counted: true };
            self.adds.inc();
        }
    }

    /// It failed, and is looked at again after `delay`. `is_retry`: each time later than before.
    pub fn again(&self, key: &ObjectKey, delay: Duration, is_retry: bool) {
        if is_retry {
            self.retries.inc();
        }
        let turn = Turn { due: Instant::now() + delay, counted: false };
        self.state.lock().waiting.entry(key.clone()).or_insert(turn);
    }

    /// It is gone, and has no turn any more.
    pub fn forget(&self, key: &ObjectKey) {
        self.state.lock().waiting.remove(key);
    }

    /// Its turn has come. It counts as running until the answer is dropped.
    pub fn started(&self, key: &ObjectKey) -> Turning {
        let now = Instant::now();
        let turn = {
            let mut state = self.state.lock();
            state.running.insert(key.clone(), now);
            state.waiting.remove(key)
        };
        // The hourly reconcile asks nobody.
        if !turn.is_some_and(|turn| turn.counted) {
            self.adds.inc();
        }
        let waited = turn.map_or(Duration::ZERO, |turn| now.saturating_duration_since(turn.due));
        self.waited.observe(waited.as_secs_f64());
        Turning { queue: self.clone(), key: key.clone() }
    }

    /// Registers everything under the names and labels of controller-runtime.
    pub(super) fn register(&self, registry: &mut Registry) {
        let labels = LABELS.map(|(key, value)| (key.into(), value.into()));
        let registry = registry.sub_registry_with_labels(labels.into_iter());
        registry.register("workqueue_adds", "Requests for a reconcile", self.adds.clone());
        registry.register("workqueue_retries", "Reconciles to be tried again later", self.retries.clone());
        registry.register("workqueue_queue_duration_seconds", "Wait for a turn", self.waited.clone());
        registry.register("workqueue_work_duration_seconds", "Duration of a turn", self.worked.clone());
        registry.register_collector(Box::new(Now(self.state.clone())));
    }
}

/// A turn on its way.
pub struct Turning {
    queue: Queue,
    key: ObjectKey,
}

impl Drop for Turning {
    fn drop(&mut self) {
        if let Some(since) = self.queue.state.lock().running.remove(&self.key) {
            self.queue.worked.observe(since.elapsed().as_secs_f64());
        }
    }
}

/// What is true at the moment of a scrape.
#[derive(Debug)]
struct Now(Arc<Mutex<State>>);

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (depth, unfinished, longest) = {
            let (now, state) = (Instant::now(), self.0.lock());
            let depth = state.waiting.values().filter(|turn| turn.due <= now).count();
            let times = || state.running.values().map(|since| now.saturating_duration_since(*since));
            (depth as f64, times().sum::<Duration>(), times().max().unwrap_or_default())
        };
        let figures = [
            ("workqueue_depth", "Generators that wait for a turn", depth),
            ("workqueue_unfinished_work_seconds", "Time spent on turns that are not over", unfinished.as_secs_f64()),
            ("workqueue_longest_running_processor_seconds", "Longest turn that is not over", longest.as_secs_f64()),
        ];
        for (name, help, value) in figures {
            let gauge = ConstGauge::new(value);
            let mut metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            if name == "workqueue_depth" {
                gauge.encode(metric.encode_family(&[("priority", PRIORITY)])?)?;
            } else {
                gauge.encode(metric)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn has(metrics: &Metrics, rows: &[(&str, &str)]) {
        let text = metrics.text().unwrap();
        for (name, value) in rows {
            let (name, extra) = name.split_once('|').unwrap_or((name, ""));
            let line = format!(
                "workqueue_{name}{{name=\"artifactgenerator\",controller=\"artifactgenerator\"{extra}}} {value}"
            );
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_followed_from_the_request_to_its_end() {
        let metrics = Metrics::new(1);
        let queue = metrics.queue();
        let [one, two] = ["one", "two"].map(|name| ObjectKey::new("ns", name));
        queue.asked(&one);
        queue.asked(&one);
        queue.asked(&two);
        tokio::time::advance(Duration::from_millis(50)).await;
        has(&metrics, &[("depth|,priority=\"0\"", "2.0"), ("adds_total", "2"), ("queue_duration_seconds_count", "0")]);
        let turn = queue.started(&one);
        tokio::time::advance(Duration::from_secs(3)).await;
        let running = [
            ("depth|,priority=\"0\"", "1.0"),
            ("unfinished_work_seconds", "3.0"),
            ("longest_running_processor_seconds", "3.0"),
        ];
        has(&metrics, &running);
        drop(turn);
        let ended = [
            ("queue_duration_seconds_bucket|,le=\"0.01\"", "0"),
            ("queue_duration_seconds_bucket|,le=\"0.1\"", "1"),
            ("work_duration_seconds_bucket|,le=\"1.0\"", "0"),
            ("work_duration_seconds_bucket|,le=\"10.0\"", "1"),
            ("unfinished_work_seconds", "0.0"),
        ];
        has(&metrics, &ended);
        queue.forget(&two);
        has(&metrics, &[("depth|,priority=\"0\"", "0.0")]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_later_waits_from_then_on() {
        let metrics = Metrics::new(1);
        let queue = metrics.queue();
        let key = ObjectKey::new("ns", "one");
        queue.again(&key, Duration::from_secs(60), true);
        has(&metrics, &[("depth|,priority=\"0\"", "0.0"), ("adds_total", "0"), ("retries_total", "1")]);
        tokio::time::advance(Duration::from_secs(65)).await;
        has(&metrics, &[("depth|,priority=\"0\"", "1.0")]);
        drop(queue.started(&key));
        let waited =
            [("adds_total", "1"), ("queue_duration_seconds_sum", "5.0"), ("queue_duration_seconds_count", "1")];
        has(&metrics, &waited);
        // A request brings forward what was to come later; what is no retry is not counted as one.
        queue.again(&key, Duration::from_secs(60), false);
        queue.asked(&key);
        has(&metrics, &[("depth|,priority=\"0\"", "1.0"), ("adds_total", "2"), ("retries_total", "1")]);
        drop(queue.started(&key));
        drop(queue.started(&key));
        has(&metrics, &[("adds_total", "3"), ("queue_duration_seconds_sum", "5.0")]);
        // Asked for while it runs, and then to be tried again later: it waits since it was asked for.
        let turn = queue.started(&key);
        queue.asked(&key);
        tokio::time::advance(Duration::from_secs(2)).await;
        queue.again(&key, Duration::from_secs(60), true);
        drop(turn);
        has(&metrics, &[("depth|,priority=\"0\"", "1.0"), ("adds_total", "5")]);
        drop(queue.started(&key));
        has(&metrics, &[("queue_duration_seconds_sum", "7.0")]);
    }

    #[tokio::test(start_paused = true)]
    async fn several_turns_are_added_up_and_the_longest_is_known() {
        let metrics = Metrics::new(2);
        let [one, two] = ["one", "two"].map(|name| ObjectKey::new("ns", name));
        let first = metrics.queue().started(&one);
        tokio::time::advance(Duration::from_secs(2)).await;
        let second = metrics.queue().started(&two);
        tokio::time::advance(Duration::from_secs(3)).await;
        has(&metrics, &[("unfinished_work_seconds", "8.0"), ("longest_running_processor_seconds", "5.0")]);
        drop(first);
        has(&metrics, &[("unfinished_work_seconds", "3.0"), ("longest_running_processor_seconds", "3.0")]);
        drop(second);
        has(&metrics, &[("work_duration_seconds_sum", "8.0")]);
    }

    #[tokio::test]
    async fn buckets_are_those_of_client_go() {
        let text = Metrics::new(1).text().unwrap();
        for histogram in ["workqueue_queue_duration_seconds", "workqueue_work_duration_seconds"] {
            let lines = text.lines().filter(|line| line.starts_with(&format!("{histogram}_bucket")));
            let bounds: Vec<f64> =
                lines.filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse().ok()).collect();
            // prometheus.ExponentialBuckets(10e-9, 10, 12), and the one without an end.
            let expected: Vec<f64> = (-8..=3).map(|power| format!("1e{power}").parse().unwrap()).collect();
            let (last, rest) = bounds.split_last().unwrap();
            assert!(rest == expected && last.is_infinite(), "{histogram}: {bounds:?}");
        }
    }
}
