//! `weir-controller` as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::part::is_a_part;
use super::{ArtifactServer, Part, Programs};
use crate::port;
use crate::process::Program;
use crate::run_dir::RunDir;

/// A controller that keeps its identity and ports over restarts.
#[derive(Debug)]
pub struct Controller {
    part: Part,
    metrics: SocketAddr,
    health: SocketAddr,
}

is_a_part!(Controller);

impl Controller {
    /// Starts it against `server` and waits until it answers. `namespace` is
    /// its own namespace (`RUNTIME_NAMESPACE`) and names its log; `arguments`
    /// are added at the end.
    ///
    /// # Errors
    /// When it cannot be built or does not start.
    pub async fn start(
        run: &Arc<RunDir>,
        server: &ArtifactServer,
        kubeconfig: &Path,
        namespace: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        Self::start_as("weir-controller", run, server, kubeconfig, namespace, arguments).await
    }

    /// As [`start`](Self::start), with a log of another name: for one of several in a namespace.
    ///
    /// # Errors
    /// When it cannot be built or does not start.
    pub async fn start_as(
        name: &str,
        run: &Arc<RunDir>,
        server: &ArtifactServer,
        kubeconfig: &Path,
        namespace: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let (metrics, health) = (port::free()?, port::free()?);
        let program = Program::new(format!("{name}@{namespace}"), &Programs::get().await?.controller)
            .env("KUBECONFIG", kubeconfig)
            .env("RUNTIME_NAMESPACE", namespace)
            .arg(format!("--artifact-server={}", server.endpoint()))
            .arg(format!("--storage-adv-addr={}", server.address()))
            .arg(format!("--metrics-addr={metrics}"))
            .arg(format!("--health-addr={health}"))
            .arg("--events-addr=")
            .arg("--log-level=debug")
            .arg("--requeue-dependency=1s")
            .args(arguments.iter().copied());
        let part = Part::start(run, program, format!("http://{health}/healthz")).await?;
        Ok(Self { part, metrics, health })
    }

    /// Where Prometheus reads its metrics.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.metrics)
    }
    /// Its liveness and readiness endpoints are below this.
    #[must_use]
    pub fn health_url(&self) -> String {
        format!("http://{}", self.health)
    }
}
