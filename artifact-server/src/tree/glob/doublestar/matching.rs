//! Matching a name, with one place to come back to for `*` and one for `**`.

use super::{
    super::{BadPattern, rune},
    syntax::{is_well_formed, split_group, take_class},
};

/// Whether the pattern matches the whole name. With `check` a mismatch also checks the syntax of what is left of the pattern.
pub(super) fn matches(pattern: &[u8], name: &[u8], check: bool) -> Result<bool, BadPattern> {
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
