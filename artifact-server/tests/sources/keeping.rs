//! What is kept, and what goes.

use std::{path::Path, sync::Arc};

use weir_artifact_server::source::{CacheSettings, SourceCache, SourceError, SourceRequest};
use weir_artifact_server::tree::{Content, Node};
use weir_proto::{Failure, Reason};

use crate::{
    server::{Reply, Server},
    setup::{cache, noise, read, request, small, tarball},
};

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
    let bytes = small();
    let body = bytes.clone();
    let server = Server::start(move |_, _| Reply::ok(&body)).await;
    let failure = Failure::from(cache.get(&request(&server, "/x", &bytes)).await.map(drop).unwrap_err());
    assert_eq!(failure.reason, Reason::StorageFailed, "{failure}");
}
