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
