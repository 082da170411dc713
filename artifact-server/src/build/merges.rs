//! Merged files. What two files merge to depends on their bytes alone, so its digest is remembered; the bytes are made again when somebody
//! reads them. So an artifact that comes out as it was costs no merge, and what is remembered takes no room.

use std::{
    any::Any,
    collections::HashMap,
    io,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use parking_lot::Mutex;
use weir_proto::{Failure, Reason};

use crate::{
    hash::sha256,
    tree::{
        Content, File, ReadAt,
        compose::ContentError,
        yaml::{self, LoadError, MergeError},
    },
};

/// Merges that are remembered, some 150 bytes each: at least this many, and at most twice as many.
const REMEMBERED: usize = 16 * 1024;
/// Pairs of files with more bytes than this are merged one at a time: a merge takes far more memory than its files.
const LARGE: u64 = 256 * 1024;

/// Most merges that a read makes one after the other. What is merged into the last of them is made at once: an artifact may merge into one
/// file thousands of times.
const CHAIN: u32 = 8;

/// The SHA-256 of the file that is there, and of the one that is merged into it.
type Key = ([u8; 32], [u8; 32]);
/// SHA-256 and size of the result.
type Known = ([u8; 32], u64);

/// All that merges share.
#[derive(Default)]
pub(super) struct Merges {
    known: Mutex<Generations>,
    large: Mutex<()>,
}

/// What was used lately, and what was before that. When the first is full it takes the place of the second.
#[derive(Default)]
struct Generations {
    recent: HashMap<Key, Known>,
    before: HashMap<Key, Known>,
}

impl Generations {
    fn get(&mut self, key: &Key) -> Option<Known> {
        if let Some(known) = self.recent.get(key) {
            return Some(*known);
        }
        let known = self.before.remove(key)?;
        self.put(*key, known);
        Some(known)
    }

    fn put(&mut self, key: Key, known: Known) {
        if self.recent.len() >= REMEMBERED {
            self.before = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, known);
    }
}

impl Merges {
    /// The file that `over` merged into `base` gives, with the mode of `base`.
    pub(super) fn merge(this: &Arc<Self>, base: &File, over: &File) -> Result<File, ContentError> {
        let key = (base.sha256, over.sha256);
        let known = this.known.lock().get(&key);
        let (base, over, merges) = (base.clone(), over.clone(), Arc::clone(this));
        let merged = Merged { chain: chain(&base) + 1, base, over, bytes: OnceLock::new(), merges };
        let (sha256, size) = match known {
            Some(known) => known,
            None => {
                let bytes = merged.bytes()?;
                let known = (sha256(bytes), bytes.len() as u64);
                this.known.lock().put(key, known);
                known
            }
        };
        let executable = merged.base.executable;
        let content = if merged.chain > CHAIN {
            Content::Inline(merged.bytes()?.clone())
        } else {
            Content::Spooled(Arc::new(merged), 0)
        };
        Ok(File { executable, size, sha256, content })
    }
}

/// How many merges a read of the file makes.
fn chain(file: &File) -> u32 {
    let Content::Spooled(spool, _) = &file.content else { return 0 };
    let spool: &dyn Any = &**spool;
    spool.downcast_ref::<Merged>().map_or(0, |merged| merged.chain)
}

/// Two files to be merged when somebody reads the result.
struct Merged {
    /// How many merges a read makes.
    chain: u32,
    base: File,
    over: File,
    bytes: OnceLock<Bytes>,
    merges: Arc<Merges>,
}

impl Merged {
    fn bytes(&self) -> Result<&Bytes, ContentError> {
        if let Some(bytes) = self.bytes.get() {
            return Ok(bytes);
        }
        let over = read(&self.over, MergeError::Over)?;
        let base = read(&self.base, MergeError::Base)?;
        // Only now: a file that is read may itself have to be merged first.
        let _turn = (self.base.size + self.over.size > LARGE).then(|| self.merges.large.lock());
        let merged = yaml::merge(&base, &over).map_err(ContentError::Merge)?;
        Ok(self.bytes.get_or_init(|| merged.into()))
    }
}

impl ReadAt for Merged {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes().map_err(|error| match error {
            ContentError::Merge(error) => io::Error::other(error),
            ContentError::Failed(failure) => io::Error::other(failure),
        })?;
        Content::Inline(bytes.clone()).read_exact_at(buffer, offset)
    }
}

/// The bytes of one of the files.
fn read(file: &File, side: fn(LoadError) -> MergeError) -> Result<Bytes, ContentError> {
    if file.size > yaml::MAX_FILE {
        return Err(ContentError::Merge(side(LoadError::TooLarge)));
    }
    file.read().map_err(|error| {
        ContentError::Failed(Failure::new(Reason::StorageFailed, format!("source cache failed: {error}")))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use super::*;

    /// Counts how often its bytes are read.
    struct Counted(Bytes, AtomicUsize);

    impl ReadAt for Counted {
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.1.fetch_add(1, SeqCst);
            Content::Inline(self.0.clone()).read_exact_at(buffer, offset)
        }
    }

    fn counted(text: &str) -> (File, Arc<Counted>) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let (size, sha256) = (bytes.len() as u64, sha256(&bytes));
        let counted = Arc::new(Counted(bytes, AtomicUsize::new(0)));
        let content = Content::Spooled(Arc::clone(&counted) as _, 0);
        (File { executable: false, size, sha256, content }, counted)
    }

    fn text(file: &File) -> String {
        String::from_utf8(file.read().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn what_is_known_is_not_read_until_somebody_wants_it() {
        let merges = Arc::<Merges>::default();
        let ((base, reads), (over, _)) = (counted("a: 1\n"), counted("b: 2\n"));
        let merged = Merges::merge(&merges, &base, &over).unwrap();
        assert_eq!((text(&merged).as_str(), reads.1.load(SeqCst)), ("a: 1\nb: 2\n", 1), "once for all");
        assert_eq!((merged.size, merged.sha256), (10, sha256(b"a: 1\nb: 2\n")));

        let (base, reads) = counted("a: 1\n");
        let again = Merges::merge(&merges, &File { executable: true, ..base }, &over).unwrap();
        assert_eq!(again, File { executable: true, ..merged });
        assert_eq!(reads.1.load(SeqCst), 0, "digest and size are known");
        assert_eq!((text(&again).as_str(), reads.1.load(SeqCst)), ("a: 1\nb: 2\n", 1), "the bytes are made when read");
    }

    #[test]
    fn the_order_of_two_files_counts() {
        let merges = Arc::<Merges>::default();
        let ((one, _), (other, _)) = (counted("a: 1\n"), counted("a: 2\n"));
        let merged = |base, over| text(&Merges::merge(&merges, base, over).unwrap());
        assert_eq!((merged(&one, &other), merged(&other, &one)), ("a: 2\n".to_owned(), "a: 1\n".to_owned()));
    }

    /// Deep chains would be read, and let go, by as many calls one inside the other.
    #[test]
    fn thousands_of_merges_into_one_file_do_not_pile_up() {
        let merges = Arc::<Merges>::default();
        for _ in 0..2 {
            let mut file = counted("a: start\n").0;
            for number in 0..3000 {
                file = Merges::merge(&merges, &file, &counted(&format!("a: {}\n", number % 7)).0).unwrap();
                assert!(chain(&file) <= CHAIN);
            }
            assert_eq!(text(&file), "a: 3\n");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut known = Generations::default();
        let key = |number: usize| ([u8::try_from(number % 256).unwrap(); 32], sha256(&number.to_be_bytes()));
        for number in 0..5 * REMEMBERED {
            known.put(key(number), ([0; 32], number as u64));
            assert!(known.get(&key(0)).is_some(), "what is used stays");
        }
        assert!(known.recent.len() + known.before.len() <= 2 * REMEMBERED);
        assert_eq!(known.get(&key(1)), None, "the rest goes");
    }

    #[test]
    fn large_and_broken_files_are_told_apart() {
        let merges = Arc::<Merges>::default();
        let (good, _) = counted("a: 1\n");
        let large = File { size: yaml::MAX_FILE + 1, ..good.clone() };
        let error = |base: &File, over: &File| Merges::merge(&merges, base, over).unwrap_err();
        assert_eq!(error(&large, &good), ContentError::Merge(MergeError::Base(LoadError::TooLarge)));
        // Another digest, as nothing may be remembered of it.
        let over = File { sha256: [1; 32], ..large };
        assert_eq!(error(&good, &over), ContentError::Merge(MergeError::Over(LoadError::TooLarge)));
        let cut = File { size: 100, sha256: [2; 32], ..good.clone() };
        assert!(matches!(error(&cut, &good), ContentError::Failed(failure) if failure.reason == Reason::StorageFailed));
    }
}
