//! What a phase cost: time, CPU and memory of processes from `/proc`, writes from kube-apiserver's own metrics.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// Clock ticks a second of `/proc/<pid>/stat`; 100 on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds (user and system) that a process has used.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    // Fields 14 and 15 of the line; the first one after the name is field 3.
    let ticks: u64 = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Highest resident memory of a process so far (VmHWM), in MiB.
pub(super) fn peak_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM in /proc status")?;
    let kib: f64 = line.split_whitespace().nth(1).context("VmHWM without a number")?.parse()?;
    Ok(kib / 1024.0)
}

/// Writes by resource, e.g. `externalartifacts/status` -> 1000.
pub type Writes = BTreeMap<String, u64>;

/// Reads the writes that kube-apiserver has counted, from its metrics page. Refused ones count too.
pub(super) fn writes(metrics: &str) -> Writes {
    let mut writes = Writes::new();
    for line in metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let Some((labels, value)) = line.rsplit_once("} ") else { continue };
        let label = |name: &str| {
            let start = labels.find(&format!("{name}=\"")).map(|at| at + name.len() + 2);
            start.and_then(|start| labels[start..].split('"').next()).unwrap_or_default()
        };
        let write = matches!(label("verb"), "APPLY" | "PATCH" | "POST" | "PUT" | "DELETE");
        let ours = matches!(label("resource"), "artifactgenerators" | "externalartifacts" | "events");
        if write && ours {
            let resource = match label("subresource") {
                "" => label("resource").to_owned(),
                subresource => format!("{}/{subresource}", label("resource")),
            };
            *writes.entry(resource).or_default() += value.parse::<f64>().unwrap_or_default() as u64;
        }
    }
    writes
}

/// What was written between two readings.
pub(super) fn since(before: &Writes, after: &Writes) -> Writes {
    let grown = after.iter().map(|(resource, count)| (resource.clone(), count - before.get(resource).unwrap_or(&0)));
    grown.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_writes_only_of_our_resources() {
        let page = "apiserver_request_total{code=\"200\",resource=\"externalartifacts\",subresource=\"status\",verb=\"APPLY\"} 7\n\
                    apiserver_request_total{code=\"409\",resource=\"externalartifacts\",subresource=\"status\",verb=\"PATCH\"} 2\n\
                    apiserver_request_total{code=\"200\",resource=\"externalartifacts\",subresource=\"\",verb=\"GET\"} 5\n\
                    apiserver_request_total{code=\"201\",resource=\"events\",subresource=\"\",verb=\"POST\"} 3\n\
                    apiserver_request_total{code=\"201\",resource=\"leases\",subresource=\"\",verb=\"PUT\"} 9\n";
        let read = writes(page);
        assert_eq!(read, Writes::from([("events".into(), 3), ("externalartifacts/status".into(), 9)]));
        let later = Writes::from([("events".into(), 3), ("externalartifacts/status".into(), 10)]);
        assert_eq!(since(&read, &later), Writes::from([("externalartifacts/status".into(), 1)]));
    }

    #[test]
    fn reads_this_process() {
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
        assert!(peak_mib(std::process::id()).unwrap() > 1.0);
    }
}
