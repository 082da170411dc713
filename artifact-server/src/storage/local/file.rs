//! Reading a stored file and what its stat says.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use jiff::Timestamp;
use rustix::fs::Stat;

use super::super::{Body, Head, Object, Stamp};
use super::folder::Folder;
use crate::tree::ReadAt;

/// An open file, and its stat when it was opened.
struct OpenFile(File, Stat);

impl ReadAt for OpenFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

impl Body for OpenFile {
    fn stamp(&self) -> io::Result<Stamp> {
        let now = rustix::fs::fstat(&self.0)?;
        Ok(stamp(if only_unlinked(&self.1, &now) { &self.1 } else { &now }))
    }
}

pub(super) fn open(folder: &Folder, name: &str) -> io::Result<Option<Object>> {
    let found = folder.open_file(name)?;
    Ok(found.map(|(file, stat)| Object { head: head(&stat), body: Arc::new(OpenFile(file, stat)) }))
}

/// Whether nothing has happened to an open file but that it lost a name, as collection takes it away. That moves the change time too, and must
/// not end the downloads that run.
fn only_unlinked(opened: &Stat, now: &Stat) -> bool {
    let what = |stat: &Stat| (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    now.st_nlink < opened.st_nlink && what(opened) == what(now)
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
