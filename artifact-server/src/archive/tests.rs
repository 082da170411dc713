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

/// Reproducible numbers (SplitMix64): golden bytes must not depend on a library's generator.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }

    /// Lines that look like YAML.
    fn text(&mut self, length: usize) -> Vec<u8> {
        const WORDS: [&str; 12] =
            ["name", "image", "replicas", "spec", "kind", "metadata", "app", "port", "value", "env", "true", "v1"];
        let mut text = String::new();
        while text.len() < length {
            let (indent, key) = (2 * self.below(5), WORDS[self.below(12)]);
            text += &format!("{:indent$}{key}: {}-{}\n", "", WORDS[self.below(12)], self.below(1000));
        }
        text.truncate(length);
        text.into_bytes()
    }
}

fn packed(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    pack(tree, &mut out).unwrap();
    out
}

fn tarred(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    pack_tar(tree, &mut out).unwrap();
    out
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

/// Undoes the quoting of the vector file: `%xx` is a byte.
fn unquote(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    bytes
}

/// Go's own headers, see e2e/oracle: kind, size, name and the digest of the header blocks.
fn compare_headers(vectors: &str) -> usize {
    let mut compared = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let [kind, size, name, digest] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let size = size.parse().unwrap();
        let kind = if kind == "d" { Kind::Directory } else { Kind::File { executable: kind == "x", size } };
        let blocks = header::encode(&unquote(name), kind).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&blocks)), digest, "{line}");
        compared += 1;
    }
    compared
}

#[test]
fn headers_are_those_of_go() {
    assert_eq!(compare_headers(include_str!("vectors/header.txt")), 250);
}

/// One golden archive: a name, what is in it, and the digests of the tar and of the tar.gz.
fn goldens() -> Vec<(&'static str, Tree, &'static str, &'static str)> {
    let mut numbers = Numbers(1);
    let text = (0..5).map(|_| file(&numbers.text(300_000), false)).collect::<Vec<_>>();
    let text = ["a.yaml", "b/c.yaml", "b/d.yaml", "e.yaml", "f/g/h.yaml"].into_iter().zip(text).collect();
    let noise = vec![("blob", file(&numbers.noise(1 << 20), true)), ("odd/blob", file(&numbers.noise(123_457), false))];
    let small = vec![
        ("README.md", file(b"# hello\n", false)),
        ("bin/run", file(b"#!/bin/sh\n", true)),
        ("empty", Node::Directory),
        ("empty.txt", file(b"", false)),
        ("caf\u{e9}/men\u{fc}", file(b"1 EUR\n", false)),
    ];
    vec![
        (
            "nothing",
            Tree::default(),
            "a6c3074b61cf17b6c20da13944bfac01ed05930dc9cef70890045d62cbfb78d5",
            "6e0c3fa459b5a731136215a38dd1495040ef6c658ee00f30a86ecbd861229208",
        ),
        (
            "small",
            tree(small),
            "e6d4e1cbd516825b7dfe90fceb0be32fa1b3b0cb8e58ab5190011bce8570a3f7",
            "4f9c20af0ae1a76e8ff8fd7ad18294662484d5977177962e9a49d726a6d262d8",
        ),
        (
            "text",
            tree(text),
            "09ec278ce2c5da69e5c94458bcc006a253a84083fe7120767be4f9ac79f1a315",
            "c76fdcbf9f71aee93bd0651b0812d24b54c5b501879ec5a9eefd0e7f1365f476",
        ),
        (
            "noise",
            tree(noise),
            "5c9a4f29d24700052bec0f95297311b43b53570b7244ba4829dfdd7f3d5eac9a",
            "b64b5824d08ad4117c00a2e9a745a7aca3a4579aef4df92c65f668360e6d3a65",
        ),
    ]
}

#[test]
fn golden_archives_keep_their_bytes() {
    for (name, tree, tar, gzip) in goldens() {
        assert_eq!(hex::encode(Sha256::digest(tarred(&tree))), tar, "tar of {name}");
        // A new compressor may change this; then every artifact is stored once more under a new URL. Revisions stay.
        assert_eq!(hex::encode(Sha256::digest(packed(&tree))), gzip, "tar.gz of {name}");
    }
}

#[test]
fn the_gzip_holds_the_tar_and_its_header_says_nothing() {
    use std::io::Read as _;
    for (name, tree, ..) in goldens() {
        let packed = packed(&tree);
        // Magic, deflate, no flags, no time, no extra flags, unknown system.
        assert_eq!(packed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], "{name}");
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut tar).unwrap();
        assert!(tar == tarred(&tree), "{name}");
    }
}

#[test]
fn header_fields_follow_the_rules() {
    let tree = tree(vec![("d", Node::Directory), ("f", file(b"12345678", false)), ("x", file(b"", true))]);
    let tar = tarred(&tree);
    // Blocks: the root, d, f, its content, x, the end.
    assert_eq!(tar.len(), 7 * BLOCK);
    let (root, d, f, x) = (0, BLOCK, 2 * BLOCK, 4 * BLOCK);
    let rows: [(&str, usize, std::ops::Range<usize>, &[u8]); 25] = [
        ("the root comes first and is named .", root, 0..3, b".\0\0"),
        ("the root is a directory", root, 156..157, b"5"),
        ("a directory has no trailing slash", d, 0..3, b"d\0\0"),
        ("a directory has type 5", d, 156..157, b"5"),
        ("a directory has mode 0750", d, 100..108, b"0000750\0"),
        ("a directory has no size", d, 124..136, b"00000000000\0"),
        ("a file has type 0", f, 156..157, b"0"),
        ("a file has mode 0600", f, 100..108, b"0000600\0"),
        ("an executable file has mode 0700", x, 100..108, b"0000700\0"),
        ("a size is octal, padded with zeros", f, 124..136, b"00000000010\0"),
        ("the owner is 0", f, 108..116, b"0000000\0"),
        ("the group is 0", f, 116..124, b"0000000\0"),
        ("the time is 0", f, 136..148, b"00000000000\0"),
        ("the checksum ends in NUL and blank", f, 154..156, b"\0 "),
        ("there is no link name", f, 157..257, &[0; 100]),
        ("the format is ustar 00", f, 257..265, b"ustar\x0000"),
        ("the owner has no name", f, 265..297, &[0; 32]),
        ("the group has no name", f, 297..329, &[0; 32]),
        ("the device numbers are 0", f, 329..345, b"0000000\x000000000\0"),
        ("there is no prefix", f, 345..500, &[0; 155]),
        ("the header ends in zeros", f, 500..512, &[0; 12]),
        ("content follows its header", f, 512..520, b"12345678"),
        ("content is filled up with zeros", f, 520..1024, &[0; 504]),
        ("an empty file has no content block", x, 512..1024, &[0; 512]),
        ("two zero blocks end the tar", 5 * BLOCK, 0..1024, &[0; 1024]),
    ];
    for (rule, entry, field, expected) in rows {
        assert_eq!(tar[entry..][field].escape_ascii().to_string(), expected.escape_ascii().to_string(), "{rule}");
    }
}

/// A tree with random names and sizes, its contents inline or in one spool.
fn random_tree(seed: u64, spooled: bool) -> Tree {
    let mut numbers = Numbers(seed);
    let mut spool = Vec::new();
    let mut plan = Vec::new();
    for index in 0..numbers.below(30) {
        let path = format!("{}/{}-{index}", "d".repeat(1 + numbers.below(200)), "n".repeat(numbers.below(150)));
        let length = [0, 1, 511, 512, 513, CHUNK - 1, CHUNK, CHUNK + 1, numbers.below(1000)][numbers.below(9)];
        let content = if numbers.below(2) == 0 { numbers.noise(length) } else { numbers.text(length) };
        plan.push((path, spool.len(), content.len(), numbers.below(2) == 0));
        spool.extend(content);
    }
    let shared = Arc::new(Spool(spool));
    let entries = plan.into_iter().map(|(path, start, length, executable)| {
        let bytes = &shared.0[start..start + length];
        let inline = Content::Inline(Bytes::copy_from_slice(bytes));
        let content = if spooled { Content::Spooled(shared.clone(), start as u64) } else { inline };
        let file = File { executable, size: length as u64, sha256: Sha256::digest(bytes).into(), content };
        Entry { path: TreePath::new(path.as_bytes()).unwrap(), node: Node::File(file) }
    });
    Tree::from_entries(entries.collect()).unwrap()
}

#[test]
fn equal_trees_pack_equally_wherever_their_contents_lie() {
    for seed in 0..10 {
        let (inline, spooled) = (random_tree(seed, false), random_tree(seed, true));
        assert!(packed(&inline) == packed(&spooled), "seed {seed}");
        assert!(packed(&inline) == packed(&inline), "seed {seed}");
    }
}

#[test]
fn the_compressor_sees_blocks_of_one_size() {
    /// Notes how long each write was.
    struct Sizes(Vec<usize>);
    impl Write for Sizes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            panic!("a flush would change what the compressor sees")
        }
    }
    let mut blocks = Blocks::new(Sizes(Vec::new()));
    for length in [1, CHUNK, 3, 0, 2 * CHUNK, 700] {
        blocks.write_all(&vec![7; length]).unwrap();
        blocks.flush().unwrap();
    }
    assert_eq!(blocks.finish().unwrap().0, [CHUNK, CHUNK, CHUNK, 704]);
}

#[test]
fn packing_ends_when_it_is_cancelled() {
    use std::cell::Cell;
    // Zeros: a megabyte of them is a kilobyte of archive, so what comes out says nothing about how far it is.
    let zeros = vec![0; 4 << 20];
    let content = Content::Spooled(Arc::new(Spool(zeros)), 0);
    let file = File { executable: false, size: 4 << 20, sha256: [0; 32], content };
    let tree = Tree::from_entries(vec![Entry { path: TreePath::new(b"zeros").unwrap(), node: Node::File(file) }]);
    let tree = tree.unwrap();
    let asked = Cell::new(0);
    let cancelled = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let error = pack_unless(&tree, &mut io::sink(), &cancelled).unwrap_err();
    assert_eq!((error.to_string().as_str(), asked.get()), ("the call was cancelled", 4), "at the fourth of 65 pieces");
    let mut out = Vec::new();
    pack_unless(&tree, &mut out, &|| false).unwrap();
    assert!(out == packed(&tree));
}
