//! `Archive`: what a caller sends becomes what `Build` would have made.

use flate2::{Compression, write::GzEncoder};
use futures::stream;
use std::io::Write as _;
use tonic::Status;
use weir_proto::{
    Algorithm, Reason,
    v1::{
        ArchiveHeader, ArchiveRequest, ArchiveResponse, BuiltinRules, IgnoreRules, ReadRequest,
        archive_request::Message,
    },
};

use crate::{
    attacks::elsewhere,
    builds::{artifact, build_new},
    process::{Place, Server, caller},
    sources::{Sources, names},
    uploads::{digest, eventually, other, read, reference, refusal},
};

pub(crate) fn header() -> ArchiveHeader {
    ArchiveHeader { caller: caller(), artifact: reference("web"), ..ArchiveHeader::default() }
}

pub(crate) async fn archive(server: &Server, header: ArchiveHeader, bytes: &[u8]) -> Result<ArchiveResponse, Status> {
    let message = |message| ArchiveRequest { message: Some(message) };
    let chunks = bytes.chunks(100_000).map(|chunk| message(Message::Chunk(chunk.to_vec())));
    let messages: Vec<_> = std::iter::once(message(Message::Header(header))).chain(chunks).collect();
    server.storage().archive(stream::iter(messages)).await.map(tonic::Response::into_inner)
}

/// A plain tar: files, and folders whose names end with a slash.
pub(crate) fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o664);
        header.set_mtime(1_700_000_000);
        header.set_uid(1000);
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// The names in what was stored.
async fn stored_names(server: &Server, response: &ArchiveResponse) -> Vec<String> {
    let path = response.artifact.as_ref().unwrap().path.clone();
    names(&read(server, ReadRequest { path, ..ReadRequest::default() }).await.unwrap().1)
}

#[tokio::test]
async fn an_archive_is_the_one_that_building_it_gives() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let files = [("app/b.yaml", "b: 1"), ("app/a/x", "x"), ("app/logo.png", "png")];
    let source = sources.tarball("/1.tgz", &files);
    let built = build_new(&server, &source, artifact(0, "web", "app/**")).await;

    let files = [("b.yaml", "b: 1"), ("logo.png", "png"), ("a/", ""), ("a/x", "x")];
    let plain = archive(&server, header(), &tar(&files)).await.unwrap();
    assert_eq!((plain.artifact.as_ref(), plain.unchanged), (Some(&built), true), "the same file");
    assert_eq!((plain.files, plain.ignored_files, plain.skipped_links), (2, 1, 0));
    assert_eq!(built.revision, format!("latest@{}", plain.content_digest));
    let compressed = archive(&server, header(), &gzip(&tar(&files))).await.unwrap();
    assert_eq!(compressed.artifact, Some(built.clone()), "owners, times, modes and compression do not matter");
    assert_eq!(stored_names(&server, &compressed).await, [".", "a", "a/x", "b.yaml"]);

    let chosen = ArchiveHeader {
        file: "1.tar.gz".into(),
        revision: "v2".into(),
        digest_algorithms: vec!["sha512".into()],
        expected_digest: digest(Algorithm::Sha1, &tar(&files)),
        ..header()
    };
    let named = archive(&server, chosen.clone(), &tar(&files)).await.unwrap();
    let artifact = named.artifact.clone().unwrap();
    assert_eq!((artifact.path.as_str(), artifact.revision.as_str()), ("externalartifact/apps/web/1.tar.gz", "v2"));
    assert_eq!(artifact.digest, built.digest);
    let (_, bytes) = read(&server, ReadRequest { path: artifact.path, ..ReadRequest::default() }).await.unwrap();
    assert_eq!(named.digests, [digest(Algorithm::Sha512, &bytes)]);
    assert!(archive(&server, chosen, &tar(&files)).await.unwrap().unchanged, "a retry changes nothing");
    assert_eq!(server.figure("weir_grpc_uploads_total{call=\"archive\",outcome=\"stored\"}").await, 1.0);
}

/// Every name of the tar below, and a row: what it shows, the rules, what they leave out.
const ALL: [&str; 11] = [
    ".",
    ".gitignore",
    ".sourceignore",
    "a.md",
    "a.txt",
    "b.png",
    "d",
    "d/.sourceignore",
    "d/e",
    "d/e/keep.txt",
    "d/keep.txt",
];

type Row = (&'static str, Option<IgnoreRules>, &'static [&'static str]);

fn rows() -> Vec<Row> {
    let rules = |change: fn(&mut IgnoreRules)| {
        let mut rules = IgnoreRules::default();
        change(&mut rules);
        Some(rules)
    };
    let with_all = |rules: &mut IgnoreRules| {
        rules.set_builtin(BuiltinRules::All);
        rules.sourceignore = "# comment\n*.md\n!b.png\n".into();
    };
    let with_own = |rules: &mut IgnoreRules| {
        rules.from_tar = true;
        rules.patterns = vec!["!/a.txt".into(), "/d/keep.txt".into()];
    };
    vec![
        ("unset: the default list", None, &[".gitignore", "b.png"]),
        ("nothing given: the same", Some(IgnoreRules::default()), &[".gitignore", "b.png"]),
        ("none", rules(|rules| rules.set_builtin(BuiltinRules::None)), &[]),
        ("version control", rules(|rules| rules.set_builtin(BuiltinRules::Vcs)), &[".gitignore"]),
        ("patterns drop the defaults", rules(|rules| rules.patterns = vec!["*.md".into()]), &[".gitignore", "a.md"]),
        ("a file's content, with all", rules(with_all), &[".gitignore", "a.md"]),
        ("the tar's own", rules(|rules| rules.from_tar = true), &[".gitignore", "a.txt", "d/e/keep.txt"]),
        ("the tar's own, and the caller's last", rules(with_own), &[".gitignore", "d/e/keep.txt", "d/keep.txt"]),
        (
            "a folder goes with all in it",
            rules(|rules| rules.patterns = vec!["/d/".into()]),
            &[".gitignore", "d", "d/.sourceignore", "d/e", "d/e/keep.txt", "d/keep.txt"],
        ),
        (
            "but what is taken back brings it",
            rules(|rules| rules.patterns = vec!["/d/".into(), "!/d/e/keep.txt".into()]),
            &[".gitignore", "d/.sourceignore", "d/keep.txt"],
        ),
    ]
}

#[tokio::test]
async fn ignore_rules_are_those_of_flux() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let files = [
        (".gitignore", "x"),
        (".sourceignore", "*.txt\n"),
        ("a.md", "1"),
        ("a.txt", "1"),
        ("b.png", "1"),
        ("d/.sourceignore", "!/keep.txt\n"),
        ("d/keep.txt", "1"),
        ("d/e/keep.txt", "1"),
    ];
    let tar = tar(&files);
    for (row, ignore, out) in rows() {
        let response = archive(&server, ArchiveHeader { ignore, ..header() }, &tar).await.unwrap();
        let expected: Vec<&str> = ALL.into_iter().filter(|name| !out.contains(name)).collect();
        assert_eq!(stored_names(&server, &response).await, expected, "row {row}");
    }
}

/// Also between two entries, where nothing but the missing end marker tells. One block of it is enough, as everywhere.
#[tokio::test]
async fn a_tar_that_is_cut_off_is_refused_wherever_that_is() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let whole = tar(&[("a", "1"), ("b", "2")]);
    let entries = whole.len() - 1024;
    for cut in (1..=entries).filter(|cut| cut % 256 == 0 || cut % 300 == 0) {
        let refused = refusal(archive(&server, header(), &whole[..cut]).await);
        assert_eq!(refused.reason, Reason::ArchiveRefused, "at byte {cut}: {}", refused.message);
    }
    let refused = refusal(archive(&server, header(), &whole[..1024]).await);
    assert_eq!(refused.message, "tar error: unexpected end of the archive (after entry \"a\")");
    assert_eq!(place.files(), [""; 0]);
    for marked in [&whole[..entries + 512], &whole[..], &gzip(&whole[..entries])] {
        assert_eq!(archive(&server, header(), marked).await.unwrap().files, 2);
    }
}

#[tokio::test]
async fn what_is_no_tar_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let server = place.start(&["--artifact-max-size=1Mi", "--source-max-entries=100"]).await;
    let outside = elsewhere(&place);
    let link = |kind, name: &str, target: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        tar.append_link(&mut header, name, target).unwrap();
        tar.into_inner().unwrap()
    };
    let named = |name: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend([0; 1024]);
        bytes
    };
    let good = tar(&[("a", "1")]);
    let zipped = gzip(&good);
    let many: Vec<(String, &str)> = (0..200).map(|number| (number.to_string(), "")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, content)| (name.as_str(), *content)).collect();
    let zeros = "0".repeat(2 << 20);
    let rows = [
        ("no bytes", vec![], Reason::ArchiveRefused),
        ("text", b"this is not a tar, however long one waits for it".repeat(50), Reason::ArchiveRefused),
        ("cut in a header", good[..300].to_vec(), Reason::ArchiveRefused),
        ("cut gzip", zipped[..zipped.len() / 2].to_vec(), Reason::ArchiveRefused),
        ("gzip of text", gzip(&b"nothing of that kind".repeat(50)), Reason::ArchiveRefused),
        ("traversal in a name", named(b"../x"), Reason::ArchiveRefused),
        ("traversal inside of a name", named(b"a/../../x"), Reason::ArchiveRefused),
        ("an absolute name", named(b"/etc/passwd"), Reason::ArchiveRefused),
        ("a backslash", named(b"a\\b"), Reason::ArchiveRefused),
        ("a hard link out of it", link(tar::EntryType::Link, "a", "../../etc/passwd"), Reason::ArchiveRefused),
        ("a hard link to nothing", link(tar::EntryType::Link, "a", "b"), Reason::ArchiveRefused),
        ("a device", link(tar::EntryType::Char, "a", "b"), Reason::ArchiveRefused),
        ("too large", tar(&[("a", &zeros)]), Reason::TooLarge),
        ("too large when unpacked", gzip(&tar(&[("a", &zeros)])), Reason::TooLarge),
        ("too many", tar(&many), Reason::TooLarge),
    ];
    for (row, bytes, reason) in rows {
        let refused = refusal(archive(&server, header(), &bytes).await);
        assert_eq!(refused.reason, reason, "row {row}: {}", refused.message);
        eventually("nothing is left", || place.files().is_empty()).await;
    }
    let wrong = ArchiveHeader { expected_digest: digest(Algorithm::Sha256, b"else"), ..header() };
    let refused = refusal(archive(&server, wrong, &good).await);
    assert_eq!((refused.reason, refused.field.as_deref()), (Reason::DigestMismatch, Some("header.expected_digest")));
    // Symbolic links are left out, wherever they lead.
    let response = archive(&server, header(), &link(tar::EntryType::Symlink, "a", "/etc/passwd")).await.unwrap();
    assert_eq!((response.files, response.skipped_links), (0, 1));
    assert_eq!(stored_names(&server, &response).await, ["."]);
    let foreign = ArchiveHeader { caller: other(), ..header() };
    assert_eq!(refusal(archive(&server, foreign, &good).await).reason, Reason::OwnedByAnother);
    assert_eq!(elsewhere(&place), outside);
}
