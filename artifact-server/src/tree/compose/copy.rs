//! One copy operation: which files of the source go where.

use super::{
    ContentError, Contents, CopyError, Strategy,
    exclude::Excludes,
    operation::{Clean, Destination, ESCAPES, INVALID, NOT_A_DIRECTORY, clean},
    stage::Stage,
};
use crate::tree::{
    File, Node, Tree, TreePath,
    glob::{
        self, BadPattern,
        doublestar::{self, FindError, PatternError},
    },
    yaml::MergeError,
};

/// One operation at work.
pub(super) struct Copy<'a, 'bounds> {
    pub(super) source: &'a Tree,
    pub(super) alias: &'a str,
    pub(super) to: Destination<'a>,
    pub(super) excludes: Excludes,
    pub(super) stage: &'a mut Stage<'bounds>,
    pub(super) contents: &'a dyn Contents,
    pub(super) strategy: Strategy,
}

impl Copy<'_, '_> {
    /// Copies what the text behind `@<alias>/` names.
    pub(super) fn run(&mut self, text: &str) -> Result<(), CopyError> {
        if is_glob(text) { self.glob(text) } else { self.path(text) }
    }

    /// A source without a pattern: a directory goes into the destination under its own name, a file to or into it.
    fn path(&mut self, text: &str) -> Result<(), CopyError> {
        let cleaned = clean(text.as_bytes());
        let shown = || cleaned.to_string();
        let path = match &cleaned {
            Clean::Root => None,
            Clean::Path(path) => Some(path),
            Clean::Outside(_) => return Err(CopyError::Stat(shown(), ESCAPES)),
            Clean::Invalid(_) => return Err(CopyError::Stat(shown(), INVALID)),
        };
        let extract = self.strategy == Strategy::Extract;
        let Some(path) = path else {
            if extract {
                return Err(CopyError::ExtractDirectory(shown()));
            }
            self.excludes.select(None);
            let to = self.to.join(b"")?;
            return self.directory(None, to);
        };
        match self.source.get(path) {
            Some(Node::Directory) if extract => Err(CopyError::ExtractDirectory(shown())),
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
                if extract {
                    return self.extract_named(path);
                }
                let into = self.to.ends_with_slash() || self.is_directory_in_stage()?;
                let to = self.to.join(if into { path.base() } else { b"" })?;
                self.file(path, to)
            }
            None if self.lies_behind_file(path) => Err(CopyError::Stat(shown(), NOT_A_DIRECTORY)),
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
        let found = self.find(pattern)?;
        let (text, alias) = (pattern.to_owned(), self.alias.to_owned());
        if found.is_empty() {
            return Err(CopyError::NoMatch { pattern: text, alias });
        }
        self.excludes.select(Some(literal_prefix(pattern).as_bytes()));
        let mut matches = Vec::with_capacity(found.len());
        for path in found {
            self.stage.step()?;
            if !self.excludes.matches(&path) {
                matches.push(path);
            }
        }
        if matches.is_empty() {
            return Err(CopyError::AllExcluded { pattern: text, alias });
        }
        if self.strategy == Strategy::Extract {
            return self.extract_matches(&matches);
        }
        for path in &matches {
            self.stage.step()?;
            let to = glob_destination(pattern, path);
            self.copy_match(path, to).map_err(|cause| CopyError::Match {
                path: path.to_string(),
                to: self.to.show(to),
                cause: Box::new(cause),
            })?;
        }
        Ok(())
    }

    /// What a pattern finds. The two languages of patterns differ in `**` and `{a,b}`, which only Extract has here.
    fn find(&mut self, pattern: &str) -> Result<Vec<TreePath>, CopyError> {
        let bad = |error| CopyError::BadGlob(pattern.to_owned(), error);
        if self.strategy != Strategy::Extract {
            return glob::find(self.source, pattern).map_err(|BadPattern| bad(PatternError::Syntax));
        }
        doublestar::find(self.source, pattern, &mut || self.stage.step()).map_err(|error| match error {
            FindError::Pattern(error) => bad(error),
            FindError::Step(error) => error,
        })
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
            self.stage.step()?;
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
        if self.strategy == Strategy::Merge { self.merge(from, file, to) } else { self.stage.put(to, file.clone()) }
    }

    /// Merges a file into the one that is there, or copies it when there is none.
    fn merge(&mut self, from: &TreePath, over: &File, to: TreePath) -> Result<(), CopyError> {
        let base = match self.stage.get(&to) {
            None => return self.stage.put(to, over.clone()),
            Some(Node::Directory) => return Err(CopyError::MergeIntoDirectory(to.to_string())),
            Some(Node::File(base)) => base.clone(),
        };
        let merged = self.contents.merge(&base, over).map_err(|error| match error {
            ContentError::Failed(failure) => CopyError::Content(failure),
            ContentError::Merge(cause) => {
                let place = match &cause {
                    MergeError::Over(_) => format!(" (file '{from}' of source '{}')", self.alias),
                    MergeError::Base(_) => format!(" (file '{to}' of the artifact)"),
                    MergeError::Output(_) => String::new(),
                };
                CopyError::Merge { cause, place }
            }
        })?;
        self.stage.put_merged(to, merged)
    }
}

/// Whether a text names a pattern. Braces and backslashes alone do not make one.
fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', ']'])
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
    pattern[..end].trim_end_matches('/')
}
