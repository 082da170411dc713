//! What can go wrong in a composition. The texts are the reference's wherever it has one; they end in `status.conditions`.

use super::Strategy;
use crate::tree::glob::doublestar::PatternError;

/// An operation failed. Shown as everything behind `<artifact> build failed: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to apply copy operations: failed to apply copy operation from '{from}' to '{to}': {cause}")]
pub struct ComposeError {
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
    /// Merge and Extract are to come.
    #[error("copy strategy '{0:?}' is not supported yet: use Overwrite")]
    UnsupportedStrategy(Strategy),
    /// A source path without a pattern names nothing.
    #[error("source '{0}' does not exist")]
    Missing(String),
    /// A source path cannot name anything.
    #[error("failed to stat source '{0}': {1}")]
    Stat(String, &'static str),
    /// A source pattern breaks the syntax.
    #[error("invalid glob pattern '{0}': syntax error in pattern")]
    BadGlob(String),
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
    /// The artifact grows too large.
    #[error("the artifact would have more than {0} files and directories")]
    TooManyEntries(usize),
    /// The artifact grows too large.
    #[error(
        "the files of the artifact would take more than {0} bytes; raise --artifact-max-size of the artifact server"
    )]
    TooManyBytes(u64),
    /// Nobody waits for the artifact any more.
    #[error("the call was cancelled")]
    Cancelled,
}
