//! kube-apiserver, as a cluster would run it.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;

use super::access::Access;
use super::certificates::Certificates;
use crate::port;
use crate::process::{Process, Program};
use crate::run_dir::RunDir;
use crate::tools::{Part, Tools};

/// Starts the API server; returns it and the administrator's access.
pub(super) async fn start(tools: &Tools, run: &RunDir, etcd: &str) -> Result<(Process, Access)> {
    let folder = run.folder("apiserver")?;
    let certificates = Certificates::write(&folder)?;
    let token = uuid::Uuid::new_v4().to_string();
    std::fs::write(folder.join("tokens.csv"), format!("{token},admin,admin,system:masters\n"))?;
    let address = port::free()?;
    let process = Program::new("kube-apiserver", tools.program(Part::KubeApiserver)?)
        .args(files(&folder))
        .arg(format!("--secure-port={}", address.port()))
        .arg(format!("--etcd-servers={etcd}"))
        .args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--allow-privileged=true",
            "--profiling=true",
        ])
        .start(run)
        .await?;
    let admin = Access::new(address, certificates.authority, token);
    ready(&process, &admin).await?;
    Ok((process, admin))
}

fn files(folder: &Path) -> Vec<OsString> {
    [
        ("tls-cert-file", "server.crt"),
        ("tls-private-key-file", "server.key"),
        ("service-account-key-file", "accounts.pub"),
        ("service-account-signing-key-file", "accounts.key"),
        ("token-auth-file", "tokens.csv"),
    ]
    .into_iter()
    .map(|(flag, file)| {
        let mut argument = OsString::from(format!("--{flag}="));
        argument.push(folder.join(file));
        argument
    })
    .collect()
}

/// Ready means: its own checks pass and the namespace that all else needs exists.
async fn ready(process: &Process, admin: &Access) -> Result<()> {
    let client = admin.client()?;
    process
        .until("kube-apiserver is ready", Duration::from_secs(120), || async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            let answer = client.request_text(request).await.context("GET /readyz")?;
            anyhow::ensure!(answer == "ok", "{answer}");
            let namespaces: Api<Namespace> = Api::all(client.clone());
            namespaces.get("default").await?;
            Ok(())
        })
        .await
}
