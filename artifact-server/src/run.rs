//! Puts the parts together: the only file that names a trait of ours with its implementation.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warp::{filters::BoxedFilter, reply::Response};

use crate::{
    args::{Config, ListenAddress, Sources},
    build::{self, Builder},
    error::ServerError,
    grpc::{self, BuilderService, Guard, Listener, Server, StorageService},
    http::{self, Files, admin},
    live::{Live, NamedFile},
    metrics::{Figure, Metrics},
    policy::Policy,
    serving::Serving,
    source::{CacheSettings, CacheStats, Limits, Roots, SourceCache},
    storage::{EventKind, LocalFolder, Stats, Storage, Store, watch},
    threads::Threads,
};

/// How long downloads may take to finish when the server ends. The pod has ten seconds.
const DRAIN: Duration = Duration::from_secs(8);

/// Serves until `shutdown` is ready, then drains: health says so, running downloads finish, new ones are refused, calls end with
/// `SHUTTING_DOWN`. Returns after eight seconds at the latest.
///
/// `threads` are the shares of a pool that has room for all of them.
pub async fn run(config: Config, threads: Threads, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
    let parts = Parts::open(&config, threads).await?;
    let listener = Listener::open(&config.grpc).await?;
    let tasks = TaskTracker::new();
    let (close, abort) = (CancellationToken::new(), parts.abort.clone());
    for (address, flag, filter) in parts.admin(&config) {
        let listener = http::listen(&address).await.map_err(|cause| ServerError::Port { address, flag, cause })?;
        http::log_open(&listener, flag.trim_end_matches("-addr"));
        tasks.spawn(serve_admin(listener, filter, close.clone(), abort.clone()));
    }
    parts.server.serving.start().await.map_err(ServerError::Serving)?;
    tasks.spawn(count_events(Arc::clone(&parts.server)));
    tracing::info!(grpc = listener.place(), storage = %config.storage_path.display(), "artifact server ready");

    let grpc = grpc::serve(parts.services()?, listener, close.clone());
    tokio::pin!(grpc);
    tokio::select! {
        result = &mut grpc => return result.map_err(|error| ServerError::Grpc(error.into())),
        () = shutdown => {}
    }
    tracing::info!("ending: finishing downloads");
    // Health and readiness say so from here on, and go on saying so until the downloads are done.
    parts.server.stop.cancel();
    tasks.close();
    let downloads = async {
        parts.server.serving.end().await;
        close.cancel();
    };
    let drain = async { tokio::join!(downloads, grpc, tasks.wait()) };
    if tokio::time::timeout(DRAIN, drain).await.is_err() {
        tracing::info!("ending: some downloads did not finish in time");
        abort.cancel();
    }
    Ok(())
}

/// What lives as long as the server.
struct Parts {
    server: Arc<Server>,
    builder: Arc<Builder>,
    abort: CancellationToken,
    /// Looks after the volume until it is dropped.
    _watch: Arc<watch::Watch>,
    _folder: OwnFolder,
}

/// The folder of the source cache, which nothing is in: what is spooled has no name. It goes with the server, also with one that did not get
/// far.
struct OwnFolder(PathBuf);

impl Drop for OwnFolder {
    fn drop(&mut self) {
        // Anything that is left in it after all is for the next start.
        std::fs::remove_dir(&self.0).ok();
    }
}

impl Parts {
    /// Opens the volume and the cache.
    async fn open(config: &Config, threads: Threads) -> Result<Self, ServerError> {
        let guard = Arc::new(Guard::new(policy(config).await?));
        let (path, algorithm) = (config.storage_path.clone(), config.algorithm);
        let open = move || {
            let storage: Arc<dyn Storage> = Arc::new(LocalFolder::open(&path)?);
            let store = Store::open(Arc::clone(&storage), algorithm)?;
            let watch = watch::Watch::start(Arc::clone(&store), &path, watch::Settings::default());
            Ok::<_, ServerError>((store, watch.map_err(ServerError::Watch)?, Roots::of_system()))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let (store, watch, roots) = opened.map_err(|error| ServerError::Watch(std::io::Error::other(error)))??;
        let watch = Arc::new(watch);
        let folder = OwnFolder(config.sources.folder.clone());
        let sources = SourceCache::new(CacheSettings { roots, ..cache_settings(&config.sources, threads) })?;
        let metrics = Metrics::new(figures(&store, &sources, &watch));
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let files = Files::new(Arc::clone(&store), Arc::clone(&metrics), http::Patience::new(threads)).filter();
        let address = config.storage_address.clone();
        let serving = Serving::new(Arc::clone(&store), config.serve, address, files, abort.clone());
        let (serving, max_bytes, silence) = (Arc::new(serving), config.artifact_max_bytes, config.upload_silence);
        let uploads = Arc::new(Semaphore::new(threads.uploads));
        let server =
            Server { uploads, serving, defaults: config.into(), max_bytes, silence, guard, metrics, stop, store };
        let settings = build::Settings { width: threads.workers, max_bytes: config.artifact_max_bytes };
        let builder = Arc::new(Builder::new(Arc::clone(&server.store), sources, settings));
        Ok(Self { server: Arc::new(server), builder, abort, _watch: watch, _folder: folder })
    }

    /// The ports for operators that are not switched off.
    fn admin(&self, config: &Config) -> Vec<(ListenAddress, &'static str, BoxedFilter<(Response,)>)> {
        let health =
            config.health.clone().map(|address| (address, "health-addr", admin::health(self.server.stop.clone())));
        let metrics = admin::metrics(Arc::clone(&self.server.metrics));
        let metrics = config.metrics.clone().map(|address| (address, "metrics-addr", metrics));
        health.into_iter().chain(metrics).collect()
    }

    fn services(&self) -> Result<tonic::service::Routes, ServerError> {
        let parts = || (Arc::clone(&self.server), Arc::clone(&self.builder));
        let (server, builder) = parts();
        let storage = StorageService { server, builder };
        let (server, builder) = parts();
        grpc::services(storage, BuilderService { server, builder }).map_err(|error| ServerError::Grpc(error.into()))
    }
}

/// Reads the policy file, if one is named, and follows it.
async fn policy(config: &Config) -> Result<Option<Live<Policy>>, ServerError> {
    let Some(path) = config.grpc_policy.clone() else { return Ok(None) };
    let file = NamedFile { flag: "grpc-policy", path };
    let named = vec![file.clone()];
    let read = move |contents: &[Vec<u8>]| {
        let text = contents.first().map_or(&[][..], Vec::as_slice);
        Policy::parse(text).map_err(|error| file.error(error))
    };
    Live::open("the policy", named, read).await.map(Some).map_err(ServerError::Policy)
}

async fn serve_admin(
    listener: tokio::net::TcpListener,
    filter: BoxedFilter<(Response,)>,
    close: CancellationToken,
    abort: CancellationToken,
) {
    http::accept(listener, filter, http::Limits::default(), close, abort.clone()).await.finish(abort).await;
}

fn cache_settings(sources: &Sources, threads: Threads) -> CacheSettings {
    let Sources { folder, cache_bytes, max_bytes, max_entries, max_depth, hosts, http_retry } = sources.clone();
    let settings = CacheSettings::new(folder, cache_bytes);
    let limits = Limits {
        compressed_bytes: max_bytes,
        uncompressed_bytes: max_bytes,
        entries: max_entries,
        depth: max_depth,
        ..settings.limits
    };
    CacheSettings {
        limits,
        max_entries: settings.max_entries.max(max_entries),
        hosts,
        http_retry,
        at_once: threads.fetches,
        ..settings
    }
}

/// Follows the store for the metrics.
async fn count_events(server: Arc<Server>) {
    let mut events = server.store.watch();
    while let Some(Some(event)) = server.stop.run_until_cancelled(events.next()).await {
        server.metrics.event(match event.kind {
            EventKind::Stored => "stored",
            EventKind::Removed => "removed",
            EventKind::Lost => "lost",
            EventKind::Corrupted => "corrupted",
            EventKind::Gap => "gap",
        });
        if matches!(event.kind, EventKind::Lost | EventKind::Corrupted)
            && let Some(path) = event.path
        {
            tracing::info!(%path, owner = event.owner, event = ?event.kind, "a stored file is not what it was");
        }
    }
}

/// What others count, read at each scrape.
fn figures(
    store: &Arc<Store>,
    sources: &SourceCache,
    watch: &Arc<watch::Watch>,
) -> impl Fn() -> Vec<Figure> + Send + Sync + 'static {
    let (store, sources, watch) = (Arc::clone(store), sources.clone(), Arc::clone(watch));
    move || {
        let mut figures = source_figures(&sources.stats());
        figures.extend(storage_figures(&store.stats(), watch.is_polling()));
        figures
    }
}

/// Counts are far below 2^52, so nothing is lost.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn figure(name: &'static str, help: &'static str, counter: bool, value: u64) -> Figure {
    Figure { name, help, counter, value: value as f64 }
}

fn source_figures(stats: &CacheStats) -> Vec<Figure> {
    let counter = |name, help, value| figure(name, help, true, value);
    let gauge = |name, help, value| figure(name, help, false, value);
    vec![
        counter("weir_source_downloads", "Downloads that ended with a verified source.", stats.downloads),
        counter("weir_source_download_failures", "Downloads that failed, retries included.", stats.failures),
        counter("weir_source_cache_hits", "Requests for sources answered from the cache.", stats.hits),
        counter("weir_source_cache_misses", "Requests for sources that started a download.", stats.misses),
        counter("weir_source_cache_shared", "Requests for sources that joined a running download.", stats.shared),
        counter("weir_source_cache_evictions", "Sources dropped to make room.", stats.evictions),
        counter("weir_source_archives_unpacked", "Tarballs inside of sources that were unpacked.", stats.archives),
        gauge("weir_source_cache_sources", "Sources in the cache.", stats.sources),
        gauge("weir_source_cache_bytes", "Part of the cache's budget in use.", stats.bytes),
    ]
}

fn storage_figures(stats: &Stats, polling: bool) -> Vec<Figure> {
    let gauge = |name, help, value| figure(name, help, false, value);
    vec![
        gauge("weir_storage_files", "Stored files.", stats.files as u64),
        gauge("weir_storage_bytes", "Sum of the sizes of stored files.", stats.bytes),
        gauge("weir_storage_aliases", "Other names for stored files.", stats.aliases as u64),
        gauge("weir_storage_locks", "Artifacts that callers have locked.", stats.locked as u64),
        gauge("weir_storage_unrecorded_files", "Files that this server did not store.", stats.unrecorded as u64),
        gauge(
            "weir_storage_foreign_files",
            "Things on the volume that are no artifacts, at start.",
            stats.swept.foreign as u64,
        ),
        gauge(
            "weir_storage_watch_polling",
            "1 while the volume is polled as the kernel's events can not be had.",
            u64::from(polling),
        ),
    ]
}
