//! Reading a stored file and what its stat says.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use jiff::Timestamp;
use rustix::fs::Stat;

use super::super::{Body, Head, Object, Stamp};
use super::folder::Folder;
use crate::tree::ReadAt;

struct OpenFile(File);

impl ReadAt for OpenFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

impl Body for OpenFile {
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(stamp(&rustix::fs::fstat(&self.0)?))
    }
}

pub(super) fn open(folder: &Folder, name: &str) -> io::Result<Option<Object>> {
    let found = folder.open_file(name)?;
    Ok(found.map(|(file, stat)| Object { head: head(&stat), body: Arc::new(OpenFile(file)) }))
}

pub(super) fn head(stat: &Stat) -> Head {
    let nanoseconds = i32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    let modified = Timestamp::new(stat.st_mtime, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH);
    Head { size: u64::try_from(stat.st_size).unwrap_or(0), modified, stamp: stamp(stat) }
}

/// Size, modification time, change time and inode. The change time can not be set from outside.
pub(super) fn stamp(stat: &Stat) -> Stamp {
    Stamp::new(format!(
        "{}-{}.{:09}-{}.{:09}-{}",
        stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec, stat.st_ino
    ))
}
