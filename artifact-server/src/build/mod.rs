//! Building artifacts: sources are fetched, trees composed, and what is new is archived and stored.
//!
//! An artifact costs its own size, never that of its sources. One whose content is the published one is not archived, written or published
//! again.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::try_join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_proto::{Algorithm, ArtifactDir, ArtifactPath, Digest, Failure, Reason};

use crate::{
    source::{Fetched, Source, SourceCache, SourceRequest},
    storage::{Caller, DirGuard, Record, Store},
    tree::{
        Tree,
        compose::{Bounds, CopyOperation, MAX_ENTRIES, compose_within},
    },
};

mod adoption;
mod artifact;
mod contents;
mod merges;
mod sent;

pub use contents::ContentMaker;
pub use sent::{Archived, Ignore};

/// How many artifacts one worker takes at a time. A thread costs as much as a few small artifacts, and their locks are held together.
pub const BATCH: usize = 32;

/// Builds artifacts, a bounded number at a time, whoever asks.
pub struct Builder {
    store: Arc<Store>,
    sources: SourceCache,
    contents: ContentMaker,
    workers: Arc<Semaphore>,
    settings: Settings,
}

/// What bounds building.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Workers. Each takes a thread that may block, see [`crate::threads`].
    pub width: usize,
    /// Most bytes that the files of one artifact may take together, before they are compressed.
    pub max_bytes: u64,
}

/// What the artifacts of one call share. Holding it keeps the sources from being evicted.
pub struct Job {
    /// Who answers for the files.
    pub caller: Caller,
    /// Names artifact digests.
    pub algorithm: Algorithm,
    /// Sources by alias.
    pub sources: BTreeMap<String, Arc<Tree>>,
    /// Keeps the sources.
    pub pins: Vec<Arc<Source>>,
}

/// One artifact to make.
#[derive(Clone, Debug)]
pub struct Order {
    /// The caller's number for it.
    pub index: u32,
    /// What it is published as.
    pub dir: ArtifactDir,
    /// What it is composed of.
    pub copy: Vec<CopyOperation>,
    /// What is published now, and its digest if the caller knows it.
    pub current: Option<(ArtifactPath, Option<Digest>)>,
    /// Replace files of another owner.
    pub take_over: bool,
}

/// An artifact that was made, or is good as it is.
#[derive(Clone, Debug)]
pub struct Made {
    /// Where it lies.
    pub path: ArtifactPath,
    /// What is recorded of it.
    pub record: Arc<Record>,
    /// Whether this is the published file.
    pub unchanged: bool,
    /// `sha256:<hex>` of the content.
    pub content_digest: String,
    /// Regular files in the archive.
    pub files: u64,
    /// Files that the default ignore list left out.
    pub ignored: u64,
    /// The first of them, for people.
    pub ignored_examples: Vec<String>,
}

/// The right to work, and the artifacts to work on.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    _guards: Vec<DirGuard>,
}

impl Builder {
    /// A builder over a store and its sources.
    pub fn new(store: Arc<Store>, sources: SourceCache, settings: Settings) -> Self {
        let workers = Arc::new(Semaphore::new(settings.width));
        Self { store, contents: ContentMaker::new(sources.clone()), sources, workers, settings }
    }

    /// How many workers there are.
    pub fn width(&self) -> usize {
        self.settings.width
    }

    /// Fetches sources at the same time, in the order in which they were given. The first that fails ends the others.
    pub async fn fetch(&self, requests: &[(String, SourceRequest)]) -> Result<Vec<Fetched>, Failure> {
        let fetch = |(at, request)| async move {
            self.fetch_one(request).await.map_err(|failure| failure.within(&format!("sources[{at}]")))
        };
        try_join_all(requests.iter().enumerate().map(fetch)).await
    }

    /// Fetches one source. The error names the field of the source that is at fault, if one is.
    pub async fn fetch_one(&self, (alias, request): &(String, SourceRequest)) -> Result<Fetched, Failure> {
        let result = self.sources.get(request).await;
        result.map_err(|error| {
            tracing::debug!(alias, url = request.url, %error, "source can not be had");
            let failure = Failure::from(error);
            Failure { field: of_source(failure.reason).map(str::to_owned), ..failure }
        })
    }

    /// Waits until nobody else has locked these artifacts, then for a worker, then until nobody else works on them. In this order: whoever
    /// works has a worker, so all that wait get their turn, and no worker waits for a lock, which may be held for long. `token` is that
    /// of a lock of the caller's own.
    pub async fn turn(&self, dirs: Vec<ArtifactDir>, token: Option<&str>) -> Result<Turn, Failure> {
        let dirs = crate::grpc::ordered(dirs);
        loop {
            self.store.unlocked(&dirs, token).await?;
            let permit = self.worker().await?;
            if let Some(guards) = self.store.enter(&dirs, token).await? {
                return Ok(Turn { _permit: permit, _guards: guards });
            }
        }
    }

    /// Waits for a worker.
    async fn worker(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = Arc::clone(&self.workers).acquire_owned().await;
        permit.map_err(|_| crate::grpc::shutting_down())
    }

    /// Makes one artifact. Blocks. The caller holds a [`Turn`] for it. When `cancelled` says so before anything is published, nothing is left.
    pub fn make(&self, job: &Job, order: &Order, cancelled: &dyn Fn() -> bool) -> Result<Made, Failure> {
        // Waiting for the artifact may have taken long.
        self.store.epochs().check(&job.caller)?;
        let contents = self.contents.until(cancelled);
        let bounds = Bounds { entries: MAX_ENTRIES, bytes: self.settings.max_bytes, cancelled };
        let tree = compose_within(bounds, &contents, &job.sources, &order.copy)?;
        artifact::make(&self.store, job, order, &tree, cancelled)
    }
}

/// What of a source is to blame when it can not be had; `None` when that is the server's own trouble.
fn of_source(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::InvalidRequest
        | Reason::SourceNotFound
        | Reason::SourceUnavailable
        | Reason::SourceRefused
        | Reason::SourceTooLarge => Some("url"),
        Reason::SourceDigestMismatch => Some("digest"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::{source::CacheSettings, storage::Memory};

    fn at(epoch: u64) -> Caller {
        Caller { owner: "source-watcher/1".parse().unwrap(), lease: None, tenant: None, epoch }
    }

    fn dir() -> ArtifactDir {
        ArtifactDir::new("ExternalArtifact", "apps", "front").unwrap()
    }

    /// A builder, a job of the first epoch, and an artifact without files that it has published.
    fn scene(folder: &std::path::Path) -> (Builder, Job, Order) {
        let store = Store::open(Arc::new(Memory::new()), Algorithm::Sha256).unwrap();
        let sources = SourceCache::new(CacheSettings::new(folder, 1 << 20)).unwrap();
        let builder = Builder::new(store, sources, Settings { width: 1, max_bytes: 1 << 20 });
        let (sources, pins) = (BTreeMap::new(), Vec::new());
        let job = Job { caller: at(1), algorithm: Algorithm::Sha256, sources, pins };
        let mut order = Order { index: 0, dir: dir(), copy: Vec::new(), current: None, take_over: false };
        let made = builder.make(&job, &order, &|| false).unwrap();
        order.current = Some((made.path, None));
        (builder, job, order)
    }

    #[tokio::test]
    async fn a_former_leader_fails_when_its_turn_comes() {
        let folder = tempfile::tempdir().unwrap();
        let (builder, job, order) = scene(folder.path());
        assert!(builder.make(&job, &order, &|| false).unwrap().unchanged);
        let first = builder.store.lock(&dir()).await;
        let mut turn = Box::pin(builder.turn(vec![dir()], None));
        assert!((&mut turn).now_or_never().is_none(), "it waits");
        builder.store.epochs().admit(&at(2)).unwrap();
        drop(first);
        let _turn = turn.await.unwrap();
        let refused = builder.make(&job, &order, &|| false).unwrap_err();
        assert_eq!(refused.reason, Reason::StaleEpoch, "also when nothing would change");
    }

    #[test]
    fn a_former_leader_stores_nothing_however_far_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (builder, job, order) = scene(folder.path());
        let (before, new) = (builder.store.stats(), Order { current: None, ..order });
        // Asked now and again while the archive is made.
        let deposed = || {
            builder.store.epochs().admit(&at(2)).unwrap();
            false
        };
        assert_eq!(builder.make(&job, &new, &deposed).unwrap_err().reason, Reason::StaleEpoch);
        assert_eq!(builder.store.stats(), before);
    }
}
