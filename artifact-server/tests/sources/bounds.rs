//! How large a source may be, and how slow.

use std::time::Duration;

use weir_artifact_server::source::{CacheSettings, Pace, SourceRequest};
use weir_proto::{Failure, Reason};

use crate::{
    server::Reply,
    setup::{Scene, noise, small, tarball, until},
};

/// A row: a tarball, what the server says, a change of the cache's settings, and the error.
type Bound<'a> = (&'a str, &'a Vec<u8>, Reply, fn(&mut CacheSettings), &'a str);

async fn check_bounds(rows: Vec<Bound<'_>>) {
    for (row, bytes, reply, change, message) in rows {
        let scene = Scene::new(bytes, change, move |_, _| reply.clone()).await;
        let error = scene.cache.get(&scene.target).await.map(drop).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), Failure::from(error).reason),
            (message, Reason::SourceTooLarge),
            "row {row}"
        );
        assert_eq!(scene.server.requests().len(), 1, "row {row}");
        until(&scene.cache, row, |stats| (stats.bytes, stats.entries) == (0, 0)).await;
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

/// Three seconds without bytes, or with fewer than a hundred thousand, are too long. A machine that is busy for a second makes no difference: what trickles
/// brings some fifty bytes in each.
fn hurried(settings: &mut CacheSettings) {
    settings.pace = Pace { window: Duration::from_secs(3), least: 100_000, ..Pace::default() };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_is_tried_again() {
    let (stall, good) = (Reply::stall(&small(), 40), Reply::ok(&small()));
    let reply = move |count, _: &str| if count == 0 { stall.clone() } else { good.clone() };
    let scene = Scene::new(&small(), hurried, reply).await;
    assert!(scene.call(&scene.target).await.unwrap().unwrap());
    assert!(scene.server.requests().len() >= 2);
}

// Sixteen servers that send a byte now and then have all places. They must not keep them.
#[tokio::test(flavor = "multi_thread")]
async fn downloads_that_trickle_do_not_hold_up_the_others() {
    let noise = noise(1 << 20, 5);
    let large = tarball(&[("noise", &noise)]);
    let (trickle, good) = (Reply::trickle(&large), Reply::ok(&small()));
    let reply = move |_, path: &str| if path == "/x" { good.clone() } else { trickle.clone() };
    let scene = Scene::new(&small(), hurried, reply).await;
    let slow = |n: u8| {
        let digest = crate::setup::digest(&[n]);
        SourceRequest { digest, http_retry: Some(0), ..scene.at("/slow") }
    };
    let slow: Vec<_> = (0..16).map(|n| scene.call(&slow(n))).collect();
    until(&scene.cache, "all have begun", |_| scene.server.requests().len() == 16).await;
    assert!(scene.call(&scene.target).await.unwrap().unwrap());
    for call in slow {
        let error = call.await.unwrap().unwrap_err().to_string();
        assert!(error.ends_with("the download is too slow: fewer than 100000 bytes came in 3s"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_try_has_a_deadline() {
    let large = tarball(&[("noise", &noise(1 << 20, 6))]);
    let trickle = Reply::trickle(&large);
    let soon = |settings: &mut CacheSettings| settings.pace.longest = Duration::from_millis(200);
    let scene = Scene::new(&large, soon, move |_, _| trickle.clone()).await;
    let target = SourceRequest { http_retry: Some(1), ..scene.target.clone() };
    let error = scene.call(&target).await.unwrap().unwrap_err().to_string();
    assert!(
        error.contains("giving up after 2 attempt(s): the download is too slow: it was not finished after 200ms"),
        "{error}"
    );
    assert_eq!(scene.server.requests().len(), 2);
    until(&scene.cache, "nothing is left", |stats| (stats.bytes, stats.entries) == (0, 0)).await;
}
