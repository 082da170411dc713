//! Which paths an operation leaves out.

use super::CopyError;
use crate::tree::{TreePath, glob::doublestar::Pattern};

/// The excludes of one operation. Each pattern is tried on the path from the source's root and on the path from the selection base;
/// one without a slash also on the base name.
pub(super) struct Excludes {
    patterns: Vec<Pattern>,
    base: Vec<u8>,
}

impl Excludes {
    pub(super) fn parse(patterns: &[String]) -> Result<Self, CopyError> {
        let parse = |text: &String| Pattern::parse(text).map_err(|error| CopyError::BadExclude(text.clone(), error));
        Ok(Self { patterns: patterns.iter().map(parse).collect::<Result<_, _>>()?, base: Vec::new() })
    }

    /// Sets the selection base, `None` for the source's root. It stays for the whole operation, however deep a copy goes.
    pub(super) fn select(&mut self, base: Option<&[u8]>) {
        self.base = base.unwrap_or_default().to_vec();
    }

    pub(super) fn matches(&self, path: &TreePath) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let from_root = path.as_bytes();
        let from_base = from_root.strip_prefix(&self.base[..]).and_then(|rest| rest.strip_prefix(b"/"));
        self.patterns.iter().any(|pattern| {
            pattern.matches(from_root)
                || (pattern.is_name() && pattern.matches(path.base()))
                || from_base.is_some_and(|path| pattern.matches(path))
        })
    }
}
