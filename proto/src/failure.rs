//! The errors of the contract: one table from reason to gRPC code, used by both sides.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of every error that Weir itself makes.
const DOMAIN: &str = "weir.dev";

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident;)*) => {
        /// Why a call failed, by what the caller can do about it. The names never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// `ErrorInfo.reason`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The gRPC code that goes with it.
            pub fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code,)* }
            }
        }
    };
}

reasons! {
    /// A field of the request is not valid; the error names it.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument;
    /// The named digest algorithm is not one the server has.
    UnknownDigestAlgorithm = "UNKNOWN_DIGEST_ALGORITHM", InvalidArgument;
    /// No such file.
    NotFound = "NOT_FOUND", NotFound;
    /// The files belong to another owner and the caller did not ask to take over.
    OwnedByAnother = "OWNED_BY_ANOTHER", FailedPrecondition;
    /// The server's policy does not allow this to who calls.
    NotAllowed = "NOT_ALLOWED", PermissionDenied;
    /// A newer leader of the same controller has already written.
    StaleEpoch = "STALE_EPOCH", FailedPrecondition;
    /// The lock that the caller names is not held any more, or never was.
    LockLost = "LOCK_LOST", FailedPrecondition;
    /// The name belongs to a file or an alias, which this call does not replace.
    NameTaken = "NAME_TAKEN", AlreadyExists;
    /// The bytes of an upload are not those of the digest that was named.
    DigestMismatch = "DIGEST_MISMATCH", DataLoss;
    /// An upload is over a limit, which is named with its flag.
    TooLarge = "TOO_LARGE", ResourceExhausted;
    /// What was sent to be archived is not a tar that may be used.
    ArchiveRefused = "ARCHIVE_REFUSED", InvalidArgument;
    /// A file was changed behind the server's back while it was read; read it again.
    FileChanged = "FILE_CHANGED", Aborted;
    /// The source's URL answers 404.
    SourceNotFound = "SOURCE_NOT_FOUND", NotFound;
    /// The source could not be downloaded after all retries, or answered with a status that is not retried.
    SourceUnavailable = "SOURCE_UNAVAILABLE", Unavailable;
    /// The source's bytes are not those of its digest, or the digest can not be read.
    SourceDigestMismatch = "SOURCE_DIGEST_MISMATCH", DataLoss;
    /// The source is not a tarball that may be used: not gzip, not tar, a hostile name, a device.
    SourceRefused = "SOURCE_REFUSED", FailedPrecondition;
    /// The source is over the limits of bytes, entries or depth, or over the whole cache.
    SourceTooLarge = "SOURCE_TOO_LARGE", ResourceExhausted;
    /// Everything in the source cache is in use; try again.
    CacheBusy = "CACHE_BUSY", ResourceExhausted;
    /// A copy operation is wrong or does not fit the source.
    BuildFailed = "BUILD_FAILED", FailedPrecondition;
    /// The volume is full, or over its quota.
    StorageFull = "STORAGE_FULL", ResourceExhausted;
    /// The volume can not be read or written.
    StorageFailed = "STORAGE_FAILED", Unavailable;
    /// The artifact port can not be opened.
    PortUnavailable = "PORT_UNAVAILABLE", Unavailable;
    /// The server is ending; try again.
    ShuttingDown = "SHUTTING_DOWN", Unavailable;
    /// A bug. The server's log has more.
    Internal = "INTERNAL", Internal;
}

/// An error on its way across the wire: the reason, one sentence, and the field at fault if there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of error it is.
    pub reason: Reason,
    /// One line that says what is wrong with which object, field or file.
    pub message: String,
    /// The request field at fault, as a path from the request message, e.g. `header.sources[1].url`.
    pub field: Option<String>,
}

impl Failure {
    /// An error without a field.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), field: None }
    }

    /// An error of one request field.
    pub fn field(reason: Reason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), field: Some(field.into()) }
    }

    /// The same error, where the message that its field is of lies in a field itself: `outer.field`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self { field: self.field.map(|field| format!("{outer}.{field}")), ..self }
    }

    /// Reads an error back. `None` when the status was not made by [`Failure`], e.g. by the transport.
    pub fn from_status(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        if info.domain != DOMAIN {
            return None;
        }
        let reason = Reason::from_name(&info.reason)?;
        let violation = status.get_details_bad_request().and_then(|bad| bad.field_violations.into_iter().next());
        Some(Self { reason, message: status.message().to_owned(), field: violation.map(|found| found.field) })
    }
}

impl Reason {
    /// The reason with this stable name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut details =
            ErrorDetails::with_error_info(failure.reason.name(), DOMAIN, HashMap::<String, String>::new());
        if let Some(field) = failure.field {
            details.add_bad_request_violation(field, failure.message.clone());
        }
        Status::with_error_details(failure.reason.code(), failure.message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_within_another_has_both_names() {
        let of =
            |field: Option<&str>| Failure { field: field.map(str::to_owned), ..Failure::new(Reason::NotFound, "a") };
        assert_eq!(of(Some("owner")).within("caller").within("header").field.as_deref(), Some("header.caller.owner"));
        assert_eq!(of(None).within("header"), of(None));
    }

    #[test]
    fn every_reason_survives_the_wire() {
        for &reason in Reason::ALL {
            for field in [None, Some("artifact.name".to_owned())] {
                let sent = Failure { reason, message: format!("about {}", reason.name()), field };
                let status = Status::from(sent.clone());
                assert_eq!(status.code(), reason.code());
                assert_eq!(Failure::from_status(&status), Some(sent));
            }
        }
        assert_eq!(Failure::from_status(&Status::unavailable("no server")), None);
    }
}
