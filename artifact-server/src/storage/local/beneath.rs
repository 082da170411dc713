//! Opening folders beneath another folder, whatever links lie in the way.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat, openat2},
    io::{Errno, retry_on_intr},
};

/// How a folder is opened: for reading its names and for syncing it, never through a link.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens folders by relative names. The kernel confines the look-up; one without `openat2` (before Linux 5.6, some sandboxes)
/// is asked part by part instead, which is as safe for names without `..`.
pub(super) struct Beneath {
    by_parts: AtomicBool,
}

impl Beneath {
    pub(super) fn new() -> Self {
        Self { by_parts: AtomicBool::new(false) }
    }

    #[cfg(test)]
    pub(super) fn without_openat2(&self) {
        self.by_parts.store(true, Ordering::Relaxed);
    }

    /// Opens `relative`, whose parts are names (no `..`, none empty). A link anywhere in it is `LOOP` or `NOTDIR`.
    pub(super) fn open(&self, root: impl AsFd, relative: &str) -> Result<OwnedFd, Errno> {
        if !self.by_parts.load(Ordering::Relaxed) {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let open = || openat2(root.as_fd(), relative, FOLDER, Mode::empty(), resolve);
            match retry_on_intr(open) {
                // PERM is how older container sandboxes refuse calls they do not know.
                Err(Errno::NOSYS | Errno::PERM) => self.by_parts.store(true, Ordering::Relaxed),
                other => return other,
            }
        }
        by_parts(root, relative)
    }
}

fn by_parts(root: impl AsFd, relative: &str) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    for part in relative.split('/') {
        if matches!(part, "" | "." | "..") {
            return Err(Errno::INVAL);
        }
        let parent = at.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        let next = retry_on_intr(|| openat(parent, part, FOLDER, Mode::empty()))?;
        at = Some(next);
    }
    at.ok_or(Errno::INVAL)
}
