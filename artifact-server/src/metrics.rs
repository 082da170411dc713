//! Figures for Prometheus. Counters are bumped where things happen; what others count already is read when Prometheus asks.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, text},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
    registry::Registry,
};

/// What became of an artifact in a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label values")]
pub enum Outcome {
    /// A new file.
    built,
    /// The current file is good.
    unchanged,
    /// An error.
    failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

/// A call that brings bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label values")]
pub enum Call {
    /// A file as it is.
    write,
    /// A tar to be archived.
    archive,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label values")]
enum Uploaded {
    stored,
    unchanged,
    failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UploadLabel {
    call: Call,
    outcome: Uploaded,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    event: &'static str,
}

/// All figures of this process.
pub struct Metrics {
    registry: Registry,
    artifacts: Family<OutcomeLabel, Counter>,
    requests: Family<CodeLabel, Counter>,
    served: Counter,
    events: Family<EventLabel, Counter>,
    collected: Counter,
    uploads: Family<UploadLabel, Counter>,
    uploaded: Counter,
    read: Counter,
}

/// A figure that somebody else counts.
pub struct Figure {
    /// Full name, without `_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Whether it only rises.
    pub counter: bool,
    /// Now.
    pub value: f64,
}

/// Asks for figures when Prometheus does.
type Source = Box<dyn Fn() -> Vec<Figure> + Send + Sync>;

struct Figures(Source);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for Figure { name, help, counter, value } in (self.0)() {
            if counter {
                let metric = ConstCounter::new(value);
                metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
            } else {
                let metric = ConstGauge::new(value);
                metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
            }
        }
        Ok(())
    }
}

impl Metrics {
    /// All figures at zero. `others` is asked at each scrape.
    pub fn new(others: impl Fn() -> Vec<Figure> + Send + Sync + 'static) -> Arc<Self> {
        let mut registry = Registry::default();
        let (artifacts, requests, events) = (Family::default(), Family::default(), Family::default());
        let (served, collected) = (Counter::default(), Counter::default());
        registry.register("weir_build_artifacts", "Artifacts of Build calls, by outcome.", artifacts.clone());
        registry.register("weir_http_requests", "Requests for artifacts, by status code.", requests.clone());
        registry.register("weir_http_served_bytes", "Bytes of artifacts sent to clients.", served.clone());
        registry.register("weir_storage_events", "What happened to stored files, by event.", events.clone());
        registry.register("weir_storage_collected", "Files removed by garbage collection.", collected.clone());
        let (uploads, uploaded, read) = (Family::default(), Counter::default(), Counter::default());
        registry.register("weir_grpc_uploads", "Write and Archive calls, by outcome.", uploads.clone());
        registry.register("weir_grpc_uploaded_bytes", "Bytes received by Write and Archive.", uploaded.clone());
        registry.register("weir_grpc_read_bytes", "Bytes of stored files sent by Read.", read.clone());
        registry.register_collector(Box::new(Figures(Box::new(others))));
        registry.register_collector(Box::new(weir_proto::process::Figures));
        for outcome in [Outcome::built, Outcome::unchanged, Outcome::failed] {
            drop(artifacts.get_or_create(&OutcomeLabel { outcome }));
        }
        for call in [Call::write, Call::archive] {
            for outcome in [Uploaded::stored, Uploaded::unchanged, Uploaded::failed] {
                drop(uploads.get_or_create(&UploadLabel { call, outcome }));
            }
        }
        Arc::new(Self { registry, artifacts, requests, served, events, collected, uploads, uploaded, read })
    }

    /// Counts an upload: whether its bytes were there already; `None` when it failed.
    pub fn upload(&self, call: Call, unchanged: Option<bool>) {
        let outcome = match unchanged {
            Some(false) => Uploaded::stored,
            Some(true) => Uploaded::unchanged,
            None => Uploaded::failed,
        };
        self.uploads.get_or_create(&UploadLabel { call, outcome }).inc();
    }

    /// Counts bytes of an upload.
    pub fn uploaded(&self, bytes: u64) {
        self.uploaded.inc_by(bytes);
    }

    /// Counts bytes on their way to a caller of `Read`.
    pub fn read(&self, bytes: u64) {
        self.read.inc_by(bytes);
    }

    /// Counts one artifact of a build.
    pub fn artifact(&self, outcome: Outcome) {
        self.artifacts.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts one answered request for an artifact.
    pub fn request(&self, code: http::StatusCode) {
        self.requests.get_or_create(&CodeLabel { code: code.as_u16() }).inc();
    }

    /// Counts bytes on their way to a client.
    pub fn served(&self, bytes: u64) {
        self.served.inc_by(bytes);
    }

    /// Counts something that happened to a stored file.
    pub fn event(&self, event: &'static str) {
        self.events.get_or_create(&EventLabel { event }).inc();
    }

    /// Counts files that garbage collection removed.
    pub fn collected(&self, files: usize) {
        self.collected.inc_by(files as u64);
    }

    /// All figures as OpenMetrics text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_has_every_figure() {
        let metrics = Metrics::new(|| vec![Figure { name: "weir_x", help: "X.", counter: true, value: 3.0 }]);
        metrics.artifact(Outcome::built);
        metrics.request(http::StatusCode::NOT_FOUND);
        metrics.served(5);
        metrics.event("lost");
        metrics.collected(2);
        metrics.upload(Call::write, Some(true));
        metrics.uploaded(7);
        metrics.read(9);
        let text = metrics.text().unwrap();
        let lines = [
            "weir_build_artifacts_total{outcome=\"built\"} 1",
            "weir_build_artifacts_total{outcome=\"failed\"} 0",
            "weir_http_requests_total{code=\"404\"} 1",
            "weir_http_served_bytes_total 5",
            "weir_storage_events_total{event=\"lost\"} 1",
            "weir_storage_collected_total 2",
            "weir_grpc_uploads_total{call=\"write\",outcome=\"unchanged\"} 1",
            "weir_grpc_uploads_total{call=\"archive\",outcome=\"stored\"} 0",
            "weir_grpc_uploaded_bytes_total 7",
            "weir_grpc_read_bytes_total 9",
            "weir_x_total 3.0",
            "# TYPE process_resident_memory_bytes gauge",
        ];
        for line in lines {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
