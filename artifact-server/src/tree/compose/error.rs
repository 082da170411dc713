//! What can go wrong in a composition. The texts are the reference's wherever it has one; they end in `status.conditions`.

use weir_proto::{Failure, Reason};

use super::operation::NOT_A_DIRECTORY;
use crate::{
    quote::quoted,
    tree::{glob::doublestar::PatternError, yaml::MergeError},
};

/// An operation failed. Shown as everything behind `<artifact> build failed: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to apply copy operations: failed to apply copy operation from '{from}' to '{to}': {cause}")]
pub struct ComposeError {
    /// Which operation it is, from 0.
    pub at: usize,
    /// The operation's source text.
    pub from: String,
    /// The operation's destination text.
    pub to: String,
    /// What is wrong with it. It is part of the message, so it is not the error's source.
    pub cause: CopyError,
}

/// What is wrong with one operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// `from` has no `@` in front.
    #[error("invalid copy source '{0}': source must start with '@'")]
    SourceWithoutAt(String),
    /// `from` has no slash.
    #[error("invalid copy source '{0}': source format must be '@alias/pattern'")]
    SourceWithoutPath(String),
    /// `to` lies elsewhere.
    #[error("invalid copy destination '{0}': destination must start with '@artifact/'")]
    BadDestination(String),
    /// No source has this alias.
    #[error("source alias '{0}' not found")]
    UnknownAlias(String),
    /// An exclude breaks the syntax or a limit.
    #[error("invalid exclude pattern '{0}': {1}")]
    BadExclude(String, PatternError),
    /// A source path without a pattern names nothing.
    #[error("source '{0}' does not exist")]
    Missing(String),
    /// A source path cannot name anything.
    #[error("failed to stat source '{0}': {1}")]
    Stat(String, &'static str),
    /// A source pattern breaks the syntax or a limit.
    #[error("invalid glob pattern '{0}': {1}")]
    BadGlob(String, PatternError),
    /// A source pattern matches nothing.
    #[error("no files match pattern '{pattern}' in source '{alias}'")]
    NoMatch {
        /// The source pattern, without the alias.
        pattern: String,
        /// The source's alias.
        alias: String,
    },
    /// Nothing is left of what a source pattern matches.
    #[error("all files matching pattern '{pattern}' in source '{alias}' were excluded")]
    AllExcluded {
        /// The source pattern, without the alias.
        pattern: String,
        /// The source's alias.
        alias: String,
    },
    /// One match of a pattern failed.
    #[error("failed to copy file '{path}' to '{to}': {cause}")]
    Match {
        /// What matched.
        path: String,
        /// Where it should go.
        to: String,
        /// Why it could not.
        cause: Box<CopyError>,
    },
    /// A destination cannot name anything in the artifact.
    #[error("destination '{0}': {1}")]
    Destination(String, &'static str),
    /// A file should replace a directory.
    #[error("'{0}' is a directory in the artifact, a file can not replace it")]
    DirectoryInTheWay(String),
    /// A file lies where a directory is needed.
    #[error("'{file}' is a file in the artifact, '{path}' needs a directory there")]
    FileInTheWay {
        /// The file.
        file: String,
        /// What should go there or beneath it.
        path: String,
    },
    /// Two files can not be merged.
    #[error("{cause}{place}")]
    Merge {
        /// Why not.
        cause: MergeError,
        /// Which of them is at fault, with a blank in front; empty when neither is.
        place: String,
    },
    /// A file should be merged into a directory.
    #[error("error reading YAML document: read {0}: is a directory")]
    MergeIntoDirectory(String),
    /// Extract of a directory.
    #[error("extract strategy is not supported for directories, got '{0}'")]
    ExtractDirectory(String),
    /// Extract of a file that is no tarball by its name.
    #[error("extract strategy requires tarball file (.tar.gz or .tgz), got '{0}'")]
    NoTarball(String),
    /// A directory for the content of a tarball can not be made.
    #[error("failed to create destination directory {}: {cause}", quoted(.to.as_bytes()))]
    ExtractDestination {
        /// The text of the destination.
        to: String,
        /// Why not.
        cause: Box<CopyError>,
    },
    /// A tarball can not be unpacked.
    #[error("failed to extract tarball {} to {}: {cause}", quoted(.path.as_bytes()), quoted(.to.as_bytes()))]
    Extract {
        /// The tarball in the source.
        path: String,
        /// The text of the destination.
        to: String,
        /// Why not.
        cause: Box<CopyError>,
    },
    /// One match of a pattern could not be unpacked.
    #[error("failed to extract tarball '{path}' to '{to}': {cause}")]
    ExtractMatch {
        /// What matched.
        path: String,
        /// The text of the destination.
        to: String,
        /// Why it could not.
        cause: Box<CopyError>,
    },
    /// The bytes of a file can not be had or used.
    #[error("{0}")]
    Content(Failure),
    /// The artifact grows too large.
    #[error("the artifact would have more than {0} files and directories")]
    TooManyEntries(usize),
    /// The artifact grows too large.
    #[error(
        "the files of the artifact would take more than {0} bytes; raise --artifact-max-size of the artifact server"
    )]
    TooManyBytes(u64),
    /// Too much of the artifact would be in memory.
    #[error("the merged files of the artifact would take more than {0} bytes")]
    TooMuchMerged(u64),
    /// Nobody waits for the artifact any more.
    #[error("the call was cancelled")]
    Cancelled,
}

impl CopyError {
    /// Whether the operation found nothing to work on.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::Missing(_) | Self::NoMatch { .. } | Self::AllExcluded { .. } => true,
            Self::Stat(_, why) => *why == NOT_A_DIRECTORY,
            _ => false,
        }
    }

    /// The reason of this error on the wire: a wrong operation, unless the server itself is in trouble.
    fn reason(&self) -> Reason {
        match self {
            Self::Content(failure) => failure.reason,
            Self::Match { cause, .. }
            | Self::Extract { cause, .. }
            | Self::ExtractMatch { cause, .. }
            | Self::ExtractDestination { cause, .. } => cause.reason(),
            _ => Reason::BuildFailed,
        }
    }

    /// The field of an operation that is to blame alone.
    fn field(&self) -> Option<&'static str> {
        match self {
            Self::SourceWithoutAt(_)
            | Self::SourceWithoutPath(_)
            | Self::UnknownAlias(_)
            | Self::Missing(_)
            | Self::Stat(..)
            | Self::BadGlob(..)
            | Self::NoMatch { .. } => Some("from"),
            Self::BadDestination(_) | Self::Destination(..) => Some("to"),
            Self::BadExclude(..) => Some("exclude"),
            _ => None,
        }
    }
}

impl From<ComposeError> for Failure {
    fn from(error: ComposeError) -> Self {
        let failure = Self::new(error.cause.reason(), error.to_string());
        if failure.reason != Reason::BuildFailed {
            // The trouble of the server, not of what it was asked for.
            return failure;
        }
        let operation = format!("copy[{}]", error.at);
        let field = error.cause.field().map_or_else(|| operation.clone(), |field| format!("{operation}.{field}"));
        Self { field: Some(field), ..failure }
    }
}
