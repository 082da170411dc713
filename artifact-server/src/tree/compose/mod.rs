//! Composition: copy operations turn the trees of sources into the tree of an artifact.
//!
//! Nothing is read and nothing is written: the new tree shares the contents of the old ones. The cost follows the size of the artifact, not
//! of the sources. Sources and artifact are different trees, so an artifact may be named like an alias.
//!
//! The rules are those of Flux's source-watcher: like `cp`, with one exception that surprises, so mind [`glob_destination`]. Operations run
//! in order, and later ones replace the files of earlier ones.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use super::{
    Node, Tree, TreePath,
    glob::{self, BadPattern},
};

mod error;
mod exclude;
mod operation;
mod stage;

pub use error::{ComposeError, CopyError};

use exclude::Excludes;
use operation::{Clean, Destination, clean, parse_source};
use stage::Stage;

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
}

/// What an operation does with a matched file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Copies it over an earlier one.
    #[default]
    Overwrite,
    /// Merges YAML into an earlier one. Not supported yet.
    Merge,
    /// Unpacks a tarball. Not supported yet.
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
pub fn compose(sources: &BTreeMap<String, Arc<Tree>>, copy: &[CopyOperation]) -> Result<Tree, ComposeError> {
    let mut stage = Stage::default();
    for operation in copy {
        apply(operation, sources, &mut stage).map_err(|cause| ComposeError {
            from: operation.from.clone(),
            to: operation.to.clone(),
            cause,
        })?;
    }
    Ok(stage.into_tree())
}

fn apply(operation: &CopyOperation, sources: &BTreeMap<String, Arc<Tree>>, stage: &mut Stage) -> Result<(), CopyError> {
    let (alias, pattern) = parse_source(&operation.from)?;
    let to = Destination::parse(&operation.to)?;
    let source = sources.get(alias).ok_or_else(|| CopyError::UnknownAlias(alias.to_owned()))?;
    let excludes = Excludes::parse(&operation.exclude)?;
    if operation.strategy != Strategy::Overwrite {
        return Err(CopyError::UnsupportedStrategy(operation.strategy));
    }
    let mut copy = Copy { source, alias, to, excludes, stage };
    if is_glob(pattern) { copy.glob(pattern) } else { copy.path(pattern) }
}

/// Whether a text names a pattern. Braces and backslashes alone do not make one.
fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', ']'])
}

/// One operation at work.
struct Copy<'a> {
    source: &'a Tree,
    alias: &'a str,
    to: Destination<'a>,
    excludes: Excludes,
    stage: &'a mut Stage,
}

impl Copy<'_> {
    /// A source without a pattern: a directory goes into the destination under its own name, a file to or into it.
    fn path(&mut self, text: &str) -> Result<(), CopyError> {
        let cleaned = clean(text.as_bytes());
        let shown = || cleaned.to_string();
        let path = match &cleaned {
            Clean::Root => None,
            Clean::Path(path) => Some(path),
            Clean::Outside(_) => return Err(CopyError::Stat(shown(), operation::ESCAPES)),
            Clean::Invalid(_) => return Err(CopyError::Stat(shown(), operation::INVALID)),
        };
        let Some(path) = path else {
            self.excludes.select(None);
            let to = self.to.join(b"")?;
            return self.directory(None, to);
        };
        match self.source.get(path) {
            Some(Node::Directory) => {
                self.excludes.select(Some(path.as_bytes()));
                let to = self.to.join(path.base())?;
                self.directory(Some(path), to)
            }
            Some(Node::File(_)) => {
                self.excludes.select(None);
                if self.excludes.matches(path) {
                    return Ok(());
                }
                let into = self.to.ends_with_slash() || self.is_directory_in_stage()?;
                let to = self.to.join(if into { path.base() } else { b"" })?;
                self.file(path, to)
            }
            None if self.lies_behind_file(path) => Err(CopyError::Stat(shown(), operation::NOT_A_DIRECTORY)),
            None => Err(CopyError::Missing(shown())),
        }
    }

    fn is_directory_in_stage(&self) -> Result<bool, CopyError> {
        let path = self.to.join(b"")?;
        Ok(self.stage.is_directory(path.as_ref()))
    }

    fn lies_behind_file(&self, path: &TreePath) -> bool {
        std::iter::successors(path.parent(), TreePath::parent)
            .any(|parent| matches!(self.source.get(&parent), Some(Node::File(_))))
    }

    /// A pattern: each match goes to its place, see [`glob_destination`].
    fn glob(&mut self, pattern: &str) -> Result<(), CopyError> {
        let mut matches =
            glob::find(self.source, pattern).map_err(|BadPattern| CopyError::BadGlob(pattern.to_owned()))?;
        let names = || (pattern.to_owned(), self.alias.to_owned());
        if matches.is_empty() {
            let (pattern, alias) = names();
            return Err(CopyError::NoMatch { pattern, alias });
        }
        self.excludes.select(Some(literal_prefix(pattern).as_bytes()));
        matches.retain(|path| !self.excludes.matches(path));
        if matches.is_empty() {
            let (pattern, alias) = names();
            return Err(CopyError::AllExcluded { pattern, alias });
        }
        for path in &matches {
            let to = glob_destination(pattern, path);
            self.copy_match(path, to).map_err(|cause| CopyError::Match {
                path: path.to_string(),
                to: self.to.show(to),
                cause: Box::new(cause),
            })?;
        }
        Ok(())
    }

    fn copy_match(&mut self, path: &TreePath, to: &[u8]) -> Result<(), CopyError> {
        let to = self.to.join(to)?;
        match self.source.get(path) {
            Some(Node::Directory) => self.directory(Some(path), to),
            _ => self.file(path, to),
        }
    }

    /// Copies what is in a directory, without what is excluded; what is there already stays.
    fn directory(&mut self, from: Option<&TreePath>, to: Option<TreePath>) -> Result<(), CopyError> {
        if let Some(to) = &to {
            self.stage.make_directory(to)?;
        }
        let range = self.source.below(from);
        let mut entries = &self.source.entries()[range];
        while let Some((entry, rest)) = entries.split_first() {
            entries = rest;
            if self.excludes.matches(&entry.path) {
                let beneath = entries.partition_point(|below| below.path.is_within(&entry.path));
                entries = &entries[beneath..];
                continue;
            }
            let Some(rest) = entry.path.relative_to(from) else { continue };
            let path =
                if from.is_none() && to.is_none() { entry.path.clone() } else { TreePath::beneath(to.as_ref(), rest) };
            match &entry.node {
                Node::Directory => self.stage.make_directory(&path)?,
                Node::File(file) => self.stage.put(path, file.clone())?,
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &TreePath, to: Option<TreePath>) -> Result<(), CopyError> {
        let Some(Node::File(file)) = self.source.get(from) else {
            return Err(CopyError::Missing(from.to_string()));
        };
        // A file cannot take the place of the root.
        let to = to.ok_or_else(|| CopyError::DirectoryInTheWay(".".to_owned()))?;
        self.stage.put(to, file.clone())
    }
}

/// Where a match goes, below the destination. Of `dir/**` it is the path below `dir`. **Of every other pattern it is the whole match path**: `config/*.yaml`
/// gives `config/app.yaml`. The text before `/**` is compared as it stands, so with a pattern in it nothing is taken off.
fn glob_destination<'path>(pattern: &str, path: &'path TreePath) -> &'path [u8] {
    let below = |prefix: &str| path.as_bytes().strip_prefix(prefix.as_bytes())?.strip_prefix(b"/");
    pattern.strip_suffix("/**").and_then(below).unwrap_or(path.as_bytes())
}

/// The segments before the first one with a pattern: where excludes count from.
fn literal_prefix(pattern: &str) -> &str {
    let mut end = 0;
    for segment in pattern.split('/') {
        if is_glob(segment) {
            break;
        }
        end += segment.len() + 1;
    }
    pattern[..end.min(pattern.len())].trim_end_matches('/').trim_start_matches("./")
}

#[cfg(test)]
mod tests;
