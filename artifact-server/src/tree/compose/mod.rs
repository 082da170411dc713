//! Composition: copy operations turn the trees of sources into the tree of an artifact.
//!
//! Nothing is read and nothing is written: the new tree shares the contents of the old ones, and what Merge and Extract make comes from
//! [`Contents`]. The cost follows the size of the artifact, not of the sources. Sources and artifact are different trees, so an artifact
//! may be named like an alias.
//!
//! The rules are those of Flux's source-watcher: like `cp`, with one exception that surprises, see `glob_destination`. Operations run
//! in order, and later ones replace the files of earlier ones.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use super::Tree;

mod contents;
mod copy;
mod error;
mod exclude;
mod extract;
mod operation;
mod stage;

pub use contents::{ContentError, Contents};
pub use error::{ComposeError, CopyError};

use copy::Copy;
use exclude::Excludes;
use operation::{Destination, parse_source};
use stage::Stage;

/// Most bytes of an artifact's files that Merge makes: they are in memory until the artifact is stored.
const MAX_MERGED: u64 = 32 * 1024 * 1024;

/// An artifact with more entries than this is refused, so that a few operations cannot multiply a source without end.
pub const MAX_ENTRIES: usize = 500_000;

/// One step of a composition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOperation {
    /// `@<alias>/<path or glob>`; an empty path is the source's root.
    pub from: String,
    /// `@artifact/<path>`.
    pub to: String,
    /// Patterns (with `**` and `{a,b}`) of paths to leave out.
    pub exclude: Vec<String>,
    /// What happens to files that are there already.
    pub strategy: Strategy,
    /// A source that names nothing, or nothing but what is excluded, is no error.
    pub optional: bool,
}

/// What an operation does with a matched file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Copies it over an earlier one.
    #[default]
    Overwrite,
    /// Merges it as YAML into an earlier one. Only single files are merged, not those in a directory that is copied.
    Merge,
    /// Unpacks it: it is a tarball. The source pattern may have `**` and `{a,b}`.
    Extract,
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    /// The empty text is `Overwrite`.
    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        match text {
            "" | "Overwrite" => Ok(Self::Overwrite),
            "Merge" => Ok(Self::Merge),
            "Extract" => Ok(Self::Extract),
            other => Err(UnknownStrategy(other.to_owned())),
        }
    }
}

/// A strategy that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown copy strategy '{0}': use Overwrite, Merge or Extract")]
pub struct UnknownStrategy(pub String);

/// Carries out the operations in order on an empty tree. `sources` is keyed by alias. Stops at the first operation that fails; the error
/// names it.
pub fn compose(
    contents: &dyn Contents,
    sources: &BTreeMap<String, Arc<Tree>>,
    copy: &[CopyOperation],
) -> Result<Tree, ComposeError> {
    compose_within(Bounds::default(), contents, sources, copy)
}

/// What ends a composition early.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// Most files and directories in the artifact.
    pub entries: usize,
    /// Most bytes that the files of the artifact may take together, however few of them lie in the sources: one file can be copied, and
    /// hard-linked, many times.
    pub bytes: u64,
    /// Whether nobody waits for the artifact any more. Asked before each operation, and now and then in between.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Default for Bounds<'_> {
    /// [`MAX_ENTRIES`], any number of bytes, never cancelled.
    fn default() -> Self {
        Self { entries: MAX_ENTRIES, bytes: u64::MAX, cancelled: &|| false }
    }
}

/// As [`compose`], within bounds.
pub fn compose_within(
    bounds: Bounds<'_>,
    contents: &dyn Contents,
    sources: &BTreeMap<String, Arc<Tree>>,
    copy: &[CopyOperation],
) -> Result<Tree, ComposeError> {
    let mut stage = Stage::new(bounds);
    for (at, operation) in copy.iter().enumerate() {
        let applied = stage.wanted().and_then(|()| apply(operation, contents, sources, &mut stage));
        applied.map_err(|cause| ComposeError { at, from: operation.from.clone(), to: operation.to.clone(), cause })?;
    }
    Ok(stage.into_tree())
}

fn apply(
    operation: &CopyOperation,
    contents: &dyn Contents,
    sources: &BTreeMap<String, Arc<Tree>>,
    stage: &mut Stage<'_>,
) -> Result<(), CopyError> {
    let (alias, pattern) = parse_source(&operation.from)?;
    let to = Destination::parse(&operation.to)?;
    let source = sources.get(alias).ok_or_else(|| CopyError::UnknownAlias(alias.to_owned()))?;
    let excludes = Excludes::parse(&operation.exclude)?;
    match (Copy { source, alias, to, excludes, stage, contents, strategy: operation.strategy }).run(pattern) {
        Err(error) if operation.optional && error.is_absence() => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
