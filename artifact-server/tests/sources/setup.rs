//! What the tests have in common: tarballs, a cache with short waits, and a server that serves one tarball.

use std::{path::Path, time::Duration};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use weir_artifact_server::source::{CacheSettings, CacheStats, Source, SourceCache, SourceError, SourceRequest, Waits};
use weir_artifact_server::tree::{Content, Node, TreePath};

use crate::server::{Reply, Server};

/// Bounds a broken run; nothing that works takes this long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A tarball of files with the given content.
pub(crate) fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
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
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// A cache with waits of a millisecond.
pub(crate) fn cache(folder: &Path, change: impl FnOnce(&mut CacheSettings)) -> SourceCache {
    let mut settings = CacheSettings::new(folder, 64 << 20);
    settings.waits = Waits { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
    change(&mut settings);
    SourceCache::new(settings).unwrap()
}

pub(crate) fn request(server: &Server, path: &str, tarball: &[u8]) -> SourceRequest {
    SourceRequest {
        url: server.url(path),
        digest: digest(tarball),
        http_retry: Some(3),
        source_host: None,
        tenant: None,
    }
}

/// Reads a file of a source back from its spool.
pub(crate) fn read(source: &Source, path: &str) -> Vec<u8> {
    let node = source.tree.get(&TreePath::new(path.as_bytes()).unwrap());
    let Some(Node::File(file)) = node else { panic!("{path} is {node:?}") };
    let Content::Spooled(spool, offset) = &file.content else { panic!("{path} is not spooled") };
    let mut content = vec![0; usize::try_from(file.size).unwrap()];
    spool.read_exact_at(&mut content, *offset).unwrap();
    assert_eq!(<[u8; 32]>::from(Sha256::digest(&content)), file.sha256, "{path}");
    content
}

/// Waits until a figure of the cache holds.
pub(crate) async fn until(cache: &SourceCache, what: &str, holds: impl Fn(CacheStats) -> bool) {
    let wait = async {
        while !holds(cache.stats()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    assert!(waited.is_ok(), "{what}: {:?}", cache.stats());
}

/// A tarball with one small file.
pub(crate) fn small() -> Vec<u8> {
    tarball(&[("a", b"1")])
}

/// A cache, and a server to fetch a tarball from.
pub(crate) struct Scene {
    _folder: TempDir,
    pub(crate) cache: SourceCache,
    pub(crate) server: Server,
    /// The tarball, at `/x`.
    pub(crate) target: SourceRequest,
}

impl Scene {
    /// With a change of the cache's settings. `reply` gets the number of requests so far and the path.
    pub(crate) async fn new(
        bytes: &[u8],
        change: impl FnOnce(&mut CacheSettings),
        reply: impl Fn(usize, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cache, server) = (cache(folder.path(), change), Server::start(reply).await);
        let target = request(&server, "/x", bytes);
        Self { _folder: folder, cache, server, target }
    }

    /// Whose server answers the first request in one way and all others in another.
    pub(crate) async fn of_two(bytes: &[u8], first: Reply, others: Reply) -> Self {
        Self::new(bytes, |_| {}, move |count, _| if count == 0 { first.clone() } else { others.clone() }).await
    }

    /// The same tarball at another path.
    pub(crate) fn at(&self, path: &str) -> SourceRequest {
        SourceRequest { url: self.server.url(path), ..self.target.clone() }
    }

    /// Asks for a source in a task of its own: whether this call downloaded it.
    pub(crate) fn call(&self, target: &SourceRequest) -> JoinHandle<Result<bool, SourceError>> {
        let (cache, target) = (self.cache.clone(), target.clone());
        tokio::spawn(async move {
            let got = tokio::time::timeout(DEADLINE, cache.get(&target)).await;
            got.unwrap().map(|fetched| fetched.downloaded)
        })
    }
}
