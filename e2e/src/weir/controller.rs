//! `weir-controller` as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{ArtifactServer, Programs};
use crate::port;
use crate::process::{Process, Program};
use crate::run_dir::RunDir;

/// How long a start may take. It bounds a broken run.
const START: Duration = Duration::from_secs(60);

/// A controller that keeps its identity and ports over restarts.
#[derive(Debug)]
pub struct Controller {
    run: Arc<RunDir>,
    program: Program,
    metrics: SocketAddr,
    health: SocketAddr,
    process: Option<Process>,
}

impl Controller {
    /// Starts it against `server` and waits until it is ready. `namespace` is
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
        let (metrics, health) = (port::free()?, port::free()?);
        let program = Program::new(format!("weir-controller@{namespace}"), &Programs::get().await?.controller)
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
        let mut controller = Self { run: Arc::clone(run), program, metrics, health, process: None };
        controller.restart().await?;
        Ok(controller)
    }

    /// Starts it again, after [`kill`](Self::kill) or [`stop`](Self::stop).
    /// Waits until it answers.
    ///
    /// # Errors
    /// When it does not start; says how it ended.
    pub async fn restart(&mut self) -> Result<()> {
        let process = self.program.start(&self.run).await?;
        let probe = format!("http://{}/readyz", self.health);
        process
            .until("weir-controller is ready", START, || async {
                reqwest::get(&probe).await?.error_for_status()?;
                Ok(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL. Returns when it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.take()?.kill().await.map(drop)
    }

    /// SIGTERM. Returns its exit status as text when it is gone.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn stop(&mut self) -> Result<String> {
        self.take()?.terminate().await
    }

    fn take(&mut self) -> Result<Process> {
        self.process.take().context("the controller does not run")
    }

    /// The running process.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Where Prometheus reads its metrics.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.metrics)
    }
}
