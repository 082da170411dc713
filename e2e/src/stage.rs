//! Everything that the tests of one run share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::control_plane::ControlPlane;
use crate::flux::{self, Flux};
use crate::git_server::GitServer;
use crate::run_dir::RunDir;
use crate::tools::{Part, Tools};
use crate::weir;

/// A control plane, Flux's controllers and a git server.
pub struct Stage {
    /// The run's temporary folder. Dropped last.
    pub run: Arc<RunDir>,
    /// The built parts.
    pub tools: Tools,
    /// etcd and kube-apiserver.
    pub control_plane: ControlPlane,
    /// The git server.
    pub git: GitServer,
    flux: Flux,
    scenes: AtomicUsize,
}

impl Stage {
    /// Builds what is missing of `parts`, which must contain all that runs here,
    /// and starts everything but Weir.
    ///
    /// # Errors
    /// When a part cannot be built or does not start.
    pub async fn start(parts: &[Part]) -> Result<Self> {
        let tools = Tools::ensure(parts).await?;
        let run = Arc::new(RunDir::new()?);
        let control_plane = ControlPlane::start(&tools, &run).await?;
        let client = control_plane.client();
        create_namespace(&client, flux::NAMESPACE).await?;
        Flux::install_definitions(&tools, &client).await?;
        weir::install(&client).await?;
        let parts = [Part::SourceController, Part::KustomizeController, Part::HelmController];
        let flux = Flux::start(&tools, &run, control_plane.kubeconfig(), &parts).await?;
        let git = GitServer::start(&run).await?;
        Ok(Self { run, tools, control_plane, git, flux, scenes: AtomicUsize::new(0) })
    }

    /// A number not given before, for names.
    pub(crate) fn next(&self) -> usize {
        self.scenes.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends everything. The run's folder goes with the last reference to it.
    ///
    /// # Errors
    /// When a process does not end.
    pub async fn stop(self) -> Result<()> {
        self.flux.stop().await?;
        self.control_plane.stop().await
    }
}

/// Creates a namespace.
///
/// # Errors
/// When it exists, or the API server refuses it.
pub async fn create_namespace(client: &kube::Client, name: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let namespace = Namespace { metadata, ..Namespace::default() };
    namespaces.create(&PostParams::default(), &namespace).await?;
    Ok(())
}
