//! Go's own answers, see e2e/oracle. Each line of a vector file is a pattern and names with what Go says of them.

use std::collections::HashSet;

use bytes::Bytes;

use super::{
    doublestar::{self, FindError, Pattern, PatternError},
    find,
    segment::Segment,
};
use crate::tree::{Content, Entry, File, Node, Tree, TreePath, unquote};

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

/// Compares what patterns find in the tree that the first line lists. `search` gives the paths, or none for a malformed pattern. Returns how
/// many patterns found something.
fn compare_finds(
    vectors: &str,
    search: impl Fn(&Tree, &str) -> Option<Vec<TreePath>>,
    adjust: impl Fn(&str, Vec<Vec<u8>>) -> Vec<Vec<u8>>,
) -> usize {
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
        let found = search(&tree, &pattern).map(|paths| paths.iter().map(|path| path.as_bytes().to_vec()).collect());
        let found: Vec<Vec<u8>> = adjust(&pattern, found.unwrap_or_else(|| vec![b"!".to_vec()]));
        // The root is left out here.
        let expected = adjust(&pattern, expected.into_iter().filter(|path| path != b".").collect());
        assert_eq!(found, expected, "what does {pattern} find?");
        successes += usize::from(!found.is_empty());
    }
    successes
}

#[test]
fn walks_find_as_in_go() {
    let search = |tree: &Tree, pattern: &str| find(tree, pattern).ok();
    let successes = compare_finds(include_str!("vectors/walk.txt"), search, |_, paths| paths);
    assert!(successes > 150, "{successes}");
}

#[test]
fn doublestars_find_as_in_go() {
    let search = |tree: &Tree, pattern: &str| match doublestar::find(tree, pattern, &mut || Ok::<_, ()>(())) {
        Ok(paths) => Some(paths),
        Err(FindError::Pattern(PatternError::Syntax)) => None,
        Err(other) => panic!("{pattern}: {other:?}"),
    };
    // Go finds a path twice when two `**` or two alternatives do, sorts alternatives in pieces, and keeps the slash of an alternative that is
    // a path with one.
    let adjust = |pattern: &str, mut paths: Vec<Vec<u8>>| {
        for path in &mut paths {
            path.truncate(path.strip_suffix(b"/").map_or(path.len(), <[u8]>::len));
        }
        if pattern.contains('{') {
            paths.sort();
        }
        let mut seen = HashSet::new();
        paths.retain(|path| seen.insert(path.clone()));
        paths
    };
    let successes = compare_finds(include_str!("vectors/find.txt"), search, adjust);
    assert!(successes > 300, "{successes}");
}
