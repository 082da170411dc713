//! One row a phase, as text.

use super::cost::Writes;

/// What one phase took.
pub(super) struct Row {
    /// What happened, e.g. `create`.
    pub(super) phase: &'static str,
    /// From the patch of the source's status until every generator is Ready for it.
    pub(super) wall_seconds: f64,
    /// CPU of the controller and of the server.
    pub(super) cpu_seconds: [f64; 2],
    /// Highest memory so far of the controller and of the server, in MiB.
    pub(super) peak_mib: [f64; 2],
    /// Downloads of the source.
    pub(super) downloads: u64,
    /// Writes that kube-apiserver counted.
    pub(super) writes: Writes,
}

/// The head of the table.
pub(super) fn head() -> String {
    format!(
        "{:<14} {:>7} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9}  {}",
        "phase", "wall s", "cpu s", "ctrl", "server", "ctrl MiB", "srv MiB", "downloads", "API writes"
    )
}

impl Row {
    /// One line of the table.
    pub(super) fn line(&self) -> String {
        let [controller, server] = self.cpu_seconds;
        let [controller_mib, server_mib] = self.peak_mib;
        let writes: Vec<String> = self.writes.iter().map(|(resource, count)| format!("{resource}={count}")).collect();
        format!(
            "{:<14} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>9.1} {:>9.1} {:>9}  {}",
            self.phase,
            self.wall_seconds,
            controller + server,
            controller,
            server,
            controller_mib,
            server_mib,
            self.downloads,
            writes.join(" ")
        )
    }
}
