//! The content digest: what names the content of an artifact, whatever compressor packed it.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Entry, Node, Tree};

/// Names the encoding below. Change it whenever the encoding changes, so that digests of two formats never meet.
const FORMAT: &[u8] = b"weir.content.v1\n";

/// SHA-256 over the encoding of a tree. Shown as `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The digest of a tree; give it the tree that is archived, after the ignore list. Reads no content: the files carry their digests.
///
/// The encoding is the text `weir.content.v1\n`, then for each entry in archive order, without the root:
/// - one byte: `d` directory, `f` file, `x` executable file;
/// - the length of the path in bytes, 64 bits, big end first, and the path's bytes;
/// - for files the 32 bytes of the content's SHA-256.
///
/// Lengths make it unambiguous: no two different trees have one encoding.
pub fn content_digest(tree: &Tree) -> ContentDigest {
    let mut hash = Sha256::new();
    hash.update(FORMAT);
    for Entry { path, node } in tree.entries() {
        hash.update(match node {
            Node::Directory => b"d",
            Node::File(file) if file.executable => b"x",
            Node::File(_) => b"f",
        });
        hash.update((path.as_bytes().len() as u64).to_be_bytes());
        hash.update(path.as_bytes());
        if let Node::File(file) = node {
            hash.update(file.sha256);
        }
    }
    ContentDigest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, File, TreePath};

    fn file(content: &str, executable: bool) -> Node {
        let bytes = content.as_bytes();
        let handle = Content::Inline(bytes.to_vec().into());
        Node::File(File { executable, size: bytes.len() as u64, sha256: Sha256::digest(bytes).into(), content: handle })
    }

    fn digest(nodes: Vec<(&str, Node)>) -> String {
        let entry = |(path, node): (&str, Node)| Entry { path: TreePath::new(path.as_bytes()).unwrap(), node };
        content_digest(&Tree::from_entries(nodes.into_iter().map(entry).collect()).unwrap()).to_string()
    }

    /// The values were computed from the documented encoding with Python's hashlib. They must never change: they are revisions.
    #[test]
    fn golden_vectors() {
        for (name, nodes, expected) in [
            ("nothing", vec![], "sha256:f98b5cbf7f93a8811481b378d5901d0c7ccc8aa356ea1c5f826873b785633174"),
            (
                "one file",
                vec![("1.yaml", file("---", false))],
                "sha256:aec0217047777558d31654222b3604e612218854f6bf0d6fb347b1adabad3733",
            ),
            (
                "everything",
                vec![
                    ("bin/run", file("#!/bin/sh\n", true)),
                    ("empty", Node::Directory),
                    ("caf\u{e9}", file("", false)),
                ],
                "sha256:02495d1881c3003f4e2427974a2d62836cf5f175099f990e195aa6c0127320eb",
            ),
        ] {
            assert_eq!(digest(nodes), expected, "{name}");
        }
    }

    #[test]
    fn whatever_is_archived_counts() {
        let all = [
            digest(vec![]),
            digest(vec![("a", Node::Directory)]),
            digest(vec![("a", file("", false))]),
            digest(vec![("a", file("", true))]),
            digest(vec![("a", file("x", false))]),
            digest(vec![("b", file("x", false))]),
            digest(vec![("a/b", file("x", false))]),
            digest(vec![("a/b", file("x", false)), ("c", Node::Directory)]),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
