//! Objects as files below one folder: `<kind>/<namespace>/<name>/<file>`, with `.<file>.record` next to each.
//!
//! Every path is resolved by the kernel beneath an open handle of the root, without following links, so a name can not lead
//! out even while somebody moves folders about. What is published is complete: see [`publish`]. One server at a time: the root
//! is locked while a [`LocalFolder`] is open.

use std::{path::Path, sync::Arc};

use rustix::io::Errno;
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{Head, Object, Prefix, Record, Stage, Storage, StorageError, Swept};

mod adopt;
mod beneath;
mod file;
mod folder;
mod leftovers;
mod publish;
mod root;
#[cfg(test)]
mod steps;
mod successor;
mod sweep;
mod sync;
#[cfg(test)]
mod tests;

use folder::Folder;
use root::Root;

/// Files that are not yet published start with this.
const TEMPORARY: &str = ".tmp-";

/// The folder below the root for the server's own documents.
const STATE: &str = ".weir";

/// A local folder as storage.
#[derive(Clone)]
pub struct LocalFolder {
    root: Arc<Root>,
}

impl LocalFolder {
    /// Opens the folder, which must exist and be writable, and locks it against other servers.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        Ok(Self { root: Arc::new(Root::open(path)?) })
    }

    /// The folder, as it was given.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    fn place(&self, path: impl std::fmt::Display) -> String {
        format!("{}/{path}", self.root.path().display())
    }

    fn read<T>(
        &self,
        path: &ArtifactPath,
        get: impl Fn(&Folder) -> std::io::Result<Option<T>>,
    ) -> Result<Option<T>, StorageError> {
        let failed = |cause: std::io::Error| StorageError::io("read", self.place(path), cause);
        match self.root.folder(path.dir().as_str()) {
            Ok(Some(folder)) => get(&folder).map_err(failed),
            Ok(None) => Ok(None),
            Err(cause) => Err(failed(cause.into())),
        }
    }
}

/// The name of a file's record.
fn record_name(file: &str) -> String {
    format!(".{file}.record")
}

impl Storage for LocalFolder {
    fn location(&self) -> String {
        self.root.path().display().to_string()
    }

    fn locate(&self, path: &ArtifactPath) -> Result<String, StorageError> {
        self.root.check_way(path).map_err(|cause| StorageError::io("resolve", self.place(path), cause))?;
        Ok(self.place(path))
    }

    fn stage(&self, dir: &ArtifactDir) -> Result<Box<dyn Stage>, StorageError> {
        Ok(Box::new(publish::StagedFile::create(self.root.clone(), dir)?))
    }

    fn open(&self, path: &ArtifactPath) -> Result<Option<Object>, StorageError> {
        self.read(path, |folder| file::open(folder, path.file()))
    }

    fn head(&self, path: &ArtifactPath) -> Result<Option<Head>, StorageError> {
        self.read(path, |folder| Ok(folder.stat(path.file())?.map(|stat| file::head(&stat))))
    }

    fn record(&self, path: &ArtifactPath) -> Result<Option<Record>, StorageError> {
        let json = self.read(path, |folder| folder.read_small(&record_name(path.file())))?;
        let Some(json) = json else { return Ok(None) };
        match Record::from_json(&json) {
            Ok(record) => Ok(Some(record)),
            Err(error) => {
                tracing::warn!(path = %path, %error, "a record is damaged and counts as absent");
                Ok(None)
            }
        }
    }

    fn put_record(&self, path: &ArtifactPath, record: &Record) -> Result<(), StorageError> {
        let failed = |cause: std::io::Error| StorageError::io("write", self.place(path), cause);
        let json = record.to_json().map_err(|error| failed(std::io::Error::other(error)))?;
        let _one = self.root.stripes.lock(path.dir());
        let folder = self.root.folder(path.dir().as_str()).map_err(|cause| failed(cause.into()))?;
        let folder = folder.ok_or_else(|| StorageError::NotFound(path.clone()))?;
        if folder.stat(path.file()).map_err(failed)?.is_none() {
            return Err(StorageError::NotFound(path.clone()));
        }
        folder.replace(&record_name(path.file()), &json).map_err(failed)?;
        publish::step("record replaced");
        folder.sync().map_err(|cause| failed(cause.into()))?;
        publish::step("folder synced");
        Ok(())
    }

    fn adopt(&self, path: &ArtifactPath, record: &Record) -> Result<(), StorageError> {
        adopt::adopt(self, path, record)
    }

    fn list(&self, prefix: &Prefix) -> Result<Vec<(ArtifactPath, Head)>, StorageError> {
        let mut found = Vec::new();
        for dir in sweep::artifacts(&self.root, prefix)?.dirs {
            sweep::files(&self.root, &dir, |path, stat| found.push((path, file::head(&stat))))?;
        }
        Ok(found)
    }

    fn delete(&self, path: &ArtifactPath) -> Result<bool, StorageError> {
        let failed = |cause: Errno| StorageError::io("remove", self.place(path), cause);
        let _one = self.root.stripes.lock(path.dir());
        let Some(folder) = self.root.folder(path.dir().as_str()).map_err(failed)? else { return Ok(false) };
        let there = folder.stat(path.file()).map_err(|cause| StorageError::io("remove", self.place(path), cause))?;
        if there.is_some() {
            folder.unlink(path.file()).map_err(failed)?;
        }
        // The file is gone; what is left of these two is swept at the next start.
        let _ = folder.unlink(&record_name(path.file()));
        let _ = folder.unlink(&successor::name(path.file()));
        let _ = folder.unlink(&format!("{}.lock", path.file()));
        self.root.remove_if_empty(path.dir());
        Ok(there.is_some())
    }

    fn clear(&self, dir: &ArtifactDir) -> Result<(), StorageError> {
        let failed = |cause: Errno| StorageError::io("remove", self.place(dir), cause);
        let _one = self.root.stripes.lock(dir);
        let Some(folder) = self.root.folder(dir.as_str()).map_err(failed)? else { return Ok(()) };
        folder.clear(|name| name.starts_with(TEMPORARY)).map_err(failed)?;
        self.root.remove_if_empty(dir);
        Ok(())
    }

    fn sweep(&self) -> Result<Swept, StorageError> {
        sweep::sweep(&self.root)
    }

    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let failed = |cause: std::io::Error| StorageError::io("read", self.place(format!("{STATE}/{name}")), cause);
        match self.root.state_folder().map_err(|cause| failed(cause.into()))? {
            Some(folder) => folder.read_document(name).map_err(failed),
            None => Ok(None),
        }
    }

    fn put_state(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        let failed = |cause: std::io::Error| StorageError::io("write", self.place(format!("{STATE}/{name}")), cause);
        let folder = self.root.make_state_folder().map_err(|cause| failed(cause.into()))?;
        folder.write_document(name, bytes).map_err(failed)
    }
}
