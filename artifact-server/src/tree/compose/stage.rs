//! The artifact while it is composed.

use std::collections::BTreeMap;

use super::{Bounds, CopyError, MAX_MERGED};
use crate::tree::{Entry, File, Node, Tree, TreePath};

/// How many entries are looked at between two looks at whether anybody still waits.
const PULSE: u32 = 1024;

/// Entries in archive order; every entry's parents are there too.
pub(super) struct Stage<'a> {
    nodes: BTreeMap<TreePath, Node>,
    /// A directory known to be there: most files go where the last one went.
    recent: Option<TreePath>,
    /// Sum of the sizes of all files.
    bytes: u64,
    /// Sum of the sizes of all files that were ever merged.
    merged: u64,
    bounds: Bounds<'a>,
    pulse: u32,
}

impl<'a> Stage<'a> {
    /// Nothing yet, and never more than the bounds.
    pub(super) fn new(bounds: Bounds<'a>) -> Self {
        Self { nodes: BTreeMap::new(), recent: None, bytes: 0, merged: 0, bounds, pulse: 0 }
    }

    /// Fails when nobody waits for the artifact any more.
    pub(super) fn wanted(&self) -> Result<(), CopyError> {
        if (self.bounds.cancelled)() { Err(CopyError::Cancelled) } else { Ok(()) }
    }

    /// For every entry that is looked at: now and then asks whether anybody still waits.
    pub(super) fn step(&mut self) -> Result<(), CopyError> {
        self.pulse = (self.pulse + 1) % PULSE;
        if self.pulse == 0 { self.wanted() } else { Ok(()) }
    }

    /// What is there by now.
    pub(super) fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
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

    /// Puts a file as [`Stage::put`] does, but one that is there already keeps its mode.
    pub(super) fn write(&mut self, path: TreePath, mut file: File) -> Result<(), CopyError> {
        if let Some(Node::File(before)) = self.nodes.get(&path) {
            file.executable = before.executable;
        }
        self.put(path, file)
    }

    /// Puts the result of a merge.
    pub(super) fn put_merged(&mut self, path: TreePath, file: File) -> Result<(), CopyError> {
        self.merged = self.merged.saturating_add(file.size);
        if self.merged > MAX_MERGED {
            return Err(CopyError::TooMuchMerged(MAX_MERGED));
        }
        self.put(path, file)
    }

    fn insert(&mut self, path: TreePath, node: Node) -> Result<(), CopyError> {
        self.bytes = self.bytes.saturating_add(size(&node));
        if let Some(before) = self.nodes.insert(path, node) {
            self.bytes = self.bytes.saturating_sub(size(&before));
        }
        let Bounds { entries, bytes, .. } = self.bounds;
        if self.nodes.len() > entries {
            return Err(CopyError::TooManyEntries(entries));
        }
        if self.bytes > bytes { Err(CopyError::TooManyBytes(bytes)) } else { Ok(()) }
    }

    pub(super) fn into_tree(self) -> Tree {
        Tree::from_ordered(self.nodes.into_iter().map(|(path, node)| Entry { path, node }).collect())
    }
}

fn size(node: &Node) -> u64 {
    match node {
        Node::Directory => 0,
        Node::File(file) => file.size,
    }
}
