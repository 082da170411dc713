//! Random folders: whatever a checkout may have, and more of what is odd.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::Rng as _;
use rand::rngs::StdRng;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::one_of;

/// How deep folders go.
const DEPTH: usize = 5;

/// Most files of a tree.
const FILES: usize = 60;

/// Lines of a `.sourceignore`, between bars: of what the names below give, some match much, some little, some nothing.
const PATTERNS: &str = "*.txt|!a.txt|a|!a|/a|a/|!a/|/a/b|a/*|a/**|**/a|**/b/|!**/b|a/**/b|a/**/b/|!*.yaml|*.yaml|!*.png|!.git/|!.github/|\
    [a-b]|[^a]|?|??|Z|\\#hash|\\!bang|!\\!bang|#hash|with space|trail\\ |é*|日本|?-[0-9]-日本|m*|!n*|/|!|a//b|a**b|[|[]a]|a\\|.*|!.sourceignore|\
    .sourceignore|# comment||   |\t|b   |!b  |a-b/ | b|b\r|*.txt\r|raw-*|**/m*/n*|/*/a|!/*/a|a b|**/a/**|README/|b/**/a.txt|!*.md|\
    [a-]|[z-a]|\\a|a?b|Z/ |.hidden";

/// Lines that match nearly everything.
const BROAD: &str = "*|**|**/|/**|*/|/*/*|**/**|!*|!**/*|/*";

/// Lines that go together: what the first leaves out, the second takes back in part, also from within folders that are left out.
const PAIRS: &str = "*\n!*.yaml|a/\n!a.txt|/a/\n!b|**/b/\n!*.txt|*\n!a/**|a\n!a/b|m*\n!Z|/*\n!/a/*|b/\n!b/a";

const PLAIN: &str = "a|b|a-b|a.txt|b.txt|app.yaml|Z|.hidden|README";

const KNOWN: &str = ".git|.gitignore|.gitmodules|.gitattributes|.github|.circleci|.travis.yml|logo.png|photo.JPG|x.tar.gz|x.tgz|.sops.yaml|.flux.yaml|\
    .goreleaser.yml|cloudbuild.yaml|.zip|movie.flv";

const ODD: &str = "with space| lead|trail |new\nline|tab\t|quote'\"|*|[x]|?|!bang|#hash|-dash|~|a:b|%41|$HOME|..a|a.|\u{7f}|a,b=c|12 path=x";

fn pick<'a>(random: &mut StdRng, list: &'a str) -> &'a str {
    one_of(random, &list.split('|').collect::<Vec<_>>())
}

/// Makes a folder with random content. Returns how many things are in it.
pub(super) fn grow(folder: &Path, random: &mut StdRng) -> Result<usize> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut files = Vec::new();
    let most = one_of(random, &[0, 5, 10, 16]);
    fill(folder, random, (0, most), &mut files)?;
    Ok(files.len())
}

/// `files` are those that are there already.
fn fill(folder: &Path, random: &mut StdRng, (depth, most): (usize, usize), files: &mut Vec<PathBuf>) -> Result<()> {
    if random.random_bool(0.3) {
        put_rules(&folder.join(".sourceignore"), random)?;
    }
    for _ in 0..random.random_range(0..=most) {
        let path = folder.join(OsStr::from_bytes(&name(random)));
        if files.len() == FILES || path.symlink_metadata().is_ok() {
            continue;
        }
        match random.random_range(0..20) {
            0..6 if depth < DEPTH => {
                fs::create_dir(&path).with_context(|| path.display().to_string())?;
                fill(&path, random, (depth + 1, most), files)?;
                let mode = one_of(random, &[0o755, 0o700, 0o750, 0o2775, 0o1777]);
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            }
            6 => link(&path, random, files)?,
            7 if !files.is_empty() => {
                let other = one_of(random, files);
                fs::hard_link(other, &path).with_context(|| path.display().to_string())?;
            }
            8 => {
                let kind = one_of(random, &[FileType::Fifo, FileType::Socket]);
                mknodat(CWD, &path, kind, Mode::from_raw_mode(0o644), 0).with_context(|| path.display().to_string())?;
            }
            _ => {
                put_file(&path, random)?;
                files.push(path);
            }
        }
    }
    Ok(())
}

fn put_file(path: &Path, random: &mut StdRng) -> Result<()> {
    let length = match random.random_range(0..8) {
        0 => random.random_range(0..200_000),
        _ => one_of(random, &[0, 1, 511, 512, 513, 1024]),
    };
    let mut content = vec![0; length];
    random.fill(&mut content[..]);
    fs::write(path, content).with_context(|| path.display().to_string())?;
    let mode = one_of(random, &[0o600, 0o644, 0o755, 0o444, 0o400, 0o500, 0o611, 0o610, 0o777, 0o4750, 0o2755, 0o1644]);
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// A link: to a file of the tree, to one beside it, to nothing, out of the tree, to a folder, to itself.
fn link(path: &Path, random: &mut StdRng, files: &[PathBuf]) -> Result<()> {
    let target = match random.random_range(0..6) {
        0 if !files.is_empty() => one_of(random, files),
        1 => PathBuf::from("a.txt"),
        2 => PathBuf::from("nowhere/at all"),
        3 => PathBuf::from("/etc/passwd"),
        4 => PathBuf::from(".."),
        _ => PathBuf::from(path.file_name().unwrap_or_default()),
    };
    symlink(target, path).with_context(|| path.display().to_string())
}

/// A `.sourceignore`, or a folder that is called so.
fn put_rules(path: &Path, random: &mut StdRng) -> Result<()> {
    if random.random_range(0..20) == 0 {
        return fs::create_dir(path).with_context(|| path.display().to_string());
    }
    fs::write(path, rules(random)).with_context(|| path.display().to_string())
}

/// Some patterns, one a line.
pub(super) fn rules(random: &mut StdRng) -> String {
    let line =
        |random: &mut StdRng| if random.random_bool(0.06) { pick(random, BROAD) } else { pick(random, PATTERNS) };
    let mut lines: Vec<&str> = (0..random.random_range(0..9)).map(|_| line(random)).collect();
    if random.random_bool(0.4) {
        lines.push(pick(random, PAIRS));
    }
    let end = one_of(random, &["", "\n"]);
    lines.join("\n") + end
}

/// A name: plain, long, not ASCII, not even UTF-8, with signs that mean something elsewhere, or one that the ignore lists know.
fn name(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..14) {
        0..6 => pick(random, PLAIN).into(),
        6 | 7 => pick(random, KNOWN).into(),
        8 | 9 => pick(random, ODD).into(),
        10 => format!("é-{}-日本", random.random_range(0..9)).into(),
        11 => [b"raw-\xff\xfe".as_slice(), &[b'0' + random.random_range(0..9)]].concat(),
        // Components may have 255 bytes; the limits of a tar lie at 100, 155 and 256.
        _ => {
            let length = one_of(random, &[97, 98, 99, 100, 101, 153, 154, 155, 156, 200, 255]);
            vec![b'm' + random.random_range(0..9); length]
        }
    }
}
