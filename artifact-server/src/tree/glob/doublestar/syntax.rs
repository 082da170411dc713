//! The pieces of a pattern: classes, groups, and whether they are complete.

use super::super::{BadPattern, rune};

/// Matches a class with a rune and goes behind it when it fits. `-` at an end is a plain `-`.
pub(super) fn take_class(pattern: &[u8], at: &mut usize, rune: char) -> Result<bool, BadPattern> {
    *at += 1;
    let negated = matches!(pattern.get(*at), Some(b'!' | b'^'));
    *at += usize::from(negated);
    if matches!(pattern.get(*at), None | Some(b']')) {
        return Err(BadPattern);
    }
    let mut low = None;
    let mut inside = false;
    while !inside && *at < pattern.len() && pattern[*at] != b']' {
        let range = low.filter(|_| pattern[*at] == b'-' && !matches!(pattern.get(*at + 1), None | Some(b']')));
        *at += usize::from(range.is_some());
        *at += usize::from(pattern.get(*at) == Some(&b'\\'));
        let (found, length) = rune::first(&pattern[(*at).min(pattern.len())..]);
        *at += length;
        inside = range.map_or(found == rune, |low| low <= rune && rune <= found);
        low = if range.is_some() { None } else { Some(found) };
    }
    if inside == negated {
        return if *at >= pattern.len() { Err(BadPattern) } else { Ok(false) };
    }
    let mut rest = pattern[*at..].iter().enumerate();
    while let Some((offset, byte)) = rest.next() {
        match byte {
            b'\\' => drop(rest.next()),
            b']' => {
                *at += offset + 1;
                return Ok(true);
            }
            _ => {}
        }
    }
    Err(BadPattern)
}

/// The alternatives of the group that opens at `open`, and where the pattern goes on behind it.
pub(super) fn split_group(pattern: &[u8], open: usize) -> Option<(Vec<&[u8]>, usize)> {
    let mut options = Vec::new();
    let (mut depth, mut start, mut index) = (1, open + 1, open + 1);
    while let Some(byte) = pattern.get(index) {
        match byte {
            b'\\' => index += 1,
            b'{' => depth += 1,
            b',' if depth == 1 => {
                options.push(&pattern[start..index]);
                start = index + 1;
            }
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            options.push(&pattern[start..index]);
            return Some((options, index + 1));
        }
        index += 1;
    }
    None
}

/// Whether all classes, groups and escapes are complete.
pub(super) fn is_well_formed(pattern: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut index = 0;
    while index < pattern.len() {
        match pattern[index] {
            b'\\' => index += 1,
            b'[' => match class_end(pattern, index) {
                Some(end) => index = end,
                None => return false,
            },
            b'{' => depth += 1,
            b'}' if depth == 0 => return false,
            b'}' => depth -= 1,
            _ => {}
        }
        index += 1;
    }
    // An escape with nothing behind it has moved past the end.
    depth == 0 && index == pattern.len()
}

/// Where the `]` of the class that opens at `open` stands.
fn class_end(pattern: &[u8], open: usize) -> Option<usize> {
    let mut index = open + 1;
    index += usize::from(matches!(pattern.get(index), Some(b'!' | b'^')));
    if pattern.get(index) == Some(&b']') {
        return None;
    }
    while let Some(byte) = pattern.get(index) {
        match byte {
            b'\\' => index += 1,
            b']' => return Some(index),
            _ => {}
        }
        index += 1;
    }
    None
}
