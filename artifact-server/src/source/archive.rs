//! Tarballs that lie in a source: unpacked for the strategy Extract, into spools beside those of the sources and under the same budget.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

use super::{Source, SourceCache, SourceError, awaited::Awaited, limits::Rules, shelf::Key, unpack::unpack};
use crate::tree::File;

/// How many tarballs can be unpacked at once. Two that share a place only wait for each other.
const PLACES: usize = 64;

/// What is being unpacked.
#[derive(Debug)]
pub(super) struct Archives {
    places: [Mutex<()>; PLACES],
    unpacked: AtomicU64,
}

impl Default for Archives {
    fn default() -> Self {
        Self { places: [const { Mutex::new(()) }; PLACES], unpacked: AtomicU64::new(0) }
    }
}

impl Archives {
    /// How many were unpacked so far.
    pub(super) fn unpacked(&self) -> u64 {
        self.unpacked.load(Relaxed)
    }
}

impl SourceCache {
    /// What is in a tarball. It is unpacked once for its content, in whatever sources and under whatever names it lies, and kept as long
    /// as there is room. Blocks. Fails with [`SourceError::Cancelled`] when `cancelled` says so.
    ///
    /// The rules are those for sources, and as in Flux: symbolic links are refused, and all entries together may have
    /// [`MAX_ARCHIVE`](super::MAX_ARCHIVE) bytes.
    pub fn unpack(&self, tarball: &File, cancelled: &dyn Fn() -> bool) -> Result<Arc<Source>, SourceError> {
        let inner = &self.0;
        let key = Key::Archive(tarball.sha256);
        if let Some(kept) = inner.shelf.get(&key) {
            return Ok(kept);
        }
        let _place = inner.archives.places[usize::from(tarball.sha256[0]) % PLACES].lock();
        if let Some(kept) = inner.shelf.get(&key) {
            return Ok(kept);
        }
        let read = |buffer: &mut [u8], offset| tarball.content.read_exact_at(buffer, offset);
        let reader = Awaited::buffered(tarball.size, read, cancelled);
        let rules = Rules::archive(inner.fetcher.limits);
        let source = Arc::new(unpack(reader, &inner.fetcher.folder, &rules, inner.shelf.charge())?);
        inner.archives.unpacked.fetch_add(1, Relaxed);
        inner.shelf.put(key, Arc::clone(&source));
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write as _},
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use flate2::{Compression, write::GzEncoder};

    use super::*;
    use crate::{
        source::{
            CacheSettings,
            corpus::{archive, file, link},
        },
        tree::{Content, ReadAt},
    };

    fn tarball(entries: &[super::super::corpus::Raw]) -> File {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&archive(entries)).unwrap();
        let bytes = encoder.finish().unwrap();
        let (size, sha256) = (bytes.len() as u64, crate::hash::sha256(&bytes));
        File { executable: false, size, sha256, content: Content::Inline(bytes.into()) }
    }

    fn cache(max_bytes: u64) -> (SourceCache, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let cache = SourceCache::new(CacheSettings::new(folder.path().join("cache"), max_bytes)).unwrap();
        (cache, folder)
    }

    fn never() -> bool {
        false
    }

    #[test]
    fn a_tarball_is_unpacked_once_for_all_who_ask() {
        let (cache, _folder) = cache(1 << 20);
        let (one, other) = (tarball(&[file("a", b"1")]), tarball(&[file("a", b"2")]));
        // The same content under another name, and in another place.
        let copy = File { content: Content::Inline(one.read().unwrap()), ..one.clone() };
        std::thread::scope(|scope| {
            for asked in [&one, &copy, &one, &copy, &other, &other].repeat(10) {
                scope.spawn(|| drop(cache.unpack(asked, &never).unwrap()));
            }
        });
        assert_eq!(cache.stats().archives, 2);
        assert_eq!(cache.stats().sources, 0, "they are no sources");
        let kept = cache.unpack(&copy, &never).unwrap();
        assert_eq!(kept.tree.entries().len(), 1);
    }

    #[test]
    fn what_is_held_is_not_evicted_and_all_else_is() {
        let half = vec![b'x'; 500_000];
        let (cache, _folder) = cache(1 << 20);
        let tarballs: Vec<File> = ["a", "b", "c"].map(|name| tarball(&[file(name, &half)])).into();
        let held = cache.unpack(&tarballs[0], &never).unwrap();
        drop(cache.unpack(&tarballs[1], &never).unwrap());
        let second = cache.unpack(&tarballs[2], &never).unwrap();
        assert_eq!(cache.stats().evictions, 1, "of the one that nobody holds");
        let tree = Arc::clone(&second.tree);
        drop(second);
        assert_eq!(cache.unpack(&tarballs[1], &never).unwrap_err(), SourceError::Busy, "a tree is enough to hold it");
        drop((held, tree));
        cache.unpack(&tarballs[1], &never).unwrap();
    }

    #[test]
    fn failures_leave_nothing_and_are_not_remembered() {
        let (cache, _folder) = cache(1 << 20);
        let large = tarball(&[file("a", &vec![0; 2 << 20])]);
        let text = "tar entry \"a\" needs more than all 1048576 bytes of the source cache; raise --source-cache-size";
        assert_eq!(cache.unpack(&large, &never).unwrap_err(), SourceError::TooLarge(text.to_owned()));
        let bad = tarball(&[file("a", b"1"), link(b'2', "l", "a")]);
        for _ in 0..2 {
            let error = cache.unpack(&bad, &never).unwrap_err();
            let text = "tar file entry l is a symlink, which is not allowed in this context";
            assert_eq!(error, SourceError::Refused(text.to_owned()));
        }
        let stats = cache.stats();
        assert_eq!((stats.bytes, stats.entries, stats.archives), (0, 0, 0));
    }

    #[test]
    fn unpacking_ends_when_nobody_waits() {
        let (cache, _folder) = cache(1 << 30);
        // It does not compress, so there is much to read.
        let noise: Vec<u8> = (0..1_u32 << 15).flat_map(|block| crate::hash::sha256(&block.to_be_bytes())).collect();
        let tarball = tarball(&[file("noise", &noise)]);
        let asked = AtomicUsize::new(0);
        let cancelled = || asked.fetch_add(1, SeqCst) >= 3;
        assert_eq!(cache.unpack(&tarball, &cancelled).unwrap_err(), SourceError::Cancelled);
        assert_eq!(asked.load(SeqCst), 4, "it does not go on");
        assert_eq!(cache.stats().bytes, 0);
        cache.unpack(&tarball, &never).unwrap();
    }

    /// Fails as a broken disk does.
    struct Broken;

    impl ReadAt for Broken {
        fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(5))
        }
    }

    #[test]
    fn a_broken_disk_is_not_the_fault_of_the_tarball() {
        let (cache, _folder) = cache(1 << 20);
        let file = File { content: Content::Spooled(Arc::new(Broken), 0), ..tarball(&[file("a", b"1")]) };
        let error = cache.unpack(&file, &never).unwrap_err();
        assert!(matches!(error, SourceError::Storage(_)), "{error:?}");
        assert_eq!(error.of_archive().reason, weir_proto::Reason::StorageFailed);
    }
}
