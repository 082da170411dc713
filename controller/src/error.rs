//! What can go wrong in a reconcile, in one table: what follows, what users see, how it is counted.

use std::time::Duration;

use weir_proto::{Failure, Reason, v1};

use crate::plan::{guard::Blocked, observe::ObserveError, pattern::PatternError, validate::Invalid};

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
    /// The path pattern, or what it finds, can not be made into artifacts.
    #[error("failed to expand path pattern: {0}")]
    Pattern(#[from] PatternError),
    /// The path pattern finds nothing any more, and nobody has said that everything may go.
    #[error("{0}")]
    Blocked(#[from] Blocked),
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
    /// Another generator publishes under the name.
    #[error("{name} reconcile failed: {why}")]
    Taken {
        /// Name of the artifact.
        name: String,
        /// Who has it.
        why: String,
    },
    /// Something that the generator depends on is not Ready, or can not be read.
    #[error("{0}")]
    Dependency(String),
    /// The artifact server can not be reached, or can not do its work.
    #[error("artifact server: {0}")]
    Server(String),
    /// The artifact server can not store, or has no room.
    #[error("{0}")]
    Storage(String),
    /// A newer leader has written: nothing that this process knows may be written down any more.
    #[error("artifact server: {0}")]
    Deposed(String),
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
    /// Nothing until the spec, a source, the request annotation or a confirmation changes, or a name that was taken is free.
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
            Self::Pattern(_) => (Next::Stall, Some("BuildFailed"), "path_pattern"),
            Self::Blocked(_) => (Next::Stall, Some("PruneBlocked"), "prune_blocked"),
            Self::Build { .. } => (Next::Backoff, Some("BuildFailed"), "build"),
            Self::Publish { .. } => (Next::Backoff, Some("ReconciliationFailed"), "publish"),
            Self::Taken { .. } => (Next::Stall, Some("ReconciliationFailed"), "name_taken"),
            Self::Dependency(_) => (Next::Dependency, Some("DependencyNotReady"), "dependency"),
            Self::Server(_) => (Next::Backoff, Some("StorageOperationFailed"), "artifact_server"),
            Self::Storage(_) => (Next::Backoff, Some("StorageOperationFailed"), "storage"),
            Self::Deposed(_) => (Next::Backoff, None, "stale_epoch"),
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

    /// Whether the generator waits for others, and nothing is wrong.
    pub fn is_wait(&self) -> bool {
        matches!(self, Self::Dependency(_))
    }

    /// The end of a run that could not say everything, for `trouble`. It is tried again, whatever the run itself failed of.
    pub fn unsaid(self, trouble: Option<Self>) -> Self {
        match trouble {
            Some(trouble) if self.next() != Next::Backoff => trouble,
            _ => self,
        }
    }

    /// Whether this process must not write any more, not even how it failed.
    pub fn is_deposed(&self) -> bool {
        matches!(self, Self::Deposed(_))
    }

    /// The failure of a whole call to the server. `failure` is what the status says of itself, `text` what it says to people.
    pub fn of_call(failure: Option<&Failure>, text: &str) -> Self {
        let why = text.to_owned();
        let name = || "artifacts".to_owned();
        match failure.map_or(Fault::Server, Fault::of_call) {
            Fault::Source => Self::Fetch(why),
            Fault::Artifact => Self::Build { name: name(), why },
            Fault::Storage => Self::Storage(format!("artifact server: {why}")),
            Fault::Server => Self::Server(why),
            Fault::Leader => Self::Deposed(why),
        }
    }

    /// The failure of one artifact of a call.
    pub fn of_artifact(name: &str, error: &v1::BuildError) -> Self {
        let (name, why) = (name.to_owned(), error.message.clone());
        match Reason::from_name(&error.reason).map_or(Fault::Server, Fault::of_artifact) {
            Fault::Source => Self::Fetch(why),
            Fault::Artifact => Self::Build { name, why },
            Fault::Storage => Self::Storage(format!("{name} build failed: {why}")),
            Fault::Server => Self::Server(format!("{name} build failed: {why}")),
            Fault::Leader => Self::Deposed(why),
        }
    }
}

/// What is at fault when the server says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A source: its server, its bytes, or what its object says of them.
    Source,
    /// An artifact: what the spec says of it does not fit.
    Artifact,
    /// The volume: it has no room, or holds something of somebody else's.
    Storage,
    /// The server, or an understanding of the two programs.
    Server,
    /// This process, which leads no more.
    Leader,
}

impl Fault {
    /// A request is made from flags that were checked, and from sources that nobody checked before.
    fn of_call(failure: &Failure) -> Self {
        let of_source = failure.field.as_ref().is_some_and(|field| field.ends_with("].url") || field == "source.url");
        match failure.reason {
            Reason::InvalidRequest if of_source => Self::Source,
            reason => Self::of(reason),
        }
    }

    /// All that a request says of one artifact is from the spec.
    fn of_artifact(reason: Reason) -> Self {
        if reason == Reason::InvalidRequest { Self::Artifact } else { Self::of(reason) }
    }

    fn of(reason: Reason) -> Self {
        match reason {
            Reason::SourceNotFound
            | Reason::SourceUnavailable
            | Reason::SourceDigestMismatch
            | Reason::SourceRefused
            | Reason::SourceTooLarge => Self::Source,
            Reason::BuildFailed => Self::Artifact,
            Reason::OwnedByAnother | Reason::CacheBusy | Reason::StorageFull | Reason::StorageFailed => Self::Storage,
            Reason::StaleEpoch => Self::Leader,
            Reason::InvalidRequest
            | Reason::UnknownDigestAlgorithm
            | Reason::NotFound
            | Reason::LockLost
            | Reason::NameTaken
            | Reason::DigestMismatch
            | Reason::TooLarge
            | Reason::ArchiveRefused
            | Reason::FileChanged
            | Reason::NotAllowed
            | Reason::PortUnavailable
            | Reason::ShuttingDown
            | Reason::Internal => Self::Server,
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
        let blocked = crate::plan::guard::check(&Default::default(), 2).unwrap_err();
        let blocked_text = blocked.to_string();
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
                "§13 terminal pathPattern",
                PatternError::Format(why.clone()).into(),
                Next::Stall,
                Some("BuildFailed"),
                "failed to expand path pattern: invalid pathPattern format: x",
            ),
            (
                "a pattern that finds nothing any more",
                ReconcileError::Blocked(blocked.clone()),
                Next::Stall,
                Some("PruneBlocked"),
                blocked_text.as_str(),
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
                Next::Stall,
                Some("ReconciliationFailed"),
                "a reconcile failed: x",
            ),
            (
                "a dependency",
                ReconcileError::Dependency(why.clone()),
                Next::Dependency,
                Some("DependencyNotReady"),
                "x",
            ),
            (
                "a cycle of dependencies",
                Invalid::Cycle("a -> a".into()).into(),
                Next::Stall,
                Some("DependencyCycle"),
                "dependency cycle in spec.dependsOn: a -> a",
            ),
            (
                "server",
                ReconcileError::Server(why.clone()),
                Next::Backoff,
                Some("StorageOperationFailed"),
                "artifact server: x",
            ),
            (
                "storage",
                ReconcileError::Storage("a build failed: x".into()),
                Next::Backoff,
                Some("StorageOperationFailed"),
                "a build failed: x",
            ),
            (
                "who does not lead writes nothing",
                ReconcileError::Deposed(why.clone()),
                Next::Backoff,
                None,
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
        assert_eq!(labels.len(), 17, "one label for each variant");
    }

    #[test]
    fn what_could_not_be_said_is_said_later() {
        let why = || "x".to_owned();
        let trouble = || Some(ReconcileError::Status("503".into()));
        // (row, how the run failed, how it ends when that could not be written)
        let rows = [
            ("a stall", Invalid::DuplicateAlias(why()).into(), "status"),
            ("a name that is taken", ReconcileError::Taken { name: why(), why: why() }, "status"),
            ("a fixed wait", ReconcileError::Fetch(why()), "status"),
            ("tried again anyway", ReconcileError::Build { name: why(), why: why() }, "build"),
        ];
        for (row, failure, label) in rows {
            let (before, next) = (failure.label(), failure.next());
            let unwritten = failure.clone().unsaid(trouble());
            assert_eq!((unwritten.label(), unwritten.next()), (label, Next::Backoff), "row {row}");
            let written = failure.unsaid(None);
            assert_eq!((written.label(), written.next()), (before, next), "row {row}");
        }
    }

    /// A reason of the server: the label and the reason of Ready when it fails a call, and when it fails one artifact.
    type Row = (Reason, &'static str, Option<&'static str>, &'static str, Option<&'static str>);

    const SERVER: [Row; 24] = {
        use Reason::*;
        const FETCH: Option<&str> = Some("SourceFetchFailed");
        const BUILD: Option<&str> = Some("BuildFailed");
        const STORAGE: Option<&str> = Some("StorageOperationFailed");
        [
            (InvalidRequest, "artifact_server", STORAGE, "build", BUILD),
            (UnknownDigestAlgorithm, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (NotFound, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (OwnedByAnother, "storage", STORAGE, "storage", STORAGE),
            (NotAllowed, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (StaleEpoch, "stale_epoch", None, "stale_epoch", None),
            (LockLost, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (NameTaken, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (DigestMismatch, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (TooLarge, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (ArchiveRefused, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (FileChanged, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (SourceNotFound, "source_fetch", FETCH, "source_fetch", FETCH),
            (SourceUnavailable, "source_fetch", FETCH, "source_fetch", FETCH),
            (SourceDigestMismatch, "source_fetch", FETCH, "source_fetch", FETCH),
            (SourceRefused, "source_fetch", FETCH, "source_fetch", FETCH),
            (SourceTooLarge, "source_fetch", FETCH, "source_fetch", FETCH),
            (CacheBusy, "storage", STORAGE, "storage", STORAGE),
            (BuildFailed, "build", BUILD, "build", BUILD),
            (StorageFull, "storage", STORAGE, "storage", STORAGE),
            (StorageFailed, "storage", STORAGE, "storage", STORAGE),
            (PortUnavailable, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (ShuttingDown, "artifact_server", STORAGE, "artifact_server", STORAGE),
            (Internal, "artifact_server", STORAGE, "artifact_server", STORAGE),
        ]
    };

    #[test]
    fn each_reason_of_the_server_has_its_row() {
        assert_eq!(SERVER.map(|row| row.0), Reason::ALL, "one row for each, in the order of the contract");
        for (reason, call_label, call_reason, artifact_label, artifact_reason) in SERVER {
            let of_call = ReconcileError::of_call(Some(&Failure::new(reason, "why")), "why");
            let error = v1::BuildError {
                code: 9,
                reason: reason.name().into(),
                message: "why".into(),
                ..v1::BuildError::default()
            };
            let of_artifact = ReconcileError::of_artifact("web", &error);
            let name = reason.name();
            assert_eq!((of_call.label(), of_call.reason()), (call_label, call_reason), "{name} of a call");
            assert_eq!((of_artifact.label(), of_artifact.reason()), (artifact_label, artifact_reason), "{name} of one");
            for error in [of_call, of_artifact] {
                // §13: a fetch is tried again after a fixed time, all else later each time.
                let next = if error.label() == "source_fetch" { Next::Dependency } else { Next::Backoff };
                assert_eq!(error.next(), next, "{name}");
                assert!(error.to_string().contains("why"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn what_no_reason_says_is_told_by_the_rest() {
        let url = Failure::field(Reason::InvalidRequest, "header.sources[0].url", "the scheme must be http");
        let of_call = ReconcileError::of_call(Some(&url), &url.message);
        assert_eq!(of_call, ReconcileError::Fetch("the scheme must be http".into()), "§9 the URL of a source");
        let transport = ReconcileError::of_call(None, "transport error");
        assert_eq!(transport, ReconcileError::Server("transport error".into()));
        let newer =
            v1::BuildError { code: 9, reason: "OF_A_NEWER_SERVER".into(), message: "x".into(), field: String::new() };
        let unknown = ReconcileError::of_artifact("web", &newer);
        assert_eq!(unknown, ReconcileError::Server("web build failed: x".into()));
        let full =
            v1::BuildError { code: 8, reason: "STORAGE_FULL".into(), message: "the volume is full".into(), ..newer };
        let full = ReconcileError::of_artifact("web", &full).to_string();
        assert_eq!(full, "web build failed: the volume is full", "it names the artifact");
    }
}
