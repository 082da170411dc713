//! Weir itself: both programs as real processes.
//!
//! Each test may have its own pair: the controller then sees its test's
//! namespace only, so pairs do not meet, and a test may kill what it likes.

mod controller;
mod part;
mod programs;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};

pub use controller::Controller;
pub use part::Part;
pub use programs::Programs;
pub use server::ArtifactServer;

use crate::control_plane::ControlPlane;
use crate::flux::NAMESPACE;
use crate::manifest;
use crate::run_dir::RunDir;
use crate::scene::Scene;

/// The service account of the shipped manifests.
pub const SERVICE_ACCOUNT: &str = "source-watcher";

/// The Lease that a leader holds, and the role that allows it.
pub const LEASE: &str = "source-watcher-leader-election";

/// A controller and its artifact server.
#[derive(Debug)]
pub struct Weir {
    /// Owns the bytes.
    pub server: ArtifactServer,
    /// Owns the objects.
    pub controller: Controller,
}

impl Weir {
    /// Starts a pair for one test, under the shipped RBAC, limited to the test's
    /// namespace. Waits until both are ready.
    ///
    /// # Errors
    /// When one cannot be built or does not start.
    pub async fn start(scene: &Scene) -> Result<Self> {
        Self::start_with(scene, &[], &[]).await
    }

    /// As [`start`](Self::start), with more arguments for each (last one wins).
    ///
    /// # Errors
    /// When one cannot be built or does not start.
    pub async fn start_with(scene: &Scene, server: &[&str], controller: &[&str]) -> Result<Self> {
        let (run, label) = (&scene.stage.run, scene.namespace.as_str());
        let server = ArtifactServer::start(run, label, server).await?;
        let kubeconfig = scene.stage.control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
        let mut arguments = vec!["--watch-all-namespaces=false"];
        arguments.extend(controller);
        let controller = Controller::start(run, &server, &kubeconfig, label, &arguments).await?;
        Ok(Self { server, controller })
    }

    /// Starts a pair for all namespaces, as an installation has it.
    ///
    /// # Errors
    /// When one cannot be built or does not start.
    pub async fn start_for_all(run: &Arc<RunDir>, plane: &ControlPlane, arguments: &[&str]) -> Result<Self> {
        let server = ArtifactServer::start(run, NAMESPACE, &[]).await?;
        let kubeconfig = plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT).await?;
        let controller = Controller::start(run, &server, &kubeconfig, NAMESPACE, arguments).await?;
        Ok(Self { server, controller })
    }

    /// SIGTERM to both, the controller first, as a pod ends.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn stop(&mut self) -> Result<()> {
        self.controller.stop().await?;
        self.server.stop().await?;
        Ok(())
    }
}

/// Applies what an installation applies before the Deployment: the resource
/// definition, the service account and its rights, from `deploy/base`. The
/// namespace `flux-system` must exist.
///
/// # Errors
/// When the API server refuses one.
pub async fn install(client: &kube::Client) -> Result<()> {
    install_definition(client).await?;
    install_account(client).await
}

/// The resource definition alone.
///
/// # Errors
/// When the API server refuses it.
pub async fn install_definition(client: &kube::Client) -> Result<()> {
    manifest::apply_definitions(client, &manifest::read_folder(&base().join("crd"))?).await
}

/// The service account and its rights alone.
///
/// # Errors
/// When the API server refuses one.
pub async fn install_account(client: &kube::Client) -> Result<()> {
    for file in ["service-account.yaml", "rbac.yaml"] {
        manifest::apply_all(client, NAMESPACE, &manifest::read_file(&base().join(file))?).await?;
    }
    Ok(())
}

/// The right to the Lease alone, in another namespace than the one of an installation.
///
/// # Errors
/// When the API server refuses it.
pub async fn install_lease_role(client: &kube::Client, namespace: &str) -> Result<()> {
    let mut objects = manifest::read_file(&base().join("rbac.yaml"))?;
    objects.retain(|object| object.metadata.name.as_deref() == Some(LEASE));
    for object in &mut objects {
        object.metadata.namespace = Some(namespace.to_owned());
    }
    ensure!(objects.len() == 2, "{} objects are about the Lease", objects.len());
    manifest::apply_all(client, namespace, &objects).await
}

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base")
}
