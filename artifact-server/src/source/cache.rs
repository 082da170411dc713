//! The source cache: one download per digest, however many ask.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use weir_proto::Digest;

use super::{
    Fetched, HostPattern, Limits, Pace, Roots, Source, SourceError, SourceRequest, Waits,
    archive::Archives,
    fetch::{Fetcher, Target, resolve},
    flights::{Flight, Flights, Landed, Lane},
    hosts,
    retry::{Failed, with_retries},
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
    /// How slow a download may be.
    pub pace: Pace,
    /// Who vouches for servers of sources behind https.
    pub roots: Roots,
    /// Hosts that sources may come from; empty: any.
    pub hosts: Vec<HostPattern>,
    /// Downloads at a time. Each takes a thread that may block, and some MiB of memory for the pieces that wait to be unpacked.
    pub at_once: usize,
}

impl CacheSettings {
    /// A cache in `folder` of `max_bytes` and the other settings at their defaults: 500 000 entries, 9 retries, 16 downloads at a time, nobody trusted for https.
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
            pace: Pace::default(),
            roots: Roots::default(),
            hosts: Vec::new(),
            at_once: 16,
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
    /// Tarballs inside of sources that were unpacked.
    pub archives: u64,
}

/// Sources by digest. Cloning it is cheap and shares the cache.
#[derive(Clone, Debug)]
pub struct SourceCache(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shelf: Arc<Shelf>,
    pub(super) fetcher: Fetcher,
    pub(super) archives: Archives,
    http_retry: u32,
    waits: Waits,
    hosts: Vec<HostPattern>,
    flights: Mutex<Flights>,
    hits: AtomicU64,
    misses: AtomicU64,
    shared: AtomicU64,
    downloads: AtomicU64,
    failures: AtomicU64,
}

/// How a request gets its source.
enum Way {
    Kept(Arc<Source>),
    Started(Flight),
    /// Another request has started it.
    Joined(Flight),
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
            archives: Archives::default(),
            http_retry: settings.http_retry,
            waits: settings.waits,
            hosts: settings.hosts,
            flights: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            downloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })))
    }

    /// Gets a source: from the cache, from a download that is running, or by a new one. A failure is reported to all who wait
    /// for that URL, and not remembered. Dropping the call spares the download as long as others wait for it.
    pub async fn get(&self, request: &SourceRequest) -> Result<Fetched, SourceError> {
        let target = Target {
            url: resolve(&request.url, request.source_host.as_deref())?,
            digest: digest(&request.digest)?,
            retries: request.http_retry.unwrap_or(self.0.http_retry),
            tenant: request.tenant.clone(),
        };
        hosts::check(&self.0.hosts, &target.url)?;
        let mut fetched = self.by_any_way(&target).await?;
        if let Some(tenant) = &target.tenant
            && !fetched.downloaded
            && fetched.source.tenant.as_ref() != Some(tenant)
        {
            self.0.prove(&target).await?;
            // As if nobody else had fetched it: that would tell the caller of others.
            fetched.downloaded = fetched.source.is_first_of(tenant);
        }
        Ok(fetched)
    }

    async fn by_any_way(&self, target: &Target) -> Result<Fetched, SourceError> {
        match self.way(target) {
            Way::Kept(source) => {
                self.0.hits.fetch_add(1, Relaxed);
                Ok(Fetched { source, downloaded: false })
            }
            Way::Started(flight) => flight.await.map(|(source, downloaded)| Fetched { source, downloaded }),
            Way::Joined(flight) => {
                self.0.shared.fetch_add(1, Relaxed);
                flight.await.map(|(source, _)| Fetched { source, downloaded: false })
            }
        }
    }

    /// Figures for metrics.
    pub fn stats(&self) -> CacheStats {
        let inner = &self.0;
        let (bytes, entries, sources, evictions) = inner.shelf.figures();
        let in_flight = inner.flights.lock().sources();
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
            archives: inner.archives.unpacked(),
        }
    }

    /// Decides under one lock, so that nothing is downloaded that is kept or on its way.
    fn way(&self, target: &Target) -> Way {
        let mut flights = self.0.flights.lock();
        if let Some(source) = self.0.shelf.get(&target.key()) {
            return Way::Kept(source);
        }
        match flights.find(target) {
            Some(flight) => Way::Joined(flight),
            None => Way::Started(flights.start(target, |id, lane| Arc::clone(&self.0).fly(target.clone(), id, lane))),
        }
    }
}

impl Inner {
    /// Lets a caller have what another one fetched, if it could have fetched it itself.
    async fn prove(&self, target: &Target) -> Result<(), SourceError> {
        // An error must not tell a caller that the source is here: it reads as that of a download.
        let what = format!("GET {}", target.url);
        with_retries(what, target.retries, self.waits, || self.fetcher.prove(&target.url)).await
    }

    /// Gets a source from one URL, with retries, unless a flight to another URL brings it first.
    async fn fly(self: Arc<Self>, target: Target, id: u64, lane: Arc<Lane>) -> Result<Landed, SourceError> {
        let began = AtomicBool::new(false);
        let what = format!("GET {}", target.url);
        let tries = with_retries(what, target.retries, self.waits, || self.attempt(&target, &lane, &began));
        let elsewhere = async {
            lane.arrived().await;
            match self.shelf.get(&target.key()) {
                Some(source) => source,
                // It is evicted already: back to the own tries.
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            result = tries => result,
            source = elsewhere => Ok((source, false)),
        };
        if result.is_err() {
            self.failures.fetch_add(1, Relaxed);
        }
        self.flights.lock().end(&target.key(), id);
        result
    }

    /// One try, alone among all flights that bring this. What it brings is on the shelf before another may try.
    async fn attempt(&self, target: &Target, lane: &Lane, began: &AtomicBool) -> Result<Landed, Failed> {
        let first = !began.swap(true, Relaxed);
        let _turn = match lane.try_enter() {
            Some(turn) => turn,
            None => {
                if first {
                    self.shared.fetch_add(1, Relaxed);
                }
                lane.enter().await
            }
        };
        if let Some(source) = self.shelf.get(&target.key()) {
            return Ok((source, false));
        }
        if first {
            self.misses.fetch_add(1, Relaxed);
        }
        let mut source = self.fetcher.attempt(target, &self.shelf).await?;
        source.tenant.clone_from(&target.tenant);
        let source = Arc::new(source);
        self.downloads.fetch_add(1, Relaxed);
        self.shelf.put(target.key(), Arc::clone(&source));
        lane.announce();
        Ok((source, true))
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
