//! Files that another program published and that hold what would be built: they stay as they are, so that nobody has to download anything
//! when Weir takes the place of that program.

use std::{
    io::{self, Read},
    sync::Arc,
};

use weir_proto::{ArtifactPath, Digest};

use super::{Job, artifact::Composed};
use crate::{
    grpc::convert,
    source,
    storage::{Adoption, Record, StorageError, Store},
};

/// The record of the file that is published, if it can be adopted. Flux's SDK makes the revision of the digest of the tarball, so that is the
/// revision that it keeps.
pub(super) fn adopted(
    store: &Store,
    job: &Job,
    (path, digest): (&ArtifactPath, &Digest),
    composed: Composed<'_>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Option<Arc<Record>>, StorageError> {
    let adoption = Adoption {
        caller: &job.caller,
        digest,
        revision: &convert::revision(&digest.to_string()),
        content_digest: composed.digest,
    };
    let holds = |bytes: &mut dyn Read| match source::compare(Unless { inner: bytes, cancelled }, composed.tree) {
        Ok(()) => true,
        Err(difference) => {
            tracing::info!(%path, %difference, "a file without a record is not what was composed; it is built anew");
            false
        }
    };
    let adopted = store.adopt(path, &adoption, holds)?;
    if adopted.is_some() {
        tracing::info!(%path, owner = %job.caller.owner, "adopted a file without a record");
    }
    Ok(adopted)
}

/// Fails once the call is cancelled.
struct Unless<'a> {
    inner: &'a mut dyn Read,
    cancelled: &'a dyn Fn() -> bool,
}

impl Read for Unless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.cancelled)() {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the call was cancelled"));
        }
        self.inner.read(buffer)
    }
}
