//! What a pattern finds in a tree, as `doublestar.Glob` does: the reference uses it for the tarballs of Extract.
//!
//! A pattern is worked on from its end, as there: the last segment is matched in each directory that the rest of the pattern finds. Two
//! things are otherwise. No path is found twice, so that many `**` can not multiply, and the matches of `{a,b}` are sorted as a whole.

use std::collections::HashSet;

use super::{Pattern, PatternError, matching::matches};
use crate::tree::{Node, Tree, TreePath};

/// A directory, or what was found; `None` is the root.
type Place = Option<TreePath>;

/// The paths that match: a directory before its content, each directory sorted by name. The root is left out. `step` is asked for each
/// entry that is looked at, and ends the search with its error.
pub(in crate::tree) fn find<E>(
    tree: &Tree,
    pattern: &str,
    step: &mut dyn FnMut() -> Result<(), E>,
) -> Result<Vec<TreePath>, FindError<E>> {
    Pattern::check(pattern)?;
    let found = Search { tree, step }.places(pattern.as_bytes(), true)?;
    Ok(found.into_iter().flatten().collect())
}

/// Why a search ended early.
#[derive(Debug)]
pub(in crate::tree) enum FindError<E> {
    /// The pattern is not one.
    Pattern(PatternError),
    /// What `step` said.
    Step(E),
}

impl<E> From<PatternError> for FindError<E> {
    fn from(error: PatternError) -> Self {
        Self::Pattern(error)
    }
}

struct Search<'a, E> {
    tree: &'a Tree,
    step: &'a mut dyn FnMut() -> Result<(), E>,
}

impl<E> Search<'_, E> {
    /// What the pattern finds. Only the last part of a pattern finds files.
    fn places(&mut self, pattern: &[u8], last: bool) -> Result<Vec<Place>, FindError<E>> {
        let Some(first_meta) = meta(pattern) else {
            let text = unescaped(pattern);
            if !last && text.ends_with(b"/") {
                // What follows would stand behind two slashes.
                return Ok(Vec::new());
            }
            let text = text.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&text);
            return Ok(self.literal(text).into_iter().collect());
        };
        let mut split = last_unescaped(pattern, b"/}");
        if let Some(close) = split.filter(|&at| pattern[at] == b'}') {
            match opening(&pattern[..close]) {
                Some(open) => return self.alternatives(pattern, (open, close), last),
                None => split = last_unescaped(&pattern[..close], b"/"),
            }
        }
        let directories = match split {
            None => vec![None],
            Some(at) if at <= first_meta => self.literal(&unescaped(&pattern[..at])).into_iter().collect(),
            Some(at) => self.places(&pattern[..at], false)?,
        };
        let segment = split.map_or(pattern, |at| &pattern[at + 1..]);
        match segment {
            b"" => Ok(directories.into_iter().filter(|place| self.is_directory(place.as_ref())).collect()),
            b"**" => self.below(directories, last),
            _ => self.children(&directories, segment, last),
        }
    }

    /// The place with this name, if there is one. Only clean paths and `.` are names.
    fn literal(&self, name: &[u8]) -> Option<Place> {
        if name == b"." {
            return Some(None);
        }
        TreePath::new(name).ok().filter(|path| self.tree.get(path).is_some()).map(Some)
    }

    fn is_directory(&self, place: Option<&TreePath>) -> bool {
        place.is_none_or(|path| self.tree.get(path) == Some(&Node::Directory))
    }

    /// Directories, and all that they hold.
    fn below(&mut self, directories: Vec<Place>, files: bool) -> Result<Vec<Place>, FindError<E>> {
        let mut found = Vec::new();
        let mut done: HashSet<Place> = HashSet::new();
        for directory in directories {
            if !self.is_directory(directory.as_ref()) || done.contains(&directory) {
                continue;
            }
            found.push(directory.clone());
            for entry in &self.tree.entries()[self.tree.below(directory.as_ref())] {
                (self.step)().map_err(FindError::Step)?;
                let is_directory = entry.node == Node::Directory;
                let place = Some(entry.path.clone());
                if is_directory && !done.insert(place.clone()) {
                    continue;
                }
                found.extend((is_directory || files).then_some(place));
            }
            done.insert(directory);
        }
        Ok(found)
    }

    /// What matches in each of the directories.
    fn children(&mut self, directories: &[Place], segment: &[u8], files: bool) -> Result<Vec<Place>, FindError<E>> {
        let mut found = Vec::new();
        for directory in directories {
            if !self.is_directory(directory.as_ref()) {
                continue;
            }
            for entry in self.tree.children(directory.as_ref()) {
                (self.step)().map_err(FindError::Step)?;
                let fits = matches(segment, entry.path.base(), false).map_err(|_| PatternError::Syntax)?;
                if fits && (files || entry.node == Node::Directory) {
                    found.push(Some(entry.path.clone()));
                }
            }
        }
        Ok(found)
    }

    /// A pattern whose last group lies between two places, with each of the alternatives in turn.
    fn alternatives(
        &mut self,
        pattern: &[u8],
        (open, close): (usize, usize),
        last: bool,
    ) -> Result<Vec<Place>, FindError<E>> {
        let prefix = last_unescaped(&pattern[..open], b"/}").filter(|&at| pattern[at] == b'/');
        let directories = match prefix {
            None => vec![None],
            Some(at) => self.places(&pattern[..at], false)?,
        };
        let start = prefix.map_or(0, |at| at + 1);
        let mut found = Vec::new();
        for directory in directories {
            let directory = directory.map_or(Vec::new(), |path| [&escaped(path.as_bytes()), &b"/"[..]].concat());
            for option in options(&pattern[open + 1..close]) {
                let rest = [&directory, &pattern[start..open], option, &pattern[close + 1..]].concat();
                found.extend(self.places(&rest, last)?);
            }
        }
        found.sort_by(|one, other| bytes(one).cmp(bytes(other)));
        found.dedup();
        Ok(found)
    }
}

fn bytes(place: &Place) -> &[u8] {
    place.as_ref().map_or(b".", TreePath::as_bytes)
}

/// The first character that makes a text a pattern.
fn meta(pattern: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        match byte {
            b'*' | b'?' | b'[' | b'{' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

fn is_escaped(pattern: &[u8], at: usize) -> bool {
    at > 0 && pattern[at - 1] == b'\\'
}

fn last_unescaped(pattern: &[u8], wanted: &[u8]) -> Option<usize> {
    (0..pattern.len()).rev().find(|&at| wanted.contains(&pattern[at]) && !is_escaped(pattern, at))
}

/// Where the group begins whose `}` stands behind the pattern.
fn opening(pattern: &[u8]) -> Option<usize> {
    let mut depth = 1;
    (0..pattern.len()).rev().filter(|&at| !is_escaped(pattern, at)).find(|&at| {
        depth += usize::from(pattern[at] == b'}');
        depth -= usize::from(pattern[at] == b'{');
        depth == 0
    })
}

/// The alternatives of a group. An empty one at the end is none: `{a,}` is `{a}` here.
fn options(group: &[u8]) -> Vec<&[u8]> {
    let mut options = Vec::new();
    let (mut depth, mut start, mut at) = (0_usize, 0, 0);
    while at < group.len() {
        match group[at] {
            b'\\' => at += 1,
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                options.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    options.extend((start < group.len()).then(|| &group[start..]));
    options
}

const META: &[u8] = b"*?[]{}";

/// Takes the backslashes away that stand before special characters; others stay.
fn unescaped(pattern: &[u8]) -> Vec<u8> {
    let drop = |at: usize| pattern[at] == b'\\' && pattern.get(at + 1).is_some_and(|next| META.contains(next));
    let mut text = Vec::with_capacity(pattern.len());
    let mut at = 0;
    while at < pattern.len() {
        at += usize::from(drop(at));
        text.push(pattern[at]);
        at += 1;
    }
    text
}

fn escaped(path: &[u8]) -> Vec<u8> {
    path.iter().flat_map(|byte| META.contains(byte).then_some(b'\\').into_iter().chain([*byte])).collect()
}
