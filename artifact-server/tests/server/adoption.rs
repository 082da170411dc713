//! A volume that source-watcher wrote: what of it is kept, and as what.

use std::{fs, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use weir_proto::v1::{Artifact, BuildArtifact, ListRequest, Source, VerifyRequest, build_result::Outcome};

use crate::{
    builds::{artifact, build, build_new, header},
    process::{Place, Server, get},
    sources::Sources,
};

/// An entry of an archive: name, mode, and the content if it is a file.
type Member<'a> = (&'a str, u32, Option<&'a str>);

/// What the SDK of Flux writes of `apps/web` with the files `a.yaml` and `bin/run`.
const WEB: [Member<'_>; 4] =
    [(".", 0o750, None), ("a.yaml", 0o600, Some("a: 1")), ("bin", 0o750, None), ("bin/run", 0o700, Some("#!/bin/sh"))];

/// A tarball as the SDK writes it, but for the compressor.
fn archive(members: &[Member<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for (name, mode, content) in members {
        let mut header = tar::Header::new_ustar();
        header.set_mode(*mode);
        let kind = if content.is_some() { tar::EntryType::Regular } else { tar::EntryType::Directory };
        header.set_entry_type(kind);
        let content = content.unwrap_or_default().as_bytes();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Puts a file where source-watcher would, with its lock. Returns its path on the volume.
fn leave(place: &Place, file: &str, bytes: &[u8]) -> String {
    let path = format!("externalartifact/apps/web/{file}");
    let full = place.volume().join(&path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(&full, bytes).unwrap();
    fs::write(format!("{}.lock", full.display()), "").unwrap();
    path
}

/// The artifact with what the inventory of source-watcher says of it.
fn web(path: &str, digest: &str) -> BuildArtifact {
    let (current_path, current_digest) = (path.to_owned(), digest.to_owned());
    BuildArtifact { current_path, current_digest, take_over: true, ..artifact(0, "web", "apps/web/**") }
}

/// A source with an executable file.
fn source(sources: &Sources, path: &str, config: &str) -> Source {
    let members = [
        ("apps", 0o755, None),
        ("apps/web", 0o755, None),
        ("apps/web/a.yaml", 0o644, Some(config)),
        ("apps/web/bin", 0o755, None),
        ("apps/web/bin/run", 0o755, Some("#!/bin/sh")),
        ("apps/web/logo.png", 0o644, Some("dropped by the ignore list")),
    ];
    sources.add(path, archive(&members))
}

async fn outcome(server: &Server, source: &Source, artifact: BuildArtifact) -> Outcome {
    let (_, mut results) = build(server, header(std::slice::from_ref(source)), vec![artifact]).await.unwrap();
    results.remove(&0).unwrap().outcome.unwrap()
}

async fn unchanged(server: &Server, source: &Source, artifact: BuildArtifact) -> Artifact {
    match outcome(server, source, artifact).await {
        Outcome::Unchanged(artifact) => artifact,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_of_source_watcher_keeps_name_digest_and_revision() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let bytes = archive(&WEB);
    let (path, digest) = (leave(&place, "2936578364.tar.gz", &bytes), sha256(&bytes));
    let folder = place.volume().join("externalartifact/apps/web");
    fs::write(folder.join("17.tar.gz.lock"), "").unwrap();
    fs::write(folder.join("2936578364.tar.gz1804289383"), "half").unwrap();
    let first = source(&sources, "/1.tgz", "a: 1");
    let mut adopted = None;
    // Once more after a restart: what was adopted is known.
    for _ in 0..2 {
        let server = place.start(&[]).await;
        let address = server.serving().await;
        let now = unchanged(&server, &first, web(&path, &digest)).await;
        assert_eq!((&now.path, &now.digest), (&path, &digest));
        assert_eq!(now.revision, format!("latest@{digest}"));
        assert_eq!(now.size, i64::try_from(bytes.len()).unwrap());
        let served = get(format!("http://{address}/{path}")).await.unwrap().bytes().await.unwrap();
        assert_eq!(served, bytes);
        let request = VerifyRequest { path: path.clone(), digest: digest.clone() };
        assert_eq!(server.storage().verify(request).await.unwrap().into_inner().verdict, 1);
        let mut listed = server.storage().list(ListRequest::default()).await.unwrap().into_inner();
        let file = listed.message().await.unwrap().unwrap().file.unwrap();
        assert_eq!((file.owner.as_str(), file.sequence), ("source-watcher/1", 1));
        assert_eq!(file.artifact.unwrap().revision, now.revision);
        let record = "externalartifact/apps/web/.2936578364.tar.gz.record";
        assert_eq!(place.lasting(), [record, path.as_str()], "locks and what was half written are gone");
        assert_eq!(server.figure("weir_build_artifacts_total{outcome=\"built\"}").await, 0.0);
        assert_eq!(server.figure("weir_storage_unrecorded_files").await, 0.0);
        assert_eq!(*adopted.get_or_insert(now.clone()), now, "nothing moves");
        server.stop().await;
    }

    // The content changes: from here on it is an artifact like any other.
    let server = place.start(&[]).await;
    let second = source(&sources, "/2.tgz", "a: 2");
    let built = build_new(&server, &second, web(&path, &digest)).await;
    assert!(built.path.ends_with(&format!("{}.tar.gz", built.digest.trim_start_matches("sha256:"))), "{built:?}");
    assert_ne!(built.revision, format!("latest@{}", built.digest), "the digest of the content");
    assert_eq!(unchanged(&server, &second, web(&built.path, &built.digest)).await, built);
}

#[tokio::test]
async fn digests_of_other_algorithms_are_kept() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let bytes = archive(&WEB);
    let first = source(&sources, "/1.tgz", "a: 1");
    let path = leave(&place, "2936578364.tar.gz", &bytes);
    let digest = format!("sha512:{}", hex::encode(sha2::Sha512::digest(&bytes)));
    for _ in 0..2 {
        let server = place.start(&["--artifact-digest-algo=blake3"]).await;
        let now = unchanged(&server, &first, web(&path, &digest)).await;
        assert_eq!((&now.digest, now.revision), (&digest, format!("latest@{digest}")));
        server.stop().await;
    }
}

#[tokio::test]
async fn what_differs_is_built_anew() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let first = source(&sources, "/1.tgz", "a: 1");
    let with = |at: usize, member| {
        let mut members = WEB;
        members[at] = member;
        archive(&members)
    };
    let digest_of = |bytes: &[u8]| sha256(bytes);
    let more = archive(&[&WEB[..], &[("logo.png", 0o600, Some("dropped by the ignore list"))]].concat());
    let rows = [
        ("another content", with(1, ("a.yaml", 0o600, Some("a: 2")))),
        ("no longer executable", with(3, ("bin/run", 0o600, Some("#!/bin/sh")))),
        ("a file that the ignore list drops", more),
        ("no tarball", b"text".to_vec()),
    ];
    for (number, (row, bytes)) in rows.into_iter().enumerate() {
        let path = leave(&place, &format!("{number}.tar.gz"), &bytes);
        let result = outcome(&server, &first, web(&path, &digest_of(&bytes))).await;
        assert!(matches!(result, Outcome::Built(_)), "row {row}: {result:?}");
    }
    let path = leave(&place, "99.tar.gz", &archive(&WEB));
    let result = outcome(&server, &first, web(&path, &digest_of(b"published"))).await;
    assert!(matches!(result, Outcome::Built(_)), "row bytes of another digest: {result:?}");
    assert!(server.lines.text().contains("is not what was composed"), "it says why");
}

/// A crash may take a record of ours. The file still is what its content says.
#[tokio::test]
async fn a_file_that_lost_its_record_is_not_built_again() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let first = source(&sources, "/1.tgz", "a: 1");
    let server = place.start(&[]).await;
    let built = build_new(&server, &first, artifact(0, "web", "apps/web/**")).await;
    server.stop().await;
    let file = PathBuf::from(&built.path);
    let record = format!(".{}.record", file.file_name().unwrap().display());
    fs::remove_file(place.volume().join(file.with_file_name(record))).unwrap();
    let server = place.start(&[]).await;
    let now = unchanged(&server, &first, web(&built.path, &built.digest)).await;
    assert_eq!((now.revision, now.digest), (built.revision, built.digest));
}
