//! What can go wrong in a reconcile, in one table: what follows, what users see, how it is counted.

use std::time::Duration;

use weir_proto::{Failure, Reason, v1};

use crate::plan::{observe::ObserveError, validate::Invalid};

/// Why a generator is not in the state that its spec asks for. The text is the message of the conditions and of the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// The spec can not be carried out.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// A source is absent or has nothing to offer.
    #[error("get sources failed: {0}")]
    Source(#[from] ObserveError),
    /// The tarball of a source could not be had or used.
    #[error("fetch sources failed: {0}")]
    Fetch(String),
    /// One artifact could not be composed or stored.
    #[error("{name} build failed: {why}")]
    Build {
        /// Name of the artifact.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// One ExternalArtifact could not be written.
    #[error("{name} reconcile failed: {why}")]
    Publish {
        /// Name of the artifact.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Another object's files lie under the name.
    #[error("{name} reconcile failed: {why}")]
    Taken {
        /// Name of the artifact.
        name: String,
        /// Who has it.
        why: String,
    },
    /// The artifact server can not be reached, or can not do its work.
    #[error("artifact server: {0}")]
    Server(String),
    /// The files could not be checked. Nothing is known to be wrong, so what is said of them stays.
    #[error("failed to verify artifacts: {0}")]
    Verify(String),
    /// A bug. The log has more.
    #[error("panic: {0} [recovered]")]
    Panic(String),
    /// The finalizer could not be set or removed.
    #[error("failed to update finalizer: {0}")]
    Finalizer(String),
    /// The reconcile took longer than `--reconciliation-timeout`.
    #[error("reconciliation took longer than {} s (--reconciliation-timeout)", .0.as_secs())]
    Timeout(Duration),
    /// The generator itself could not be written.
    #[error("failed to update status: {0}")]
    Status(String),
}

/// What happens after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until the spec, a source or the request annotation changes.
    Stall,
    /// Another try after `--requeue-dependency`, for ever; earlier failures are forgotten.
    Dependency,
    /// Another try, later each time.
    Backoff,
}

impl ReconcileError {
    /// The table: what follows, reason of the condition Ready and of the event (none: nothing is written), label in metrics.
    fn row(&self) -> (Next, Option<&'static str>, &'static str) {
        match self {
            Self::Invalid(invalid) => (Next::Stall, Some(invalid.reason()), "invalid_spec"),
            Self::Source(_) => (Next::Dependency, Some("SourceFetchFailed"), "source_not_ready"),
            Self::Fetch(_) => (Next::Dependency, Some("SourceFetchFailed"), "source_fetch"),
            Self::Build { .. } => (Next::Backoff, Some("BuildFailed"), "build"),
            Self::Publish { .. } => (Next::Backoff, Some("ReconciliationFailed"), "publish"),
            Self::Taken { .. } => (Next::Backoff, Some("ReconciliationFailed"), "name_taken"),
            Self::Server(_) => (Next::Backoff, Some("StorageOperationFailed"), "artifact_server"),
            Self::Verify(_) => (Next::Backoff, None, "verify"),
            Self::Panic(_) => (Next::Backoff, None, "panic"),
            Self::Finalizer(_) => (Next::Backoff, None, "finalizer"),
            Self::Timeout(_) => (Next::Backoff, Some("ReconciliationFailed"), "timeout"),
            Self::Status(_) => (Next::Backoff, None, "status"),
        }
    }

    /// What follows.
    pub fn next(&self) -> Next {
        self.row().0
    }

    /// Reason of the condition Ready and of the event; `None` when neither can or should be written.
    pub fn reason(&self) -> Option<&'static str> {
        self.row().1
    }

    /// Label of the failure in metrics: a closed set.
    pub fn label(&self) -> &'static str {
        self.row().2
    }

    /// The failure of a whole call to the server. `failure` is what the status says of itself, `text` what it says to people.
    pub fn of_call(failure: Option<&Failure>, text: &str) -> Self {
        use Reason::{SourceDigestMismatch, SourceNotFound, SourceRefused, SourceTooLarge, SourceUnavailable};
        match failure.map(|failure| failure.reason) {
            Some(SourceNotFound | SourceUnavailable | SourceDigestMismatch | SourceRefused | SourceTooLarge) => {
                Self::Fetch(text.to_owned())
            }
            _ => Self::Server(text.to_owned()),
        }
    }

    /// The failure of one artifact of a call.
    pub fn of_artifact(name: &str, error: &v1::BuildError) -> Self {
        let (name, why) = (name.to_owned(), error.message.clone());
        match Reason::from_name(&error.reason) {
            Some(Reason::OwnedByAnother) => Self::Taken { name, why },
            _ => Self::Build { name, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_variant_has_its_row() {
        let (name, why) = ("a".to_owned(), "x".to_owned());
        let key = crate::api::source::SourceKey {
            kind: crate::api::source::SourceKind::Bucket,
            namespace: "n".into(),
            name: "b".into(),
        };
        // (row, error, what follows, reason, message)
        let rows = [
            (
                "§13 validation",
                Invalid::DuplicateAlias(why.clone()).into(),
                Next::Stall,
                Some("ValidationFailed"),
                "duplicate source alias 'x' found",
            ),
            (
                "§13 access",
                Invalid::CrossNamespace("Bucket/n/b".into()).into(),
                Next::Stall,
                Some("AccessDenied"),
                "cross-namespace reference to source Bucket/n/b is not allowed",
            ),
            (
                "§13 source not ready",
                ObserveError::NotReady(key).into(),
                Next::Dependency,
                Some("SourceFetchFailed"),
                "get sources failed: source 'Bucket/n/b' is not ready",
            ),
            (
                "§13 fetch",
                ReconcileError::Fetch(why.clone()),
                Next::Dependency,
                Some("SourceFetchFailed"),
                "fetch sources failed: x",
            ),
            (
                "§13 build",
                ReconcileError::Build { name: name.clone(), why: why.clone() },
                Next::Backoff,
                Some("BuildFailed"),
                "a build failed: x",
            ),
            (
                "§13 apply",
                ReconcileError::Publish { name: name.clone(), why: why.clone() },
                Next::Backoff,
                Some("ReconciliationFailed"),
                "a reconcile failed: x",
            ),
            (
                "name taken",
                ReconcileError::Taken { name, why: why.clone() },
                Next::Backoff,
                Some("ReconciliationFailed"),
                "a reconcile failed: x",
            ),
            (
                "server",
                ReconcileError::Server(why.clone()),
                Next::Backoff,
                Some("StorageOperationFailed"),
                "artifact server: x",
            ),
            (
                "timeout",
                ReconcileError::Timeout(Duration::from_secs(600)),
                Next::Backoff,
                Some("ReconciliationFailed"),
                "reconciliation took longer than 600 s (--reconciliation-timeout)",
            ),
            (
                "verify: a restart of the server takes nobody's Ready",
                ReconcileError::Verify(why.clone()),
                Next::Backoff,
                None,
                "failed to verify artifacts: x",
            ),
            ("§13 panic", ReconcileError::Panic(why.clone()), Next::Backoff, None, "panic: x [recovered]"),
            (
                "§12 finalizer",
                ReconcileError::Finalizer(why.clone()),
                Next::Backoff,
                None,
                "failed to update finalizer: x",
            ),
            ("§13 status write", ReconcileError::Status(why), Next::Backoff, None, "failed to update status: x"),
        ];
        let mut labels = std::collections::BTreeSet::new();
        for (row, error, next, reason, message) in rows {
            assert_eq!((error.next(), error.reason()), (next, reason), "row {row}");
            assert_eq!(error.to_string(), message, "row {row}");
            labels.insert(error.label());
        }
        assert_eq!(labels.len(), 12, "one label for each variant");
    }

    #[test]
    fn reasons_of_the_server_are_sorted() {
        for &reason in Reason::ALL {
            let of_call = ReconcileError::of_call(Some(&Failure::new(reason, "x")), "x");
            let source = reason.name().starts_with("SOURCE_");
            assert_eq!(matches!(of_call, ReconcileError::Fetch(_)), source, "{}", reason.name());
            let error = v1::BuildError { code: 9, reason: reason.name().into(), message: "x".into() };
            let of_artifact = ReconcileError::of_artifact("a", &error);
            let taken = reason == Reason::OwnedByAnother;
            assert_eq!(matches!(of_artifact, ReconcileError::Taken { .. }), taken, "{}", reason.name());
        }
        let transport = ReconcileError::of_call(None, "transport error");
        assert_eq!(transport, ReconcileError::Server("transport error".into()));
    }
}
