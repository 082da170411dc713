//! Clean relative paths, in archive order.

use std::{cmp::Ordering, fmt, sync::Arc};

/// A clean relative path: no empty, `.` or `..` components, no leading or trailing slash, no NUL, never empty. The
/// bytes are kept as they are: names need not be UTF-8.
///
/// The order is the archive's: component by component, each by bytes. So `a` < `a/x` < `a.txt`, which a plain byte order would not give.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TreePath(Arc<[u8]>);

/// A text that is not a clean relative path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is not a clean relative path", String::from_utf8_lossy(.0))]
pub struct PathError(pub Vec<u8>);

impl TreePath {
    /// Takes bytes that already are a clean relative path; normalises nothing.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        let clean = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
        if bytes.split(|&byte| byte == b'/').all(clean) {
            Ok(Self(bytes.into()))
        } else {
            Err(PathError(bytes.to_vec()))
        }
    }

    /// Joins what already is clean: a directory (`None` for the root) and a clean relative path beneath it.
    pub(super) fn beneath(directory: Option<&Self>, rest: &[u8]) -> Self {
        match directory {
            None => Self(rest.into()),
            Some(directory) => Self([directory.as_bytes(), b"/", rest].concat().into()),
        }
    }

    /// The bytes, with `/` between components.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component.
    pub fn base(&self) -> &[u8] {
        self.0.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }

    /// The path without its last component; `None` for a path of one component.
    pub fn parent(&self) -> Option<Self> {
        self.parent_bytes().map(|parent| Self(parent.into()))
    }

    /// [`TreePath::parent`] without an allocation.
    pub(super) fn parent_bytes(&self) -> Option<&[u8]> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/')?;
        Some(&self.0[..slash])
    }

    /// The path as seen from `directory`: what comes behind it. `None` when it is not strictly below; the whole path for the root.
    pub(super) fn relative_to(&self, directory: Option<&Self>) -> Option<&[u8]> {
        let Some(directory) = directory else {
            return Some(self.as_bytes());
        };
        self.as_bytes().strip_prefix(directory.as_bytes())?.strip_prefix(b"/")
    }

    /// Whether this path is `directory` or lies below it.
    pub fn is_within(&self, directory: &Self) -> bool {
        self.is_within_bytes(directory.as_bytes())
    }

    /// [`TreePath::is_within`] for the bytes of a path.
    pub(super) fn is_within_bytes(&self, directory: &[u8]) -> bool {
        let path = self.as_bytes();
        path.starts_with(directory) && (path.len() == directory.len() || path[directory.len()] == b'/')
    }
}

/// Compares two paths in archive order. A slash ends a component, so it sorts before every other byte.
pub(super) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let differ = left.iter().zip(right).position(|(one, other)| one != other);
    let Some(at) = differ else {
        return left.len().cmp(&right.len());
    };
    match (left[at], right[at]) {
        (b'/', _) => Ordering::Less,
        (_, b'/') => Ordering::Greater,
        (one, other) => one.cmp(&other),
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_a_walk_of_the_tree() {
        let walk = ["a", "a/x", "a/x/y", "a/x-1", "a-b", "a.txt", "ab", "b"];
        let mut sorted: Vec<TreePath> = walk.iter().rev().map(|path| TreePath::new(path.as_bytes()).unwrap()).collect();
        sorted.sort();
        let sorted: Vec<String> = sorted.iter().map(TreePath::to_string).collect();
        assert_eq!(sorted, walk);
    }

    #[test]
    fn refuses_what_is_not_clean() {
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "a\0b"] {
            assert!(TreePath::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(TreePath::new(b"not-utf8-\xff").is_ok());
    }
}
