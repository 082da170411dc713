//! A row for every way in which a tarball can be another tree.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::{
    super::corpus::{Raw, archive, entry, file, link, pax},
    *,
};
use crate::tree::{Content, TreePath};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `name/` is a directory, `name!=content` an executable file, `name=content` another one.
fn tree(entries: &[&str]) -> Tree {
    let entry = |text: &&str| {
        let (path, node) = match text.split_once('=') {
            None => (text.trim_end_matches('/'), Node::Directory),
            Some((path, content)) => {
                let (content, size) = (content.as_bytes().to_vec(), content.len() as u64);
                let sha256 = crate::hash::sha256(&content);
                let executable = path.ends_with('!');
                let content = Content::Inline(content.into());
                (path.trim_end_matches('!'), Node::File(File { executable, size, sha256, content }))
            }
        };
        Entry { path: TreePath::new(path.as_bytes()).unwrap(), node }
    };
    Tree::from_entries(entries.iter().map(entry).collect()).unwrap()
}

fn directory(name: &str) -> Raw {
    entry(b'5', name.as_bytes(), b"").mode(0o750)
}

/// What the SDK of Flux writes of `a/run!=go`, `b=text` and `e/`.
fn usual() -> Vec<Raw> {
    vec![
        directory("."),
        directory("a"),
        file("a/run", b"go").mode(0o700),
        file("b", b"text").mode(0o600),
        directory("e"),
    ]
}

fn with(at: usize, raw: Raw) -> Vec<Raw> {
    let mut entries = usual();
    entries[at] = raw;
    entries
}

fn without(at: usize) -> Vec<Raw> {
    let mut entries = usual();
    entries.remove(at);
    entries
}

fn and(at: usize, raw: Raw) -> Vec<Raw> {
    let mut entries = usual();
    entries.insert(at, raw);
    entries
}

#[test]
fn only_the_same_tree_is_equal() {
    let rows: Vec<(&str, Vec<Raw>, Result<(), &str>)> = vec![
        ("as the SDK writes it", usual(), Ok(())),
        ("without the root", without(0), Ok(())),
        ("modes of others", with(3, file("b", b"text").mode(0o644)), Ok(())),
        ("any execute bit", with(2, file("a/run", b"go").mode(0o611)), Ok(())),
        ("names with ./ and /", with(1, directory("./a/")), Ok(())),
        ("an extended header", and(3, pax(&[("mtime", "1.5")])), Ok(())),
        ("an empty directory is missing", without(4), Err(r#"entry "e" is missing"#)),
        ("a file is missing", without(3), Err(r#"entry "e" stands where "b" should"#)),
        ("one more", and(5, file("f", b"")), Err(r#"entry "f" is one too many"#)),
        ("one more, that others leave out", and(5, file("logo.png", b"")), Err(r#"entry "logo.png" is one too many"#)),
        ("one twice", and(4, file("b", b"text")), Err(r#"entry "b" stands where "e" should"#)),
        ("another order", vec![file("b", b"text"), directory("a")], Err(r#"entry "b" stands where "a" should"#)),
        ("another name", with(3, file("B", b"text")), Err(r#"entry "B" stands where "b" should"#)),
        ("another content", with(3, file("b", b"TEXT")), Err(r#"entry "b" has another content"#)),
        ("a longer content", with(3, file("b", b"text and")), Err(r#"entry "b" has another size"#)),
        ("no longer executable", with(2, file("a/run", b"go")), Err(r#"entry "a/run" has another execute bit"#)),
        ("now executable", with(3, file("b", b"text").mode(0o700)), Err(r#"entry "b" has another execute bit"#)),
        ("a directory for a file", with(3, directory("b")), Err(r#"entry "b" is of another kind"#)),
        ("a file for a directory", with(4, file("e", b"")), Err(r#"entry "e" is of another kind"#)),
        ("a hard link for a file", with(3, link(b'1', "b", "a/run")), Err(r#"entry "b" is of another kind"#)),
        ("a link that is skipped elsewhere", and(3, link(b'2', "l", "b")), Err(r#"entry "l" is of another kind"#)),
        (
            "what no source may have",
            and(3, entry(b'3', b"null", b"")),
            Err(r#"tar file entry "null" contained unsupported file type character device"#),
        ),
        ("a name that leads out", and(3, file("../x", b"")), Err(r#"tar contained invalid name error "../x""#)),
    ];
    let expected = tree(&["a/", "a/run!=go", "b=text", "e/"]);
    for (row, entries, equal) in rows {
        let found = compare(&gzip(&archive(&entries))[..], &expected).map_err(|difference| difference.to_string());
        assert_eq!(found, equal.map_err(str::to_owned), "row {row}");
    }
}

#[test]
fn an_empty_tree_is_an_empty_archive() {
    compare(&gzip(&archive(&[directory(".")]))[..], &Tree::default()).unwrap();
    compare(&gzip(&archive(&[]))[..], &Tree::default()).unwrap();
}

#[test]
fn what_is_packed_here_is_equal() {
    let long = format!("d/{}/{}=x", "n".repeat(150), "m".repeat(200));
    let expected = tree(&["a=1", &long, "e/", "r!=run"]);
    let mut packed = Vec::new();
    crate::archive::pack(&expected, &mut packed).unwrap();
    compare(&packed[..], &expected).unwrap();
}

#[test]
fn streams_that_are_no_archive_are_different() {
    let whole = gzip(&archive(&usual()));
    let expected = tree(&["a/", "a/run!=go", "b=text", "e/"]);
    let text = |tarball: &[u8]| compare(tarball, &expected).unwrap_err().to_string();
    for (row, tarball) in [("nothing", &b""[..]), ("plain", b"not gzip"), ("cut", &whole[..whole.len() / 2])] {
        assert!(text(tarball).starts_with("tar error: "), "row {row}: {}", text(tarball));
    }
}

/// Headers that mean nothing, and content that is skipped: neither may be read for ever, nor pass for an end.
#[test]
fn an_archive_larger_than_its_content_is_different() {
    let empty = Tree::default();
    let global = || entry(b'g', b"pax_global_header", &[b"999 comment=".as_slice(), &[b'x'; 986], b"\n"].concat());
    let many: Vec<Raw> = (0..50).map(|_| global()).collect();
    let text = compare(&gzip(&archive(&many))[..], &empty).unwrap_err().to_string();
    assert_eq!(text, "tar error: it is larger than its content");
    // An entry hides behind them, wherever the limit falls.
    for count in 0..60 {
        let mut hidden: Vec<Raw> = (0..count).map(|_| global()).collect();
        hidden.push(file("x", b"hidden"));
        assert!(compare(&gzip(&archive(&hidden))[..], &empty).is_err(), "behind {count}");
    }
}
