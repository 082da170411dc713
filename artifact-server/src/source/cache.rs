//! The source cache: one download per digest, however many ask.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use reqwest::Url;
use weir_proto::Digest;

use super::{
    Fetched, Limits, Source, SourceError, SourceRequest, Waits,
    fetch::{Fetcher, Target, resolve},
    shelf::Shelf,
};

/// How a cache is set up.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// Where spools go; made if missing. It must lie outside the served root and belong to the cache alone: everything in it is
    /// deleted at start-up.
    pub folder: PathBuf,
    /// Budget of all sources together in bytes, spools and an estimate of the indexes.
    pub max_bytes: u64,
    /// Budget of all sources together in files and directories. They are in memory, some 170 bytes each.
    pub max_entries: u64,
    /// Bounds for one source.
    pub limits: Limits,
    /// Retries of a download for requests that name none.
    pub http_retry: u32,
    /// Waits between retries.
    pub waits: Waits,
    /// Longest wait for the next piece of a response. There is no limit on a whole download.
    pub idle_timeout: Duration,
}

impl CacheSettings {
    /// A cache in `folder` of `max_bytes` and the other settings at their defaults: 500 000 entries, 9 retries,
    /// 30 s for a piece.
    pub fn new(folder: impl Into<PathBuf>, max_bytes: u64) -> Self {
        let max_entries = 500_000;
        let limits = Limits::for_cache(max_bytes, max_entries);
        Self {
            folder: folder.into(),
            max_bytes,
            max_entries,
            limits,
            http_retry: 9,
            waits: Waits::default(),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// Figures for metrics. Counters count from the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Requests answered from the cache.
    pub hits: u64,
    /// Requests that started a download.
    pub misses: u64,
    /// Requests that waited for a download which another had started.
    pub shared: u64,
    /// Downloads that ended with a verified source.
    pub downloads: u64,
    /// Downloads that failed, retries included.
    pub failures: u64,
    /// Sources dropped to make room.
    pub evictions: u64,
    /// Sources in the cache now.
    pub sources: u64,
    /// Part of the byte budget in use now, running downloads included.
    pub bytes: u64,
    /// Part of the entry budget in use now, running downloads included.
    pub entries: u64,
    /// Downloads running now.
    pub in_flight: u64,
}

/// Sources by digest. Cloning it is cheap and shares the cache.
#[derive(Clone, Debug)]
pub struct SourceCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shelf: Arc<Shelf>,
    fetcher: Fetcher,
    http_retry: u32,
    flights: Mutex<Flights>,
    hits: AtomicU64,
    misses: AtomicU64,
    shared: AtomicU64,
    downloads: AtomicU64,
    failures: AtomicU64,
}

/// A download that all who wait for it drive together. It ends early only when all of them have gone.
type Download = Shared<BoxFuture<'static, Result<Arc<Source>, SourceError>>>;

#[derive(Debug, Default)]
struct Flights {
    by_digest: HashMap<Digest, Flight>,
    /// Tells a flight from a later one of the same digest.
    started: u64,
}

#[derive(Debug)]
struct Flight {
    id: u64,
    url: Url,
    /// Weak, so that the map does not keep a download alive that nobody waits for.
    download: WeakShared<BoxFuture<'static, Result<Arc<Source>, SourceError>>>,
}

/// How a request gets its source.
enum Way {
    Kept(Arc<Source>),
    Started(Download),
    /// Joined a download; whether it goes to the very URL that was asked for.
    Joined(Download, bool),
}

impl SourceCache {
    /// Sets up a cache and empties its folder.
    pub fn new(settings: CacheSettings) -> Result<Self, SourceError> {
        empty(&settings.folder).map_err(|error| {
            let folder = settings.folder.display();
            SourceError::Storage(format!("can not prepare the folder {folder}: {error}"))
        })?;
        Ok(Self(Arc::new(Inner {
            shelf: Shelf::new(settings.max_bytes, settings.max_entries),
            fetcher: Fetcher::new(&settings)?,
            http_retry: settings.http_retry,
            flights: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            downloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })))
    }

    /// Gets a source: from the cache, from a download that is running, or by a new one. A failure is reported to all who wait
    /// for that download, and not remembered. Dropping the call spares the download as long as others wait for it.
    pub async fn get(&self, request: &SourceRequest) -> Result<Fetched, SourceError> {
        let target = Target {
            url: resolve(&request.url, request.source_host.as_deref())?,
            digest: digest(&request.digest)?,
            retries: request.http_retry.unwrap_or(self.0.http_retry),
        };
        loop {
            match self.way(&target) {
                Way::Kept(source) => {
                    self.0.hits.fetch_add(1, Relaxed);
                    return Ok(Fetched { source, downloaded: false });
                }
                Way::Started(download) => {
                    self.0.misses.fetch_add(1, Relaxed);
                    return download.await.map(|source| Fetched { source, downloaded: true });
                }
                Way::Joined(download, same_url) => {
                    self.0.shared.fetch_add(1, Relaxed);
                    match download.await {
                        Ok(source) => return Ok(Fetched { source, downloaded: false }),
                        Err(error) if same_url => return Err(error),
                        // Another URL failed. That says nothing about this one, which has its turn now.
                        Err(_) => {}
                    }
                }
            }
        }
    }

    /// Figures for metrics.
    pub fn stats(&self) -> CacheStats {
        let inner = &self.0;
        let (bytes, entries, sources, evictions) = inner.shelf.figures();
        let flights = inner.flights.lock();
        let in_flight = flights.by_digest.values().filter(|flight| flight.download.upgrade().is_some()).count() as u64;
        CacheStats {
            hits: inner.hits.load(Relaxed),
            misses: inner.misses.load(Relaxed),
            shared: inner.shared.load(Relaxed),
            downloads: inner.downloads.load(Relaxed),
            failures: inner.failures.load(Relaxed),
            evictions,
            sources,
            bytes,
            entries,
            in_flight,
        }
    }

    /// Decides under one lock, so that no digest is downloaded twice at a time.
    fn way(&self, target: &Target) -> Way {
        let mut flights = self.0.flights.lock();
        if let Some(source) = self.0.shelf.get(&target.digest) {
            return Way::Kept(source);
        }
        let flight = flights.by_digest.get(&target.digest);
        if let Some((download, same_url)) =
            flight.and_then(|flight| Some((flight.download.upgrade()?, flight.url == target.url)))
        {
            return Way::Joined(download, same_url);
        }
        // Those that all have left are swept here.
        flights.by_digest.retain(|_, flight| flight.download.upgrade().is_some());
        flights.started += 1;
        let id = flights.started;
        let download = Arc::clone(&self.0).fly(target.clone(), id).boxed().shared();
        if let Some(weak) = download.downgrade() {
            flights.by_digest.insert(target.digest.clone(), Flight { id, url: target.url.clone(), download: weak });
        }
        Way::Started(download)
    }
}

impl Inner {
    /// Downloads, then puts the source on the shelf and ends the flight in one step.
    async fn fly(self: Arc<Self>, target: Target, id: u64) -> Result<Arc<Source>, SourceError> {
        let result = self.fetcher.fetch(&target, &self.shelf).await.map(Arc::new);
        let counter = if result.is_ok() { &self.downloads } else { &self.failures };
        counter.fetch_add(1, Relaxed);
        let mut flights = self.flights.lock();
        if let Ok(source) = &result {
            self.shelf.put(target.digest.clone(), Arc::clone(source));
        }
        if flights.by_digest.get(&target.digest).is_some_and(|flight| flight.id == id) {
            flights.by_digest.remove(&target.digest);
        }
        result
    }
}

/// Reads the digest of a request.
fn digest(text: &str) -> Result<Digest, SourceError> {
    if text.is_empty() {
        return Err(SourceError::Digest("empty digest".to_owned()));
    }
    Digest::parse_lenient(text)
        .map_err(|error| SourceError::Digest(format!("failed to parse digest '{text}': {error}")))
}

/// Makes the folder if needed and deletes all that is in it.
fn empty(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
