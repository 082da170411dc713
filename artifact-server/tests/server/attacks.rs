//! What hostile callers try, each with the reason it is refused for. No file ever appears outside of the volume's artifacts.

use std::path::Path;

use weir_proto::{
    Algorithm, Reason,
    v1::{ArtifactRef, RemoveAllRequest, RemoveRequest, WriteHeader},
};

use crate::{
    archives::{self, archive, tar},
    process::Place,
    uploads::{digest, header, other, refusal, write},
};

/// Everything below a folder, sorted.
fn everything(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.display().to_string());
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All that lies elsewhere than artifacts do, but for what the server notes of callers. No attack may change it.
pub(crate) fn elsewhere(place: &Place) -> Vec<String> {
    let own = ["externalartifact", ".weir/epochs.json"].map(|path| place.volume().join(path));
    let mut found = everything(place.path());
    found.retain(|path| !own.iter().any(|own| Path::new(path).starts_with(own)));
    found
}

fn named(kind: &str, namespace: &str, name: &str) -> Option<ArtifactRef> {
    Some(ArtifactRef { kind: kind.into(), namespace: namespace.into(), name: name.into() })
}

#[tokio::test]
async fn names_lead_nowhere() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let before = everything(place.path());
    let hostile = ["..", "../x", "a/../../x", "/etc", "a/b", ".", "", "a\0b", "a\\b", ".weir", "a b", "é", "%2e%2e"];
    let good = ("ExternalArtifact", "apps", "web");
    for bad in hostile {
        let rows = [
            ("header.artifact.kind", named(bad, good.1, good.2), "a"),
            ("header.artifact.namespace", named(good.0, bad, good.2), "a"),
            ("header.artifact.name", named(good.0, good.1, bad), "a"),
            ("header.file", named(good.0, good.1, good.2), bad),
        ];
        for (field, artifact, file) in rows {
            let writing = WriteHeader { artifact: artifact.clone(), ..header(file) };
            let archiving = weir_proto::v1::ArchiveHeader { artifact, file: file.into(), ..archives::header() };
            // Without a name, an archive is called by its digest.
            let refusals = if file.is_empty() {
                vec![refusal(write(&server, writing, b"x").await)]
            } else {
                let tar = tar(&[("a", "1")]);
                vec![refusal(write(&server, writing, b"x").await), refusal(archive(&server, archiving, &tar).await)]
            };
            for refused in refusals {
                let expected = (Reason::InvalidRequest, Some(field));
                // `%2e%2e` and the like are checked where they are a name; elsewhere they can not be one either.
                assert_eq!((refused.reason, refused.field.as_deref()), expected, "{bad:?}: {}", refused.message);
            }
        }
    }
    for file in ["a.lock", ".a.record", ".tmp-1", &"a".repeat(256)] {
        let refused = refusal(write(&server, header(file), b"x").await);
        assert_eq!((refused.reason, refused.field.as_deref()), (Reason::InvalidRequest, Some("header.file")), "{file}");
    }
    assert_eq!(everything(place.path()), before);
}

#[tokio::test]
async fn streams_that_lie_store_nothing() {
    let place = Place::new();
    let server = place.start(&["--artifact-max-size=1Mi"]).await;
    let outside = elsewhere(&place);
    let bytes = b"some bytes";
    let with = |change: &dyn Fn(&mut WriteHeader)| {
        let mut header = header("a");
        change(&mut header);
        header
    };
    let wrong = digest(Algorithm::Sha512, b"others");
    let name = format!("{}.tar.gz", "0".repeat(64));
    let rows = [
        (
            "wrong digest",
            with(&|header| header.expected_digest = wrong.clone()),
            &bytes[..],
            Reason::DigestMismatch,
            "header.expected_digest",
        ),
        (
            "cut",
            with(&|header| header.expected_digest = digest(Algorithm::Sha256, bytes)),
            &bytes[..4],
            Reason::DigestMismatch,
            "header.expected_digest",
        ),
        (
            "not the name's digest",
            with(&|header| header.file = name.clone()),
            bytes,
            Reason::DigestMismatch,
            "header.file",
        ),
        (
            "no digest",
            with(&|header| header.expected_digest = "sha256:0".into()),
            bytes,
            Reason::InvalidRequest,
            "header.expected_digest",
        ),
        (
            "unknown digest",
            with(&|header| header.expected_digest = "md5:0".into()),
            bytes,
            Reason::UnknownDigestAlgorithm,
            "header.expected_digest",
        ),
        ("setuid", with(&|header| header.mode = Some(0o4755)), bytes, Reason::InvalidRequest, "header.mode"),
        ("nobody", with(&|header| header.caller = None), bytes, Reason::InvalidRequest, "header.caller"),
    ];
    for (row, header, bytes, reason, field) in rows {
        let refused = refusal(write(&server, header, bytes).await);
        assert_eq!((refused.reason, refused.field.as_deref()), (reason, Some(field)), "row {row}");
        assert_eq!(place.files(), [""; 0], "row {row}");
    }
    assert_eq!(elsewhere(&place), outside);
}

#[tokio::test]
async fn only_as_many_bytes_as_may_be_are_taken_and_none_are_some() {
    let place = Place::new();
    let server = place.start(&["--artifact-max-size=1Mi"]).await;
    let outside = elsewhere(&place);
    let bytes = b"some bytes";
    let large = refusal(write(&server, header("a"), &vec![0; (1 << 20) + 1]).await);
    assert_eq!(large.reason, Reason::TooLarge);
    let none = server.storage().write(futures::stream::iter(Vec::new())).await;
    assert_eq!(refusal(none).field.as_deref(), Some("header"));
    let none = server.storage().archive(futures::stream::iter(Vec::new())).await;
    assert_eq!(refusal(none).field.as_deref(), Some("header"));
    assert_eq!(place.files(), [""; 0]);

    // No bytes are bytes: an empty file is one. So is one as large as may be, and one under its own digest.
    let empty = write(&server, header("empty"), b"").await.unwrap().artifact.unwrap();
    assert_eq!((empty.size, empty.digest), (0, digest(Algorithm::Sha256, b"")));
    write(&server, header("large"), &vec![0; 1 << 20]).await.unwrap();
    let own = digest(Algorithm::Sha256, bytes).replace("sha256:", "");
    write(&server, header(&format!("{own}.tar.gz")), bytes).await.unwrap();
    assert_eq!(elsewhere(&place), outside);
}

#[tokio::test]
async fn what_is_anothers_stays_as_it_is() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let outside = elsewhere(&place);
    let ours = write(&server, header("a"), b"ours").await.unwrap().artifact.unwrap();
    let before = place.files();
    for file in ["a", "b"] {
        let refused = refusal(write(&server, WriteHeader { caller: other(), ..header(file) }, b"theirs").await);
        assert_eq!(refused.reason, Reason::OwnedByAnother);
        let header = weir_proto::v1::ArchiveHeader { caller: other(), file: file.into(), ..archives::header() };
        assert_eq!(refusal(archive(&server, header, &tar(&[("a", "1")])).await).reason, Reason::OwnedByAnother);
    }
    let remove = RemoveRequest { caller: other(), path: ours.path };
    assert_eq!(refusal(server.storage().remove(remove).await).reason, Reason::OwnedByAnother);
    let all = RemoveAllRequest { caller: other(), artifact: header("a").artifact, take_over: false };
    assert_eq!(server.storage().remove_all(all).await.unwrap().into_inner().removed, [""; 0]);
    assert_eq!(place.files(), before);
    assert_eq!(elsewhere(&place), outside);
}
