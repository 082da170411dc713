//! The texts of an operation: source, destination and the paths in them.

use std::fmt;

use super::CopyError;
use crate::tree::TreePath;

/// Why a path cannot name anything in a tree.
pub(super) const ESCAPES: &str = "path escapes from parent";
pub(super) const INVALID: &str = "invalid argument";
pub(super) const NOT_A_DIRECTORY: &str = "not a directory";

/// Splits `@alias/rest`.
pub(super) fn parse_source(from: &str) -> Result<(&str, &str), CopyError> {
    let text = from.strip_prefix('@').ok_or_else(|| CopyError::SourceWithoutAt(from.to_owned()))?;
    text.split_once('/').ok_or_else(|| CopyError::SourceWithoutPath(from.to_owned()))
}

/// A path after lexical cleaning: no empty components and no `.`, each `..` takes the component before it away.
pub(super) enum Clean {
    Root,
    Path(TreePath),
    /// It is absolute or starts with `..`.
    Outside(Vec<u8>),
    /// It holds a NUL.
    Invalid(Vec<u8>),
}

pub(super) fn clean(text: &[u8]) -> Clean {
    let rooted = text.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in text.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    if rooted {
        Clean::Outside([b"/", &joined[..]].concat())
    } else if parts.first().is_some_and(|first| *first == b"..") {
        Clean::Outside(joined)
    } else if parts.is_empty() {
        Clean::Root
    } else {
        TreePath::new(&joined).map_or(Clean::Invalid(joined), Clean::Path)
    }
}

impl fmt::Display for Clean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("."),
            Self::Path(path) => fmt::Display::fmt(path, f),
            Self::Outside(bytes) | Self::Invalid(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
        }
    }
}

/// The text behind `@artifact/`.
pub(super) struct Destination<'a> {
    text: &'a str,
    directory: bool,
}

impl<'a> Destination<'a> {
    pub(super) fn parse(to: &'a str) -> Result<Self, CopyError> {
        let text = to.strip_prefix("@artifact/").ok_or_else(|| CopyError::BadDestination(to.to_owned()))?;
        Ok(Self { text, directory: to.ends_with('/') })
    }

    /// The text behind `@artifact/`, as the errors of Extract show it.
    pub(super) fn text(&self) -> &'a str {
        if self.text.is_empty() { "." } else { self.text }
    }

    /// Whether the text says that it is a directory.
    pub(super) fn ends_with_slash(&self) -> bool {
        self.directory
    }

    /// The place of `rest` (clean, may be empty) in the artifact; `None` for the root.
    pub(super) fn join(&self, rest: &[u8]) -> Result<Option<TreePath>, CopyError> {
        match self.cleaned(rest) {
            Clean::Root => Ok(None),
            Clean::Path(path) => Ok(Some(path)),
            outside @ Clean::Outside(_) => Err(CopyError::Destination(outside.to_string(), ESCAPES)),
            invalid @ Clean::Invalid(_) => Err(CopyError::Destination(invalid.to_string(), INVALID)),
        }
    }

    /// The place of `rest` for people, also where it is none.
    pub(super) fn show(&self, rest: &[u8]) -> String {
        self.cleaned(rest).to_string()
    }

    fn cleaned(&self, rest: &[u8]) -> Clean {
        if self.text.is_empty() { clean(rest) } else { clean(&[self.text.as_bytes(), b"/", rest].concat()) }
    }
}
