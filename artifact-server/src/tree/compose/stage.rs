//! The artifact while it is composed.

use std::collections::BTreeMap;

use super::CopyError;
use crate::tree::{Entry, File, Node, Tree, TreePath};

/// Entries in archive order; every entry's parents are there too.
pub(super) struct Stage {
    nodes: BTreeMap<TreePath, Node>,
    /// A directory known to be there: most files go where the last one went.
    recent: Option<TreePath>,
    limit: usize,
}

impl Stage {
    /// Nothing yet, and never more entries than the limit.
    pub(super) fn new(limit: usize) -> Self {
        Self { nodes: BTreeMap::new(), recent: None, limit }
    }

    /// Whether the path is a directory by now; the root always is.
    pub(super) fn is_directory(&self, path: Option<&TreePath>) -> bool {
        path.is_none_or(|path| self.nodes.get(path) == Some(&Node::Directory))
    }

    /// Makes a directory and its parents, where they are missing.
    pub(super) fn make_directory(&mut self, path: &TreePath) -> Result<(), CopyError> {
        if self.recent.as_ref() == Some(path) {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut next = Some(path.clone());
        while let Some(directory) = next {
            match self.nodes.get(&directory) {
                Some(Node::Directory) => break,
                Some(Node::File(_)) => {
                    return Err(CopyError::FileInTheWay { file: directory.to_string(), path: path.to_string() });
                }
                None => next = directory.parent(),
            }
            missing.push(directory);
        }
        for directory in missing {
            self.insert(directory, Node::Directory)?;
        }
        self.recent = Some(path.clone());
        Ok(())
    }

    /// Puts a file, over an earlier file but never over a directory.
    pub(super) fn put(&mut self, path: TreePath, file: File) -> Result<(), CopyError> {
        if let Some(parent) = path.parent() {
            self.make_directory(&parent)?;
        }
        if self.is_directory(Some(&path)) {
            return Err(CopyError::DirectoryInTheWay(path.to_string()));
        }
        self.insert(path, Node::File(file))
    }

    fn insert(&mut self, path: TreePath, node: Node) -> Result<(), CopyError> {
        self.nodes.insert(path, node);
        if self.nodes.len() > self.limit { Err(CopyError::TooManyEntries(self.limit)) } else { Ok(()) }
    }

    pub(super) fn into_tree(self) -> Tree {
        Tree::from_ordered(self.nodes.into_iter().map(|(path, node)| Entry { path, node }).collect())
    }
}
