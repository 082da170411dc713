//! etcd and kube-apiserver: a real control plane without nodes.
//!
//! RBAC, PodSecurity and every default admission plugin are on. There is no
//! controller-manager and no kubelet: a namespace is never finalised, owner
//! references are not collected, and no Pod ever runs.

mod access;
mod apiserver;
mod certificates;
mod etcd;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use kube::Client;

pub use access::Access;

use crate::process::Process;
use crate::run_dir::RunDir;
use crate::tools::Tools;

/// A running control plane.
pub struct ControlPlane {
    run: Arc<RunDir>,
    admin: Access,
    kubeconfig: PathBuf,
    client: Client,
    apiserver: Process,
    etcd: Process,
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver and waits until the API server is ready.
    ///
    /// # Errors
    /// When one of them does not start; says how it ended.
    pub async fn start(tools: &Tools, run: &Arc<RunDir>) -> Result<Self> {
        let (etcd, etcd_url) = etcd::start(tools, run).await?;
        let (apiserver, admin) = apiserver::start(tools, run, &etcd_url).await?;
        let client = admin.client()?;
        let kubeconfig = admin.write(&run.path().join("admin.kubeconfig"))?;
        Ok(Self { run: Arc::clone(run), admin, kubeconfig, client, apiserver, etcd })
    }

    /// A client that may do everything.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A kubeconfig that may do everything, for other programs.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The address and the administrator's token.
    #[must_use]
    pub fn admin(&self) -> &Access {
        &self.admin
    }

    /// Access with the rights of a service account: a real, bound token.
    ///
    /// # Errors
    /// When the service account does not exist.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<Access> {
        self.admin.service_account(&self.client, namespace, name).await
    }

    /// As [`service_account`](Self::service_account), as a kubeconfig file.
    ///
    /// # Errors
    /// When the service account does not exist.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let access = self.service_account(namespace, name).await?;
        access.write(&self.run.folder("kubeconfig")?.join("config"))
    }

    /// The process ids of kube-apiserver and etcd, to measure them.
    #[must_use]
    pub fn pids(&self) -> [u32; 2] {
        [self.apiserver.pid(), self.etcd.pid()]
    }

    /// Ends both processes.
    ///
    /// # Errors
    /// When one does not end.
    pub async fn stop(mut self) -> Result<()> {
        // Nothing of it is needed any more, so nobody waits for a drain.
        self.apiserver.kill().await?;
        self.etcd.kill().await?;
        Ok(())
    }
}
