//! Sources: a tarball behind a URL with a digest becomes a [`Tree`](crate::tree::Tree).
//!
//! Each source is downloaded, verified and unpacked once per digest, whoever asks and however many ask at the same
//! moment. It is then one file of contents (the spool) and an index in memory. Nothing of it is handed out before its
//! digest has been checked.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;

use crate::tree::Tree;

mod admission;
mod archive;
mod awaited;
mod cache;
#[cfg(test)]
pub(crate) mod corpus;
mod equality;
mod error;
mod feed;
mod fetch;
mod flights;
mod header;
mod hosts;
mod limits;
mod member;
mod name;
mod pace;
mod pax;
mod retry;
mod roots;
mod sent;
mod shelf;
mod spool;
mod unpack;

pub use cache::{CacheSettings, CacheStats, SourceCache};
pub use equality::{Difference, compare};
pub use error::SourceError;
pub use fetch::is_host;
pub use hosts::HostPattern;
pub use limits::{Limits, MAX_ARCHIVE, MAX_DEPTH};
pub use pace::Pace;
pub use retry::Waits;
pub use roots::Roots;
pub use sent::{Receiving, Sent};

/// What to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceRequest {
    /// Where the tarball is, e.g. `http://source-controller.flux-system.svc.cluster.local./gitrepository/…/….tar.gz`.
    pub url: String,
    /// `<algorithm>:<lower-case hex>` of the tarball's bytes; without an algorithm it is taken as SHA-256.
    pub digest: String,
    /// How often a failed download is tried again; `None` takes the cache's default.
    pub http_retry: Option<u32>,
    /// `host` or `host:port` to use in place of the URL's; `None` and empty keep the URL as it is.
    pub source_host: Option<String>,
    /// Who asks, where callers must not learn from each other: what one of them fetched, another gets by the same URL alone, and only after a
    /// HEAD of its own on it. `None`: all are one.
    pub tenant: Option<String>,
}

/// A source that has been verified and unpacked. Holding it, its tree or a content of its tree keeps it from being evicted.
#[derive(Debug)]
pub struct Source {
    /// What was in the tarball. Its contents are read from the spool.
    pub tree: Arc<Tree>,
    /// Figures about the tarball.
    pub summary: SourceSummary,
    spool: Arc<spool::Spool>,
    /// Who had it downloaded, where that matters.
    tenant: Option<String>,
    /// The others who have shown that they could have.
    proven: Mutex<BTreeSet<String>>,
    /// Holders of the spool when nobody but the source itself holds it.
    own_holders: usize,
}

impl Source {
    fn new(tree: Tree, summary: SourceSummary, spool: Arc<spool::Spool>) -> Self {
        let own_holders = Arc::strong_count(&spool);
        Self { tree: Arc::new(tree), summary, spool, tenant: None, proven: Mutex::default(), own_holders }
    }

    /// Whether a tenant gets it for the first time.
    fn is_first_of(&self, tenant: &str) -> bool {
        self.proven.lock().insert(tenant.to_owned())
    }

    /// Whether anybody besides the one who asks holds the source, its tree or one of its contents.
    fn is_pinned(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
            || Arc::strong_count(&self.tree) > 1
            || Arc::strong_count(&self.spool) > self.own_holders
    }
}

/// Figures about an unpacked source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSummary {
    /// Regular files in the tree.
    pub files: u64,
    /// Directories in the tree, without the root.
    pub directories: u64,
    /// Sum of the sizes of all files, in bytes.
    pub bytes: u64,
    /// Symbolic links in the tarball. They are left out, as Flux does.
    pub skipped_links: u64,
    /// Size of the tarball in bytes, as downloaded.
    pub compressed_bytes: u64,
}

/// What a call to get a source returns.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The source; held by the caller for as long as it is needed.
    pub source: Arc<Source>,
    /// Whether this call started the download. False when it was in the cache, or another call was downloading it; but for a tenant who gets
    /// it for the first time always true.
    pub downloaded: bool,
}
