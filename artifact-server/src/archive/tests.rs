use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::tree::ReadAt;

/// A content in memory that is read like a spool.
struct Spool(Vec<u8>);

impl ReadAt for Spool {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = self.0.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

fn file(content: &[u8], executable: bool) -> Node {
    let content_handle = Content::Inline(Bytes::copy_from_slice(content));
    let sha256 = Sha256::digest(content).into();
    Node::File(File { executable, size: content.len() as u64, sha256, content: content_handle })
}

fn tree(nodes: Vec<(&str, Node)>) -> Tree {
    let entries = nodes.into_iter().map(|(path, node)| Entry { path: TreePath::new(path.as_bytes()).unwrap(), node });
    Tree::from_entries(entries.collect()).unwrap()
}

#[test]
fn a_short_spool_fails_and_names_the_file() {
    let content = Content::Spooled(Arc::new(Spool(vec![1; 10])), 5);
    let node = Node::File(File { executable: false, size: 6, sha256: [0; 32], content });
    let error = pack(&tree(vec![("dir/short.bin", node)]), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("'dir/short.bin'"), "{error}");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn an_inline_content_of_another_size_fails_and_names_the_file() {
    let Node::File(mut short) = file(b"abc", false) else { unreachable!() };
    short.size = 4;
    let error = pack_tar(&tree(vec![("a", Node::File(short))]), &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "'a' should have 4 bytes but 3 are there");
}
