//! Glob patterns. There are two languages, because the reference has two: [`walk`] for the sources of copy operations
//! (Go's `io/fs` glob) and [`doublestar`] for excludes (bmatcuk/doublestar v4). Both work on bytes: names need not be UTF-8.
//! Ignore rules are a third one: see [`super::ignore`].

pub(super) mod doublestar;
mod rune;
mod segment;
mod walk;

pub(super) use rune::borders;
pub(super) use segment::Segment;
pub(super) use walk::find;

/// A pattern that breaks the syntax of its language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub(super) struct BadPattern;

#[cfg(test)]
mod tests;
