//! `weir-artifact-server` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::part::is_a_part;
use super::{Part, Programs};
use crate::port;
use crate::process::Program;
use crate::run_dir::RunDir;

/// An artifact server that keeps its volume, socket and ports over restarts.
#[derive(Debug)]
pub struct ArtifactServer {
    part: Part,
    folder: PathBuf,
    storage: PathBuf,
    socket: PathBuf,
    artifacts: SocketAddr,
    metrics: SocketAddr,
    health: SocketAddr,
}

is_a_part!(ArtifactServer);

impl ArtifactServer {
    /// Starts it on an empty volume and waits until it is ready. `label` names
    /// its log; `arguments` are added at the end.
    ///
    /// # Errors
    /// When it cannot be built or does not start.
    pub async fn start(run: &Arc<RunDir>, label: &str, arguments: &[&str]) -> Result<Self> {
        let folder = run.folder("weir")?;
        let storage = folder.join("data");
        // For the source cache, which the server places in the temporary folder.
        let temporary = folder.join("tmp");
        std::fs::create_dir(&storage)?;
        std::fs::create_dir(&temporary)?;
        let socket = folder.join("s/artifact.sock");
        let (artifacts, metrics, health) = (port::free()?, port::free()?, port::free()?);
        let program = Program::new(format!("weir-artifact-server@{label}"), &Programs::get().await?.server)
            .env("TMPDIR", temporary)
            .arg("--grpc-addr")
            .arg(format!("unix://{}", socket.display()))
            .arg("--storage-path")
            .arg(&storage)
            .arg(format!("--storage-addr={artifacts}"))
            .arg(format!("--storage-adv-addr={artifacts}"))
            .arg("--serve=when-led")
            .arg(format!("--metrics-addr={metrics}"))
            .arg(format!("--health-addr={health}"))
            .args(arguments.iter().copied());
        let part = Part::start(run, program, format!("http://{health}/healthz")).await?;
        Ok(Self { part, folder, storage, socket, artifacts, metrics, health })
    }

    /// The folder with all that it writes: volume, socket, source cache.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that it stores artifacts in.
    #[must_use]
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// Every file below the artifacts' folder, hidden ones too, as sorted paths
    /// relative to the volume.
    ///
    /// # Errors
    /// When a folder cannot be read for another reason than being gone.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        walk(&self.storage.join("externalartifact"), &mut |path| {
            let path = path.strip_prefix(&self.storage).unwrap_or(path);
            files.push(path.display().to_string());
        })?;
        files.sort();
        Ok(files)
    }

    /// The gRPC address, `unix://...`, as `--artifact-server` takes it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The socket below that address.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where it serves artifacts.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.artifacts
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

/// Visits every file. What vanishes meanwhile is not there.
fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) -> Result<()> {
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { walk(&path, visit)? } else { visit(&path) }
    }
    Ok(())
}
