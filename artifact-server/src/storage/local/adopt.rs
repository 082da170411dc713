//! Making a file that somebody else put on the volume as durable as one that was published here. Others may rename files into place
//! that were never synced.

use std::io;

use rustix::fs::fsync;
use weir_proto::ArtifactPath;

use super::{LocalFolder, publish::step};
use crate::storage::{Record, Storage, StorageError};

/// The file first, then its record, then their names and those of the folders above.
pub(super) fn adopt(local: &LocalFolder, path: &ArtifactPath, record: &Record) -> Result<(), StorageError> {
    let failed = |cause: io::Error| StorageError::io("write", local.place(path), cause);
    let absent = || StorageError::NotFound(path.clone());
    let folder = local.root.folder(path.dir().as_str()).map_err(|cause| failed(cause.into()))?;
    let (file, _) = folder.ok_or_else(absent)?.open_file(path.file()).map_err(failed)?.ok_or_else(absent)?;
    fsync(&file).map_err(|cause| failed(cause.into()))?;
    step("file synced");
    // This also makes the names in the folder durable, the file's own among them.
    local.put_record(path, record)?;
    let settle = || {
        let (_, unsynced) = local.root.make_folder(path.dir())?;
        local.root.sync_parents(&unsynced)?;
        step("parents synced");
        Ok(())
    };
    settle().map_err(|cause: rustix::io::Errno| failed(cause.into()))
}
