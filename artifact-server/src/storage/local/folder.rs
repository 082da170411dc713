//! One open folder: everything is done by bare names in it.

use std::{fs::File, io, io::Read, io::Write, os::fd::OwnedFd};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, fsync, openat, renameat, renameat_with, statat,
        unlinkat,
    },
    io::{Errno, retry_on_intr},
};

use super::TEMPORARY;

/// Records are far smaller; anything bigger is not one.
const SMALL: u64 = 64 * 1024;

/// The largest document of the server itself, in bytes.
const DOCUMENT: u64 = 1024 * 1024;

/// How deep strays are removed.
const DEPTH: usize = 32;

/// An open folder.
pub(super) struct Folder(OwnedFd);

impl Folder {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// The names in it, without `.` and `..`. Names that are not UTF-8 are nobody's here; they come out with replacements.
    pub(super) fn names(&self) -> Result<Vec<(String, FileType)>, Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push((name.into_owned(), entry.file_type()));
            }
        }
        Ok(names)
    }

    /// The stat of a regular file; `None` for nothing and for everything else.
    pub(super) fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_regular(&stat) => Ok(Some(stat)),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a regular file for reading. Never follows a link, never waits for the other end of a pipe.
    pub(super) fn open_file(&self, name: &str) -> io::Result<Option<(File, Stat)>> {
        // Opening a device can have effects; so look before.
        if self.stat(name)?.is_none() {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match retry_on_intr(|| openat(&self.0, name, flags, Mode::empty())) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        Ok(is_regular(&stat).then(|| (File::from(file), stat)))
    }

    /// Reads a whole small file.
    pub(super) fn read_small(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((file, _)) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(SMALL).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Reads a document of the server itself. `None` only when nothing at all has this name: what can not be read may have been one.
    pub(super) fn read_document(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if let Err(Errno::NOENT) = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            return Ok(None);
        }
        let Some((file, _)) = self.open_file(name)? else { return Err(io::Error::other("it is not a file")) };
        let mut bytes = Vec::new();
        file.take(DOCUMENT + 1).read_to_end(&mut bytes)?;
        check_size(&bytes)?;
        Ok(Some(bytes))
    }

    /// Writes a document of the server itself, durably.
    pub(super) fn write_document(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        check_size(bytes)?;
        self.replace(name, bytes)?;
        Ok(self.sync()?)
    }

    /// A new file that nobody else can have, for its owner only.
    pub(super) fn create_temporary(&self) -> Result<(String, File), Errno> {
        let name = format!("{TEMPORARY}{:016x}", rand::random::<u64>());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = retry_on_intr(|| openat(&self.0, &name, flags, Mode::RUSR | Mode::WUSR))?;
        Ok((name, File::from(file)))
    }

    /// Writes bytes to a temporary file and syncs it. Returns its name.
    pub(super) fn write_temporary(&self, bytes: &[u8]) -> io::Result<String> {
        let (name, mut file) = self.create_temporary()?;
        let written = file.write_all(bytes).and_then(|()| Ok(fsync(&file)?));
        if let Err(error) = written {
            let _ = self.unlink(&name);
            return Err(error);
        }
        Ok(name)
    }

    /// Puts bytes under a name, whole or not at all. The name itself is durable after [`Folder::sync`].
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.write_temporary(bytes)?;
        self.rename(&temporary, name).map_err(|error| {
            let _ = self.unlink(&temporary);
            error.into()
        })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        renameat(&self.0, from, &self.0, to)
    }

    /// Renames unless the name is taken (`EXIST`). File systems that can not promise that get a plain rename: the caller holds
    /// the artifact's lock and has looked.
    pub(super) fn rename_new(&self, from: &str, to: &str) -> Result<(), Errno> {
        match renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => self.rename(from, to),
            other => other,
        }
    }

    /// Makes the names in the folder durable.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        fsync(&self.0)
    }

    pub(super) fn unlink(&self, name: &str) -> Result<(), Errno> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    /// Removes everything in it but what `spare` names.
    pub(super) fn clear(&self, spare: impl Fn(&str) -> bool) -> Result<(), Errno> {
        for (name, _) in self.names()?.into_iter().filter(|(name, _)| !spare(name)) {
            self.remove_tree(&name, DEPTH)?;
        }
        Ok(())
    }

    /// Moves whatever is not a regular file out of a name's way and removes it.
    pub(super) fn remove_obstacle(&self, name: &str) -> Result<(), Errno> {
        let aside = format!("{TEMPORARY}{:016x}", rand::random::<u64>());
        match self.rename(name, &aside) {
            Ok(()) => self.remove_tree(&aside, DEPTH),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn remove_tree(&self, name: &str, depth: usize) -> Result<(), Errno> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) if depth > 0 => {}
            Err(error) => return Err(error),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = Self(openat(&self.0, name, flags, Mode::empty())?);
        for (child, _) in inner.names()? {
            inner.remove_tree(&child, depth - 1)?;
        }
        unlinkat(&self.0, name, AtFlags::REMOVEDIR)
    }
}

/// What could not be read again is not written.
fn check_size(document: &[u8]) -> io::Result<()> {
    if document.len() as u64 <= DOCUMENT {
        return Ok(());
    }
    Err(io::Error::other(format!("it is larger than {DOCUMENT} bytes")))
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}
