//! What can go wrong with the volume, sorted by what the caller can do about it.

use std::{fmt::Display, io};

use rustix::io::Errno;
use weir_proto::{ArtifactPath, Digest, Failure, Reason};

/// Why a storage operation failed. Each message is one line that names the place and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No space, no inodes, or over quota. What was being written is gone; what was stored before is untouched.
    #[error("{place} is full ({cause}): free space, enlarge the volume or keep fewer artifacts")]
    Full {
        /// The file or folder that was being written.
        place: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The volume can not be read or written as it is now.
    #[error("can not {doing} {place}: {cause}{advice}")]
    Failed {
        /// The verb: `read`, `write`, `open`, `remove`.
        doing: &'static str,
        /// The file or folder.
        place: String,
        /// What the system said.
        cause: io::Error,
        /// What to do, starting with a colon or empty.
        advice: String,
    },
    /// The volume is not one that this server can use at all.
    #[error("storage path {place} {problem}")]
    Unusable {
        /// The root.
        place: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// There is no such file.
    #[error("there is no file {0}")]
    NotFound(ArtifactPath),
    /// The files belong to somebody else.
    #[error("{place} belongs to {owner}: {advice}")]
    OwnedByAnother {
        /// The artifact's folder, or the file.
        place: String,
        /// Who owns it: `<controller>/<object UID>`.
        owner: String,
        /// What can be asked for instead.
        advice: &'static str,
    },
    /// The name is not one that this change may take.
    #[error("{path} is {by}: remove it first, or choose another name")]
    NameTaken {
        /// The name.
        path: ArtifactPath,
        /// What has it: `an alias`, `a file`.
        by: &'static str,
        /// The field of the request that has the name.
        field: &'static str,
    },
    /// What came in is not what was announced.
    #[error("the bytes for {place} have the digest {found}, not {expected}: send them again, or correct the digest")]
    DigestMismatch {
        /// The file.
        place: String,
        /// The field that announced it, of the message that says what is stored.
        field: &'static str,
        /// What was announced.
        expected: Box<Digest>,
        /// What came.
        found: Box<Digest>,
    },
    /// The caller's lock is none any more.
    #[error("the lock of this token is not held: its stream has ended, or the server was started again; lock again")]
    LockLost,
    /// The caller's epoch is over.
    #[error(
        "epoch {epoch} of controller {leadership} is over, epoch {seen} has been seen: another instance leads; if its Lease was \
         deleted or leader election was switched off on purpose, stop the server, delete .weir/epochs.json on its volume and start it again"
    )]
    StaleEpoch {
        /// Whose epochs they are: [`Caller::leadership`](super::Caller::leadership).
        leadership: String,
        /// The caller's.
        epoch: u64,
        /// The highest one so far.
        seen: u64,
    },
    /// A tenant leads under more names than are kept for one.
    #[error(
        "{leadership} does not fit into the {most} bytes in which the controllers and Leases of one client are remembered: call under the \
         same Lease each time; if old ones are to be forgotten, stop the server, delete .weir/epochs.json on its volume and start it again"
    )]
    TooManyLeases {
        /// Whose epochs they are: [`Caller::leadership`](super::Caller::leadership).
        leadership: String,
        /// Whether the caller names a Lease; else its controller is what is new.
        has_lease: bool,
        /// How many bytes there are for them.
        most: usize,
    },
    /// The epochs can not be read back; the cause names the file.
    #[error(
        "{0}: nothing is stored or removed, as a former leader could not be told from the leader; files are served. Restore the file, \
         or delete it once no former leader runs; no restart is needed"
    )]
    Unfenced(Box<StorageError>),
    /// The caller's own bytes could not be produced; nothing is wrong with the volume.
    #[error("the content of {place} could not be written: {cause}")]
    Content {
        /// The artifact's folder.
        place: String,
        /// What the writer said.
        cause: io::Error,
    },
}

impl StorageError {
    /// Sorts a system error by its number and adds advice.
    pub fn io(doing: &'static str, place: impl Display, cause: impl Into<io::Error>) -> Self {
        let (place, cause) = (place.to_string(), cause.into());
        let advice = match Errno::from_io_error(&cause) {
            Some(Errno::NOSPC | Errno::DQUOT) => return Self::Full { place, cause },
            Some(Errno::ACCESS | Errno::PERM) => format!(
                ": give uid {} read and write access to the volume, for example with fsGroup",
                rustix::process::geteuid().as_raw()
            ),
            Some(Errno::ROFS) => ": the volume is mounted read-only; mount it for writing".to_owned(),
            Some(Errno::NOTDIR | Errno::LOOP) => {
                ": a file or a symbolic link stands where a folder should be; remove it".to_owned()
            }
            Some(Errno::ISDIR) => ": a folder stands where a file should be; remove it".to_owned(),
            Some(Errno::MFILE | Errno::NFILE) => {
                ": too many open files; raise the limit or lower the number of clients".to_owned()
            }
            Some(Errno::IO | Errno::STALE) => ": the device or network file system has a fault; check it".to_owned(),
            _ => String::new(),
        };
        Self::Failed { doing, place, cause, advice }
    }

    /// The reason of the contract.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Full { .. } => Reason::StorageFull,
            Self::Failed { .. } | Self::Unusable { .. } | Self::Unfenced(_) | Self::Content { .. } => {
                Reason::StorageFailed
            }
            Self::StaleEpoch { .. } => Reason::StaleEpoch,
            Self::TooManyLeases { .. } => Reason::InvalidRequest,
            Self::LockLost => Reason::LockLost,
            Self::NameTaken { .. } => Reason::NameTaken,
            Self::DigestMismatch { .. } => Reason::DigestMismatch,
            Self::NotFound(_) => Reason::NotFound,
            Self::OwnedByAnother { .. } => Reason::OwnedByAnother,
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        let field = match &error {
            StorageError::StaleEpoch { .. } => Some("caller.epoch"),
            StorageError::TooManyLeases { has_lease, .. } => {
                Some(if *has_lease { "caller.lease" } else { "caller.owner" })
            }
            StorageError::NameTaken { field, .. } => Some(*field),
            StorageError::LockLost => Some("caller.lock"),
            StorageError::DigestMismatch { field, .. } => Some(*field),
            _ => None,
        };
        let field = field.map(str::to_owned);
        Self { reason: error.reason(), message: error.to_string(), field }
    }
}
