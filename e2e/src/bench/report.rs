//! One row a phase, as text.

use std::collections::BTreeSet;

use super::cost::Writes;

/// What one phase took.
pub(super) struct Row {
    /// What happened, e.g. `create`.
    pub(super) phase: &'static str,
    /// From the patch of the source's status until every generator is Ready for it.
    pub(super) wall_seconds: f64,
    /// CPU of the controller and of the server.
    pub(super) cpu_seconds: [f64; 2],
    /// CPU of kube-apiserver and etcd together.
    pub(super) cluster_seconds: f64,
    /// Highest memory so far of the controller and of the server, in MiB.
    pub(super) peak_mib: [f64; 2],
    /// Downloads of the source.
    pub(super) downloads: u64,
    /// Writes that kube-apiserver counted.
    pub(super) writes: Writes,
}

/// One row for each phase, in order of appearance: every figure is the median of that figure over all rows of the phase.
pub(super) fn medians(rows: &[Row]) -> Vec<Row> {
    let mut phases = Vec::new();
    for row in rows {
        if !phases.contains(&row.phase) {
            phases.push(row.phase);
        }
    }
    phases.into_iter().map(|phase| middle(phase, rows)).collect()
}

fn middle(phase: &'static str, rows: &[Row]) -> Row {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.phase == phase).collect();
    let of = |figure: &dyn Fn(&Row) -> f64| median(rows.iter().map(|row| figure(row)).collect());
    let resources: BTreeSet<&String> = rows.iter().flat_map(|row| row.writes.keys()).collect();
    let writes = |resource: &str| of(&|row| row.writes.get(resource).copied().unwrap_or_default() as f64) as u64;
    Row {
        phase,
        wall_seconds: of(&|row| row.wall_seconds),
        cpu_seconds: [of(&|row| row.cpu_seconds[0]), of(&|row| row.cpu_seconds[1])],
        cluster_seconds: of(&|row| row.cluster_seconds),
        peak_mib: [of(&|row| row.peak_mib[0]), of(&|row| row.peak_mib[1])],
        downloads: of(&|row| row.downloads as f64) as u64,
        writes: resources.into_iter().map(|resource| (resource.clone(), writes(resource))).collect(),
    }
}

/// The middle value, or the mean of the two in the middle; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or_default();
    let lower = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default();
    f64::midpoint(lower, upper)
}

/// The head of the table.
pub(super) fn head() -> String {
    format!(
        "{:<14} {:>7} {:>7} {:>7} {:>7} {:>10} {:>9} {:>9} {:>9}  {}",
        "phase", "wall s", "cpu s", "ctrl", "server", "cluster s", "ctrl MiB", "srv MiB", "downloads", "API writes"
    )
}

impl Row {
    /// One line of the table.
    pub(super) fn line(&self) -> String {
        let [controller, server] = self.cpu_seconds;
        let [controller_mib, server_mib] = self.peak_mib;
        let writes: Vec<String> = self.writes.iter().map(|(resource, count)| format!("{resource}={count}")).collect();
        format!(
            "{:<14} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>10.2} {:>9.1} {:>9.1} {:>9}  {}",
            self.phase,
            self.wall_seconds,
            controller + server,
            controller,
            server,
            self.cluster_seconds,
            controller_mib,
            server_mib,
            self.downloads,
            writes.join(" ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(phase: &'static str, wall: f64, writes: u64) -> Row {
        Row {
            phase,
            wall_seconds: wall,
            cpu_seconds: [wall, 2.0 * wall],
            cluster_seconds: 3.0 * wall,
            peak_mib: [1.0, 2.0],
            downloads: 1,
            writes: Writes::from([("events".to_owned(), writes)]),
        }
    }

    #[test]
    fn the_middle_run_speaks_for_all() {
        let rows = [row("create", 9.0, 5), row("change", 1.0, 0), row("create", 1.0, 7), row("create", 2.0, 6)];
        let got: Vec<_> = medians(&rows)
            .iter()
            .map(|row| (row.phase, row.wall_seconds, row.cpu_seconds[1], row.cluster_seconds))
            .collect();
        assert_eq!(got, [("create", 2.0, 4.0, 6.0), ("change", 1.0, 2.0, 3.0)]);
        assert_eq!(medians(&rows)[0].writes["events"], 6);
        // (row, values, median)
        for (row, values, expected) in [("none", vec![], 0.0), ("even", vec![4.0, 1.0], 2.5), ("one", vec![3.0], 3.0)] {
            assert!((median(values) - expected).abs() < f64::EPSILON, "row {row}");
        }
    }
}
