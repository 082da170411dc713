//! What can go wrong, sorted by what the caller does next.

use std::path::PathBuf;

use tonic::{Code, Status};

use crate::{Failure, Reason, Trouble, tls::CertificatesError};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The endpoint is none.
    #[error(
        "endpoint {endpoint:?} is not valid: {problem}; use unix:///path/to.sock, http://host:port or, with certificates, https://host:port"
    )]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificates can not be used. Those that are read later and can not be used are [`Unreachable`](Self::Unreachable): they may be
    /// whole a moment later.
    #[error("certificates for {endpoint}: {problem}")]
    Certificates {
        /// As given.
        endpoint: String,
        /// What is wrong with them.
        problem: CertificatesError,
    },
    /// Nobody answers, the connection broke, or the server is ending. A change that was asked for may have been made.
    #[error("{endpoint} cannot be reached: {cause}; is weir-artifact-server running there? Try again when it is")]
    Unreachable {
        /// As given to [`connect`](super::Client::connect).
        endpoint: String,
        /// The innermost cause, e.g. `No such file or directory (os error 2)`.
        cause: String,
    },
    /// The call took longer than it may. A change that was asked for may have been made.
    #[error(
        "{endpoint} did not answer in time: {cause}; somebody else may hold the lock of the artifact: try again, or give it more time"
    )]
    Late {
        /// As given to [`connect`](super::Client::connect).
        endpoint: String,
        /// What the transport says.
        cause: String,
    },
    /// The server says no, and why.
    #[error("{0}")]
    Failure(#[from] Failure),
    /// An answer that is not of the contract, e.g. of a proxy or of an older server.
    #[error(
        "{endpoint} answered {code:?}: {message}; see that weir-artifact-server answers there, of this version or a newer one"
    )]
    Unexpected {
        /// As given to [`connect`](super::Client::connect).
        endpoint: String,
        /// The gRPC code.
        code: Code,
        /// Its message.
        message: String,
    },
    /// A directory that was to be archived can not be read. Nothing was stored.
    #[error("cannot archive {}: {cause}; see that it can be read and that nobody changes it, then try again", path.display())]
    Directory {
        /// The file or directory at fault.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

impl Error {
    pub(super) fn from_status(endpoint: &str, status: &Status) -> Self {
        let endpoint = endpoint.to_owned();
        match Trouble::of(status) {
            Trouble::Unreachable(cause) => Self::Unreachable { endpoint, cause },
            Trouble::Late(cause) => Self::Late { endpoint, cause },
            Trouble::Refused(failure) => Self::Failure(failure),
            Trouble::Unexpected(code, message) => Self::Unexpected { endpoint, code, message },
        }
    }

    /// What the server said, when it did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failure(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether the same call may well succeed a little later: nobody answers, or what is in use will be free. Says nothing of whether it is
    /// safe to send it twice.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Failure(failure) => {
                matches!(failure.reason, Reason::CacheBusy | Reason::FileChanged | Reason::StorageFailed)
            }
            Self::Endpoint { .. }
            | Self::Certificates { .. }
            | Self::Late { .. }
            | Self::Unexpected { .. }
            | Self::Directory { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_statuses_by_what_to_do_next() {
        let at = |status: &Status| Error::from_status("unix:///s", status);
        for &reason in Reason::ALL {
            let failure = Failure::new(reason, "why");
            let error = at(&failure.clone().into());
            let ending = reason == Reason::ShuttingDown;
            let away = Error::Unreachable { endpoint: "unix:///s".into(), cause: "why".into() };
            assert_eq!(error, if ending { away } else { Error::Failure(failure) });
            let passes = [Reason::ShuttingDown, Reason::CacheBusy, Reason::FileChanged, Reason::StorageFailed];
            assert_eq!(error.is_transient(), passes.contains(&reason), "{reason:?}");
        }
        let broken = at(&Status::from_error(Box::new(std::io::Error::other("broken pipe"))));
        assert!(matches!(&broken, Error::Unreachable { cause, .. } if cause == "broken pipe"), "{broken:?}");
        let rows = [
            (Status::unavailable("no socket"), "cannot be reached", true),
            (Status::deadline_exceeded("30s"), "did not answer in time", false),
            (Status::unimplemented("old"), "answered Unimplemented", false),
            (Status::permission_denied("who?"), "answered PermissionDenied", false),
        ];
        for (status, text, passes) in rows {
            let error = at(&status);
            assert!(error.to_string().starts_with(&format!("unix:///s {text}")), "{error}");
            assert_eq!(error.is_transient(), passes, "{error}");
        }
    }
}
