//! The files that composition has made: where its questions meet the cache of sources and what is remembered of merges.

use std::sync::Arc;

use weir_proto::Failure;

use super::merges::Merges;
use crate::{
    source::SourceCache,
    tree::{
        File, Tree,
        compose::{ContentError, Contents},
    },
};

/// Makes files of files, for all artifacts.
pub struct ContentMaker {
    sources: SourceCache,
    merges: Arc<Merges>,
}

impl ContentMaker {
    /// Unpacks tarballs into this cache.
    pub fn new(sources: SourceCache) -> Self {
        Self { sources, merges: Arc::default() }
    }

    /// Makes files for one artifact, until `cancelled` says that nobody waits for it any more.
    pub fn until<'a>(&'a self, cancelled: &'a dyn Fn() -> bool) -> Making<'a> {
        Making { maker: self, cancelled }
    }
}

/// A [`ContentMaker`] at work for one artifact.
pub struct Making<'a> {
    maker: &'a ContentMaker,
    cancelled: &'a dyn Fn() -> bool,
}

impl Contents for Making<'_> {
    fn merge(&self, base: &File, over: &File) -> Result<File, ContentError> {
        Merges::merge(&self.maker.merges, base, over)
    }

    fn unpack(&self, tarball: &File) -> Result<Arc<Tree>, Failure> {
        let unpacked = self.maker.sources.unpack(tarball, self.cancelled).map_err(|error| error.of_archive())?;
        Ok(Arc::clone(&unpacked.tree))
    }
}
