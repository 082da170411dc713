//! etcd, for one run only.

use std::time::Duration;

use anyhow::Result;

use crate::port;
use crate::process::{Process, Program};
use crate::run_dir::RunDir;
use crate::tools::{Part, Tools};

/// Starts etcd; returns it and the URL its clients use.
pub(super) async fn start(tools: &Tools, run: &RunDir) -> Result<(Process, String)> {
    let clients = format!("http://{}", port::free()?);
    let peers = format!("http://{}", port::free()?);
    let process = Program::new("etcd", tools.program(Part::Etcd)?)
        .arg("--data-dir")
        .arg(run.folder("etcd")?)
        .args([
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
            // The data lives as long as the run: a power cut may take it.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            "--auto-compaction-retention=5m".to_owned(),
            "--quota-backend-bytes=4294967296".to_owned(),
        ])
        .start(run)
        .await?;
    let health = format!("{clients}/health");
    process
        .until("etcd is healthy", Duration::from_secs(60), || async {
            let answer = crate::fetch::get(&health).await?.error_for_status()?.text().await?;
            anyhow::ensure!(answer.contains("\"health\":\"true\""), "{answer}");
            Ok(())
        })
        .await?;
    Ok((process, clients))
}
