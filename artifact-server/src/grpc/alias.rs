//! `Symlink`: a second name of a file.

use tonic::Status;
use weir_proto::{ArtifactPath, Failure, v1};

use super::{access::Access, call::Server, convert};
use crate::storage::{Aliased, Caller, Store};

/// Gives a file a second name.
pub(super) async fn symlink(
    server: &Server,
    access: &Access,
    request: v1::SymlinkRequest,
) -> Result<v1::SymlinkResponse, Status> {
    let v1::SymlinkRequest { caller, path, name, settings, take_over } = request;
    let path = convert::path("path", &path)?;
    let settings = convert::settings(settings, &server.defaults)?;
    let alias = alias_of(&path, &name)?;
    let (dir, name) = (path.dir().clone(), alias.clone());
    let point = move |store: &Store, caller: &Caller| {
        store.alias(caller, &path, &name, take_over).map_err(|error| convert::claimed(error.into()))
    };
    let Aliased { record, unchanged, .. } = server.change(access, caller, &dir, point).await?;
    let artifact = convert::artifact(&alias, &record, &settings.advertised_address);
    Ok(v1::SymlinkResponse { artifact: Some(artifact), unchanged })
}

/// Reads the second name of a file. A name that carries a digest promises bytes, which an alias can not.
fn alias_of(path: &ArtifactPath, name: &str) -> Result<ArtifactPath, Failure> {
    let alias = convert::file("name", path.dir(), name)?;
    if alias == *path {
        return Err(convert::invalid("name", format!("{name} is the name of the file itself")));
    }
    if alias.named_digest().is_some() {
        return Err(convert::invalid("name", format!("{name} is a name for the bytes of that digest alone")));
    }
    Ok(alias)
}
