//! The Rust client of `weir-proto`, feature `client`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, pin::pin, time::Duration};

use futures::{Stream, StreamExt as _};
use weir_proto::{
    Algorithm, Owner, Reason,
    client::{Client, Error, Notice, Retries, Why, outcome},
    v1::{ArchiveHeader, ArtifactRef, EventType, IgnoreRules, ReadRequest, Verdict, VerifyRequest, WriteHeader},
};

use crate::{
    archives::gzip,
    builds::{artifact, header as build_header},
    process::{DEADLINE, Place},
    sources::{Sources, names, noise},
    uploads::{digest, eventually, reference},
};

fn client(place: &Place) -> Client {
    let endpoint = format!("unix://{}", place.socket().display());
    Client::connect(&endpoint).unwrap().acting_as(&Owner::new("source-watcher", "1").unwrap())
}

fn web() -> ArtifactRef {
    reference("web").unwrap()
}

fn header(file: &str) -> WriteHeader {
    WriteHeader { artifact: reference("web"), file: file.into(), ..WriteHeader::default() }
}

fn whole(path: &str) -> ReadRequest {
    ReadRequest { path: path.into(), ..ReadRequest::default() }
}

/// A call as a controller makes it: in a task of its own.
async fn spawned<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> T {
    tokio::time::timeout(DEADLINE, tokio::spawn(call)).await.expect("it takes too long").unwrap()
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> Reason {
    let error = result.unwrap_err();
    error.failure().unwrap_or_else(|| panic!("{error:?}")).reason
}

#[tokio::test]
async fn a_message_that_is_too_large_does_not_look_like_a_server_that_is_away() {
    let place = Place::new();
    let _server = place.start(&[]).await;
    let error = client(&place).stat(&"x".repeat(5 << 20)).await.unwrap_err();
    assert!(matches!(&error, Error::Unexpected { code: tonic::Code::OutOfRange, .. }), "{error:?}");
    assert!(!error.is_transient() && error.to_string().contains("4194304 bytes"), "{error}");
}

#[tokio::test]
async fn bytes_are_written_read_and_verified() {
    let place = Place::new();
    let _server = place.start(&[]).await;
    let client = client(&place);
    let info = spawned({
        let client = client.clone();
        async move { client.info().await }
    })
    .await
    .unwrap();
    assert_eq!(info.digest_algorithm, "sha256");

    // More than a chunk, and more than a message may have.
    let bytes = noise(5_000_000).into_bytes();
    let (caller, sent) = (client.clone(), bytes.clone());
    let answer = spawned(async move { caller.write(header("a"), sent).await }).await.unwrap();
    let stored = answer.artifact.unwrap();
    assert_eq!(stored.digest, digest(Algorithm::Sha256, &bytes));
    let (caller, request) = (client.clone(), whole(&stored.path));
    let read = spawned(async move { caller.read(request).await?.bytes().await }).await.unwrap();
    assert!(read == bytes);
    let part = client.read(ReadRequest { offset: 4_999_990, length: 4, ..whole(&stored.path) }).await.unwrap();
    assert_eq!((part.start().length, part.start().size), (4, 5_000_000));
    assert_eq!(part.bytes().await.unwrap(), bytes[4_999_990..4_999_994]);
    client.write(header("empty"), "").await.unwrap();
    let empty = client.read(whole("externalartifact/apps/web/empty")).await.unwrap();
    assert_eq!(empty.bytes().await.unwrap(), b"");

    let asked = |path: &str, digest: &str| VerifyRequest { path: path.into(), digest: digest.into() };
    let absent = "externalartifact/apps/web/x";
    let other = digest(Algorithm::Sha256, b"");
    let files = vec![asked(&stored.path, &stored.digest), asked(absent, &other), asked(&stored.path, &other)];
    let caller = client.clone();
    let verdicts = spawned(async move { caller.verify(files).await }).await.unwrap();
    let verdicts: Vec<_> = verdicts.iter().map(|answer| answer.verdict()).collect();
    assert_eq!(verdicts, [Verdict::Ok, Verdict::Missing, Verdict::Mismatch]);
    assert_eq!(client.stat(&stored.path).await.unwrap().unwrap().owner, "source-watcher/1");
    assert_eq!(client.stat(absent).await.unwrap(), None);

    // Errors are those of the contract, or say who does not answer.
    let wrong = WriteHeader { expected_digest: other, ..header("b") };
    assert_eq!(refused(client.write(wrong, "1").await), Reason::DigestMismatch);
    assert_eq!(refused(client.read(whole(absent)).await), Reason::NotFound);
    let stranger = client.clone().acting_as(&Owner::new("other", "2").unwrap());
    assert_eq!(refused(stranger.write(header("b"), "1").await), Reason::OwnedByAnother);
    assert_eq!(refused(stranger.lock(web()).await), Reason::OwnedByAnother);
    let none = Retries { times: 0, ..Retries::default() };
    let nowhere = Client::connect("unix:///nowhere/weir.sock").unwrap().with_retries(none);
    let text = nowhere.info().await.unwrap_err().to_string();
    assert!(text.starts_with("unix:///nowhere/weir.sock cannot be reached: No such file"), "{text}");
}

/// A directory with what archives differ in: order, depth, modes, long names, sizes around a chunk, and what is no file.
fn site(root: &Path) {
    let long = format!("d/{}/{}", "x".repeat(120), "y".repeat(120));
    for folder in ["d", "d.e", "empty", &long] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let big = noise(3 * 256 * 1024 + 1);
    let files = [
        ("a.md", "left out"),
        ("d/b", "1"),
        ("d.e/c", big.as_str()),
        ("run.sh", "#!/bin/sh"),
        ("ü", "2"),
        ("zero", ""),
    ];
    for (path, content) in files {
        fs::write(root.join(path), content).unwrap();
    }
    fs::write(root.join(long).join("deep"), "3").unwrap();
    fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("d/folder")).unwrap();
}

#[tokio::test]
async fn an_archived_directory_is_the_one_that_building_it_gives() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let root = place.path().join("site");
    site(&root);
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir_all("", &root).unwrap();
    let source = sources.add("/1.tgz", gzip(&tar.into_inner().unwrap()));
    let mut wanted = artifact(0, "web", "**");
    wanted.copy[0].exclude = vec!["*.md".into()];
    let caller = client(&place);
    let built = spawned(async move {
        let mut build = caller.build(build_header(&[source]), vec![wanted]).await?;
        assert_eq!(build.sources()[0].skipped_links, 2);
        let result = build.next().await?.unwrap();
        assert_eq!(build.next().await?, None);
        Ok::<_, Error>(outcome(result).unwrap())
    });
    let built = built.await.unwrap();

    let ignore = Some(IgnoreRules { patterns: vec!["*.md".into()], ..IgnoreRules::default() });
    let header = ArchiveHeader { artifact: reference("web"), ignore, ..ArchiveHeader::default() };
    let (caller, directory) = (client(&place), root.clone());
    let sent = header.clone();
    let answer = spawned(async move { caller.archive_dir(sent, directory).await }).await.unwrap();
    assert_eq!((answer.artifact.as_ref(), answer.unchanged), (Some(&built), true), "the same file");
    assert_eq!((answer.files, answer.ignored_files, answer.skipped_links), (6, 1, 2));
    let bytes = client(&place).read(whole(&built.path)).await.unwrap().bytes().await.unwrap();
    assert!(names(&bytes).contains(&"empty".to_owned()));

    let named = ArchiveHeader { file: "1.tar.gz".into(), revision: "v1".into(), ..header };
    let named = client(&place).archive_dir(named, &root).await.unwrap().artifact.unwrap();
    assert_eq!((named.digest, named.revision.as_str()), (built.digest, "v1"));
    assert!(named.path.ends_with("/web/1.tar.gz"), "{}", named.path);
    server.stop().await;
}

#[tokio::test]
async fn a_directory_that_can_not_be_read_stores_nothing() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let file = place.path().join("file");
    fs::write(&file, "1").unwrap();
    // Files of the kernel have more bytes than they say, as one that is written to has.
    let rows = [
        (place.path().join("absent"), "No such file"),
        (file, "Not a directory"),
        ("/proc/sys/kernel/random".into(), "it was written to meanwhile"),
    ];
    for (directory, cause) in rows {
        for file in ["", "1.tar.gz"] {
            let header = ArchiveHeader { artifact: reference("web"), file: file.into(), ..ArchiveHeader::default() };
            let client = client(&place);
            let call = client.archive_dir(header, directory.clone());
            let error = tokio::time::timeout(DEADLINE, call).await.expect("it has an end").unwrap_err();
            assert!(matches!(error, Error::Directory { .. }), "{error:?}");
            assert!(error.to_string().contains(cause), "{error}");
        }
    }
    assert_eq!(place.files(), [""; 0]);
    // One that the server refuses before its end says why.
    let big = place.path().join("big");
    fs::create_dir(&big).unwrap();
    fs::write(big.join("a"), noise(8_000_000)).unwrap();
    let invalid = ArchiveHeader { artifact: reference("a/.."), ..ArchiveHeader::default() };
    assert_eq!(refused(client(&place).archive_dir(invalid, &big).await), Reason::InvalidRequest);
    server.stop().await;
}

#[tokio::test]
async fn a_lock_goes_with_its_guard() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let client = client(&place);
    let hasty = client.clone().with_timeout(Duration::from_millis(300));
    let caller = client.clone();
    let guard = spawned(async move { caller.lock(web()).await }).await.unwrap();
    guard.client().write(header("a"), "1").await.unwrap();
    let late = hasty.write(header("a"), "2").await.unwrap_err();
    assert!(matches!(late, Error::Late { .. }), "{late:?}");
    let old = guard.client().clone();
    drop(guard);
    client.write(header("a"), "3").await.unwrap();
    assert_eq!(refused(old.write(header("a"), "4").await), Reason::LockLost);

    // A task that holds one, and dies in the middle of it.
    let (granted, is_granted) = tokio::sync::oneshot::channel();
    let caller = client.clone();
    let task = tokio::spawn(async move {
        let guard = caller.lock(web()).await.unwrap();
        granted.send(guard.token().to_owned()).unwrap();
        std::future::pending::<()>().await;
        drop(guard);
    });
    let token = is_granted.await.unwrap();
    assert!(matches!(hasty.write(header("a"), "5").await, Err(Error::Late { .. })));
    // Who gives up waiting leaves the line.
    assert!(tokio::time::timeout(Duration::from_millis(100), client.lock(web())).await.is_err());
    task.abort();
    let mut next = tokio::time::timeout(DEADLINE, client.lock(web())).await.expect("it is free").unwrap();
    assert_ne!(next.token(), token);

    drop(server);
    let lost = tokio::time::timeout(DEADLINE, next.lost()).await.expect("it is lost");
    assert!(matches!(lost, Error::Unreachable { .. }), "{lost:?}");
    let _server = place.start(&[]).await;
    assert_eq!(refused(next.client().write(header("a"), "6").await), Reason::LockLost);
}

#[tokio::test]
async fn a_lock_is_held_also_where_another_has_files() {
    let place = Place::new();
    let _server = place.start(&[]).await;
    let first = client(&place);
    first.write(header("a"), "1").await.unwrap();
    let second = first.clone().acting_as(&Owner::new("other", "2").unwrap());
    assert_eq!(refused(second.lock(web()).await), Reason::OwnedByAnother);
    let guard = second.lock_taking_over(web()).await.unwrap();
    // It is a lock like any other: the owner waits for it too, and to change the files is to be asked for by itself.
    let hasty = first.clone().with_timeout(Duration::from_millis(300));
    assert!(matches!(hasty.write(header("a"), "2").await, Err(Error::Late { .. })));
    assert_eq!(refused(guard.client().write(header("a"), "2").await), Reason::OwnedByAnother);
    let taken = WriteHeader { take_over: true, ..header("a") };
    guard.client().write(taken, "2").await.unwrap();
    drop(guard);
    assert_eq!(refused(first.write(header("a"), "3").await), Reason::OwnedByAnother, "all is the other's now");
    drop(first.lock_taking_over(web()).await.unwrap());
}

async fn heard(notices: &mut (impl Stream<Item = Result<Notice, Error>> + Unpin)) -> Notice {
    tokio::time::timeout(DEADLINE, notices.next()).await.expect("nothing is heard").unwrap().unwrap()
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let client = client(&place);
    let mut notices = pin!(client.watch("source-watcher"));
    let stored = |file: &str| Notice::File {
        kind: EventType::Stored,
        path: format!("externalartifact/apps/web/{file}"),
        owner: "source-watcher/1".into(),
    };
    assert_eq!(heard(&mut notices).await, Notice::VerifyAll(Why::Started));
    client.write(header("a"), "1").await.unwrap();
    assert_eq!(heard(&mut notices).await, stored("a"));

    // One that is killed, and one that ends in order.
    drop(server);
    assert!(matches!(heard(&mut notices).await, Notice::Away(Error::Unreachable { .. })));
    let server = place.start(&[]).await;
    assert_eq!(heard(&mut notices).await, Notice::VerifyAll(Why::NewInstance));
    client.write(header("b"), "1").await.unwrap();
    assert_eq!(heard(&mut notices).await, stored("b"));
    server.stop().await;
    assert!(matches!(heard(&mut notices).await, Notice::Away(Error::Unreachable { .. })));
    let _server = place.start(&[]).await;
    assert_eq!(heard(&mut notices).await, Notice::VerifyAll(Why::NewInstance));
}

#[tokio::test]
async fn only_what_is_safe_is_tried_again() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let bytes = noise(30_000_000).into_bytes();
    let client =
        client(&place).with_retries(Retries { times: 600, longest: Duration::from_millis(100), ..Retries::default() });
    let path = client.write(header("a"), bytes.clone()).await.unwrap().artifact.unwrap().path;
    let mut download = client.read(whole(&path)).await.unwrap();
    let mut other = client.read(whole(&path)).await.unwrap();
    let (mut read, _) = (download.chunk().await.unwrap().unwrap(), other.chunk().await.unwrap().unwrap());
    drop(server);

    // Whoever else writes may come first once the server is back, so this one is for its caller to decide.
    // All the tries would take a minute.
    let once = tokio::time::timeout(Duration::from_secs(30), client.write(header("b"), "1"));
    let error = once.await.expect("once is all").unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let safe = WriteHeader { expected_digest: digest(Algorithm::Sha256, b"1"), ..header("b") };
    let (uploader, asker) = (client.clone(), client.clone());
    let upload = tokio::spawn(async move { uploader.write(safe, "1").await });
    let question = tokio::spawn(async move { asker.info().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!upload.is_finished() && !question.is_finished(), "they wait for the server");
    let _server = place.start(&[]).await;
    upload.await.unwrap().unwrap();
    question.await.unwrap().unwrap();
    eventually("stored", || place.files().contains(&"externalartifact/apps/web/b".to_owned())).await;

    // A read goes on where it stood, but never with the bytes of another file.
    read.append(&mut download.bytes().await.unwrap());
    assert!(read == bytes);
    // Made of what is there: to make it anew keeps this thread, and with it the connection, from answering for long.
    client.write(header("a"), [&bytes[..], b"."].concat()).await.unwrap();
    let error = other.bytes().await.unwrap_err();
    assert_eq!(error.failure().unwrap().reason, Reason::FileChanged, "{error}");
}
