//! The one idea of this server: everything is a [`Tree`].
//!
//! A tree is an immutable, ordered set of clean relative paths: directories (also empty ones) and files. It has no
//! symlinks, no `..`, no absolute names, no owners and no times. Its order is the archive's: a directory, then its content,
//! then its next sibling. So two trees that are equal archive equally, and a directory with all it holds is one slice.
//!
//! This module and its children do no I/O; file contents are handles that other modules read.

use std::{any::Any, fmt, io, ops::Range, sync::Arc};

use bytes::Bytes;

pub mod captures;
pub mod compose;
pub mod digest;
mod glob;
pub mod ignore;
mod path;
pub mod yaml;

pub use compose::{ComposeError, Contents, CopyOperation, Strategy, compose};
pub use digest::{ContentDigest, content_digest};
pub use path::{PathError, TreePath};

/// Somewhere that file contents can be read from, e.g. the spool of a source. It stays readable while it is held.
pub trait ReadAt: Any + Send + Sync {
    /// Fills `buffer` from `offset`; fails when the bytes are not there.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Where the bytes of a file lie. Holding it keeps them: a source that is in use is not evicted.
#[derive(Clone)]
pub enum Content {
    /// In memory.
    Inline(Bytes),
    /// In a spool, from this offset on, or in something else that gives them.
    Spooled(Arc<dyn ReadAt>, u64),
}

impl Content {
    /// Fills `buffer` from `offset` of the content; fails when the bytes are not there.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Inline(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(buffer.len());
                buffer.copy_from_slice(bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Self::Spooled(spool, start) => spool.read_exact_at(buffer, start.saturating_add(offset)),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Spooled(_, offset) => write!(f, "Spooled(at {offset})"),
        }
    }
}

/// A regular file.
#[derive(Clone, Debug)]
pub struct File {
    /// Whether any execute bit was set.
    pub executable: bool,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// Where the content lies; not part of the tree's identity.
    pub content: Content,
}

impl File {
    /// All of its bytes, in memory: only for files that are small by some limit.
    pub fn read(&self) -> io::Result<Bytes> {
        if let Content::Inline(bytes) = &self.content {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; usize::try_from(self.size).map_err(io::Error::other)?];
        self.content.read_exact_at(&mut bytes, 0)?;
        Ok(bytes.into())
    }
}

impl PartialEq for File {
    fn eq(&self, other: &Self) -> bool {
        (self.executable, self.size, self.sha256) == (other.executable, other.size, other.sha256)
    }
}

/// What a path names.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File(File),
}

/// A path and what it names.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Relative to the root; never the root itself.
    pub path: TreePath,
    /// Directory or file.
    pub node: Node,
}

/// An immutable, ordered set of entries. Every entry's parents are entries too; the root is implied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    entries: Vec<Entry>,
}

impl Tree {
    /// Builds a tree from entries in any order. Missing parents are added as directories. Of two entries with one path the last
    /// counts. Fails when a file lies where another entry needs a directory. Sorts in place: trees can have many entries.
    pub fn from_entries(mut entries: Vec<Entry>) -> Result<Self, TreeConflict> {
        let by_path = |one: &Entry, other: &Entry| one.path.cmp(&other.path);
        entries.sort_by(by_path);
        entries.dedup_by(|later, earlier| {
            let same = later.path == earlier.path;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        let missing = missing_parents(&entries);
        if !missing.is_empty() {
            entries.extend(missing.into_iter().map(|path| Entry { path, node: Node::Directory }));
            entries.sort_by(by_path);
        }
        for pair in entries.windows(2) {
            if matches!(pair[0].node, Node::File(_)) && pair[1].path.is_within(&pair[0].path) {
                return Err(TreeConflict(pair[0].path.clone()));
            }
        }
        entries.shrink_to_fit();
        Ok(Self { entries })
    }

    /// Takes entries that already are in archive order, each once and behind its parents: parts of another tree, or a staged one.
    pub(crate) fn from_ordered(entries: Vec<Entry>) -> Self {
        debug_assert!(entries.is_sorted_by(|one, next| one.path < next.path));
        Self { entries }
    }

    /// All entries in archive order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What `path` names.
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.index_of(path).map(|at| &self.entries[at].node)
    }

    /// Where `path` stands in [`Tree::entries`]. Logarithmic.
    pub fn index_of(&self, path: &TreePath) -> Option<usize> {
        self.entries.binary_search_by(|entry| entry.path.cmp(path)).ok()
    }

    /// The slice of entries below a directory, without the directory itself; everything for `None`, the root. Logarithmic:
    /// archive order keeps a directory's content together.
    pub fn below(&self, directory: Option<&TreePath>) -> Range<usize> {
        let Some(directory) = directory else {
            return 0..self.entries.len();
        };
        let start = self.entries.partition_point(|entry| entry.path <= *directory);
        let length = self.entries[start..].partition_point(|entry| entry.path.is_within(directory));
        start..start + length
    }

    /// The direct children of a directory (`None`: the root). Their subtrees are skipped, not visited.
    pub fn children(&self, directory: Option<&TreePath>) -> impl Iterator<Item = &Entry> {
        let mut range = self.below(directory);
        std::iter::from_fn(move || {
            let entry = self.entries[range.clone()].first()?;
            range.start += 1;
            if entry.node == Node::Directory {
                range.start += self.entries[range.clone()].partition_point(|below| below.path.is_within(&entry.path));
            }
            Some(entry)
        })
    }
}

/// Directories that hold an entry but are none, in sorted entries. In archive order a directory is followed by all it holds, so
/// looking at the entry before is enough.
fn missing_parents(entries: &[Entry]) -> Vec<TreePath> {
    let mut missing = Vec::new();
    let mut before: Option<&TreePath> = None;
    for Entry { path, .. } in entries {
        let known = |parent: &[u8]| before.is_some_and(|before| before.is_within_bytes(parent));
        if path.parent_bytes().is_some_and(|parent| !known(parent)) {
            let mut parent = path.parent();
            while let Some(directory) = parent.take_if(|directory| !known(directory.as_bytes())) {
                parent = directory.parent();
                missing.push(directory);
            }
        }
        before = Some(path);
    }
    missing
}

/// A file lies where a directory is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is a file and can not contain other entries")]
pub struct TreeConflict(pub TreePath);

#[cfg(test)]
/// Undoes the quoting of the vector files: `%xx` is a byte, `%` alone the empty text.
fn unquote(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts.filter(|part| !part.is_empty()) {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, size: Option<u64>) -> Entry {
        let content = Content::Inline(Bytes::new());
        let file = |size| Node::File(File { executable: false, size, sha256: [0; 32], content });
        Entry { path: TreePath::new(path.as_bytes()).unwrap(), node: size.map_or(Node::Directory, file) }
    }

    #[test]
    fn builds_from_entries_in_any_order() {
        type Row<'a> = (&'a str, &'a [(&'a str, Option<u64>)], Result<&'a [&'a str], &'a str>);
        let rows: &[Row] = &[
            ("empty", &[], Ok(&[])),
            ("sorted as a walk", &[("b", None), ("a.txt", Some(1)), ("a", None)], Ok(&["a", "a.txt=1", "b"])),
            ("all parents missing", &[("a/b/c", Some(1))], Ok(&["a", "a/b", "a/b/c=1"])),
            (
                "parents of neighbours are added once",
                &[("a/b/c", Some(1)), ("a/b-c/d", Some(2)), ("a/b/d/e", None)],
                Ok(&["a", "a/b", "a/b/c=1", "a/b/d", "a/b/d/e", "a/b-c", "a/b-c/d=2"]),
            ),
            ("a parent that comes late", &[("a/x", Some(1)), ("a", None)], Ok(&["a", "a/x=1"])),
            ("the last counts", &[("a", Some(1)), ("b", None), ("a", Some(2)), ("a", Some(3))], Ok(&["a=3", "b"])),
            ("the last counts, also of another kind", &[("a", Some(1)), ("a", None)], Ok(&["a"])),
            ("file as a parent", &[("a/b", Some(1)), ("a", Some(2))], Err("a")),
            ("file as a parent of a missing one", &[("a", Some(2)), ("a/b/c", Some(1))], Err("a")),
        ];
        for (row, entries, expected) in rows {
            let entries = entries.iter().map(|&(path, size)| entry(path, size)).collect();
            let text = |entry: &Entry| match &entry.node {
                Node::Directory => entry.path.to_string(),
                Node::File(file) => format!("{}={}", entry.path, file.size),
            };
            let got = Tree::from_entries(entries).map(|tree| tree.entries().iter().map(text).collect::<Vec<_>>());
            let expected = expected.map(|paths| paths.iter().map(|&path| path.to_owned()).collect::<Vec<_>>());
            assert_eq!(got.map_err(|conflict| conflict.0.to_string()), expected.map_err(str::to_owned), "row {row}");
        }
    }
}
