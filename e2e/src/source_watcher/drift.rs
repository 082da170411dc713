//! What makes source-watcher build again, from its documentation of drift; the
//! files are looked at by its SDK.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::LABEL;
use crate::peer;
use crate::resources::{Kind, condition};
use crate::scene::Scene;

/// Its reasons, in the order in which it looks. Each rebuilds every artifact of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Ready is False.
    NotReady,
    /// The spec is newer than Ready.
    GenerationChanged,
    /// A source has another artifact.
    SourcesChanged,
    /// The inventory is longer or shorter than the spec.
    ArtifactsChanged,
    /// A file of the inventory is not there.
    ArtifactMissing,
    /// A file has another digest than the inventory says. It is deleted.
    ArtifactCorrupted,
    /// An output is missing, one too many, or has another digest.
    ExternalArtifactsChanged,
}

/// What source-watcher would find, if it were started now on this volume.
///
/// # Errors
/// When it could not even look: an output without artifact, for which it
/// panics, or a file or folder that another process of its user can not use.
pub async fn drift(scene: &Scene, volume: &Path, generator: &str) -> Result<Option<Drift>> {
    let object = scene.get(Kind::ArtifactGenerator, generator).await?.context("no generator")?;
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = condition(&object, "Ready").cloned().unwrap_or_default();
    let inventory: Vec<Value> = status["inventory"].as_array().cloned().unwrap_or_default();
    if ready["status"] == "False" {
        return Ok(Some(Drift::NotReady));
    }
    if ready["observedGeneration"] != object["metadata"]["generation"] {
        return Ok(Some(Drift::GenerationChanged));
    }
    if status["observedSourcesDigest"] != sources_digest(scene, &object).await? {
        return Ok(Some(Drift::SourcesChanged));
    }
    if spec["artifacts"].as_array().map(Vec::len) != Some(inventory.len()) {
        return Ok(Some(Drift::ArtifactsChanged));
    }
    for (verdict, entry) in peer::check(&scene.stage.tools, volume, &status["inventory"]).await?.iter().zip(&inventory)
    {
        match verdict.as_str() {
            "ok" => ensure_usable(volume, entry)?,
            "missing" => return Ok(Some(Drift::ArtifactMissing)),
            _ => return Ok(Some(Drift::ArtifactCorrupted)),
        }
    }
    let uid = &object["metadata"]["uid"];
    let outputs = scene.list(Kind::ExternalArtifact).await?;
    let outputs: Vec<_> = outputs.iter().filter(|output| output["metadata"]["labels"][LABEL] == *uid).collect();
    let mut changed = outputs.len() != inventory.len();
    for output in outputs {
        let artifact = &output["status"]["artifact"];
        ensure!(artifact.is_object(), "source-watcher panics: {} has no artifact", output["metadata"]["name"]);
        changed |= !inventory.iter().any(|entry| {
            entry["name"] == output["metadata"]["name"]
                && entry["namespace"] == output["metadata"]["namespace"]
                && entry["digest"] == artifact["digest"]
        });
    }
    Ok(changed.then_some(Drift::ExternalArtifactsChanged))
}

/// The same user can read the file and write beside it, and nobody else can: so does source-watcher leave them.
fn ensure_usable(volume: &Path, entry: &Value) -> Result<()> {
    let text = |key: &str| entry[key].as_str().with_context(|| format!("no {key} in {entry}"));
    let folder = volume.join("externalartifact").join(text("namespace")?).join(text("name")?);
    for (path, expected) in [(folder.join(text("filename")?), 0o600), (folder, 0o700)] {
        let mode = std::fs::metadata(&path)?.permissions().mode() & 0o7777;
        ensure!(mode == expected, "{} has mode {mode:o}, should be {expected:o}", path.display());
    }
    Ok(())
}

/// `status.observedSourcesDigest` for the sources as they are now.
///
/// # Errors
/// When a source is not there or is none of the kinds that tests use.
pub async fn sources_digest(scene: &Scene, generator: &Value) -> Result<String> {
    let mut texts = Vec::new();
    for source in generator["spec"]["sources"].as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| format!("no text: {value}"));
        ensure!(source["kind"] == "GitRepository", "no test has a {}", source["kind"]);
        let object = scene.get(Kind::GitRepository, &text(&source["name"])?).await?.context("no source")?;
        let artifact = &object["status"]["artifact"];
        let [digest, revision, url] =
            [text(&artifact["digest"])?, text(&artifact["revision"])?, text(&artifact["url"])?];
        texts.push(format!("{}=[digest={digest},revision={revision},url={url}]", text(&source["alias"])?));
    }
    texts.sort();
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(texts.join("|")))))
}
