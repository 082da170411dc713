//! The Go artifact SDK as a peer: what it archives, Weir must archive too; what it stored, Weir takes over; what Weir stored, it must accept.

mod compare;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

pub use compare::{
    Answers, ArchiveAnswer, ArchiveOf, Collection, Filter, Name, NameAnswer, Questions, Verdict, WriteAnswer, WriteOf,
};

use crate::process::{Process, Program};
use crate::run_dir::RunDir;
use crate::tools::{Part, Tools};

/// What a Flux controller on the Go SDK would publish.
#[derive(Clone, Debug, Deserialize)]
pub struct Archive {
    /// `sha256:` and the hex digest of the archive's bytes.
    pub digest: String,
    /// `latest@` and the digest.
    pub revision: String,
    /// Bytes of the archive.
    pub size: u64,
}

/// Archives `folder` to the file `target` (tar.gz), with the SDK's default
/// ignore list. `target` must lie in an existing folder.
///
/// # Errors
/// When the peer fails; says why.
pub async fn archive(tools: &Tools, folder: &Path, target: &Path) -> Result<Archive> {
    let mut command = Command::new(tools.program(Part::Peer)?);
    serde_json::from_slice(&output(command.arg(folder).arg(target), "").await?).context("the peer printed no JSON")
}

/// Stores `folder` on a volume as source-watcher would and returns the artifact
/// as an `ExternalArtifact` has it. `algorithm` names its digest; `address`
/// stands in its URL.
///
/// # Errors
/// When the peer fails; says why.
pub async fn store(
    tools: &Tools,
    (volume, address): (&Path, SocketAddr),
    algorithm: &str,
    (namespace, name): (&str, &str),
    folder: &Path,
) -> Result<Value> {
    let mut command = Command::new(tools.program(Part::Peer)?);
    command.arg("store").arg(volume).args([&address.to_string(), algorithm, namespace, name]).arg(folder);
    serde_json::from_slice(&output(&mut command, "").await?).context("the peer printed no JSON")
}

/// The SDK's own file server over a volume. `label` names its log.
///
/// # Errors
/// When it does not start.
pub async fn serve(
    tools: &Tools,
    run: &RunDir,
    label: &str,
    (volume, address): (&Path, SocketAddr),
) -> Result<Process> {
    let program = Program::new(format!("peer@{label}"), tools.program(Part::Peer)?);
    let process = program.arg("serve").arg(volume).arg(address.to_string()).start(run).await?;
    process
        .until("the peer serves", Duration::from_secs(60), || async {
            reqwest::get(format!("http://{address}/")).await?.error_for_status()?;
            Ok(())
        })
        .await?;
    Ok(process)
}

/// What the SDK says of the file of each entry of an inventory: `ok`, `missing`
/// or `corrupted`, with the reason.
///
/// # Errors
/// When the peer fails; says why.
pub async fn check(tools: &Tools, volume: &Path, inventory: &Value) -> Result<Vec<String>> {
    let mut command = Command::new(tools.program(Part::Peer)?);
    let printed = output(command.arg("check").arg(volume), &inventory.to_string()).await?;
    Ok(String::from_utf8(printed)?.lines().map(str::to_owned).collect())
}

/// Asks the SDK many things in one process.
///
/// # Errors
/// When the peer fails; says at which of them and why.
pub async fn compare(tools: &Tools, questions: &Questions) -> Result<Answers> {
    let mut command = Command::new(tools.program(Part::Peer)?);
    let printed = output(command.arg("compare"), &serde_json::to_string(questions)?).await?;
    serde_json::from_slice(&printed).context("the peer printed no JSON")
}

/// Runs the peer to its end.
async fn output(command: &mut Command, input: &str) -> Result<Vec<u8>> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().context("the peer has no standard input")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the peer failed ({}): {errors}", output.status);
    Ok(output.stdout)
}
