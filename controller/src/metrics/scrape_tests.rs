//! Every name of runtime.md §6 is in a scrape, with its labels and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::*;

/// The names that dashboards and alerts know, with their labels. What Weir lacks of them is in `docs/differences.md`.
const KNOWN: [(&str, &str, &str); 25] = [
    ("controller_runtime_reconcile_total", "counter", "controller,result"),
    ("controller_runtime_reconcile_errors_total", "counter", "controller"),
    ("controller_runtime_terminal_reconcile_errors_total", "counter", "controller"),
    ("controller_runtime_reconcile_panics_total", "counter", "controller"),
    ("controller_runtime_reconcile_timeouts_total", "counter", "controller"),
    ("controller_runtime_reconcile_time_seconds", "histogram", "controller"),
    ("controller_runtime_max_concurrent_reconciles", "gauge", "controller"),
    ("controller_runtime_active_workers", "gauge", "controller"),
    ("workqueue_depth", "gauge", "controller,name,priority"),
    ("workqueue_adds_total", "counter", "controller,name"),
    ("workqueue_retries_total", "counter", "controller,name"),
    ("workqueue_queue_duration_seconds", "histogram", "controller,name"),
    ("workqueue_work_duration_seconds", "histogram", "controller,name"),
    ("workqueue_unfinished_work_seconds", "gauge", "controller,name"),
    ("workqueue_longest_running_processor_seconds", "gauge", "controller,name"),
    ("rest_client_requests_total", "counter", "code,host,method"),
    ("process_cpu_seconds_total", "counter", ""),
    ("process_start_time_seconds", "gauge", ""),
    ("process_resident_memory_bytes", "gauge", ""),
    ("process_virtual_memory_bytes", "gauge", ""),
    ("process_open_fds", "gauge", ""),
    ("process_max_fds", "gauge", ""),
    ("gotk_reconcile_duration_seconds", "histogram", "kind,name,namespace"),
    ("gotk_reconcile_condition", "gauge", "kind,name,namespace,status,type"),
    ("weir_reconcile_failures_total", "counter", "cause"),
];

#[tokio::test]
async fn every_known_name_is_there_with_its_labels() {
    let metrics = Metrics::new(1);
    let key = ObjectKey::new("ns", "g");
    metrics.running().finish(Outcome::Failed(&ReconcileError::Fetch("x".into())));
    metrics.took(&key, Duration::from_secs(1));
    metrics.request("200", "GET", "10.0.0.1:443");
    metrics.look_at_generators(move || Conditions::from([(key.clone(), vec![])]));
    let text = metrics.text().unwrap();
    let found = series(&text);
    for (name, kind, labels) in KNOWN {
        let family = if kind == "counter" { name.trim_end_matches("_total") } else { name };
        assert!(text.contains(&format!("# TYPE {family} {kind}\n")), "{name} is no {kind}:\n{text}");
        let parts: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        for part in parts {
            let mut wanted: BTreeSet<&str> = labels.split(',').filter(|label| !label.is_empty()).collect();
            if *part == "_bucket" {
                wanted.insert("le");
            }
            let wanted = BTreeSet::from([wanted]);
            assert_eq!(found.get(format!("{name}{part}").as_str()), Some(&wanted), "{name}{part}");
        }
    }
}

/// The sets of labels that each series has. Values have neither commas nor braces here.
fn series(text: &str) -> BTreeMap<&str, BTreeSet<BTreeSet<&str>>> {
    let mut found: BTreeMap<&str, BTreeSet<BTreeSet<&str>>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| Some(pair.split_once('=')?.0));
        found.entry(name).or_default().insert(pairs.collect());
    }
    found
}
