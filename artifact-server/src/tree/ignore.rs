//! Ignore rules as Flux reads them from a `.sourceignore` file: the last pattern that matches a path decides.
//!
//! The language is that of `fluxcd/pkg/sourceignore`, which is not quite Git's: `**` takes the first place that fits and never comes back,
//! `abc/**` matches `abc` too, and what is below an ignored directory can be taken back.

use super::{TreePath, glob::Segment};

/// Most patterns of one set of rules: each is tried on each path.
pub const MAX_PATTERNS: usize = 1000;

/// Most bytes of one pattern.
pub const MAX_PATTERN: usize = 4096;

/// A line longer than this ends the reading of a file, as in Flux.
const MAX_LINE: usize = 64 * 1024 - 1;

/// Files of version control.
const VCS: &[&str] = &[".git/", ".gitignore", ".gitmodules", ".gitattributes"];

/// The default list besides those: images and archives, files of CI, and the like.
const DEFAULTS: &[&str] = &[
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.png",
    "*.wmv",
    "*.flv",
    "*.tar.gz",
    "*.zip",
    ".github/",
    ".circleci/",
    ".travis.yml",
    ".gitlab-ci.yml",
    "appveyor.yml",
    ".drone.yml",
    "cloudbuild.yaml",
    "codeship-services.yml",
    "codeship-steps.yml",
    "**/.goreleaser.yml",
    "**/.sops.yaml",
    "**/.flux.yaml",
];

/// Which lists come before the patterns of a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Builtin {
    /// All without patterns, else version control alone.
    #[default]
    Automatic,
    /// None.
    Nothing,
    /// Version control.
    Vcs,
    /// Version control and the default list.
    All,
}

/// Patterns in the order in which they were given.
#[derive(Debug, Default)]
pub struct Rules {
    patterns: Vec<Pattern>,
}

/// Why patterns are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Each costs time for each path.
    #[error("there are more than {MAX_PATTERNS} ignore patterns")]
    TooMany,
    /// The start of it.
    #[error("ignore pattern {0:?}... is longer than {MAX_PATTERN} bytes")]
    TooLong(String),
}

#[derive(Debug)]
struct Pattern {
    /// Takes back what patterns before it ignore.
    includes: bool,
    /// Only for directories and what lies in them.
    directories: bool,
    /// The directory that it is about; `None` is the root.
    domain: Option<TreePath>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Without a slash: any component.
    Name(Option<Segment>),
    /// With slashes: components from the domain on.
    Path(Vec<Part>),
}

#[derive(Debug)]
enum Part {
    /// Between two slashes: says nothing.
    Empty,
    /// `**`.
    Any,
    One(Segment),
    /// Not a pattern, or `**` beside other text: nothing matches.
    Never,
}

impl Rules {
    /// Adds one line. Blank ones and comments say nothing.
    pub fn add(&mut self, line: &[u8], domain: Option<&TreePath>) -> Result<(), RulesError> {
        if line.starts_with(b"#") || String::from_utf8_lossy(line).trim().is_empty() {
            return Ok(());
        }
        if line.len() > MAX_PATTERN {
            return Err(RulesError::TooLong(String::from_utf8_lossy(&line[..20]).into_owned()));
        }
        if self.patterns.len() == MAX_PATTERNS {
            return Err(RulesError::TooMany);
        }
        self.patterns.push(Pattern::parse(line, domain));
        Ok(())
    }

    /// Adds the lines of a file, for what lies in `domain`.
    pub fn add_file(&mut self, content: &[u8], domain: Option<&TreePath>) -> Result<(), RulesError> {
        for line in content.split(|&byte| byte == b'\n') {
            if line.len() > MAX_LINE {
                break;
            }
            self.add(line.strip_suffix(b"\r").unwrap_or(line), domain)?;
        }
        Ok(())
    }

    /// How many patterns there are.
    pub fn count(&self) -> usize {
        self.patterns.len()
    }

    /// Puts the first so many patterns behind all others, so that they decide.
    pub fn first_to_last(&mut self, count: usize) {
        let count = count.min(self.patterns.len());
        self.patterns.rotate_left(count);
    }

    /// Puts the lists in front.
    pub fn with(mut self, builtin: Builtin) -> Self {
        let lists: &[&[&str]] = match builtin {
            Builtin::Nothing => &[],
            Builtin::Automatic if self.patterns.is_empty() => &[VCS, DEFAULTS],
            Builtin::Automatic | Builtin::Vcs => &[VCS],
            Builtin::All => &[VCS, DEFAULTS],
        };
        let lines = lists.iter().flat_map(|list| list.iter());
        let mut patterns: Vec<_> = lines.map(|line| Pattern::parse(line.as_bytes(), None)).collect();
        patterns.append(&mut self.patterns);
        Self { patterns }
    }

    /// Whether a path is left out.
    pub fn ignore(&self, path: &TreePath, is_directory: bool) -> bool {
        let decides = self.patterns.iter().rev().find(|pattern| pattern.matches(path, is_directory));
        decides.is_some_and(|pattern| !pattern.includes)
    }
}

impl Pattern {
    fn parse(line: &[u8], domain: Option<&TreePath>) -> Self {
        let (includes, line) = line.strip_prefix(b"!").map_or((false, line), |rest| (true, rest));
        let end = line.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
        let line = if line.ends_with(b"\\ ") { line } else { &line[..end] };
        let (directories, line) = line.strip_suffix(b"/").map_or((false, line), |rest| (true, rest));
        let kind = if line.contains(&b'/') {
            Kind::Path(line.split(|&byte| byte == b'/').map(Part::parse).collect())
        } else {
            Kind::Name(Segment::parse(line).ok())
        };
        Self { includes, directories, domain: domain.cloned(), kind }
    }

    fn matches(&self, path: &TreePath, is_directory: bool) -> bool {
        let Some(rest) = path.relative_to(self.domain.as_ref()) else { return false };
        let components = rest.split(|&byte| byte == b'/');
        // How much of the path lies below what matched.
        let below = match &self.kind {
            Kind::Name(None) => None,
            Kind::Name(Some(name)) => {
                let mut components = components;
                components.find(|component| name.matches(component)).map(|_| components.count())
            }
            Kind::Path(parts) => below(parts, components),
        };
        below.is_some_and(|below| below > 0 || is_directory || !self.directories)
    }
}

impl Part {
    fn parse(text: &[u8]) -> Self {
        match text {
            b"" => Self::Empty,
            b"**" => Self::Any,
            text if text.windows(2).any(|two| two == b"**") => Self::Never,
            text => Segment::parse(text).map_or(Self::Never, Self::One),
        }
    }
}

/// How many components are left when all parts have found theirs. Matching a start of the path is enough.
fn below<'a>(parts: &[Part], mut components: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let mut matched = false;
    let mut skips = false;
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Empty => skips = false,
            // At the end it stands for whatever is left, nothing included.
            Part::Any if at + 1 == parts.len() => break,
            Part::Any => skips = true,
            Part::Never => return None,
            Part::One(segment) => {
                let found = if std::mem::take(&mut skips) {
                    components.any(|component| segment.matches(component))
                } else {
                    segment.matches(components.next()?)
                };
                if !found {
                    return None;
                }
                matched = true;
            }
        }
    }
    matched.then(|| components.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    /// Whether the lines leave a path out; a slash at its end: a directory.
    fn ignored(lines: &[&str], text: &str, domain: Option<&TreePath>) -> bool {
        let mut rules = Rules::default();
        lines.iter().for_each(|line| rules.add(line.as_bytes(), domain).unwrap());
        rules.with(Builtin::Nothing).ignore(&path(text.trim_end_matches('/')), text.ends_with('/'))
    }

    /// What it shows, the lines, what they leave out, what they do not.
    type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

    const ROWS: &[Row] = &[
        ("a name, at any depth, and all beneath", &["a"], &["a", "a/", "x/a", "x/a/y"], &["ab", "x"]),
        ("a name with stars", &["*.md"], &["a.md", "x/.md", "a.md/y"], &["a.mdx"]),
        ("two stars in a name are one", &["a**b"], &["ab", "axxb"], &["a"]),
        ("directories only", &["a/"], &["a/", "a/x", "y/a/x"], &["a", "y/a"]),
        ("anchored by a slash in front", &["/a"], &["a", "a/", "a/x"], &["x/a"]),
        ("anchored by a slash inside", &["a/b"], &["a/b", "a/b/c"], &["a", "x/a/b", "a/bc"]),
        ("anchored, directories only", &["a/b/"], &["a/b/", "a/b/c"], &["a/b"]),
        ("stars stay in their component", &["a/*"], &["a/b", "a/b/c"], &["a", "a/"]),
        ("any directories in front", &["**/a"], &["a", "x/a", "x/y/a/z"], &["xa"]),
        ("any directories in front, directories only", &["**/a/"], &["a/", "x/a/", "x/a/y"], &["a", "x/a"]),
        ("everything in it, and itself: unlike Git", &["a/**"], &["a", "a/", "a/b/c"], &["x/a"]),
        ("the first place counts: unlike Git", &["**/a/b"], &["a/b", "x/a/b"], &["a/x/a/b"]),
        ("in the middle", &["a/**/b"], &["a/b", "a/x/b", "a/x/y/b/z"], &["a", "b", "x/a/b"]),
        ("all is two stars and a slash: nothing matched", &["**/"], &["a/", "a/x"], &["a"]),
        ("stars beside other text never match", &["a/**b", "x**/y"], &[], &["a/b", "a/xb", "x/y"]),
        ("a broken class never matches", &["[", "a/[", "**/[a"], &[], &["[", "a/[", "a"]),
        ("classes and question marks", &["?[0-9]", "[^a]x"], &["a1", "bx"], &["ab", "ax"]),
        ("the last decides", &["*.md", "!a.md", "x/a.md"], &["b.md", "x/a.md"], &["a.md", "y/a.md"]),
        ("also beneath an ignored directory: unlike Git", &["a/", "!a/b"], &["a/", "a/c"], &["a/b"]),
        ("spaces at the end go", &["a  "], &["a"], &["a  "]),
        ("but an escaped one", &["a\\ "], &["a "], &["a"]),
        ("spaces in front stay", &[" a"], &[" a"], &["a"]),
        ("comments and blank lines", &["#a", "", "  ", "\t"], &[], &["#a", "a"]),
        ("escaped signs", &["\\#a", "\\!b"], &["#a", "!b"], &["a", "b"]),
        ("a slash alone, and an empty one", &["/", "!"], &[], &["a", "a/"]),
        ("two slashes are one", &["a//b"], &["a/b"], &["a"]),
    ];

    #[test]
    fn patterns_match_as_in_flux() {
        for (row, lines, out, kept) in ROWS {
            for text in *out {
                assert!(ignored(lines, text, None), "{row}: {text} is left out");
            }
            for text in *kept {
                assert!(!ignored(lines, text, None), "{row}: {text} is kept");
            }
        }
    }

    #[test]
    fn a_domain_bounds_its_patterns() {
        let domain = path("d");
        for (text, expected) in [("d/a", true), ("d/x/a", true), ("a", false), ("d", false), ("da/a", false)] {
            assert_eq!(ignored(&["a"], text, Some(&domain)), expected, "{text}");
        }
        for (text, expected) in [("d/a", true), ("d/x/a", false), ("a", false)] {
            assert_eq!(ignored(&["/a"], text, Some(&domain)), expected, "{text}");
        }
    }

    #[test]
    fn lists_come_first() {
        let rows = [
            ("Flux's list", Builtin::Automatic, "", ".git/x", true),
            ("Flux's list", Builtin::Automatic, "", "a.png", true),
            ("patterns drop the defaults", Builtin::Automatic, "x", "a.png", false),
            ("but version control", Builtin::Automatic, "x", ".gitignore", true),
            ("all, with patterns", Builtin::All, "x", "a.png", true),
            ("a pattern takes back", Builtin::All, "!a.png", "a.png", false),
            ("version control alone", Builtin::Vcs, "", "a.png", false),
            ("nothing", Builtin::Nothing, "", ".gitignore", false),
        ];
        for (row, builtin, line, text, expected) in rows {
            let mut rules = Rules::default();
            rules.add(line.as_bytes(), None).unwrap();
            assert_eq!(rules.with(builtin).ignore(&path(text), false), expected, "{row}: {text}");
        }
    }

    #[test]
    fn files_are_read_as_in_flux_and_bounded() {
        let mut rules = Rules::default();
        let long = "x".repeat(MAX_LINE + 1);
        rules.add_file(format!("a\r\n#b\n\n!c\n{long}\nd").as_bytes(), None).unwrap();
        assert_eq!(rules.patterns.len(), 2, "a line that is too long ends it");
        let many = "a\n".repeat(MAX_PATTERNS + 1);
        assert_eq!(Rules::default().add_file(many.as_bytes(), None), Err(RulesError::TooMany));
        let long = "é".repeat(MAX_PATTERN);
        assert!(matches!(Rules::default().add(long.as_bytes(), None), Err(RulesError::TooLong(_))));
    }
}
