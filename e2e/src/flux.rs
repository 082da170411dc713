//! Flux's own controllers: the one before Weir and the two after it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::manifest;
use crate::port;
use crate::process::{Process, Program};
use crate::run_dir::RunDir;
use crate::tools::{Part, Tools};

/// The namespace that Flux lives in.
pub const NAMESPACE: &str = "flux-system";

/// source-controller, kustomize-controller and helm-controller.
#[derive(Debug)]
pub struct Flux {
    processes: Vec<Process>,
}

impl Flux {
    /// Installs the resource definitions that the parts ship.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn install_definitions(tools: &Tools, client: &kube::Client) -> Result<()> {
        let mut objects = Vec::new();
        for folder in tools.definitions() {
            objects.extend(manifest::read_folder(folder)?);
        }
        manifest::apply_definitions(client, &objects).await
    }

    /// Starts those of the three that are in `parts` and waits until each is
    /// ready. Their definitions must be installed.
    ///
    /// # Errors
    /// When one does not start; says how it ended.
    pub async fn start(tools: &Tools, run: &RunDir, kubeconfig: &Path, parts: &[Part]) -> Result<Self> {
        let started = parts.iter().map(|&part| start(tools, run, kubeconfig, part));
        Ok(Self { processes: futures::future::try_join_all(started).await? })
    }

    /// Ends them.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn stop(mut self) -> Result<()> {
        for process in &mut self.processes {
            process.kill().await?;
        }
        Ok(())
    }
}

async fn start(tools: &Tools, run: &RunDir, kubeconfig: &Path, part: Part) -> Result<Process> {
    let health = port::free()?;
    let name = part.name();
    let mut program = Program::new(name, tools.program(part)?)
        .env("KUBECONFIG", kubeconfig)
        .env("RUNTIME_NAMESPACE", NAMESPACE)
        .arg("--watch-all-namespaces")
        .arg("--log-level=info")
        .arg("--metrics-addr=0")
        .arg(format!("--health-addr={health}"));
    program = match part {
        Part::SourceController => {
            let storage = port::free()?;
            program
                .arg(format!("--storage-addr={storage}"))
                .arg(format!("--storage-adv-addr={storage}"))
                .arg("--storage-path")
                .arg(run.folder("source-storage")?)
        }
        _ => program.arg("--feature-gates=ExternalArtifact=true").arg("--requeue-dependency=2s"),
    };
    let process = program.start(run).await?;
    let probe = format!("http://{health}/readyz");
    process
        .until(&format!("{name} is ready"), Duration::from_secs(120), || async {
            crate::fetch::get(&probe).await?.error_for_status()?;
            Ok(())
        })
        .await?;
    Ok(process)
}
