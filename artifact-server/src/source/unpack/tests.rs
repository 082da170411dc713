//! A row for every rule of entries and streams.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::{
    super::{
        Limits,
        corpus::{Raw, archive, entry, file, link, long, open_ended, pax},
        shelf::Shelf,
    },
    *,
};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Unpacks a tarball: `d path`, `f path = content` or `x path = content`, and a count of skipped links if there are any.
fn unpacked(tarball: &[u8], rules: &Rules) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(1 << 20, 1000);
    let source = unpack(tarball, folder.path(), rules, shelf.charge()).map_err(|error| match error {
        SourceError::Refused(text) => text,
        other => other.to_string(),
    })?;
    let text = |entry: &Entry| match &entry.node {
        Node::Directory => format!("d {}", entry.path),
        Node::File(file) => {
            let Content::Spooled(spool, offset) = &file.content else { panic!("not spooled") };
            let mut content = vec![0; usize::try_from(file.size).unwrap()];
            spool.read_exact_at(&mut content, *offset).unwrap();
            assert_eq!(crate::hash::sha256(&content), file.sha256);
            let kind = if file.executable { 'x' } else { 'f' };
            format!("{kind} {} = {}", entry.path, String::from_utf8_lossy(&content))
        }
    };
    let mut seen: Vec<String> = source.tree.entries().iter().map(text).collect();
    if source.summary.skipped_links > 0 {
        seen.push(format!("{} links skipped", source.summary.skipped_links));
    }
    Ok(seen)
}

type Row = (&'static str, Vec<Raw>, Result<&'static [&'static str], &'static str>);

fn directory(name: &str) -> Raw {
    entry(b'5', name.as_bytes(), b"").mode(0o755)
}

fn taken() -> Vec<Row> {
    let one = |name: &str| file(name, b"one");
    vec![
        ("§9 nothing", vec![], Ok(&[])),
        ("§9 files and their parents", vec![one("a/b/c")], Ok(&["d a", "d a/b", "f a/b/c = one"])),
        ("§9 directories, also empty ones", vec![directory("a/"), directory("b/c")], Ok(&["d a", "d b", "d b/c"])),
        ("§9 archive order", vec![one("a.txt"), one("a/x")], Ok(&["d a", "f a/x = one", "f a.txt = one"])),
        ("faults 25 the root is no entry", vec![directory("./"), one("./a")], Ok(&["f a = one"])),
        (
            "§9 symbolic links are skipped",
            vec![link(b'2', "l", "/etc"), one("a")],
            Ok(&["f a = one", "1 links skipped"]),
        ),
        (
            "faults 26 a file through a symbolic link is an ordinary file",
            vec![link(b'2', "l", "/etc"), link(b'2', "m", "l"), one("l/passwd")],
            Ok(&["d l", "f l/passwd = one", "2 links skipped"]),
        ),
        ("faults 26 a link that only the mode tells", vec![one("l").mode(0o120_777)], Ok(&["1 links skipped"])),
        (
            "faults 27 hard link to an earlier file",
            vec![one("a").mode(0o755), link(b'1', "b", "./a")],
            Ok(&["x a = one", "x b = one"]),
        ),
        ("faults 28 of duplicates the last counts", vec![one("a"), file("./a", b"2")], Ok(&["f a = 2"])),
    ]
}

fn modes_and_flags() -> Vec<Row> {
    let one = |name: &str| file(name, b"one");
    vec![
        (
            "§10.10 of duplicates the first mode counts",
            vec![one("a").mode(0o755), file("a", b"2"), one("b"), file("b", b"2").mode(0o755)],
            Ok(&["x a = 2", "f b = 2"]),
        ),
        (
            "§10.10 a directory whose mode says otherwise",
            vec![entry(b'5', b"d", b"").mode(0o060_755), link(b'2', "l", "t").mode(0o020_777)],
            Ok(&["d d", "1 links skipped"]),
        ),
        ("faults 28 a directory twice", vec![directory("a"), one("a/b"), directory("a/")], Ok(&["d a", "f a/b = one"])),
        (
            "faults 27 a hard link keeps what it named",
            vec![one("a"), link(b'1', "b", "a"), file("a", b"2")],
            Ok(&["f a = 2", "f b = one"]),
        ),
        (
            "faults 31 only execute bits are kept",
            vec![one("a").mode(0o7644), one("b").mode(0o4001), one("c").mode(0)],
            Ok(&["f a = one", "x b = one", "f c = one"]),
        ),
        (
            "faults 31 a directory that nobody may enter",
            vec![directory("d").mode(0), one("d/a")],
            Ok(&["d d", "f d/a = one"]),
        ),
        ("§10.10 a mode with the type of a file", vec![one("a").mode(0o100_644)], Ok(&["f a = one"])),
        ("§10.10 a directory that only the mode tells", vec![one("d").mode(0o040_755)], Ok(&["d d"])),
        (
            "§10.10 global headers are no entries",
            vec![entry(b'g', b"pax_global_header", b"10 comm=1\n"), one("a")],
            Ok(&["f a = one"]),
        ),
        ("§10.10 contiguous files are files", vec![entry(b'7', b"a", b"one")], Ok(&["f a = one"])),
        ("§9 old flag for files", vec![entry(0, b"a", b"one"), entry(0, b"d/", b"")], Ok(&["f a = one", "d d"])),
        ("§9 trailing slash on a file", vec![one("a/")], Ok(&["f a = one"])),
        (
            "§9 PAX and GNU names",
            vec![pax(&[("path", "p/ü")]), one("x"), long(b'L', b"g"), one("x")],
            Ok(&["f g = one", "d p", "f p/ü = one"]),
        ),
    ]
}

fn refused_names() -> Vec<Row> {
    let one = |name: &str| file(name, b"one");
    vec![
        (
            "§10.10 a name that leads out",
            vec![one("ok"), one("../x")],
            Err(r#"tar contained invalid name error "../x""#),
        ),
        ("§10.10 an absolute name", vec![one("/x")], Err(r#"tar contained invalid name error "/x""#)),
        ("§10.10 an empty name", vec![one("")], Err(r#"tar contained invalid name error """#)),
        (
            "§10.10 in a PAX header",
            vec![pax(&[("path", "a/../x")]), one("x")],
            Err(r#"tar contained invalid name error "a/../x""#),
        ),
        (
            "§10.10 names are checked on skipped links too",
            vec![link(b'2', "../x", "a")],
            Err(r#"tar contained invalid name error "../x""#),
        ),
        ("faults 25 a file in place of the root", vec![one(".")], Err(r#"tar contained invalid name error ".""#)),
        ("faults 25 the folder above", vec![directory("..")], Err(r#"tar contained invalid name error "..""#)),
    ]
}

fn refused_links() -> Vec<Row> {
    let one = |name: &str| file(name, b"one");
    vec![
        (
            "faults 27 hard link to outside",
            vec![link(b'1', "l", "/etc/passwd")],
            Err(r#"tar contained invalid name error "/etc/passwd""#),
        ),
        (
            "faults 27 hard link to a later file",
            vec![link(b'1', "l", "a"), one("a")],
            Err(r#"tar file entry "l" is a hard link to "a", which is not an earlier file of the archive"#),
        ),
        (
            "faults 27 hard link to a directory",
            vec![directory("d"), link(b'1', "l", "d")],
            Err(r#"tar file entry "l" is a hard link to "d", which is not an earlier file of the archive"#),
        ),
        (
            "faults 27 hard link to a skipped link",
            vec![link(b'2', "s", "/etc/passwd"), link(b'1', "l", "s")],
            Err(r#"tar file entry "l" is a hard link to "s", which is not an earlier file of the archive"#),
        ),
    ]
}

fn refused_types() -> Vec<Row> {
    let one = |name: &str| file(name, b"one");
    let device = |flag: u8| entry(flag, b"dev/x", b"");
    vec![
        (
            "§10.10 character device",
            vec![device(b'3')],
            Err(r#"tar file entry "dev/x" contained unsupported file type character device"#),
        ),
        (
            "§10.10 block device",
            vec![device(b'4')],
            Err(r#"tar file entry "dev/x" contained unsupported file type block device"#),
        ),
        (
            "§10.10 named pipe",
            vec![device(b'6')],
            Err(r#"tar file entry "dev/x" contained unsupported file type named pipe"#),
        ),
        (
            "§10.10 socket, told by the mode",
            vec![one("s").mode(0o140_644)],
            Err(r#"tar file entry "s" contained unsupported file type socket"#),
        ),
        (
            "§10.10 device, told by the mode",
            vec![one("s").mode(0o060_644)],
            Err(r#"tar file entry "s" contained unsupported file type block device"#),
        ),
        (
            "faults 27 old sparse file",
            vec![entry(b'S', b"s", b"").gnu()],
            Err(r#"tar file entry "s" contained unsupported file type sparse file"#),
        ),
        (
            "faults 27 PAX sparse file",
            vec![pax(&[("GNU.sparse.map", "0,1")]), one("s")],
            Err(r#"tar file entry "s" contained unsupported file type sparse file"#),
        ),
        (
            "faults 27 GNU multi-volume",
            vec![entry(b'M', b"m", b"x")],
            Err(r#"tar file entry "m" contained unsupported file type type flag "M""#),
        ),
        (
            "faults 27 GNU dump of a directory",
            vec![entry(b'D', b"m", b"x")],
            Err(r#"tar file entry "m" contained unsupported file type type flag "D""#),
        ),
        (
            "faults 27 unknown type",
            vec![entry(0xff, b"m", b"")],
            Err(r#"tar file entry "m" contained unsupported file type type flag "\xff""#),
        ),
    ]
}

fn refused_trees() -> Vec<Row> {
    let one = |name: &str| file(name, b"one");
    vec![
        (
            "faults 33 a directory over a file",
            vec![one("a"), directory("a")],
            Err(r#"tar file entry "a" is both a file and a directory"#),
        ),
        (
            "faults 33 a file over a directory",
            vec![one("a/b"), one("a")],
            Err(r#"tar file entry "a" is both a file and a directory"#),
        ),
        (
            "faults 33 a file as a parent",
            vec![one("a"), one("a/b/c")],
            Err(r#"tar file entry "a/b/c" lies below "a", which is a file"#),
        ),
        (
            "faults 29 too deep",
            vec![one("1/2/3/4/5/6")],
            Err(
                r#"source is too large: tar entry "1/2/3/4/5/6" is more than 5 directories deep; raise --source-max-depth"#,
            ),
        ),
        (
            "faults 29 a size that is only declared",
            vec![one("big").size("10000000000")],
            Err(
                r#"source is too large: tar entry "big" needs more than all 1048576 bytes of the source cache; raise --source-cache-size"#,
            ),
        ),
        (
            "faults 29 hard links count as the files they name",
            vec![file("big", &[7; 400_000]), link(b'1', "l", "big"), link(b'1', "m", "big")],
            Err(
                r#"source is too large: tar entry "m" takes the files of the source over 1048576 bytes, hard links included; raise --source-max-size"#,
            ),
        ),
        (
            "faults 29 files behind hard links count too",
            vec![file("big", &[7; 500_000]), link(b'1', "l", "big"), file("n", &[7; 100_000])],
            Err(
                r#"source is too large: tar entry "n" takes the files of the source over 1048576 bytes, hard links included; raise --source-max-size"#,
            ),
        ),
    ]
}

#[test]
fn every_rule_for_entries() {
    let limits = Limits { depth: 5, ..Limits::for_cache(1 << 20, 1000) };
    for (row, entries, expected) in
        [taken(), modes_and_flags(), refused_names(), refused_links(), refused_types(), refused_trees()].concat()
    {
        let got = unpacked(&gzip(&archive(&entries)), &Rules::source(limits));
        let expected = expected.map(|lines| lines.iter().map(|&line| line.to_owned()).collect());
        assert_eq!(got, expected.map_err(str::to_owned), "row {row}");
    }
}

#[test]
fn every_rule_for_the_stream() {
    let limits = Limits::for_cache(1 << 20, 1000);
    let tar = archive(&[file("a", b"one")]);
    let whole = gzip(&tar);
    let cut = |bytes: &[u8], by: usize| bytes[..bytes.len() - by].to_vec();
    let halves = [gzip(&tar[..700]), gzip(&tar[700..])].concat();
    let flipped = || {
        let mut bytes = gzip(&open_ended(&[file("a", b"one")]));
        let crc = bytes.len() - 8;
        bytes[crc] ^= 1;
        bytes
    };
    let one = Ok("f a = one");
    let rows: Vec<(&str, Vec<u8>, Result<&str, &str>)> = vec![
        ("§10.10 not gzip", tar.clone(), Err("requires gzip-compressed body: gzip: invalid header")),
        ("§10.10 no bytes", vec![], Err("requires gzip-compressed body: EOF")),
        ("§10.10 gzip, but no tar", gzip(&[1; 600]), Err("tar error: invalid tar header (at its start)")),
        ("faults 30 gzip of nothing", gzip(b""), Ok("")),
        ("faults 30 several gzip members", halves, one),
        ("faults 30 trailing bytes behind the end marker", [&whole[..], b"garbage"].concat(), one),
        (
            "faults 30 trailing bytes where the tar goes on",
            [&gzip(&open_ended(&[file("a", b"one")]))[..], b"garbage garbage"].concat(),
            Err("tar error: invalid gzip header (after entry \"a\")"),
        ),
        (
            "faults 30 wrong checksum",
            flipped(),
            Err("tar error: corrupt gzip stream does not have a matching checksum (after entry \"a\")"),
        ),
        (
            "faults 30 cut in the gzip",
            cut(&whole, 20),
            Err("tar error: unexpected end of the archive (after entry \"a\")"),
        ),
        (
            "faults 30 cut in the tar",
            gzip(&[&archive(&[file("a", b"one"), file("b", b"two")])[..1500]].concat()),
            Err("tar error: unexpected end of the archive (after entry \"a\")"),
        ),
        (
            "faults 30 cut in a content",
            gzip(&cut(&open_ended(&[file("a", &[7; 600])]), 500)),
            Err("tar error: unexpected end of the archive (after entry \"a\")"),
        ),
    ];
    for (row, bytes, expected) in rows {
        let got = unpacked(&bytes, &Rules::source(limits)).map(|lines| lines.join("\n"));
        assert_eq!(got.as_deref(), expected.map_err(str::to_owned).as_ref().map(|text| *text), "row {row}");
    }
}

// The whole index of 50 000 files, as it is charged to the budget.
#[test]
fn an_index_stays_small() {
    let files: Vec<Raw> = (0..2000).map(|n| file(&format!("apps/app-{:05}/manifests-{n}.yaml", n / 5), b"")).collect();
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::new(1 << 30, 100_000);
    let limits = Limits::for_cache(1 << 30, 100_000);
    let source = unpack(&gzip(&archive(&files))[..], folder.path(), &Rules::source(limits), shelf.charge()).unwrap();
    assert_eq!((source.summary.files, source.summary.directories), (2000, 401));
    let (bytes, entries, ..) = shelf.figures();
    assert_eq!(entries, 2401);
    assert!(bytes / entries < 200, "{bytes} bytes for {entries} entries: 50 000 would take over 10 MB");
    drop(source);
    assert_eq!(shelf.figures(), (0, 0, 0, 0), "the share of the budget comes back");
}
