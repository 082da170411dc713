//! Go's own answers, see e2e/oracle. Each line of a vector file is a pattern and names with what Go says of them.

use bytes::Bytes;

use super::{BadPattern, doublestar::Pattern, find, segment::Segment};
use crate::tree::{Content, Entry, File, Node, Tree, TreePath};

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

/// Compares every line; `parse` gives a matcher, or none for a malformed pattern. Returns how many answers were compared.
fn compare<M>(vectors: &str, parse: impl Fn(&[u8]) -> Option<M>, matches: impl Fn(&M, &[u8]) -> bool) -> usize {
    let mut compared = 0;
    for line in vectors.lines().filter(|line| !line.starts_with('#')) {
        let (pattern, answers) = line.split_once(' ').unwrap();
        let parsed = parse(&unquote(pattern));
        assert_eq!(parsed.is_none(), answers == "!", "is {pattern} malformed?");
        for answer in answers.split(' ').filter(|_| parsed.is_some()) {
            let (sign, name) = answer.split_at(1);
            let expected = sign == "+";
            let found = parsed.as_ref().is_some_and(|parsed| matches(parsed, &unquote(name)));
            assert_eq!(found, expected, "does {pattern} match {name}?");
            compared += 1;
        }
    }
    compared
}

#[test]
fn segments_match_as_in_go() {
    let compared = compare(include_str!("vectors/segment.txt"), |text| Segment::parse(text).ok(), Segment::matches);
    assert!(compared > 4000, "{compared}");
}

#[test]
fn excludes_match_as_in_go() {
    let parse = |text: &[u8]| Pattern::parse(std::str::from_utf8(text).unwrap()).ok();
    let compared = compare(include_str!("vectors/doublestar.txt"), parse, Pattern::matches);
    assert!(compared > 6000, "{compared}");
}

/// Compares what patterns find in the tree that the first line lists. Returns how many patterns found something.
fn compare_walks(vectors: &str) -> usize {
    let mut lines = vectors.lines().filter(|line| !line.starts_with('#'));
    let node =
        || Node::File(File { executable: false, size: 0, sha256: [0; 32], content: Content::Inline(Bytes::new()) });
    let entry = |path: &str| Entry { path: TreePath::new(path.as_bytes()).unwrap(), node: node() };
    let tree = Tree::from_entries(lines.next().unwrap().split(' ').map(entry).collect()).unwrap();
    let mut successes = 0;
    for line in lines {
        let mut parts = line.split(' ').map(unquote);
        let pattern = String::from_utf8(parts.next().unwrap()).unwrap();
        let expected: Vec<Vec<u8>> = parts.collect();
        let found = find(&tree, &pattern).map(|paths| paths.iter().map(|path| path.as_bytes().to_vec()).collect());
        let found: Vec<Vec<u8>> = found.unwrap_or_else(|BadPattern| vec![b"!".to_vec()]);
        // A pattern without any glob character is a plain path here, and Go finds the root with it.
        let expected = if expected == [b"."] { Vec::new() } else { expected };
        assert_eq!(found, expected, "what does {pattern} find?");
        successes += usize::from(!found.is_empty());
    }
    successes
}

#[test]
fn walks_find_as_in_go() {
    let successes = compare_walks(include_str!("vectors/walk.txt"));
    assert!(successes > 150, "{successes}");
}
