//! Text with `{name}` captures: the pattern of `FindDirectories`, and the templates that a match is filled into. A brace has no escape.

use std::collections::HashSet;

use crate::quoted;

/// A part of a text with captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Literal text, not empty.
    Literal(&'a str),
    /// The name between braces.
    Capture(&'a str),
}

/// A text that breaks the syntax. Offsets are bytes from its start. The messages are those for a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// A `{` stays open.
    #[error("invalid capture starting at offset {0}: missing closing brace")]
    Unclosed(usize),
    /// `{}`.
    #[error("empty capture variable")]
    Empty,
    /// A name with other characters than letters, digits and `_`, or with a digit in front.
    #[error("capture variable {} must be a valid capture name matching [A-Za-z_][A-Za-z0-9_]*", quoted(.0))]
    BadName(String),
    /// A name used twice.
    #[error("duplicate capture variable {}", quoted(.0))]
    Duplicate(String),
    /// A `}` without a `{`.
    #[error("invalid capture ending at offset {0}: missing opening brace")]
    Unopened(usize),
}

/// The pieces of a text from left to right. Nothing follows an error.
pub fn pieces(text: &str) -> impl Iterator<Item = Result<Piece<'_>, CaptureError>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let piece = first(rest, at);
        at = match &piece {
            Ok(Piece::Literal(literal)) => at + literal.len(),
            Ok(Piece::Capture(name)) => at + name.len() + 2,
            Err(_) => text.len(),
        };
        Some(piece)
    })
}

/// The pieces of a pattern, in which each name may be there once only.
pub fn pattern(text: &str) -> Result<Vec<Piece<'_>>, CaptureError> {
    let mut names = HashSet::new();
    let check = |piece| match piece {
        Ok(Piece::Capture(name)) if !names.insert(name) => Err(CaptureError::Duplicate(name.to_owned())),
        piece => piece,
    };
    pieces(text).map(check).collect()
}

fn first(rest: &str, offset: usize) -> Result<Piece<'_>, CaptureError> {
    let literal = rest.find(['{', '}']).unwrap_or(rest.len());
    if literal > 0 {
        return Ok(Piece::Literal(&rest[..literal]));
    }
    let inside = rest.strip_prefix('{').ok_or(CaptureError::Unopened(offset))?;
    let (name, _) = inside.split_once('}').ok_or(CaptureError::Unclosed(offset))?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() {
        Err(CaptureError::Empty)
    } else if !name.bytes().all(word) || name.starts_with(|first: char| first.is_ascii_digit()) {
        Err(CaptureError::BadName(name.to_owned()))
    } else {
        Ok(Piece::Capture(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_patterns() {
        for (text, message) in [
            ("apps/{app", "invalid capture starting at offset 5: missing closing brace"),
            ("{", "invalid capture starting at offset 0: missing closing brace"),
            ("a/{}", "empty capture variable"),
            ("{a-b}", r#"capture variable "a-b" must be a valid capture name matching [A-Za-z_][A-Za-z0-9_]*"#),
            ("{1a}", r#"capture variable "1a" must be a valid capture name matching [A-Za-z_][A-Za-z0-9_]*"#),
            ("{é}", r#"capture variable "é" must be a valid capture name matching [A-Za-z_][A-Za-z0-9_]*"#),
            ("{a/b}", r#"capture variable "a/b" must be a valid capture name matching [A-Za-z_][A-Za-z0-9_]*"#),
            ("{a}/{a}", r#"duplicate capture variable "a""#),
            ("é}", "invalid capture ending at offset 2: missing opening brace"),
            ("{a}}", "invalid capture ending at offset 3: missing opening brace"),
            ("{{a}}", r#"capture variable "{a" must be a valid capture name matching [A-Za-z_][A-Za-z0-9_]*"#),
            ("{a}{a}{", r#"duplicate capture variable "a""#),
        ] {
            assert_eq!(pattern(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn pieces_are_what_a_text_is_made_of() {
        use Piece::{Capture, Literal};
        let expected = [Literal("apps/"), Capture("_a"), Literal("-é."), Capture("B2"), Capture("c")];
        assert_eq!(pattern("apps/{_a}-é.{B2}{c}").unwrap(), expected);
        assert_eq!(pattern("").unwrap(), []);
        let twice: Vec<_> = pieces("{a}{a}").map(Result::unwrap).collect();
        assert_eq!(twice, [Capture("a"), Capture("a")], "a template may use a name again");
    }
}
