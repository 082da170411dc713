//! What can go wrong between this process and the artifact server, sorted by what the caller does next.

use tonic::{Code, Status};
use weir_proto::{Failure, Trouble};

use crate::error::ReconcileError;

/// An error of a call, or of one artifact of a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Nobody answers. Nothing is known about the files; try again.
    #[error("{address} cannot be reached: {cause}; is weir-artifact-server running?")]
    Unreachable {
        /// The endpoint as configured.
        address: String,
        /// The innermost cause, e.g. `No such file or directory (os error 2)`.
        cause: String,
    },
    /// The server did not answer in time.
    #[error("{address} did not answer in time: {cause}")]
    Late {
        /// The endpoint as configured.
        address: String,
        /// What the transport says.
        cause: String,
    },
    /// The server says no, and why.
    #[error("{0}")]
    Refused(#[from] Failure),
    /// An answer that is not of the contract, e.g. of a proxy or of an older server.
    #[error("{address} answered {code:?}: {message}")]
    Unexpected {
        /// The endpoint as configured.
        address: String,
        /// The gRPC code.
        code: Code,
        /// Its message.
        message: String,
    },
}

impl ServerError {
    /// Reads a status that ended a call to `address`.
    pub fn from_status(address: &str, status: &Status) -> Self {
        let address = address.to_owned();
        match Trouble::of(status) {
            Trouble::Unreachable(cause) => Self::Unreachable { address, cause },
            Trouble::Late(cause) => Self::Late { address, cause },
            Trouble::Refused(failure) => Self::Refused(failure),
            Trouble::Unexpected(code, message) => Self::Unexpected { address, code, message },
        }
    }

    /// What the server said, when it did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused(failure) => Some(failure),
            _ => None,
        }
    }

    /// Why files could not be checked. A server that does not answer says nothing about them, and comes back.
    pub fn of_verify(&self) -> ReconcileError {
        match self {
            Self::Unreachable { .. } | Self::Late { .. } => ReconcileError::Verify(self.to_string()),
            Self::Refused(_) | Self::Unexpected { .. } => ReconcileError::of_call(self.failure(), &self.to_string()),
        }
    }
}

impl From<ServerError> for ReconcileError {
    fn from(error: ServerError) -> Self {
        Self::of_call(error.failure(), &error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use weir_proto::Reason;

    use super::*;

    #[test]
    fn sorts_statuses_by_what_to_do_next() {
        let address = "unix:///s";
        let at = |status: &Status| ServerError::from_status(address, status);
        for &reason in Reason::ALL {
            let failure = Failure::new(reason, "why");
            let error = at(&failure.clone().into());
            if reason == Reason::ShuttingDown {
                assert_eq!(error, ServerError::Unreachable { address: address.into(), cause: "why".into() });
            } else {
                assert_eq!(error, ServerError::Refused(failure), "{reason:?}");
            }
            assert_eq!(error.failure().is_some(), reason != Reason::ShuttingDown, "{reason:?}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::other("broken pipe")));
        assert!(matches!(at(&broken), ServerError::Unreachable { cause, .. } if cause == "broken pipe"));
        assert!(matches!(at(&Status::deadline_exceeded("30s")), ServerError::Late { .. }));
        assert!(matches!(at(&Status::unimplemented("old")), ServerError::Unexpected { code: Code::Unimplemented, .. }));
        let of_verify = |status: &Status| at(status).of_verify().label();
        assert_eq!(of_verify(&Status::unavailable("no socket")), "verify", "a restart takes nobody's Ready");
        assert_eq!(of_verify(&Failure::new(Reason::ShuttingDown, "why").into()), "verify");
        assert_eq!(of_verify(&Failure::new(Reason::StorageFailed, "why").into()), "storage");
        assert_eq!(of_verify(&Status::unimplemented("old")), "artifact_server");
        let text = at(&Status::unavailable("no socket")).to_string();
        assert!(text.contains(address) && text.contains("is weir-artifact-server running?"), "{text}");
    }
}
