//! `NewArtifact` and `ResolvePath`: what things are called. Pure, but for the question whether a link leads out of the volume.

use weir_proto::{ArtifactPath, Failure, set_hostname, v1};

use super::convert::{self, Defaults};
use crate::storage::Storage;

/// Answers `NewArtifact`.
pub(super) fn new_artifact(
    request: v1::NewArtifactRequest,
    defaults: &Defaults,
) -> Result<v1::NewArtifactResponse, Failure> {
    let v1::NewArtifactRequest { artifact, file, revision, settings } = request;
    let dir = convert::dir("artifact", artifact)?;
    let path = convert::file("file", &dir, &file)?;
    let settings = convert::settings(settings, defaults)?;
    let revision = convert::chosen_revision("revision", revision)?.unwrap_or_default();
    let url = path.url(&settings.advertised_address);
    let artifact = v1::Artifact { path: path.to_string(), url, revision, ..v1::Artifact::default() };
    Ok(v1::NewArtifactResponse { artifact: Some(artifact) })
}

/// Answers `ResolvePath`. Blocks.
pub(super) fn resolve_path(
    request: v1::ResolvePathRequest,
    defaults: &Defaults,
    storage: &dyn Storage,
) -> Result<v1::ResolvePathResponse, Failure> {
    use v1::resolve_path_request::Known;
    let v1::ResolvePathRequest { known, settings } = request;
    let advertised = convert::settings(settings, defaults)?.advertised_address;
    let of_file = |path: ArtifactPath| {
        Ok(v1::ResolvePathResponse {
            dir: path.dir().to_string(),
            url: path.url(&advertised),
            local_path: storage.locate(&path)?,
            path: path.to_string(),
        })
    };
    match known {
        None => Err(convert::invalid("known", "name a file, a path or a URL")),
        Some(Known::Path(path)) => of_file(convert::path("path", &path)?),
        Some(Known::Url(url)) => {
            let message = || format!("{url:?} is not a URL: use <scheme>://<host>...");
            let url = set_hostname(&url, &advertised).ok_or_else(|| convert::invalid("url", message()))?;
            Ok(v1::ResolvePathResponse { url, ..v1::ResolvePathResponse::default() })
        }
        Some(Known::File(v1::ArtifactFile { artifact, file })) => {
            let dir = convert::dir("file.artifact", artifact)?;
            if file.is_empty() {
                return Ok(v1::ResolvePathResponse { dir: dir.to_string(), ..v1::ResolvePathResponse::default() });
            }
            of_file(convert::file("file.file", &dir, &file)?)
        }
    }
}
