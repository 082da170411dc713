//! One segment of a source glob: the language of Go's `path.Match`.
//!
//! `*` any run of bytes, `?` one rune, `[a-z]` one rune of a class, `[^a-z]` one rune outside it, `\` takes the next byte as it is.
//! Nothing else is special: no `**`, no braces, a leading dot is like any other byte.

use super::{BadPattern, rune};

/// A parsed segment: runs without a star, each maybe behind one.
#[derive(Debug)]
pub(in crate::tree) struct Segment(Vec<Run>);

#[derive(Debug, Default)]
struct Run {
    /// Any bytes may come before the run.
    star: bool,
    items: Vec<Item>,
}

#[derive(Debug)]
enum Item {
    Byte(u8),
    AnyRune,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Segment {
    pub(in crate::tree) fn parse(pattern: &[u8]) -> Result<Self, BadPattern> {
        let mut runs = vec![Run::default()];
        let mut rest = pattern;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            let item = match byte {
                b'*' => {
                    runs.push(Run { star: true, items: Vec::new() });
                    continue;
                }
                b'?' => Item::AnyRune,
                b'[' => class(&mut rest)?,
                b'\\' => {
                    let (&escaped, tail) = rest.split_first().ok_or(BadPattern)?;
                    rest = tail;
                    Item::Byte(escaped)
                }
                byte => Item::Byte(byte),
            };
            if let Some(run) = runs.last_mut() {
                run.items.push(item);
            }
        }
        // Stars in a row are one star.
        let count = runs.len();
        let mut index = 0;
        runs.retain(|run| {
            index += 1;
            !run.items.is_empty() || (run.star && index == count)
        });
        Ok(Self(runs))
    }

    /// Whether the whole name matches. Takes the first place for each run, which is as good as any other.
    pub(in crate::tree) fn matches(&self, name: &[u8]) -> bool {
        let mut rest = name;
        for (index, run) in self.0.iter().enumerate() {
            let last = index + 1 == self.0.len();
            if last && run.items.is_empty() {
                return true;
            }
            let starts = if run.star { rest.len() } else { 0 };
            let fits = |start: usize| run.strip(&rest[start..]).filter(|rest| !last || rest.is_empty());
            match (0..=starts).find_map(fits) {
                Some(tail) => rest = tail,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

impl Run {
    /// What is left of the name behind the run, when the name starts with it.
    fn strip<'name>(&self, name: &'name [u8]) -> Option<&'name [u8]> {
        let mut rest = name;
        for item in &self.items {
            let (first, length) = rune::first(rest);
            let (fits, length) = match item {
                Item::Byte(byte) => (rest.first() == Some(byte), 1),
                Item::AnyRune => (length > 0, length),
                Item::Class { negated, ranges } => {
                    let inside = ranges.iter().any(|&(low, high)| low <= first && first <= high);
                    (length > 0 && inside != *negated, length)
                }
            };
            if !fits {
                return None;
            }
            rest = &rest[length..];
        }
        Some(rest)
    }
}

/// Parses a class behind its `[`. It holds at least one range; `]` and `-` in it need a `\`.
fn class(rest: &mut &[u8]) -> Result<Item, BadPattern> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.first() == Some(&b']') {
            *rest = &rest[1..];
            return Ok(Item::Class { negated, ranges });
        }
        let low = class_rune(rest)?;
        let high = match rest.split_first() {
            Some((b'-', tail)) => {
                *rest = tail;
                class_rune(rest)?
            }
            _ => low,
        };
        ranges.push((low, high));
    }
}

fn class_rune(rest: &mut &[u8]) -> Result<char, BadPattern> {
    match rest.first() {
        None | Some(b'-' | b']') => return Err(BadPattern),
        Some(b'\\') => *rest = &rest[1..],
        Some(_) => {}
    }
    let (found, length) = rune::first(rest);
    *rest = &rest[length..];
    // A class has to be closed, so something must follow.
    if rest.is_empty() || (found, length) == rune::INVALID { Err(BadPattern) } else { Ok(found) }
}
