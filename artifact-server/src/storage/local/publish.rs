//! The one place where a file becomes visible.
//!
//! Order: bytes synced under a temporary name, record synced under another, record renamed, file renamed, folder synced,
//! new parents synced. So a name that can be seen is complete and has its record, wherever a crash falls; what lies around
//! under temporary names, and a record whose file never came, is swept at the next start.
//!
//! A file that takes the place of another: its record is first named as successor and synced, then the file takes its name, then the
//! record. After a crash between the two the bytes say whose record counts: see [`super::successor`].

use std::{fs::File, io, io::Write, sync::Arc};

use rustix::{
    fs::{Mode, fchmod, fsync},
    io::Errno,
};
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{
    file,
    folder::Folder,
    record_name,
    root::{Root, Unsynced},
    successor,
};
use crate::storage::{Published, Record, Stage, Stamp, StorageError};

/// How often a folder is made again that somebody removes at the same moment.
const ATTEMPTS: usize = 8;

/// A file under its temporary name.
pub(super) struct StagedFile {
    root: Arc<Root>,
    dir: ArtifactDir,
    folder: Folder,
    unsynced: Vec<Unsynced>,
    file: File,
    /// `None` once the file has its own name.
    temporary: Option<String>,
}

impl StagedFile {
    pub(super) fn create(root: Arc<Root>, dir: &ArtifactDir) -> Result<Self, StorageError> {
        let mut outcome = Err(Errno::NOENT);
        for _ in 0..ATTEMPTS {
            outcome = root.make_folder(dir).and_then(|(folder, unsynced)| {
                let (name, file) = folder.create_temporary()?;
                Ok((folder, unsynced, name, file))
            });
            // An artifact's empty folder is removed with its last file, perhaps just now.
            if !matches!(outcome, Err(Errno::NOENT)) {
                break;
            }
        }
        let (folder, unsynced, name, file) = outcome.map_err(|cause| match cause {
            Errno::NOENT => StorageError::Unusable {
                place: root.path().display().to_string(),
                problem: "is not there any more: mount the volume again or create the folder".into(),
            },
            cause => StorageError::io("write", place(&root, dir), cause),
        })?;
        step("temporary file made");
        Ok(Self { root, dir: dir.clone(), folder, unsynced, file, temporary: Some(name) })
    }

    /// Syncs the bytes and writes the record under a temporary name, which is returned.
    fn seal(&self, record: &Record) -> io::Result<String> {
        step("bytes written");
        if let Some(mode) = record.mode {
            // Whatever others may do, the server must be able to read it again.
            fchmod(&self.file, Mode::from_raw_mode(mode | (Mode::RUSR | Mode::WUSR).bits()))?;
        }
        fsync(&self.file)?;
        step("file synced");
        let stat = rustix::fs::fstat(&self.file)?;
        let record = Record { stamp: file::stamp(&stat), ..record.clone() };
        let name = self.folder.write_temporary(&record.to_json().map_err(io::Error::other)?)?;
        step("record synced");
        Ok(name)
    }

    fn settle(&mut self, path: &ArtifactPath, record: &Record) -> io::Result<Published> {
        let record = self.seal(record)?;
        let named = self.name(path, &record);
        if !matches!(named, Ok(true)) {
            let _ = self.folder.unlink(&record);
        }
        if !named? {
            // Whoever published it may not have synced it yet.
            self.folder.sync()?;
            return Ok(Published::Present);
        }
        if let Err(error) = self.make_durable() {
            // It can not be promised, so it must not be seen.
            let _ = self.folder.unlink(path.file());
            let _ = self.folder.unlink(&record_name(path.file()));
            return Err(error.into());
        }
        // Naming the file moved its change time.
        Ok(Published::Stored(file::stamp(&rustix::fs::fstat(&self.file)?)))
    }

    /// As [`StagedFile::settle`], but takes the place of a file that is there.
    fn supersede(&mut self, path: &ArtifactPath, record: &Record) -> io::Result<Stamp> {
        let record = self.seal(record)?;
        let root = self.root.clone();
        let _one = root.stripes.lock(path.dir());
        let outcome = match self.folder.stat(path.file()) {
            Ok(Some(_)) => self.take_place(path, &record),
            Ok(None) => self.name_locked(path, &record).and_then(|_| Ok(self.make_durable()?)),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            let _ = self.folder.unlink(&record);
            return Err(error);
        }
        Ok(file::stamp(&rustix::fs::fstat(&self.file)?))
    }

    /// The caller holds the artifact's stripe.
    fn take_place(&mut self, path: &ArtifactPath, record: &str) -> io::Result<()> {
        let successor = successor::name(path.file());
        let announced = self.folder.rename(record, &successor).and_then(|()| self.folder.sync());
        step("successor named");
        let temporary = self.temporary.clone().unwrap_or_default();
        if let Err(error) = announced.and_then(|()| self.folder.rename(&temporary, path.file())) {
            let _ = self.folder.unlink(&successor);
            return Err(error.into());
        }
        self.temporary = None;
        step("file replaced");
        self.folder.rename(&successor, &record_name(path.file()))?;
        step("record replaced");
        self.folder.sync()?;
        step("folder synced");
        Ok(())
    }

    /// Gives both their names. False when the file's is taken; then nothing has changed.
    fn name(&mut self, path: &ArtifactPath, record: &str) -> io::Result<bool> {
        let root = self.root.clone();
        let _one = root.stripes.lock(path.dir());
        self.name_locked(path, record)
    }

    /// The caller holds the artifact's stripe.
    fn name_locked(&mut self, path: &ArtifactPath, record: &str) -> io::Result<bool> {
        if self.folder.stat(path.file())?.is_some() {
            return Ok(false);
        }
        self.folder.remove_obstacle(path.file())?;
        let record_name = record_name(path.file());
        self.folder.rename(record, &record_name)?;
        step("record named");
        let temporary = self.temporary.clone().unwrap_or_default();
        if let Err(error) = self.folder.rename_new(&temporary, path.file()) {
            let _ = self.folder.unlink(&record_name);
            return Err(error.into());
        }
        self.temporary = None;
        step("file named");
        Ok(true)
    }

    fn make_durable(&self) -> Result<(), Errno> {
        self.folder.sync()?;
        step("folder synced");
        self.root.sync_parents(&self.unsynced)?;
        step("parents synced");
        Ok(())
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for StagedFile {
    fn publish(mut self: Box<Self>, path: &ArtifactPath, record: &Record) -> Result<Published, StorageError> {
        self.settle(path, record).map_err(|cause| StorageError::io("write", place(&self.root, path), cause))
    }

    fn replace(mut self: Box<Self>, path: &ArtifactPath, record: &Record) -> Result<Stamp, StorageError> {
        self.supersede(path, record).map_err(|cause| StorageError::io("write", place(&self.root, path), cause))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Some(name) = self.temporary.take() {
            let _ = self.folder.unlink(&name);
            self.root.remove_if_empty(&self.dir);
        }
    }
}

fn place(root: &Root, path: impl std::fmt::Display) -> String {
    format!("{}/{path}", root.path().display())
}

#[cfg(test)]
pub(super) use super::steps::step;

#[cfg(not(test))]
pub(super) fn step(_: &str) {}
