//! The Go artifact SDK as a peer: what it archives, Weir must archive too.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

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
    let program = tools.program(Part::Peer)?;
    let output = tokio::process::Command::new(program).arg(folder).arg(target).output().await?;
    ensure!(
        output.status.success(),
        "the peer failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("the peer printed no JSON")
}
