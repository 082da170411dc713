//! Source globs over a tree: Go's `io/fs` glob, one pattern segment for each path level.

use super::{BadPattern, segment::Segment};
use crate::tree::{PathError, Tree, TreePath};

/// The paths that match, in archive order within each directory. Malformed patterns fail even where nothing could match.
///
/// Costs what it visits: literal segments are looked up, only segments with a `*`, `?`, `[` or `\` list a directory.
pub(in crate::tree) fn find(tree: &Tree, pattern: &str) -> Result<Vec<TreePath>, BadPattern> {
    let segments: Vec<&str> = pattern.split('/').collect();
    let parsed = segments.iter().map(|segment| Segment::parse(segment.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let literal = segments.iter().take_while(|segment| !is_pattern(segment)).count();
    let Ok(root) = start_of(&segments[..literal]) else {
        return Ok(Vec::new());
    };
    if literal == segments.len() {
        return Ok(root.filter(|path| tree.get(path).is_some()).into_iter().collect());
    }
    let mut found = vec![root];
    for (text, segment) in segments.iter().zip(&parsed).skip(literal) {
        let mut next = Vec::new();
        for directory in &found {
            if is_pattern(text) {
                let matching = tree.children(directory.as_ref()).filter(|entry| segment.matches(entry.path.base()));
                next.extend(matching.map(|entry| Some(entry.path.clone())));
            } else {
                next.extend(child(tree, directory.as_ref(), text).map(Some));
            }
        }
        found = next;
    }
    Ok(found.into_iter().flatten().collect())
}

/// Whether a segment is more than a literal name. Braces and a lone `]` are not special.
fn is_pattern(segment: &str) -> bool {
    segment.contains(['*', '?', '[', '\\'])
}

/// The directory in front of the first pattern segment; `None` for the root. Only clean paths and a single `.` name one.
fn start_of(literal: &[&str]) -> Result<Option<TreePath>, PathError> {
    match literal {
        [] | ["."] => Ok(None),
        segments => TreePath::new(segments.join("/").as_bytes()).map(Some),
    }
}

fn child(tree: &Tree, directory: Option<&TreePath>, name: &str) -> Option<TreePath> {
    TreePath::new(name.as_bytes()).ok()?;
    let path = TreePath::beneath(directory, name.as_bytes());
    tree.get(&path).map(|_| path)
}
