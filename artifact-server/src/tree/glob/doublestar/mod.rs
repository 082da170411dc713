//! The patterns of excludes and of Extract: the language of bmatcuk/doublestar v4, which the reference uses for them.
//!
//! As in a source glob, and: `**` as a whole segment is any number of directories (glued to other text it is a `*`), `[!a]` is
//! `[^a]`, `{a,b}` are alternatives that may nest, and `x/**` matches `x` itself.
//!
//! Stars are matched with one place to come back to for `*` and one for `**`, so the time is linear in pattern times name for each combination
//! of alternatives, and the number of combinations is limited.

use super::BadPattern;

mod find;
mod matching;
mod syntax;

pub(in crate::tree) use find::{FindError, find};

use matching::matches;
use syntax::is_well_formed;

/// More combinations of alternatives than this in one pattern are refused: each is matched on its own.
const MAX_COMBINATIONS: usize = 1024;
/// Longer patterns are refused, in bytes.
const MAX_LENGTH: usize = 4096;

/// A pattern that passed the checks.
#[derive(Debug)]
pub(in crate::tree) struct Pattern(Vec<u8>);

/// Why a pattern is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It breaks the syntax.
    #[error("syntax error in pattern")]
    Syntax,
    /// It is too long.
    #[error("it is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Its `{a,b}` groups multiply to too much.
    #[error("its '{{}}' groups give more than {MAX_COMBINATIONS} combinations")]
    TooManyCombinations,
}

impl Pattern {
    /// Checks a pattern as the reference does, by matching it with `.`, and against the limits.
    pub(in crate::tree) fn parse(pattern: &str) -> Result<Self, PatternError> {
        check_limits(pattern)?;
        matches(pattern.as_bytes(), b".", true).map_err(|BadPattern| PatternError::Syntax)?;
        Ok(Self(pattern.as_bytes().to_vec()))
    }

    /// Checks that a pattern is complete, and the limits.
    fn check(pattern: &str) -> Result<(), PatternError> {
        check_limits(pattern)?;
        if is_well_formed(pattern.as_bytes()) { Ok(()) } else { Err(PatternError::Syntax) }
    }

    /// Whether the pattern names one component only; such patterns are also tried on base names.
    pub(in crate::tree) fn is_name(&self) -> bool {
        !self.0.contains(&b'/')
    }

    /// Whether the whole name matches.
    pub(in crate::tree) fn matches(&self, name: &[u8]) -> bool {
        matches(&self.0, name, false).unwrap_or(false)
    }
}

fn check_limits(pattern: &str) -> Result<(), PatternError> {
    if pattern.len() > MAX_LENGTH {
        return Err(PatternError::TooLong);
    }
    if combinations(pattern.as_bytes()) > MAX_COMBINATIONS {
        return Err(PatternError::TooManyCombinations);
    }
    Ok(())
}

/// How many texts the alternatives can be spelled out to, at most. A group counts for two at least, so that the limit bounds the
/// number of groups too.
fn combinations(pattern: &[u8]) -> usize {
    // One level: alternatives so far, and combinations of the current one.
    let mut outer: Vec<(usize, usize)> = Vec::new();
    let mut current = (0_usize, 1_usize);
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'{' => outer.push(std::mem::replace(&mut current, (0, 1))),
            b',' if !outer.is_empty() => current = (current.0.saturating_add(current.1), 1),
            b'}' => {
                if let Some((done, open)) = outer.pop() {
                    current = (done, open.saturating_mul(current.0.saturating_add(current.1).max(2)));
                }
            }
            _ => {}
        }
    }
    // An open group is a syntax error, but it is counted first.
    let whole = |(done, open): (usize, usize)| done.saturating_add(open);
    outer.iter().fold(whole(current), |count, &group| count.saturating_mul(whole(group).max(2)))
}

#[cfg(test)]
mod tests;
