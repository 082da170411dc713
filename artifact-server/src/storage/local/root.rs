//! The root of a local folder: its handle, its lock, and making folders below it durable.

use std::{
    collections::{HashMap, HashSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use rustix::{
    fs::{
        AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, flock, fstat, fsync, mkdirat, openat, statat, unlinkat,
    },
    io::Errno,
};
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{STATE, beneath::Beneath, folder::Folder, sync::SharedSync};
use crate::storage::{StorageError, stripes::Stripes};

/// The root folder.
pub(super) struct Root {
    path: PathBuf,
    /// Opened again when the path names another folder than before, e.g. after somebody removed and made it anew.
    handle: RwLock<Handle>,
    pub(super) beneath: Beneath,
    /// One writer for each artifact.
    pub(super) stripes: Stripes,
    /// Folders whose own names are known to be durable.
    durable: Mutex<HashSet<String>>,
    /// Shared syncs of the folders above the artifacts' own: all artifacts of a namespace wait for the same ones.
    parents: Mutex<HashMap<String, Arc<SharedSync>>>,
    /// Held for the life of the server.
    lock: OwnedFd,
}

struct Handle {
    fd: Arc<OwnedFd>,
    identity: (u64, u64),
}

/// A folder that must be synced before something below it counts as durable.
pub(super) struct Unsynced {
    parent: String,
    parent_fd: OwnedFd,
    child: String,
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        let unusable =
            |problem: &str| StorageError::Unusable { place: path.display().to_string(), problem: problem.into() };
        let handle = Handle::open(path).map_err(|cause| match cause {
            Errno::NOENT => unusable("does not exist: mount a volume there, create the folder or set --storage-path"),
            Errno::NOTDIR => unusable("is not a folder: set --storage-path to one"),
            cause => StorageError::io("open storage path", path.display(), cause),
        })?;
        let lock = lock(&handle.fd, path)?;
        Ok(Self {
            path: path.to_owned(),
            handle: RwLock::new(handle),
            beneath: Beneath::new(),
            stripes: Stripes::new(),
            durable: Mutex::default(),
            parents: Mutex::default(),
            lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The open root, as the path names it now.
    pub(super) fn handle(&self) -> Result<Arc<OwnedFd>, Errno> {
        let stat = statat(CWD, &self.path, AtFlags::empty())?;
        {
            let handle = self.handle.read();
            if handle.identity == (stat.st_dev, stat.st_ino) {
                return Ok(handle.fd.clone());
            }
        }
        let fresh = Handle::open(&self.path)?;
        let fd = fresh.fd.clone();
        *self.handle.write() = fresh;
        self.durable.lock().clear();
        Ok(fd)
    }

    /// A folder below the root; `None` when it, or the root, is not there or is not a folder.
    pub(super) fn folder(&self, relative: &str) -> Result<Option<Folder>, Errno> {
        match self.handle().and_then(|root| self.beneath.open(&*root, relative)) {
            Ok(fd) => Ok(Some(Folder::new(fd))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fails with `LOOP` or `NOTDIR` when a link or a file stands where a folder of this path should be, or a link in place of the file itself.
    pub(super) fn check_way(&self, path: &ArtifactPath) -> Result<(), Errno> {
        let opened = self.handle().and_then(|root| self.beneath.open(&*root, path.dir().as_str()));
        match opened.and_then(|folder| statat(&folder, path.file(), AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => Err(Errno::LOOP),
            Ok(_) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An artifact's folder, made with its parents where missing, and what to sync before anything in it is durable.
    pub(super) fn make_folder(&self, dir: &ArtifactDir) -> Result<(Folder, Vec<Unsynced>), Errno> {
        let root = self.handle()?;
        let (kind, namespace, name) = dir.parts();
        let levels = ["", kind, &format!("{kind}/{namespace}"), dir.as_str()];
        if levels[1..].iter().all(|&level| self.durable.lock().contains(level)) {
            match self.beneath.open(&*root, dir.as_str()) {
                Err(Errno::NOENT) => {}
                other => return Ok((Folder::new(other?), Vec::new())),
            }
        }
        let mut unsynced = Vec::new();
        let mut parent_fd = root.try_clone().map_err(|_| Errno::MFILE)?;
        for (at, part) in [kind, namespace, name].into_iter().enumerate() {
            let made = match mkdirat(&parent_fd, part, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error),
            };
            let (parent, child) = (levels[at].to_owned(), levels[at + 1].to_owned());
            let fd = self.beneath.open(&parent_fd, part)?;
            if made || !self.durable.lock().contains(&child) {
                unsynced.push(Unsynced { parent, parent_fd, child });
            }
            parent_fd = fd;
        }
        Ok((Folder::new(parent_fd), unsynced))
    }

    /// Makes the names of folders durable, sharing each sync with everybody who needs the same one.
    pub(super) fn sync_parents(&self, unsynced: &[Unsynced]) -> Result<(), Errno> {
        for Unsynced { parent, parent_fd, child } in unsynced {
            let shared = self.parents.lock().entry(parent.clone()).or_default().clone();
            shared.sync(|| fsync(parent_fd))?;
            self.durable.lock().insert(child.clone());
        }
        Ok(())
    }

    /// Removes an artifact's folder when nothing is in it; the folders above stay. Best effort: an empty folder harms nobody.
    pub(super) fn remove_if_empty(&self, dir: &ArtifactDir) {
        let (kind, namespace, name) = dir.parts();
        let Ok(Some(parent)) = self.folder(&format!("{kind}/{namespace}")) else { return };
        if unlinkat(parent.fd(), name, AtFlags::REMOVEDIR).is_ok() {
            self.durable.lock().remove(dir.as_str());
        }
    }

    /// The folder of the server's own documents; `None` only when nothing at all has its name.
    pub(super) fn state_folder(&self) -> Result<Option<Folder>, Errno> {
        let root = self.handle()?;
        match self.beneath.open(&*root, STATE) {
            Ok(fd) => Ok(Some(Folder::new(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn make_state_folder(&self) -> Result<Folder, Errno> {
        let root = self.handle()?;
        make_state_folder(&root)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // Closing would do, but a child that is being started may hold the same handle for a moment.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

impl Handle {
    fn open(path: &Path) -> Result<Self, Errno> {
        let fd = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok(Self { fd: Arc::new(fd), identity: (stat.st_dev, stat.st_ino) })
    }
}

fn make_state_folder(root: &OwnedFd) -> Result<Folder, Errno> {
    match mkdirat(root, STATE, Mode::RWXU) {
        Ok(()) => fsync(root)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    Ok(Folder::new(openat(
        root,
        STATE,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?))
}

/// How long to wait for another server's lock: one second.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Files are their owner's alone.
const FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Two servers on one volume would remove each other's files. Making the lock file also proves that the volume can be written.
fn lock(root: &OwnedFd, path: &Path) -> Result<OwnedFd, StorageError> {
    let failed = |cause: Errno| StorageError::io("write to storage path", path.display(), cause);
    let folder = make_state_folder(root).map_err(failed)?;
    // Open for writing it would keep the volume from being remounted read-only; but network file systems want it so.
    let open = |access| openat(folder.fd(), "lock", access | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC, FILE);
    let mut file = open(OFlags::RDONLY).map_err(failed)?;
    let mut outcome = flock(&file, FlockOperation::NonBlockingLockExclusive);
    if outcome == Err(Errno::BADF) {
        file = open(OFlags::RDWR).map_err(failed)?;
        outcome = flock(&file, FlockOperation::NonBlockingLockExclusive);
    }
    // One that was just killed may take a moment to be gone.
    for _ in 0..LOCK_ATTEMPTS {
        if outcome != Err(Errno::WOULDBLOCK) {
            break;
        }
        std::thread::sleep(LOCK_PAUSE);
        outcome = flock(&file, FlockOperation::NonBlockingLockExclusive);
    }
    match outcome {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(StorageError::Unusable {
                place: path.display().to_string(),
                problem: "is in use by another artifact server: stop that one, or give each its own volume".into(),
            });
        }
        // Some network file systems know no locks; then the deployment must see to it.
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the storage path can not be locked; run one server only")
        }
    }
    // The lock file may exist on a volume that can not be written any more.
    folder
        .write_temporary(b"")
        .and_then(|name| Ok(folder.unlink(&name)?))
        .map_err(|cause| StorageError::io("write to storage path", path.display(), cause))?;
    Ok(file)
}
