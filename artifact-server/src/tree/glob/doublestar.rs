//! Exclude patterns: the language of bmatcuk/doublestar v4, which the reference uses for them.
//!
//! As in a source glob, and: `**` as a whole segment is any number of directories (glued to other text it is a `*`), `[!a]` is
//! `[^a]`, `{a,b}` are alternatives that may nest, and `x/**` matches `x` itself.
//!
//! Stars are matched with one place to come back to for `*` and one for `**`, so the time is linear in pattern times name for each combination
//! of alternatives, and the number of combinations is limited.

use super::{BadPattern, rune};

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
        let bytes = pattern.as_bytes();
        if bytes.len() > MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
        if combinations(bytes) > MAX_COMBINATIONS {
            return Err(PatternError::TooManyCombinations);
        }
        matches(bytes, b".", true).map_err(|BadPattern| PatternError::Syntax)?;
        Ok(Self(bytes.to_vec()))
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

fn matches(pattern: &[u8], name: &[u8], check: bool) -> Result<bool, BadPattern> {
    Match { pattern, name, check, at: 0, position: 0, star: None, globstar: None, starts: true }.run()
}

/// A match in progress.
#[derive(Clone)]
struct Match<'a> {
    pattern: &'a [u8],
    name: &'a [u8],
    /// Whether a mismatch also checks the syntax of what is left.
    check: bool,
    /// Next byte of the pattern and of the name.
    at: usize,
    position: usize,
    /// Where to go on behind the last `*` or `**`, in the pattern and in the name.
    star: Option<(usize, usize)>,
    globstar: Option<(usize, usize)>,
    /// Whether the pattern stands at the start of a segment, where `**` counts.
    starts: bool,
}

/// What one item of the pattern says.
enum Step {
    Fits,
    Differs,
    /// The rest of the name matches, whatever it is.
    Accepts,
    /// A `{`.
    Alternatives,
}

impl Match<'_> {
    fn run(mut self) -> Result<bool, BadPattern> {
        while self.position < self.name.len() {
            let step = if self.at < self.pattern.len() { self.step()? } else { Step::Differs };
            match step {
                Step::Fits => {}
                Step::Accepts => return Ok(true),
                Step::Alternatives => return self.alternatives(),
                Step::Differs if self.come_back() => {}
                Step::Differs if self.check && !is_well_formed(&self.pattern[self.at..]) => return Err(BadPattern),
                Step::Differs => return Ok(false),
            }
        }
        matches_nothing(&self.pattern[self.at..], self.check)
    }

    fn step(&mut self) -> Result<Step, BadPattern> {
        let (next, length) = rune::first(&self.name[self.position..]);
        match self.pattern[self.at] {
            b'*' => Ok(self.take_star()),
            b'?' => {
                self.starts = false;
                if next == '/' {
                    return Ok(Step::Differs);
                }
                self.at += 1;
                self.position += length;
                Ok(Step::Fits)
            }
            b'[' => {
                self.starts = false;
                let fits = take_class(self.pattern, &mut self.at, next)?;
                self.position += if fits { length } else { 0 };
                Ok(if fits { Step::Fits } else { Step::Differs })
            }
            b'{' => Ok(Step::Alternatives),
            byte => {
                let escape = usize::from(byte == b'\\');
                let (expected, width) = rune::first(&self.pattern[self.at + escape..]);
                if width == 0 {
                    return Err(BadPattern);
                }
                if expected != next {
                    return Ok(Step::Differs);
                }
                self.at += escape + width;
                self.position += length;
                self.starts = expected == '/';
                Ok(Step::Fits)
            }
        }
    }

    fn take_star(&mut self) -> Step {
        self.at += 1;
        if self.pattern.get(self.at) == Some(&b'*') {
            self.at += 1;
            match self.pattern.get(self.at) {
                None if self.starts => return Step::Accepts,
                Some(b'/') if self.starts => {
                    self.at += 1;
                    self.globstar = Some((self.at, self.position));
                    self.star = None;
                    return Step::Fits;
                }
                _ => {}
            }
        }
        self.starts = false;
        self.star = Some((self.at, self.position));
        Step::Fits
    }

    /// Lets the last star take one rune more, or the last `**` one directory more. False when neither can.
    fn come_back(&mut self) -> bool {
        if let Some((at, position)) = self.star {
            let (next, length) = rune::first(&self.name[position..]);
            if next != '/' {
                self.star = Some((at, position + length));
                (self.at, self.position, self.starts) = (at, position + length, false);
                return true;
            }
        }
        let Some((at, position)) = self.globstar else {
            return false;
        };
        let Some(slash) = self.name[position..].iter().position(|&byte| byte == b'/') else {
            return false;
        };
        self.globstar = Some((at, position + slash + 1));
        (self.at, self.position, self.starts) = (at, position + slash + 1, true);
        true
    }

    /// Goes on with each alternative written in place of the group, as if a segment started there.
    fn alternatives(self) -> Result<bool, BadPattern> {
        let (options, end) = split_group(self.pattern, self.at).ok_or(BadPattern)?;
        for option in options {
            let pattern = [&self.pattern[..self.at], option, &self.pattern[end..]].concat();
            if (Match { pattern: &pattern, starts: true, ..self.clone() }).run()? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Matches a class with a rune and goes behind it when it fits. `-` at an end is a plain `-`.
fn take_class(pattern: &[u8], at: &mut usize, rune: char) -> Result<bool, BadPattern> {
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
fn split_group(pattern: &[u8], open: usize) -> Option<(Vec<&[u8]>, usize)> {
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

/// Whether what is left of a pattern matches the empty rest of a name. `/**` does: it stands for the directory itself.
fn matches_nothing(pattern: &[u8], check: bool) -> Result<bool, BadPattern> {
    if matches!(pattern, b"" | b"*" | b"**" | b"/**" | b"**/" | b"/**/") {
        return Ok(true);
    }
    if pattern[0] == b'{' {
        let (options, end) = split_group(pattern, 0).ok_or(BadPattern)?;
        for option in options {
            if matches_nothing(&[option, &pattern[end..]].concat(), check)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if check && !is_well_formed(pattern) { Err(BadPattern) } else { Ok(false) }
}

/// Whether all classes, groups and escapes are complete.
fn is_well_formed(pattern: &[u8]) -> bool {
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
