//! Path patterns: which directories of a source match a literal path with `{name}` captures.
//!
//! Everything except captures is literal: `.` and `*` are ordinary. A capture takes one or more characters other than `/`, as many as it can. Several
//! captures and literal text may share a segment.

use std::collections::BTreeMap;

use weir_proto::captures::{self, CaptureError};

use super::{Node, Tree, TreePath};

/// A parsed pattern, e.g. `apps/{app}/envs/{env}`. It has one list of pieces for each path segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Vec<Piece>>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Capture(String),
}

/// A directory that matched, and what each capture took, as it is on disk.
pub type Match = (TreePath, BTreeMap<String, String>);

impl Pattern {
    /// Parses the part of a `pathPattern` behind `@alias/`.
    pub fn parse(text: &str) -> Result<Self, CaptureError> {
        let mut segments = vec![Vec::new()];
        for piece in captures::pattern(text)? {
            match piece {
                captures::Piece::Literal(text) => push_literal(&mut segments, text),
                captures::Piece::Capture(name) => push(&mut segments, Piece::Capture(name.to_owned())),
            }
        }
        Ok(Self(segments))
    }

    /// The directories whose whole path matches, in archive order. The root never matches; nor does anything when the pattern is empty or
    /// ends in a slash.
    pub fn find(&self, tree: &Tree) -> Vec<Match> {
        let mut found: Vec<(Option<TreePath>, BTreeMap<String, String>)> = vec![(None, BTreeMap::new())];
        for segment in &self.0 {
            let mut next = Vec::new();
            for (directory, captures) in found {
                for (path, own) in step(tree, directory.as_ref(), segment) {
                    let mut captures = captures.clone();
                    captures.extend(own);
                    next.push((Some(path), captures));
                }
            }
            found = next;
        }
        found.into_iter().filter_map(|(path, captures)| path.map(|path| (path, captures))).collect()
    }
}

fn push_literal(segments: &mut Vec<Vec<Piece>>, text: &str) {
    for (index, part) in text.split('/').enumerate() {
        if index > 0 {
            segments.push(Vec::new());
        }
        if !part.is_empty() {
            push(segments, Piece::Literal(part.to_owned()));
        }
    }
}

fn push(segments: &mut [Vec<Piece>], piece: Piece) {
    if let Some(segment) = segments.last_mut() {
        segment.push(piece);
    }
}

/// The directories right below `directory` that a segment matches. A literal one is looked up; no others are listed.
fn step(tree: &Tree, directory: Option<&TreePath>, segment: &[Piece]) -> Vec<Match> {
    if let [Piece::Literal(name)] = segment {
        let path = TreePath::new(name.as_bytes()).ok().map(|_| TreePath::beneath(directory, name.as_bytes()));
        let path = path.filter(|path| tree.get(path) == Some(&Node::Directory));
        return path.map(|path| (path, BTreeMap::new())).into_iter().collect();
    }
    let children = tree.children(directory).filter(|entry| entry.node == Node::Directory);
    children.filter_map(|entry| Some((entry.path.clone(), take(segment, entry.path.base())?))).collect()
}

/// What the captures of a segment take of a name, when all of it matches. From the left, each takes as much as leaves a match for the rest.
fn take(segment: &[Piece], name: &[u8]) -> Option<BTreeMap<String, String>> {
    let ends = reachable(segment, name);
    let mut captures = BTreeMap::new();
    let mut at = 0;
    if !ends[0].contains(&0) {
        return None;
    }
    for (piece, behind) in segment.iter().zip(&ends[1..]) {
        match piece {
            Piece::Literal(text) => at += text.len(),
            Piece::Capture(variable) => {
                let end = *behind.iter().filter(|&&end| end > at).max()?;
                captures.insert(variable.clone(), String::from_utf8_lossy(&name[at..end]).into_owned());
                at = end;
            }
        }
    }
    Some(captures)
}

/// For each piece, and for the end behind the last one: the places in the name from which it and all later ones match the rest. Captures start and end
/// between characters.
fn reachable(segment: &[Piece], name: &[u8]) -> Vec<Vec<usize>> {
    let borders = super::glob::borders(name);
    let mut all = vec![vec![name.len()]];
    for piece in segment.iter().rev() {
        let behind = &all[all.len() - 1];
        let fits = |&at: &usize| match piece {
            Piece::Literal(text) => name[at..].starts_with(text.as_bytes()) && behind.contains(&(at + text.len())),
            Piece::Capture(_) => behind.iter().any(|&end| end > at),
        };
        let starts = borders.iter().copied().filter(fits).collect();
        all.push(starts);
    }
    all.reverse();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Entry, File, unquote};

    fn tree() -> Tree {
        let paths: [&[u8]; 12] = [
            b"apps/Auth/envs/dev/x",
            b"apps/auth/envs/dev/x",
            b"apps/auth/envs/prod/x",
            b"apps/auth-v1/envs/x",
            b"apps/billing/x",
            b"apps/file",
            b"a.b/x",
            b"axb/x",
            b"one-two-three/x",
            "\u{e9}\u{e9}/x".as_bytes(),
            b"raw-\xff/x",
            b"x{y}/x",
        ];
        let content = Content::Inline(bytes::Bytes::new());
        let node = Node::File(File { executable: false, size: 0, sha256: [0; 32], content });
        let entry = |path: &&[u8]| Entry { path: TreePath::new(path).unwrap(), node: node.clone() };
        Tree::from_entries(paths.iter().map(entry).collect()).unwrap()
    }

    fn found(pattern: &str) -> String {
        let show = |(path, captures): &Match| {
            let captures: Vec<String> = captures.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{path}({})", captures.join(","))
        };
        Pattern::parse(pattern).unwrap().find(&tree()).iter().map(show).collect::<Vec<_>>().join(" ")
    }

    /// Rules of 10.2: pattern and what it finds.
    #[test]
    fn directories_that_match() {
        for (rule, pattern, expected) in [
            (
                "a capture is one segment",
                "apps/{app}",
                "apps/Auth(app=Auth) apps/auth(app=auth) apps/auth-v1(app=auth-v1) apps/billing(app=billing)",
            ),
            ("files do not match", "apps/fil{e}", ""),
            (
                "the whole path must match",
                "apps/{app}/envs/{env}",
                "apps/Auth/envs/dev(app=Auth,env=dev) apps/auth/envs/dev(app=auth,env=dev) apps/auth/envs/prod(app=auth,env=prod)",
            ),
            ("literal text finds itself", "apps/auth", "apps/auth()"),
            ("a dot is literal", "a.{b}", "a.b(b=b)"),
            ("a star is literal", "app*", ""),
            ("the root does not match", "", ""),
            ("a trailing slash matches nothing", "apps/", ""),
            ("a trailing slash behind a capture matches nothing", "apps/{app}/", ""),
            ("a leading slash matches nothing", "/apps", ""),
            ("dots are no navigation", "apps/../{x}", ""),
            ("literal text around a capture", "one-{middle}-three", "one-two-three(middle=two)"),
            (
                "captures take as much as they can",
                "{a}-{b}",
                "one-two-three(a=one-two,b=three) raw-\u{fffd}(a=raw,b=\u{fffd})",
            ),
            ("a capture takes one character at least", "apps{x}/auth", ""),
            (
                "captures part at characters",
                "{a}{b}",
                "a.b(a=a.,b=b) apps(a=app,b=s) axb(a=ax,b=b) one-two-three(a=one-two-thre,b=e) raw-\u{fffd}(a=raw-,b=\u{fffd}) x{y}(a=x{y,b=}) \u{e9}\u{e9}(a=\u{e9},b=\u{e9})",
            ),
        ] {
            assert_eq!(found(pattern), expected, "{rule}");
        }
    }

    #[test]
    fn a_capture_matches_braces_on_disk() {
        assert_eq!(found("x{all}"), "x{y}(all={y})");
    }

    /// `%xx` for what is no printable ASCII, and for `%`.
    fn quote(text: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
        text.bytes().map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02x}") }).collect()
    }

    /// Go's own answers, see e2e/oracle: a tree, then on each line a pattern and what it finds.
    #[test]
    fn what_is_found_is_what_a_regular_expression_finds_in_go() {
        let mut lines = include_str!("vectors/captures.txt").lines().filter(|line| !line.starts_with('#'));
        let node = || {
            Node::File(File {
                executable: false,
                size: 0,
                sha256: [0; 32],
                content: Content::Inline(bytes::Bytes::new()),
            })
        };
        let entry = |path: &str| Entry { path: TreePath::new(&unquote(path)).unwrap(), node: node() };
        let tree = Tree::from_entries(lines.next().unwrap().split(' ').map(entry).collect()).unwrap();
        let mut matches = 0;
        for line in lines {
            let (pattern, expected) = line.split_once(' ').unwrap_or((line, ""));
            let text = String::from_utf8(unquote(pattern)).unwrap();
            let show = |(path, captures): &Match| {
                let captures: Vec<String> =
                    captures.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
                format!("{}:{}", quote(&path.to_string()), captures.join(","))
            };
            let found: Vec<String> = Pattern::parse(&text).unwrap().find(&tree).iter().map(show).collect();
            assert_eq!(found.join(" "), expected, "what does {text} find?");
            matches += found.len();
        }
        assert!(matches > 500, "{matches}");
    }
}
