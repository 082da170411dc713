//! Why a source can not be had, by what can be done about it.

use weir_proto::{Failure, Reason};

/// Why a source can not be had. Users see the text after `failed to fetch sources: ` or the like, so each stands alone.
/// It can be cloned, as one failed download is reported to all who wait for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The URL is not one that can be downloaded.
    #[error("failed to download archive: invalid URL '{url}': {cause}")]
    InvalidUrl {
        /// As given.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The URL leads to a host that sources may not come from.
    #[error(
        "sources may not come from {0}: it is not among --source-hosts of the artifact server; add it there, or use another source"
    )]
    Host(String),
    /// The URL answers 404. It is not tried again.
    #[error("file not found")]
    NotFound,
    /// The download failed, after all retries if another try could help.
    #[error("failed to download archive{0}")]
    Unavailable(String),
    /// The digest can not be read, or is not the digest of what was downloaded.
    #[error("failed to verify archive: {0}")]
    Digest(String),
    /// The tarball is corrupt or holds what may not be in a source.
    #[error("failed to extract archive (check whether file size exceeds max download size): {0}")]
    Refused(String),
    /// The source is over a limit; the text names limit and flag.
    #[error("source is too large: {0}")]
    TooLarge(String),
    /// All of the cache is in use.
    #[error("the source cache is full and everything in it is in use; try again, or raise --source-cache-size")]
    Busy,
    /// The cache's own folder has no space left.
    #[error("no space left for the source cache: {0}")]
    Full(String),
    /// The cache's own folder can not be read or written.
    #[error("source cache failed: {0}")]
    Storage(String),
    /// Nobody waits for it any more.
    #[error("the call was cancelled")]
    Cancelled,
}

impl SourceError {
    /// An error of the cache's own folder.
    pub(super) fn storage(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full(error.to_string()),
            _ => Self::Storage(error.to_string()),
        }
    }

    /// The error of a tarball inside of a source, which users see behind the name of that tarball.
    pub(crate) fn of_archive(self) -> Failure {
        match self {
            Self::Refused(text) | Self::TooLarge(text) => Failure::new(Reason::BuildFailed, text),
            other => other.into(),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let reason = match error {
            SourceError::InvalidUrl { .. } => Reason::InvalidRequest,
            SourceError::NotFound => Reason::SourceNotFound,
            SourceError::Unavailable(_) => Reason::SourceUnavailable,
            SourceError::Digest(_) => Reason::SourceDigestMismatch,
            SourceError::Refused(_) | SourceError::Host(_) => Reason::SourceRefused,
            SourceError::TooLarge(_) => Reason::SourceTooLarge,
            SourceError::Busy => Reason::CacheBusy,
            SourceError::Full(_) => Reason::StorageFull,
            SourceError::Storage(_) => Reason::StorageFailed,
            SourceError::Cancelled => Reason::ShuttingDown,
        };
        Self::new(reason, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_reason() {
        let text = String::new;
        let system = |number| SourceError::storage(&std::io::Error::from_raw_os_error(number));
        let rows = [
            ("URL", SourceError::InvalidUrl { url: text(), cause: text() }, Reason::InvalidRequest),
            ("404", SourceError::NotFound, Reason::SourceNotFound),
            ("download", SourceError::Unavailable(text()), Reason::SourceUnavailable),
            ("digest", SourceError::Digest(text()), Reason::SourceDigestMismatch),
            ("tarball", SourceError::Refused(text()), Reason::SourceRefused),
            ("host", SourceError::Host(text()), Reason::SourceRefused),
            ("limits", SourceError::TooLarge(text()), Reason::SourceTooLarge),
            ("in use", SourceError::Busy, Reason::CacheBusy),
            ("faults 4 ENOSPC", system(28), Reason::StorageFull),
            ("faults 5 EDQUOT", system(122), Reason::StorageFull),
            ("faults 6 EROFS", system(30), Reason::StorageFailed),
            ("faults 7 EIO", system(5), Reason::StorageFailed),
        ];
        for (row, error, reason) in rows {
            let message = error.to_string();
            assert_eq!(Failure::from(error), Failure::new(reason, message), "row {row}");
        }
    }
}
