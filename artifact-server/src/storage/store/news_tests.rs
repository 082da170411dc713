//! What happens to files while they are hashed.

use std::sync::{OnceLock, atomic::AtomicUsize};

use weir_proto::Owner;

use super::{
    super::{Caller, Memory, Record, conformance},
    rigged::Rigged,
    *,
};

const OTHER: &[u8] = b"other";

/// A store over memory, with one stored file.
struct Scene {
    memory: Memory,
    store: Arc<Store>,
    path: ArtifactPath,
    digest: weir_proto::Digest,
    events: Subscription,
}

impl Scene {
    /// `disturb` is called when the file is read for the first time.
    fn new(disturb: impl Fn(&Store, &Memory, &ArtifactPath) + Send + Sync + 'static) -> Self {
        let (memory, cell, reads) = (Memory::new(), Arc::new(OnceLock::<Arc<Store>>::new()), AtomicUsize::new(0));
        let inner = cell.clone();
        let on_read = move |memory: &Memory, path: &ArtifactPath| {
            if let Some(store) = inner.get().filter(|_| reads.fetch_add(1, Ordering::SeqCst) == 0) {
                disturb(store, memory, path);
            }
            Ok(())
        };
        let storage = Rigged { on_read: Arc::new(on_read), ..Rigged::over(memory.clone()) };
        let store = Store::open(Arc::new(storage), Algorithm::Sha256).unwrap();
        let caller = Caller { owner: Owner::new("source-watcher", "1").unwrap(), lease: None, tenant: None, epoch: 0 };
        let dir = conformance::dir("front");
        let put = Put { dir, caller, algorithm: Algorithm::Sha256, content_digest: None, take_over: false };
        let (path, record) = store.put(&put, &mut |out| out.write_all(b"bytes")).unwrap();
        assert!(cell.set(store.clone()).is_ok());
        let events = store.watch();
        Self { memory, store, path, digest: record.digest.clone(), events }
    }

    /// The file, as somebody would put it there behind the server's back.
    fn unknown(&self) {
        let record: Record = self.memory.record(&self.path).unwrap().unwrap();
        self.store.index.remove(&self.path);
        self.memory.tamper(&self.path, b"bytes");
        self.memory.put_record(&self.path, &record).unwrap();
    }

    fn verify(&self) -> Verdict {
        self.store.verify(&self.path, &self.digest).unwrap()
    }

    fn heard(&mut self) -> Vec<EventKind> {
        let next = || futures::FutureExt::now_or_never(self.events.next()).flatten();
        std::iter::from_fn(next).map(|event| event.kind).collect()
    }
}

#[test]
fn a_file_that_goes_while_it_is_hashed_is_lost() {
    let mut scene = Scene::new(|_, memory, path| memory.lose(path, false));
    scene.memory.tamper(&scene.path, b"bytes");
    assert_eq!(scene.verify(), Verdict::Missing);
    assert!(scene.store.file(&scene.path).is_none());
    assert_eq!(scene.heard(), [EventKind::Lost]);
}

#[test]
fn news_of_a_file_that_nobody_knew_yet_is_not_dropped() {
    let mut scene = Scene::new(|store, memory, path| {
        memory.lose(path, true);
        assert!(!store.is_as_known(path).unwrap(), "whoever hears of it now has something to look at");
    });
    scene.unknown();
    assert_eq!(scene.verify(), Verdict::Missing);
    assert!(scene.store.file(&scene.path).is_none());
    assert_eq!(scene.heard(), [], "nobody was told of it either");
}

#[test]
fn a_file_that_was_not_known_is_told_of_once_it_is_hashed() {
    let mut scene = Scene::new(|_, _, _| {});
    scene.unknown();
    assert_eq!((scene.verify(), scene.verify()), (Verdict::Ok, Verdict::Ok));
    assert_eq!(scene.heard(), [EventKind::Stored]);
}

#[test]
fn bytes_that_change_within_a_tick_while_they_are_hashed_are_hashed_again() {
    for any in [false, true] {
        let mut scene = Scene::new(move |store, memory, path| {
            memory.overwrite(path, OTHER);
            store.tell(Some(path).filter(|_| !any));
        });
        scene.memory.tamper(&scene.path, b"bytes");
        assert_eq!(scene.verify(), Verdict::Corrupted, "the first run read good bytes");
        assert_eq!(scene.heard(), [EventKind::Corrupted]);
    }
}

#[test]
fn bytes_that_change_within_a_tick_after_they_were_hashed_are_found_by_their_event() {
    let mut scene = Scene::new(|_, _, _| {});
    scene.memory.overwrite(&scene.path, OTHER);
    scene.store.check(&scene.path).unwrap();
    assert_eq!(scene.heard(), [], "the stamp does not tell");
    scene.store.check_written(&scene.path).unwrap();
    assert_eq!(scene.heard(), [EventKind::Corrupted]);
    assert_eq!(scene.verify(), Verdict::Missing);
}

#[test]
fn a_file_that_was_written_as_it_was_is_still_good() {
    let mut scene = Scene::new(|_, _, _| {});
    scene.memory.overwrite(&scene.path, b"bytes");
    scene.store.check_written(&scene.path).unwrap();
    assert_eq!((scene.heard(), scene.verify()), (vec![], Verdict::Ok));
    assert!(scene.store.is_as_known(&scene.path).unwrap(), "and known to be");
}
