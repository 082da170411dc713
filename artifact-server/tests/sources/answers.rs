//! What servers may answer, and which requests make no sense.

use weir_artifact_server::source::{CacheStats, SourceError, SourceRequest};
use weir_proto::{Failure, Reason};

use crate::{
    server::{Reply, Server},
    setup::{Scene, cache, digest, request, small, tarball, until},
};

/// A row: what the server says to each request, how many requests it gets, and the error that users see.
type Row<'a> = (&'a str, Vec<Reply>, usize, Option<(Reason, &'a str)>);

async fn check(rows: Vec<Row<'_>>, bytes: &[u8]) {
    for (row, replies, requests, expected) in rows {
        let reply = move |count, _: &str| replies.get(count).or_else(|| replies.last()).unwrap().clone();
        let Scene { cache, server, target, .. } = &Scene::new(bytes, |_| {}, reply).await;
        let got = cache.get(target).await;
        let worked = got.is_ok();
        assert_eq!(server.requests().len(), requests, "row {row}");
        let got = got.map(|_| ()).map_err(Failure::from).map_err(|failure| (failure.reason, failure.message));
        let text = |text: &str| text.replace("URL", &target.url).replace("DIGEST", &target.digest);
        assert_eq!(got.err(), expected.map(|(reason, message)| (reason, text(message))), "row {row}");
        if !worked {
            let failures = CacheStats { misses: 1, failures: 1, ..CacheStats::default() };
            until(cache, row, |stats| stats == failures).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses() {
    let bytes = small();
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
    let bytes = small();
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
            "failed to extract archive (check whether file size exceeds max download size): requires gzip-compressed body: gzip: invalid header",
        ),
        (
            "faults 30 cut off",
            &bytes[..bytes.len() - 30],
            "failed to extract archive (check whether file size exceeds max download size): tar error: ",
        ),
    ] {
        let Scene { cache, server, target, .. } = &Scene::of_two(body, Reply::ok(body), Reply::ok(body)).await;
        let failure = Failure::from(cache.get(target).await.map(drop).unwrap_err());
        assert_eq!(failure.reason, Reason::SourceRefused, "row {row}");
        assert!(failure.message.starts_with(message), "row {row}: {}", failure.message);
        assert_eq!(server.requests().len(), 1, "row {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_requests_that_can_not_work() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), |_| {});
    let bytes = small();
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
            "failed to download archive: invalid URL 'file:///etc/passwd': the scheme must be http or https".to_owned(),
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
    let bytes = small();
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
