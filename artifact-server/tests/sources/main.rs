//! Sources over real HTTP on loopback: what is tried again, what is refused, what is shared, kept and dropped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic too")]
mod server;

use std::{path::Path, sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use weir_artifact_server::source::{CacheSettings, CacheStats, Source, SourceCache, SourceError, SourceRequest, Waits};
use weir_artifact_server::tree::{Content, Node, TreePath};
use weir_proto::{Failure, Reason};

use server::{Gate, Reply, Server};

/// A tarball of files with the given content.
fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, *content).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A cache with waits of a millisecond.
fn cache(folder: &Path, change: impl FnOnce(&mut CacheSettings)) -> SourceCache {
    let mut settings = CacheSettings::new(folder, 64 << 20);
    settings.waits = Waits { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
    change(&mut settings);
    SourceCache::new(settings).unwrap()
}

fn request(server: &Server, path: &str, tarball: &[u8]) -> SourceRequest {
    SourceRequest { url: server.url(path), digest: digest(tarball), http_retry: Some(3), source_host: None }
}

/// Reads a file of a source back from its spool.
fn read(source: &Source, path: &str) -> Vec<u8> {
    let node = source.tree.get(&TreePath::new(path.as_bytes()).unwrap());
    let Some(Node::File(file)) = node else { panic!("{path} is {node:?}") };
    let Content::Spooled(spool, offset) = &file.content else { panic!("{path} is not spooled") };
    let mut content = vec![0; usize::try_from(file.size).unwrap()];
    spool.read_exact_at(&mut content, *offset).unwrap();
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&content)), file.sha256, "{path}");
    content
}

/// Waits until a figure of the cache holds.
async fn until(cache: &SourceCache, what: &str, holds: impl Fn(CacheStats) -> bool) {
    let wait = async {
        while !holds(cache.stats()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(waited.is_ok(), "{what}: {:?}", cache.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_once_and_keeps() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("left")).unwrap();
    std::fs::write(folder.path().join("left/over"), "of a crash").unwrap();
    std::fs::write(folder.path().join(".tmp-1"), "of a crash").unwrap();
    let big = noise(3 << 20, 1);
    let bytes = tarball(&[("dir/a.txt", b"hello"), ("big", &big), ("empty", b"")]);
    let body = bytes.clone();
    let server = Server::start(move |_, _| Reply::ok(&body)).await;
    let cache = cache(folder.path(), |_| {});
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the folder is emptied at start-up");

    let first = cache.get(&request(&server, "/one.tar.gz", &bytes)).await.unwrap();
    assert!(first.downloaded);
    assert_eq!(read(&first.source, "dir/a.txt"), b"hello");
    assert_eq!(read(&first.source, "big"), big);
    assert_eq!(read(&first.source, "empty"), b"");
    let summary = first.source.summary;
    assert_eq!((summary.files, summary.directories, summary.bytes), (3, 1, 5 + (3 << 20)));
    assert_eq!(summary.compressed_bytes, bytes.len() as u64);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the spool has no name");

    // The same digest behind another URL is the same source.
    let second = cache.get(&request(&server, "/two.tar.gz", &bytes)).await.unwrap();
    assert!(!second.downloaded && Arc::ptr_eq(&first.source, &second.source));
    assert_eq!(server.requests(), ["/one.tar.gz"]);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.downloads, stats.sources), (1, 1, 1, 1));
    assert_eq!(stats.entries, 4);
    assert!(stats.bytes > 3 << 20 && stats.bytes < (3 << 20) + 1000, "{stats:?}");
}

/// A row: what the server says to each request, how many requests it gets, and the error that users see.
type Row<'a> = (&'a str, Vec<Reply>, usize, Option<(Reason, &'a str)>);

async fn check(rows: Vec<Row<'_>>, bytes: &[u8]) {
    for (row, replies, requests, expected) in rows {
        let server =
            Server::start(move |count, _| replies.get(count).or_else(|| replies.last()).unwrap().clone()).await;
        let target = request(&server, "/x.tar.gz", bytes);
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), |_| {});
        let got = cache.get(&target).await;
        let worked = got.is_ok();
        assert_eq!(server.requests().len(), requests, "row {row}");
        let got = got.map(|_| ()).map_err(Failure::from).map_err(|failure| (failure.reason, failure.message));
        let text = |text: &str| text.replace("URL", &target.url).replace("DIGEST", &target.digest);
        assert_eq!(got.err(), expected.map(|(reason, message)| (reason, text(message))), "row {row}");
        if !worked {
            let failures = CacheStats { misses: 1, failures: 1, ..CacheStats::default() };
            until(&cache, row, |stats| stats == failures).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses() {
    let bytes = tarball(&[("a", b"1")]);
    let good = || Reply::ok(&bytes);
    let unavailable = |text| Some((Reason::SourceUnavailable, text));
    let rows: Vec<Row> = vec![
        ("§9 404 at once", vec![Reply::status("404 Not Found")], 1, Some((Reason::SourceNotFound, "file not found"))),
        (
            "§9 another status is not retried",
            vec![Reply::status("403 Forbidden"), good()],
            1,
            unavailable("failed to download archive from URL (status: 403 Forbidden)"),
        ),
        (
            "§9 501 is not retried",
            vec![Reply::status("501 Not Implemented"), good()],
            1,
            unavailable("failed to download archive from URL (status: 501 Not Implemented)"),
        ),
        (
            "faults 69 redirects are refused",
            vec![Reply::text("302 Found", "location: /elsewhere\r\n", b""), good()],
            1,
            unavailable("failed to download archive from URL (status: 302 Found; redirects are not followed)"),
        ),
        ("§9 500 is retried", vec![Reply::status("500 Oops"), good()], 2, None),
        (
            "§9 429 with Retry-After is retried",
            vec![Reply::text("429 Too Many Requests", "retry-after: 0\r\n", b""), good()],
            2,
            None,
        ),
        (
            "§9 all tries fail",
            vec![Reply::status("503 Service Unavailable")],
            4,
            unavailable(
                "failed to download archive: GET URL giving up after 4 attempt(s): unexpected HTTP status 503 Service Unavailable",
            ),
        ),
    ];
    check(rows, &bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    const MISMATCH: &str = "failed to verify archive: computed digest doesn't match provided 'DIGEST' (check whether file size exceeds max download size)";
    let bytes = tarball(&[("a", b"1")]);
    let mismatch = Some((Reason::SourceDigestMismatch, MISMATCH));
    let rows: Vec<Row> = vec![
        ("faults 69 reset in mid-body", vec![Reply::reset(&bytes, 40), Reply::ok(&bytes)], 2, None),
        ("faults 69 reset before the head", vec![Reply::reset(&bytes, 0), Reply::ok(&bytes)], 2, None),
        ("faults 68 other bytes", vec![Reply::ok(&tarball(&[("a", b"2")])), Reply::ok(&bytes)], 1, mismatch),
        ("§9 the digest is checked first: not gzip", vec![Reply::ok(b"<html>")], 1, mismatch),
        ("§9 the digest is checked first: cut off", vec![Reply::ok(&bytes[..bytes.len() - 30])], 1, mismatch),
    ];
    check(rows, &bytes).await;
    for (row, body, message) in [
        (
            "§10.10 not gzip",
            &b"<html><body>not a tarball</body>"[..],
            "failed to extract archive (check whether file size exceeds max download size): requires gzip-compressed body: invalid gzip header",
        ),
        (
            "faults 30 cut off",
            &bytes[..bytes.len() - 30],
            "failed to extract archive (check whether file size exceeds max download size): tar error: ",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let reply = Reply::ok(body);
        let server = Server::start(move |_, _| reply.clone()).await;
        let failure =
            cache(folder.path(), |_| {}).get(&request(&server, "/x", body)).await.map(drop).map_err(Failure::from);
        let failure = failure.unwrap_err();
        assert_eq!(failure.reason, Reason::SourceRefused, "row {row}");
        assert!(failure.message.starts_with(message), "row {row}: {}", failure.message);
        assert_eq!(server.requests().len(), 1, "row {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_requests_that_can_not_work() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let bytes = tarball(&[("a", b"1")]);
    let good = SourceRequest { url: "http://127.0.0.1:9/x".into(), digest: digest(&bytes), ..SourceRequest::default() };
    let hex = "ab".repeat(32);
    let rows = [
        ("§9 empty digest", "", "", Reason::SourceDigestMismatch, "failed to verify archive: empty digest".to_owned()),
        (
            "§9 unknown algorithm",
            "md5:abcd",
            "",
            Reason::SourceDigestMismatch,
            "failed to verify archive: failed to parse digest 'md5:abcd': unsupported digest algorithm: md5".to_owned(),
        ),
        (
            "§9 wrong length",
            "sha256:abcd",
            "",
            Reason::SourceDigestMismatch,
            "failed to verify archive: failed to parse digest 'sha256:abcd': invalid checksum digest length".to_owned(),
        ),
        (
            "not a URL",
            &hex,
            "x.tar.gz",
            Reason::InvalidRequest,
            "failed to download archive: invalid URL 'x.tar.gz': relative URL without a base".to_owned(),
        ),
        (
            "faults 69 other schemes",
            &hex,
            "file:///etc/passwd",
            Reason::InvalidRequest,
            "failed to download archive: invalid URL 'file:///etc/passwd': the scheme must be http".to_owned(),
        ),
    ];
    for (row, digest, url, reason, message) in rows {
        let url = if url.is_empty() { good.url.clone() } else { url.to_owned() };
        let request = SourceRequest { url, digest: digest.into(), ..good.clone() };
        let failure = Failure::from(cache.get(&request).await.map(drop).unwrap_err());
        assert_eq!((failure.reason, failure.message), (reason, message), "row {row}");
    }
    let closed = Server::start(|_, _| Reply::status("200 OK")).await.close().await;
    let request = SourceRequest { url: format!("http://{closed}/x"), http_retry: Some(1), ..good };
    let error = cache.get(&request).await.map(drop).unwrap_err().to_string();
    let start = format!("failed to download archive: GET http://{closed}/x giving up after 2 attempt(s): ");
    assert!(error.starts_with(&start) && error.contains("refused"), "{error}");
}

// §9: the host is replaced, port included, for the connection; the rest of the URL stays.
#[tokio::test(flavor = "multi_thread")]
async fn source_host_replaces_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let bytes = tarball(&[("a", b"1")]);
    let body = bytes.clone();
    let server = Server::start(move |_, _| Reply::ok(&body)).await;
    let mut target = request(&server, "", &bytes);
    target.url = "http://source-controller.flux-system.svc:1234/gitrepository/a/b/c.tar.gz?x=1".into();
    target.source_host = Some(server.address().to_string());
    cache.get(&target).await.unwrap();
    assert_eq!(server.requests(), ["/gitrepository/a/b/c.tar.gz?x=1"]);
    target.digest = digest(b"another");
    target.source_host = Some("bad host".into());
    let error = cache.get(&target).await.map(drop).unwrap_err();
    assert!(matches!(error, SourceError::InvalidUrl { .. }), "{error:?}");
    assert!(error.to_string().contains("'bad host' is not a host or host:port"), "{error}");
}

/// A row: a tarball, what the server says, a change of the cache's settings, and the error.
type Bound<'a> = (&'a str, &'a Vec<u8>, Reply, fn(&mut CacheSettings), &'a str);

async fn check_bounds(rows: Vec<Bound<'_>>) {
    for (row, bytes, reply, change, message) in rows {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), change);
        let server = Server::start(move |_, _| reply.clone()).await;
        let error = cache.get(&request(&server, "/x", bytes)).await.map(drop).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), Failure::from(error).reason),
            (message, Reason::SourceTooLarge),
            "row {row}"
        );
        assert_eq!(server.requests().len(), 1, "row {row}");
        until(&cache, row, |stats| (stats.bytes, stats.entries) == (0, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_are_bounded() {
    let noise = noise(300_000, 2);
    let bytes = tarball(&[("noise", &noise)]);
    let rows: Vec<Bound> = vec![
        (
            "faults 69 endless body",
            &bytes,
            Reply::endless(&bytes),
            |settings| settings.limits.compressed_bytes = 400_000,
            "source is too large: the download is larger than 400000 bytes; raise --source-max-size",
        ),
        (
            "faults 69 a length over the limit is refused at once",
            &bytes,
            Reply::stall(&bytes, 1000),
            |settings| settings.limits.compressed_bytes = 200_000,
            "source is too large: the download is larger than 200000 bytes; raise --source-max-size",
        ),
    ];
    check_bounds(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_bounded() {
    let bomb = tarball(&[("zeros", &vec![0; 5 << 20])]);
    let many: Vec<String> = (0..20).map(|n| format!("file-{n}")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let many = tarball(&many);
    let deep: Vec<String> = ["0", "1", "a", "b"].iter().map(|top| format!("{top}{}/f", "/d".repeat(30))).collect();
    let deep: Vec<(&str, &[u8])> = deep.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let deep = tarball(&deep);
    let rows: Vec<Bound> = vec![
        (
            "faults 29 gzip bomb",
            &bomb,
            Reply::ok(&bomb),
            |settings| settings.limits.uncompressed_bytes = 2 << 20,
            "source is too large: tar entry \"zeros\" takes the tarball over 2097152 bytes when unpacked; raise --source-max-size",
        ),
        (
            "faults 29 a declared size over the cache",
            &bomb,
            Reply::ok(&bomb),
            |settings| settings.max_bytes = 1 << 20,
            "source is too large: tar entry \"zeros\" needs more than all 1048576 bytes of the source cache; raise --source-cache-size",
        ),
        (
            "faults 29 entries",
            &many,
            Reply::ok(&many),
            |settings| settings.limits.entries = 10,
            "source is too large: tar entry \"file-10\" is over the 10 files and directories that a source may have; raise --source-max-entries",
        ),
        (
            "faults 29 entries over the cache",
            &many,
            Reply::ok(&many),
            |settings| settings.max_entries = 5,
            "source is too large: tar entry \"file-5\" is over all 5 entries of the source cache; raise --source-max-entries",
        ),
        (
            "faults 29 directories that only paths name",
            &deep,
            Reply::ok(&deep),
            |settings| settings.limits.entries = 100,
            "source is too large: tar entry \"b/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/f\" is over the 100 files and directories that a source may have; raise --source-max-entries",
        ),
    ];
    check_bounds(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |settings| settings.idle_timeout = Duration::from_secs(1));
    let bytes = tarball(&[("a", b"1")]);
    let (stall, good) = (Reply::stall(&bytes, 40), Reply::ok(&bytes));
    let server = Server::start(move |count, _| if count == 0 { stall.clone() } else { good.clone() }).await;
    assert!(cache.get(&request(&server, "/x", &bytes)).await.unwrap().downloaded);
    assert!(server.requests().len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_callers_share_one_download() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let bytes = tarball(&[("a", b"1")]);
    let gate = Gate::default();
    let reply = Reply::ok(&bytes).behind(&gate);
    let server = Server::start(move |_, _| reply.clone()).await;
    let target = request(&server, "/x", &bytes);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (cache, target) = (cache.clone(), target.clone());
            tokio::spawn(async move { cache.get(&target).await })
        })
        .collect();
    until(&cache, "99 wait for one", |stats| (stats.misses, stats.shared, stats.in_flight) == (1, 99, 1)).await;
    gate.open();
    let mut downloaded = 0;
    for call in calls {
        downloaded += u32::from(call.await.unwrap().unwrap().downloaded);
    }
    assert_eq!((downloaded, server.requests().len()), (1, 1));
    assert_eq!((cache.stats().downloads, cache.stats().in_flight), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_reaches_all_who_wait_and_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let bytes = tarball(&[("a", b"1")]);
    let gate = Gate::default();
    let (missing, good) = (Reply::status("404 Not Found").behind(&gate), Reply::ok(&bytes));
    let server = Server::start(move |count, _| if count == 0 { missing.clone() } else { good.clone() }).await;
    let target = request(&server, "/x", &bytes);
    let call = |target: &SourceRequest| {
        let (cache, target) = (cache.clone(), target.clone());
        tokio::spawn(async move { cache.get(&target).await.map(|fetched| fetched.downloaded) })
    };
    let first = call(&target);
    until(&cache, "the first has started", |stats| stats.misses == 1).await;
    let waiting = call(&target);
    let elsewhere = call(&request(&server, "/elsewhere", &bytes));
    until(&cache, "two wait", |stats| stats.shared == 2).await;
    gate.open();
    assert_eq!(first.await.unwrap(), Err(SourceError::NotFound));
    assert_eq!(waiting.await.unwrap(), Err(SourceError::NotFound));
    assert_eq!(elsewhere.await.unwrap(), Ok(true), "another URL has its own turn");
    assert_eq!(server.requests(), ["/x", "/elsewhere"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_leaves_spares_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let bytes = tarball(&[("a", b"1")]);
    let gate = Gate::default();
    let reply = Reply::ok(&bytes).behind(&gate);
    let server = Server::start(move |_, _| reply.clone()).await;
    let target = request(&server, "/x", &bytes);
    let call = || {
        let (cache, target) = (cache.clone(), target.clone());
        tokio::spawn(async move { cache.get(&target).await.map(|fetched| fetched.downloaded) })
    };
    let starter = call();
    until(&cache, "started", |stats| stats.misses == 1).await;
    let other = call();
    until(&cache, "joined", |stats| stats.shared == 1).await;
    starter.abort();
    assert!(starter.await.unwrap_err().is_cancelled());
    assert_eq!(cache.stats().in_flight, 1);
    gate.open();
    assert_eq!(other.await.unwrap(), Ok(false));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_ends_with_its_last_waiter() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let noise = noise(1 << 20, 3);
    let bytes = tarball(&[("a", b"1"), ("noise", &noise)]);
    let (endless, good) = (Reply::stall(&bytes, 500_000), Reply::ok(&bytes));
    let server = Server::start(move |count, _| if count == 0 { endless.clone() } else { good.clone() }).await;
    let target = request(&server, "/x", &bytes);
    let call = {
        let (cache, target) = (cache.clone(), target.clone());
        tokio::spawn(async move { cache.get(&target).await.map(drop) })
    };
    until(&cache, "unpacking has begun", |stats| stats.bytes > 1 << 20).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    until(&cache, "nothing is left", |stats| (stats.in_flight, stats.bytes, stats.entries) == (0, 0, 0)).await;
    assert!(cache.get(&target).await.unwrap().downloaded);
    assert_eq!(server.requests().len(), 2);
}

/// A cache of 2.5 MB, and four sources of a megabyte behind one server.
async fn four_sources(folder: &Path) -> (SourceCache, Server, Vec<SourceRequest>) {
    let cache = cache(folder, |settings| settings.max_bytes = 2_500_000);
    let tarballs: Vec<Vec<u8>> = (0..4).map(|n| tarball(&[("noise", &noise(1_000_000, n))])).collect();
    let bodies = tarballs.clone();
    let server = Server::start(move |_, path| Reply::ok(&bodies[path[1..].parse::<usize>().unwrap()])).await;
    let requests =
        tarballs.iter().enumerate().map(|(n, tarball)| request(&server, &format!("/{n}"), tarball)).collect();
    (cache, server, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn evicts_what_was_used_least_recently() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, server, requests) = four_sources(folder.path()).await;
    for n in [0, 1, 0, 2, 0, 1] {
        cache.get(&requests[n]).await.unwrap();
    }
    // 2 pushed 1 out, as 0 had been used since; then 1 pushed 2 out.
    assert_eq!(server.requests(), ["/0", "/1", "/2", "/1"]);
    let stats = cache.stats();
    assert_eq!((stats.evictions, stats.sources, stats.entries), (2, 2, 2));
    assert!(stats.bytes < 2_500_000, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_not_evicted() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, server, requests) = four_sources(folder.path()).await;
    // Held in three ways: the source, its tree, the content of one file.
    let source = cache.get(&requests[0]).await.unwrap().source;
    let tree = Arc::clone(&cache.get(&requests[1]).await.unwrap().source.tree);
    let error = cache.get(&requests[2]).await.map(drop).unwrap_err();
    assert_eq!(error, SourceError::Busy);
    assert_eq!(Failure::from(error).reason, Reason::CacheBusy);
    drop(source);
    let third = cache.get(&requests[2]).await.unwrap();
    let Node::File(file) = &third.source.tree.entries()[0].node else { panic!("not a file") };
    let content = file.content.clone();
    drop(third);
    assert_eq!(cache.get(&requests[3]).await.map(drop).unwrap_err(), SourceError::Busy);
    assert!(!cache.get(&requests[1]).await.unwrap().downloaded, "a held tree keeps its source in the cache");
    drop(tree);
    let last = cache.get(&requests[3]).await.unwrap();
    assert_eq!(read(&last.source, "noise").len(), 1_000_000);
    // The content held all the time is still there, and so is its source.
    let Content::Spooled(spool, offset) = content else { panic!("not spooled") };
    let mut start = [0; 1000];
    spool.read_exact_at(&mut start, offset).unwrap();
    assert_eq!(start[..], noise(1000, 2));
    assert!(!cache.get(&requests[2]).await.unwrap().downloaded);
    assert_eq!(server.requests(), ["/0", "/1", "/2", "/2", "/3", "/3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_downloads_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let tarballs: Vec<Vec<u8>> = (0..20).map(|n: u32| tarball(&[("a", &n.to_le_bytes())])).collect();
    let gate = Gate::default();
    let replies: Vec<Reply> = tarballs.iter().map(|tarball| Reply::ok(tarball).behind(&gate)).collect();
    let server = Server::start(move |_, path| replies[path[1..].parse::<usize>().unwrap()].clone()).await;
    let calls: Vec<_> = tarballs
        .iter()
        .enumerate()
        .map(|(n, tarball)| {
            let (cache, target) = (cache.clone(), request(&server, &format!("/{n}"), tarball));
            tokio::spawn(async move { cache.get(&target).await.map(drop) })
        })
        .collect();
    until(&cache, "all have started", |stats| stats.in_flight == 20).await;
    until(&cache, "sixteen have asked", |_| server.requests().len() >= 16).await;
    assert_eq!(server.requests().len(), 16);
    gate.open();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    assert_eq!((server.requests().len(), cache.stats().downloads), (20, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_can_not_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SourceCache::new(CacheSettings::new(&file, 1 << 20)).map(drop).unwrap_err();
    let start = format!("source cache failed: can not prepare the folder {}: ", file.display());
    assert!(error.to_string().starts_with(&start), "{error}");

    // The folder goes away while the server runs.
    let gone = folder.path().join("gone");
    let cache = cache(&gone, |_| {});
    std::fs::remove_dir(&gone).unwrap();
    let bytes = tarball(&[("a", b"1")]);
    let body = bytes.clone();
    let server = Server::start(move |_, _| Reply::ok(&body)).await;
    let failure = Failure::from(cache.get(&request(&server, "/x", &bytes)).await.map(drop).unwrap_err());
    assert_eq!(failure.reason, Reason::StorageFailed, "{failure}");
}
