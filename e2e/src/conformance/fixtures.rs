//! Bytes that cases are about: tars to be archived, and sources behind URLs. Good ones and hostile ones.

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::matching::Variables;

/// Bytes of a chunk that is called `mib`.
const MIB: usize = 1 << 20;

/// Name, type, link target and content of an entry.
type Entry<'a> = (&'a str, EntryType, &'a str, &'a [u8]);

const REPOSITORY: [(&str, &str); 9] = [
    ("README.md", "# Repository\n"),
    ("apps/one/app.yaml", "name: one\nreplicas: 1\n"),
    ("apps/one/more.yaml", "more: true\n"),
    ("apps/two/app.yaml", "name: two\n"),
    ("apps/two/logo.png", "not really\n"),
    ("charts/web/values.yaml", "image: web\nreplicas: 1\n"),
    ("charts/web/templates/map.yaml", "kind: ConfigMap\n"),
    ("env/values.yaml", "replicas: 3\n"),
    ("docs/a/b/c.txt", "deep\n"),
];

/// Files by name, as they lie behind `${sources}`.
pub(super) fn sources() -> Result<BTreeMap<&'static str, Vec<u8>>> {
    let mut repository: Vec<Entry<'_>> =
        REPOSITORY.iter().map(|(name, text)| (*name, EntryType::Regular, "", text.as_bytes())).collect();
    let inner = gzip(&tar(&[file("inner/inside.txt", b"inside\n")])?)?;
    repository.push(("packed/inner.tgz", EntryType::Regular, "", &inner));
    repository.push(("link", EntryType::Symlink, "README.md", b""));
    let (half, large, fifth) = (noise(60 << 10), vec![0; 9 * MIB], vec![0; 7 * MIB]);
    let deep = vec!["d"; 300].join("/");
    let whole = gzip(&tar(&repository)?)?;
    let mut sources = BTreeMap::from([
        ("cut.tgz", whole[..whole.len() / 2].to_vec()),
        ("repository.tgz", whole),
        ("half-one.tgz", gzip(&tar(&[file("one", &half)])?)?),
        ("half-two.tgz", gzip(&tar(&[file("two", &half)])?)?),
        ("large.tgz", gzip(&tar(&[file("large", &large)])?)?),
        ("fifth.tgz", gzip(&tar(&[file("fifth", &fifth)])?)?),
        ("text.tgz", b"this is not a tarball".to_vec()),
        ("plain.tgz", tar(&[file("a", b"not compressed")])?),
    ]);
    for (name, entry) in hostile() {
        sources.insert(name, gzip(&tar(&[file("good", b"1"), entry])?)?);
    }
    let mut long = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    long.append_data(&mut header, deep, std::io::empty())?;
    sources.insert("deep.tgz", gzip(&long.into_inner()?)?);
    Ok(sources)
}

/// Entries that lead out of where they are unpacked, or are no files.
fn hostile() -> [(&'static str, Entry<'static>); 5] {
    [
        ("escape.tgz", file("../evil", b"evil")),
        ("inside.tgz", file("a/../../evil", b"evil")),
        ("absolute.tgz", file("/etc/evil", b"evil")),
        ("device.tgz", ("null", EntryType::Char, "", b"")),
        ("hardlink.tgz", ("passwd", EntryType::Link, "/etc/passwd", b"")),
    ]
}

/// What cases can put in: tars and chunks in base64, the digests of the sources, and more messages than a list may have.
pub(super) fn variables() -> Result<Variables> {
    let plain = tar(&[
        file("b.yaml", b"b: 1\n"),
        ("a", EntryType::Directory, "", b""),
        file("a/x.txt", b"x\n"),
        file("logo.png", b"not really\n"),
    ])?;
    let ignoring = tar(&[file(".sourceignore", b"*.txt\n"), file("a.txt", b"a\n"), file("b.yaml", b"b: 1\n")])?;
    let rules = "a\n".repeat(1001);
    let ruled = tar(&[file(".sourceignore", rules.as_bytes())])?;
    let many = tar(&vec![file("a", b""); 1001])?;
    let linked = tar(&[file("b.yaml", b"b: 1\n"), ("link", EntryType::Symlink, "/etc/passwd", b"")])?;
    let mut bytes = BTreeMap::from([
        ("tar.gzip".to_owned(), gzip(&plain)?),
        ("tar.cut".to_owned(), plain[..700].to_vec()),
        ("tar.plain".to_owned(), plain),
        ("tar.ignoring".to_owned(), ignoring),
        ("tar.ruled".to_owned(), ruled),
        ("tar.many".to_owned(), many),
        ("tar.linked".to_owned(), linked),
        ("tar.empty".to_owned(), tar(&[])?),
        ("tar.bomb".to_owned(), gzip(&tar(&[file("bomb", &vec![0; 40 * MIB])])?)?),
        ("mib".to_owned(), vec![0; MIB]),
        ("kib64".to_owned(), vec![0; 64 << 10]),
    ]);
    for (name, entry) in hostile() {
        bytes.insert(format!("tar.{}", name.trim_end_matches(".tgz")), tar(&[file("good", b"1"), entry])?);
    }
    let mut variables: Variables =
        bytes.iter().map(|(name, bytes)| (name.clone(), STANDARD.encode(bytes).into())).collect();
    variables.insert("many".to_owned(), vec![serde_json::json!({}); 1001].into());
    for (name, bytes) in sources()? {
        let (name, digits) = (name.trim_end_matches(".tgz"), hex::encode(Sha256::digest(bytes)));
        variables.insert(format!("digest.{name}"), format!("sha256:{digits}").into());
        variables.insert(format!("hex.{name}"), digits.into());
    }
    Ok(variables)
}

fn file<'a>(name: &'a str, content: &'a [u8]) -> Entry<'a> {
    (name, EntryType::Regular, "", content)
}

/// Names go in as they are: a library would refuse the hostile ones.
fn tar(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, link, content) in entries {
        let mut header = tar::Header::new_ustar();
        let fields = header.as_old_mut();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        header.set_cksum();
        tar.append(&header, *content)?;
    }
    Ok(tar.into_inner()?)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// Bytes that hardly compress, always the same.
fn noise(length: usize) -> Vec<u8> {
    let blocks = (0..length.div_ceil(32)).flat_map(|number| Sha256::digest(number.to_le_bytes()));
    blocks.take(length).collect()
}
