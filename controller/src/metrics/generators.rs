//! `gotk_*`: figures of each generator, under the names that Flux's dashboards read. They are written for the generators that this
//! process knows at the moment of the scrape, so that those of one that is gone go with it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{
        MetricType,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets_range},
    },
};

use crate::api::{ObjectKey, artifact_generator::KIND};

/// Values of the label `status`.
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// The conditions of all generators: type and status of each, by the generator's name.
pub type Conditions = BTreeMap<ObjectKey, Vec<(String, String)>>;

/// Looks at all generators as they are now.
type Look = Box<dyn Fn() -> Conditions + Send + Sync>;

/// The figures of all generators. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Generators(Arc<Inner>);

#[derive(Default)]
struct Inner {
    durations: Mutex<HashMap<ObjectKey, Histogram>>,
    look: OnceLock<Look>,
}

impl Generators {
    /// Says where the generators can be seen. Counts once.
    pub(super) fn look_at(&self, look: Look) {
        self.0.look.set(look).ok();
    }

    /// A reconcile took so long, however it ended.
    pub(super) fn took(&self, key: &ObjectKey, duration: Duration) {
        let histogram = || Histogram::new(exponential_buckets_range(0.01, 1800.0, 10));
        self.0.durations.lock().entry(key.clone()).or_insert_with(histogram).observe(duration.as_secs_f64());
    }

    /// The durations of the generators that there are; others are forgotten.
    fn durations(&self, known: &Conditions) -> BTreeMap<ObjectKey, Histogram> {
        let mut durations = self.0.durations.lock();
        durations.retain(|key, _| known.contains_key(key));
        durations.iter().map(|(key, histogram)| (key.clone(), histogram.clone())).collect()
    }
}

impl fmt::Debug for Generators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generators").finish_non_exhaustive()
    }
}

impl Collector for Generators {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let known = self.0.look.get().map(|look| look()).unwrap_or_default();
        let (name, help) = ("gotk_reconcile_condition", "Whether a condition of a generator has this status");
        let gauges = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        encode_conditions(gauges, &known)?;
        let (name, help) = ("gotk_reconcile_duration_seconds", "Duration of the reconciles of a generator");
        let mut histograms = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (key, histogram) in self.durations(&known) {
            histogram.encode(histograms.encode_family(&labels(&key))?)?;
        }
        Ok(())
    }
}

/// As Flux does it: one series for each status, 1 for the one that it is. A generator that nobody has reported on is Unknown.
fn encode_conditions(mut gauges: MetricEncoder<'_>, known: &Conditions) -> Result<(), fmt::Error> {
    for (key, conditions) in known {
        let ready = ("Ready".to_owned(), "Unknown".to_owned());
        let is_said = conditions.iter().any(|(kind, _)| kind == "Ready");
        for (kind, is) in (!is_said).then_some(&ready).into_iter().chain(conditions) {
            for status in STATUSES {
                let condition = [("type", kind.as_str()), ("status", status)];
                let value = ConstGauge::new(i64::from(is == status));
                value.encode(gauges.encode_family(&(labels(key), condition))?)?;
            }
        }
    }
    Ok(())
}

fn labels(key: &ObjectKey) -> [(&'static str, &str); 3] {
    [("kind", KIND), ("name", &key.name), ("namespace", &key.namespace)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn series(metrics: &Metrics, part: &str) -> Vec<String> {
        let text = metrics.text().unwrap();
        text.lines().filter(|line| line.starts_with("gotk_") && line.contains(part)).map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn figures_go_with_their_generator() {
        let metrics = Metrics::new(1);
        let [one, two] = ["one", "two"].map(|name| ObjectKey::new("ns", name));
        let known = Arc::new(Mutex::new(Conditions::from([(one.clone(), vec![]), (two.clone(), vec![])])));
        let seen = known.clone();
        metrics.look_at_generators(move || seen.lock().clone());
        metrics.took(&one, Duration::from_millis(20));
        metrics.took(&two, Duration::from_secs(1));
        assert_eq!(series(&metrics, "name=\"one\"").len(), 3 + 11 + 2, "statuses, buckets, sum and count");
        assert_eq!(series(&metrics, "name=\"two\"").len(), 16);
        known.lock().remove(&one);
        // A run that was under way when its generator went.
        metrics.took(&one, Duration::from_millis(20));
        assert!(series(&metrics, "name=\"one\"").is_empty());
        assert_eq!(series(&metrics, "name=\"two\"").len(), 16);
        known.lock().insert(one, vec![]);
        let counts = series(&metrics, "seconds_count");
        assert_eq!(counts.len(), 1, "it begins anew: {counts:?}");
    }

    #[tokio::test]
    async fn one_status_of_each_condition_is_the_one() {
        let metrics = Metrics::new(1);
        let conditions = vec![("Stalled".to_owned(), "True".to_owned()), ("Ready".to_owned(), "False".to_owned())];
        let known = Conditions::from([(ObjectKey::new("ns", "g"), conditions), (ObjectKey::new("ns", "new"), vec![])]);
        metrics.look_at_generators(move || known.clone());
        let labels = "kind=\"ArtifactGenerator\",name=\"g\",namespace=\"ns\"";
        let line = |kind: &str, status: &str, value: u8| {
            format!("gotk_reconcile_condition{{{labels},type=\"{kind}\",status=\"{status}\"}} {value}")
        };
        let expected = [
            line("Stalled", "True", 1),
            line("Stalled", "False", 0),
            line("Stalled", "Unknown", 0),
            line("Ready", "True", 0),
            line("Ready", "False", 1),
            line("Ready", "Unknown", 0),
        ];
        assert_eq!(series(&metrics, "name=\"g\""), expected);
        let new = series(&metrics, "name=\"new\"");
        assert!(new.len() == 3 && new[2].ends_with("type=\"Ready\",status=\"Unknown\"} 1"), "{new:?}");
    }

    #[tokio::test]
    async fn buckets_are_those_of_flux() {
        let metrics = Metrics::new(1);
        let key = ObjectKey::new("ns", "g");
        metrics.took(&key, Duration::from_secs(1));
        metrics.look_at_generators(move || Conditions::from([(key.clone(), vec![])]));
        let buckets = series(&metrics, "_bucket{");
        let bounds: Vec<f64> =
            buckets.iter().filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()?.parse().ok()).collect();
        let (last, bounds) = bounds.split_last().unwrap();
        assert!(last.is_infinite());
        // prometheus.ExponentialBucketsRange(0.01, 1800, 10)
        let expected = [0.01, 0.03836, 0.14718, 0.56462, 2.16609, 8.3099, 31.8798, 122.302, 469.195, 1800.0];
        let is_close = |(is, wanted): (&f64, f64)| (is - wanted).abs() < wanted / 5000.0;
        assert!(bounds.len() == 10 && bounds.iter().zip(expected).all(is_close), "{bounds:?}");
    }
}
