//! The rows of Extract. What may be in a tarball is in the rows of `source/unpack`; here is which tarballs go where, and what is said
//! of those that can not.

use std::io::{Read as _, Write as _};

use flate2::{Compression, write::GzEncoder};

use super::Row;
use crate::source::corpus::{Raw, archive, entry, file, link, long, open_ended, pax};

/// Every rule of 10.10, and of 10.4 to 10.7 where Extract has its own.
pub(super) const RULES: &[&str] = &[
    "10.10 names of tarballs",
    "10.10 another name",
    "10.10 a directory",
    "10.10 patterns skip what is no tarball",
    "10.10 a directory named like a tarball",
    "10.10 the destination is a directory",
    "10.10 all tarballs go to the same place",
    "10.10 later ones are written over earlier ones",
    "10.10 the destination is confined",
    "10.10 what is there can be in the way",
    "10.10 the sizes are limited",
    "10.10 symbolic links",
    "10.10 devices",
    "10.10 bad names",
    "10.10 not gzip",
    "10.10 corrupt",
    "10.10 modes",
    "10.10 an existing file keeps its mode",
    "10.10 hard links",
    "10.10 global headers",
    "10.10 long names",
    "10.10 empty directories",
    "10.10 nothing inside is unpacked further",
    "10.10 excludes pick tarballs",
    "10.10 excludes are not about what is inside",
    "10.10 a failing match is named",
    "10.4 Extract: order of the checks",
    "10.5 Extract: a missing source",
    "10.6 Extract: ** is any number of directories",
    "10.6 Extract: ** glued to text is *",
    "10.6 Extract: alternatives",
    "10.6 Extract: classes are negated by ! too",
    "10.6 Extract: dir/** is dir too",
    "10.6 Extract: * matches dotfiles",
    "10.6 Extract: unclean literal parts match nothing",
    "10.6 Extract: a trailing slash finds directories only",
    "10.6 Extract: malformed",
    "10.6 Extract: limits of patterns",
    "10.6 Extract: no match",
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn tarball(entries: &[Raw]) -> Vec<u8> {
    gzip(&archive(entries))
}

/// A file that would be so large.
fn claiming(name: &str, size: u64) -> Raw {
    file(name, b"").size(&format!("{size:o}"))
}

/// A tarball of files of zeros. The bytes go to the compressor in large pieces, as there are many.
fn zeros(files: &[(&str, u64)]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for (name, size) in files {
        encoder.write_all(&claiming(name, *size).bytes()).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(size.next_multiple_of(512)), &mut encoder).unwrap();
    }
    encoder.write_all(&[0; 1024]).unwrap();
    encoder.finish().unwrap()
}

/// Source `z`.
pub(super) fn files() -> Vec<(&'static str, Vec<u8>)> {
    let one = |name: &str| tarball(&[file(name, b"1")]);
    let mut cut = one("a");
    cut.truncate(cut.len() / 2);
    let mut flipped = one("a");
    let last = flipped.len() - 6;
    flipped[last] ^= 1;
    vec![
        ("chart.tgz", tarball(&[file("app/Chart.yaml", b"name: app"), file("app/templates/a", b"t")])),
        ("x.tar.gz", one("x")),
        ("loud.TGZ", one("loud")),
        ("Mixed.Tar.Gz", one("mixed")),
        (".tgz", one("dot")),
        ("plain.tar", archive(&[file("a", b"1")])),
        ("zip.gz", one("a")),
        ("dir.tgz/inner", Vec::new()),
        ("charts/one.tgz", tarball(&[file("same", b"one"), file("one", b"1")])),
        ("charts/two.tgz", tarball(&[file("same", b"two"), file("two", b"2")])),
        ("charts/README.md", b"no tarball".to_vec()),
        ("charts/.hidden/three.tgz", tarball(&[file("same", b"three"), file("three", b"3")])),
        ("charts/deep/er/four.tgz", one("four")),
        ("charts/deep/notes", b"no tarball".to_vec()),
        ("only/README.md", b"no tarball".to_vec()),
        ("bad/link.tgz", tarball(&[link(b'2', "l", "/etc/passwd")])),
        ("bad/fifo.tgz", tarball(&[entry(b'6', b"p", b"")])),
        ("bad/device.tgz", tarball(&[entry(b'3', b"null", b"")])),
        ("bad/up.tgz", tarball(&[file("../../etc/x", b"")])),
        ("bad/absolute.tgz", tarball(&[file("/etc/x", b"")])),
        ("bad/backslash.tgz", tarball(&[file("a\\b", b"")])),
        ("bad/text.tgz", b"not gzip at all".to_vec()),
        ("bad/empty.tgz", Vec::new()),
        ("bad/short.tgz", one("a")[..5].to_vec()),
        ("bad/notar.tgz", gzip(&[b'x'; 1024])),
        ("bad/cut.tgz", cut),
        ("bad/flipped.tgz", flipped),
        ("bad/lying.tgz", gzip(&open_ended(&[file("a", b"one").size("4000")]))),
        ("bad/bomb.tgz", zeros(&[("zeros", 101 << 20)])),
        ("bad/claims.tgz", gzip(&open_ended(&[claiming("huge", 104_857_601)]))),
        ("bad/sums.tgz", zeros(&[("half", 60 << 20), ("other", 50 << 20)])),
        ("edge.tgz", zeros(&[("exactly", 100 << 20)])),
        ("modes.tgz", tarball(&[file("run", b"r").mode(0o755), file("plain", b"p"), file("odd", b"o").mode(0o4011)])),
        ("plain-run.tgz", tarball(&[file("run", b"2")])),
        ("hard.tgz", tarball(&[file("a", b"1"), link(b'1', "b", "a")])),
        ("hard-bad.tgz", tarball(&[link(b'1', "b", "../a")])),
        ("hard-late.tgz", tarball(&[link(b'1', "b", "a"), file("a", b"1")])),
        ("global.tgz", tarball(&[entry(b'g', b"pax_global_header", b"10 comm=1\n"), file("a", b"1")])),
        ("long.tgz", tarball(&[pax(&[("path", "p/ü")]), file("x", b"1"), long(b'L', b"g"), file("x", b"2")])),
        ("dirs.tgz", tarball(&[entry(b'5', b"./", b""), entry(b'5', b"d/e/", b"")])),
        ("nested.tgz", tarball(&[file("inner.tgz", b"bytes")])),
        ("under.tgz", tarball(&[file("run/x", b"1")])),
    ]
}

/// The rows, by rule.
pub(super) const ROWS: &[Row] = &[
    Row(
        "10.10 names of tarballs",
        ".tgz",
        &["Extract: @z/chart.tgz -> @artifact/"],
        Ok("app/ app/Chart.yaml=name: app app/templates/ app/templates/a=t"),
    ),
    Row("10.10 names of tarballs", ".tar.gz", &["Extract: @z/x.tar.gz -> @artifact/"], Ok("x=1")),
    Row("10.10 names of tarballs", "case does not count", &["Extract: @z/loud.TGZ -> @artifact/"], Ok("loud=1")),
    Row("10.10 names of tarballs", "nor in .tar.gz", &["Extract: @z/Mixed.Tar.Gz -> @artifact/"], Ok("mixed=1")),
    Row("10.10 names of tarballs", "nothing but the end", &["Extract: @z/.tgz -> @artifact/"], Ok("dot=1")),
    Row(
        "10.10 another name",
        ".tar",
        &["Extract: @z/plain.tar -> @artifact/"],
        Err("extract strategy requires tarball file (.tar.gz or .tgz), got 'plain.tar'"),
    ),
    Row(
        "10.10 another name",
        ".gz, whatever is in it",
        &["Extract: @z/zip.gz -> @artifact/"],
        Err("extract strategy requires tarball file (.tar.gz or .tgz), got 'zip.gz'"),
    ),
    Row(
        "10.10 another name",
        "shown cleaned",
        &["Extract: @z/only/../charts//README.md -> @artifact/"],
        Err("extract strategy requires tarball file (.tar.gz or .tgz), got 'charts/README.md'"),
    ),
    Row(
        "10.10 a directory",
        "of any name",
        &["Extract: @z/charts/ -> @artifact/"],
        Err("extract strategy is not supported for directories, got 'charts'"),
    ),
    Row(
        "10.10 a directory",
        "named like a tarball",
        &["Extract: @z/dir.tgz -> @artifact/"],
        Err("extract strategy is not supported for directories, got 'dir.tgz'"),
    ),
    Row(
        "10.10 a directory",
        "the root",
        &["Extract: @z/ -> @artifact/"],
        Err("extract strategy is not supported for directories, got '.'"),
    ),
    Row(
        "10.10 patterns skip what is no tarball",
        "files and directories",
        &["Extract: @z/charts/* -> @artifact/ ! one.tgz"],
        Ok("same=two two=2"),
    ),
    Row(
        "10.10 patterns skip what is no tarball",
        "nothing is left: success",
        &["Extract: @z/only/* -> @artifact/to"],
        Ok(""),
    ),
    Row(
        "10.10 patterns skip what is no tarball",
        "a directory alone",
        &["Extract: @z/char[t]s -> @artifact/to"],
        Ok(""),
    ),
    Row(
        "10.10 a directory named like a tarball",
        "found by a pattern",
        &["Extract: @z/d*.tgz -> @artifact/to ! dirs.tgz"],
        Err("failed to extract tarball 'dir.tgz' to 'to': failed to extract tarball \"dir.tgz\" to \"to\": \
             requires gzip-compressed body: read dir.tgz: is a directory"),
    ),
    Row(
        "10.10 the destination is a directory",
        "without a slash",
        &["Extract: @z/x.tar.gz -> @artifact/to"],
        Ok("to/ to/x=1"),
    ),
    Row(
        "10.10 the destination is a directory",
        "with one, and parents",
        &["Extract: @z/x.tar.gz -> @artifact/a/b/"],
        Ok("a/ a/b/ a/b/x=1"),
    ),
    Row(
        "10.10 the destination is a directory",
        "that is there already",
        &["@s/bin -> @artifact/", "Extract: @z/x.tar.gz -> @artifact/bin"],
        Ok("bin/ bin/run* bin/x=1"),
    ),
    Row("10.10 the destination is a directory", "the root", &["Extract: @z/x.tar.gz -> @artifact/."], Ok("x=1")),
    Row(
        "10.10 the destination is a directory",
        "made even for nothing",
        &["Extract: @z/dirs.tgz -> @artifact/to"],
        Ok("to/ to/d/ to/d/e/"),
    ),
    Row(
        "10.10 all tarballs go to the same place",
        "their paths are not kept",
        &["Extract: @z/charts/**/*.tgz -> @artifact/to"],
        Ok("to/ to/four=1 to/one=1 to/same=three to/three=3 to/two=2"),
    ),
    Row(
        "10.10 later ones are written over earlier ones",
        "in the order in which they are found",
        &["Extract: @z/charts/*.tgz -> @artifact/"],
        Ok("one=1 same=two two=2"),
    ),
    Row(
        "10.10 later ones are written over earlier ones",
        "in the order of operations",
        &["Extract: @z/charts/two.tgz -> @artifact/", "Extract: @z/charts/one.tgz -> @artifact/"],
        Ok("one=1 same=one two=2"),
    ),
    Row(
        "10.10 later ones are written over earlier ones",
        "over copied files too",
        &["@s/bin/run -> @artifact/x", "Extract: @z/x.tar.gz -> @artifact/"],
        Ok("x*=1"),
    ),
    Row(
        "10.10 the destination is confined",
        "..",
        &["Extract: @z/x.tar.gz -> @artifact/../../x"],
        Err("failed to create destination directory \"../../x\": destination '../../x': path escapes from parent"),
    ),
    Row(
        "10.10 the destination is confined",
        "out and in again is lexical",
        &["Extract: @z/x.tar.gz -> @artifact/a/../b"],
        Ok("b/ b/x=1"),
    ),
    Row(
        "10.10 the destination is confined",
        "a leading slash",
        &["Extract: @z/x.tar.gz -> @artifact//etc"],
        Err("failed to create destination directory \"/etc\": destination '/etc': path escapes from parent"),
    ),
    Row(
        "10.10 what is there can be in the way",
        "a file where the destination should be",
        &["@s/bin/run -> @artifact/to", "Extract: @z/x.tar.gz -> @artifact/to"],
        Err(
            "failed to create destination directory \"to\": 'to' is a file in the artifact, 'to' needs a directory there",
        ),
    ),
    Row(
        "10.10 what is there can be in the way",
        "a file where one of its directories should be",
        &["@s/bin/run -> @artifact/run", "Extract: @z/under.tgz -> @artifact/"],
        Err(
            "failed to extract tarball \"under.tgz\" to \".\": 'run' is a file in the artifact, 'run' needs a directory there",
        ),
    ),
    Row(
        "10.10 what is there can be in the way",
        "a directory where a file should be",
        &["@s/bin -> @artifact/x", "Extract: @z/x.tar.gz -> @artifact/"],
        Err(
            "failed to extract tarball \"x.tar.gz\" to \".\": 'x' is a directory in the artifact, a file can not replace it",
        ),
    ),
    Row(
        "10.10 the sizes are limited",
        "a bomb of zeros",
        &["Extract: @z/bad/bomb.tgz -> @artifact/"],
        Err(
            "failed to extract tarball \"bad/bomb.tgz\" to \".\": tar \"zeros\" is bigger than max archive size of 104857600 bytes",
        ),
    ),
    Row(
        "10.10 the sizes are limited",
        "what the header says counts",
        &["Extract: @z/bad/claims.tgz -> @artifact/"],
        Err(
            "failed to extract tarball \"bad/claims.tgz\" to \".\": tar \"huge\" is bigger than max archive size of 104857600 bytes",
        ),
    ),
    Row(
        "10.10 the sizes are limited",
        "all entries together",
        &["Extract: @z/bad/sums.tgz -> @artifact/"],
        Err(
            "failed to extract tarball \"bad/sums.tgz\" to \".\": tar \"other\" is bigger than max archive size of 104857600 bytes",
        ),
    ),
    Row(
        "10.10 the sizes are limited",
        "exactly 100 MiB",
        &["Extract: @z/edge.tgz -> @artifact/", "@s/bin/run -> @artifact/exactly"],
        Ok("exactly*=s:bin/run"),
    ),
    Row(
        "10.10 symbolic links",
        "are refused",
        &["Extract: @z/bad/link.tgz -> @artifact/"],
        Err(
            "failed to extract tarball \"bad/link.tgz\" to \".\": tar file entry l is a symlink, which is not allowed in this context",
        ),
    ),
    Row(
        "10.10 devices",
        "a named pipe",
        &["Extract: @z/bad/fifo.tgz -> @artifact/"],
        Err(
            "failed to extract tarball \"bad/fifo.tgz\" to \".\": tar file entry \"p\" contained unsupported file type named pipe",
        ),
    ),
    Row(
        "10.10 devices",
        "a character device",
        &["Extract: @z/bad/device.tgz -> @artifact/"],
        Err("failed to extract tarball \"bad/device.tgz\" to \".\": \
             tar file entry \"null\" contained unsupported file type character device"),
    ),
    Row(
        "10.10 bad names",
        "..",
        &["Extract: @z/bad/up.tgz -> @artifact/"],
        Err("failed to extract tarball \"bad/up.tgz\" to \".\": tar contained invalid name error \"../../etc/x\""),
    ),
    Row(
        "10.10 bad names",
        "a leading slash",
        &["Extract: @z/bad/absolute.tgz -> @artifact/to"],
        Err("failed to extract tarball \"bad/absolute.tgz\" to \"to\": tar contained invalid name error \"/etc/x\""),
    ),
    Row(
        "10.10 bad names",
        "a backslash",
        &["Extract: @z/bad/backslash.tgz -> @artifact/"],
        Err("failed to extract tarball \"bad/backslash.tgz\" to \".\": tar contained invalid name error \"a\\\\b\""),
    ),
    Row(
        "10.10 not gzip",
        "a text",
        &["Extract: @z/bad/text.tgz -> @artifact/"],
        Err("failed to extract tarball \"bad/text.tgz\" to \".\": requires gzip-compressed body: gzip: invalid header"),
    ),
    Row(
        "10.10 not gzip",
        "nothing",
        &["Extract: @z/bad/empty.tgz -> @artifact/"],
        Err("failed to extract tarball \"bad/empty.tgz\" to \".\": requires gzip-compressed body: EOF"),
    ),
    Row(
        "10.10 not gzip",
        "half a header",
        &["Extract: @z/bad/short.tgz -> @artifact/"],
        Err("failed to extract tarball \"bad/short.tgz\" to \".\": requires gzip-compressed body: unexpected EOF"),
    ),
    Row(
        "10.10 corrupt",
        "no tar",
        &["Extract: @z/bad/notar.tgz -> @artifact/"],
        Err("failed to extract tarball \"bad/notar.tgz\" to \".\": tar error: invalid tar header (at its start)"),
    ),
    Row(
        "10.10 corrupt",
        "cut off",
        &["Extract: @z/bad/cut.tgz -> @artifact/"],
        Err(
            "failed to extract tarball \"bad/cut.tgz\" to \".\": tar error: unexpected end of the archive (at its start)",
        ),
    ),
    Row(
        "10.10 corrupt",
        "a file that is shorter than its header says",
        &["Extract: @z/bad/lying.tgz -> @artifact/"],
        Err(
            "failed to extract tarball \"bad/lying.tgz\" to \".\": tar error: unexpected end of the archive (after entry \"a\")",
        ),
    ),
    Row(
        "10.10 modes",
        "any execute bit counts, others do not",
        &["Extract: @z/modes.tgz -> @artifact/"],
        Ok("odd*=o plain=p run*=r"),
    ),
    Row(
        "10.10 an existing file keeps its mode",
        "executable before",
        &["Extract: @z/modes.tgz -> @artifact/", "Extract: @z/plain-run.tgz -> @artifact/"],
        Ok("odd*=o plain=p run*=2"),
    ),
    Row(
        "10.10 an existing file keeps its mode",
        "not executable before",
        &["Extract: @z/plain-run.tgz -> @artifact/", "Extract: @z/modes.tgz -> @artifact/"],
        Ok("odd*=o plain=p run=r"),
    ),
    Row("10.10 hard links", "to an earlier file", &["Extract: @z/hard.tgz -> @artifact/"], Ok("a=1 b=1")),
    Row(
        "10.10 hard links",
        "to what lies outside",
        &["Extract: @z/hard-bad.tgz -> @artifact/"],
        Err("failed to extract tarball \"hard-bad.tgz\" to \".\": tar contained invalid name error \"../a\""),
    ),
    Row(
        "10.10 hard links",
        "to a later file",
        &["Extract: @z/hard-late.tgz -> @artifact/"],
        Err("failed to extract tarball \"hard-late.tgz\" to \".\": \
             tar file entry \"b\" is a hard link to \"a\", which is not an earlier file of the archive"),
    ),
    Row("10.10 global headers", "are no files", &["Extract: @z/global.tgz -> @artifact/"], Ok("a=1")),
    Row("10.10 long names", "PAX and GNU", &["Extract: @z/long.tgz -> @artifact/"], Ok("g=2 p/ p/ü=1")),
    Row("10.10 empty directories", "stay", &["Extract: @z/dirs.tgz -> @artifact/"], Ok("d/ d/e/")),
    Row(
        "10.10 nothing inside is unpacked further",
        "a tarball in it",
        &["Extract: @z/nested.tgz -> @artifact/"],
        Ok("inner.tgz=bytes"),
    ),
    Row(
        "10.10 excludes pick tarballs",
        "one that was named",
        &["Extract: @z/bad/text.tgz -> @artifact/ ! *.tgz"],
        Ok(""),
    ),
    Row(
        "10.10 excludes pick tarballs",
        "from the selection base",
        &["Extract: @z/charts/** -> @artifact/ ! deep/** ! .hidden/* ! two.tgz"],
        Ok("one=1 same=one"),
    ),
    Row(
        "10.10 excludes pick tarballs",
        "a directory that was found does not take what is in it along",
        &["Extract: @z/charts/deep/** -> @artifact/ ! charts/deep ! charts/deep/er"],
        Ok("four=1"),
    ),
    Row(
        "10.10 excludes pick tarballs",
        "all of them",
        &["Extract: @z/charts/*.tgz -> @artifact/ ! *.tgz"],
        Err("all files matching pattern 'charts/*.tgz' in source 'z' were excluded"),
    ),
    Row(
        "10.10 excludes are not about what is inside",
        "files and directories of that name",
        &["Extract: @z/chart.tgz -> @artifact/ ! *.yaml ! app ! app/** ! a"],
        Ok("app/ app/Chart.yaml=name: app app/templates/ app/templates/a=t"),
    ),
    Row(
        "10.10 a failing match is named",
        "with both texts",
        &["Extract: @z/b*/link.* -> @artifact/to/"],
        Err(
            "failed to extract tarball 'bad/link.tgz' to 'to/': failed to extract tarball \"bad/link.tgz\" to \"to/\": \
             tar file entry l is a symlink, which is not allowed in this context",
        ),
    ),
    Row(
        "10.10 a failing match is named",
        "the destination is at fault",
        &["Extract: @z/charts/*.tgz -> @artifact/../x"],
        Err("failed to extract tarball 'charts/one.tgz' to '../x': \
             failed to create destination directory \"../x\": destination '../x': path escapes from parent"),
    ),
    Row(
        "10.4 Extract: order of the checks",
        "excludes before the source",
        &["Extract: @z/none -> @artifact/ ! ["],
        Err("invalid exclude pattern '[': syntax error in pattern"),
    ),
    Row(
        "10.4 Extract: order of the checks",
        "the destination is only looked at when something goes there",
        &["Extract: @z/only/* -> @artifact/../x"],
        Ok(""),
    ),
    Row(
        "10.5 Extract: a missing source",
        "by name",
        &["Extract: @z/none.tgz -> @artifact/"],
        Err("source 'none.tgz' does not exist"),
    ),
    Row(
        "10.5 Extract: a missing source",
        "nothing above a source",
        &["Extract: @z/../x.tgz -> @artifact/"],
        Err("failed to stat source '../x.tgz': path escapes from parent"),
    ),
    Row("10.6 Extract: ** is any number of directories", "none", &["Extract: @z/**/x.tar.gz -> @artifact/"], Ok("x=1")),
    Row(
        "10.6 Extract: ** is any number of directories",
        "two",
        &["Extract: @z/charts/**/four.tgz -> @artifact/"],
        Ok("four=1"),
    ),
    Row(
        "10.6 Extract: ** is any number of directories",
        "twice",
        &["Extract: @z/**/deep/**/*.tgz -> @artifact/"],
        Ok("four=1"),
    ),
    Row(
        "10.6 Extract: ** glued to text is *",
        "one level",
        &["Extract: @z/charts/**.tgz -> @artifact/"],
        Ok("one=1 same=two two=2"),
    ),
    Row(
        "10.6 Extract: alternatives",
        "with a slash",
        &["Extract: @z/charts/{two,deep/er/f*}.tgz -> @artifact/"],
        Ok("four=1 same=two two=2"),
    ),
    Row("10.6 Extract: alternatives", "of ends", &["Extract: @z/[x]*.{tar.gz,tgz} -> @artifact/"], Ok("x=1")),
    Row(
        "10.6 Extract: alternatives",
        "alone make no pattern",
        &["Extract: @z/{x,y}.tar.gz -> @artifact/"],
        Err("source '{x,y}.tar.gz' does not exist"),
    ),
    Row(
        "10.6 Extract: classes are negated by ! too",
        "[!o]",
        &["Extract: @z/charts/[!o]*.tgz -> @artifact/"],
        Ok("same=two two=2"),
    ),
    Row(
        "10.6 Extract: dir/** is dir too",
        "so an empty match is none",
        &["Extract: @z/only/** -> @artifact/ ! README.md"],
        Ok(""),
    ),
    Row(
        "10.6 Extract: * matches dotfiles",
        "and their directories",
        &["Extract: @z/charts/*/*.tgz -> @artifact/"],
        Ok("same=three three=3"),
    ),
    Row(
        "10.6 Extract: unclean literal parts match nothing",
        "a leading slash",
        &["Extract: @z//*.tgz -> @artifact/"],
        Err("no files match pattern '/*.tgz' in source 'z'"),
    ),
    Row(
        "10.6 Extract: unclean literal parts match nothing",
        "..",
        &["Extract: @z/charts/../*.tgz -> @artifact/"],
        Err("no files match pattern 'charts/../*.tgz' in source 'z'"),
    ),
    Row(
        "10.6 Extract: unclean literal parts match nothing",
        "but ./ alone is fine",
        &["Extract: @z/./x*.gz -> @artifact/"],
        Ok("x=1"),
    ),
    Row(
        "10.6 Extract: a trailing slash finds directories only",
        "none of them a tarball",
        &["Extract: @z/ch*/ -> @artifact/"],
        Ok(""),
    ),
    Row(
        "10.6 Extract: malformed",
        "an open class",
        &["Extract: @z/[a -> @artifact/"],
        Err("invalid glob pattern '[a': syntax error in pattern"),
    ),
    Row(
        "10.6 Extract: malformed",
        "an open group",
        &["Extract: @z/*.{tgz -> @artifact/"],
        Err("invalid glob pattern '*.{tgz': syntax error in pattern"),
    ),
    Row(
        "10.6 Extract: limits of patterns",
        "combinations",
        &["Extract: @z/*{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b} -> @artifact/"],
        Err("invalid glob pattern '*{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}': \
             its '{}' groups give more than 1024 combinations"),
    ),
    Row(
        "10.6 Extract: no match",
        "nothing of that name",
        &["Extract: @z/**/*.none -> @artifact/"],
        Err("no files match pattern '**/*.none' in source 'z'"),
    ),
];
