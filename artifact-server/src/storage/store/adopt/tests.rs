//! Which files are adopted, and what of them is known afterwards.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

use jiff::Timestamp;
use weir_proto::{Algorithm, Owner};

use super::{
    super::{Put, rigged::Rigged},
    *,
};
use crate::storage::{Memory, Retention, Storage, conformance};

fn caller(uid: &str) -> Caller {
    Caller { owner: Owner::new("source-watcher", uid).unwrap(), lease: None, tenant: None, epoch: 0 }
}

fn digest(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = crate::hash::Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    digest(Algorithm::Sha256, bytes)
}

/// A file as source-watcher names it.
fn theirs() -> ArtifactPath {
    conformance::path("front", "2936578364.tar.gz")
}

fn over(storage: impl Storage) -> Arc<Store> {
    Store::open(Arc::new(storage), Algorithm::Sha256).unwrap()
}

/// Adopts for the first owner with the content `sha256:c0`.
fn adopt(store: &Store, path: &ArtifactPath, digest: &Digest, holds: bool) -> Option<Arc<Record>> {
    let revision = format!("latest@{digest}");
    let adoption = Adoption { caller: &caller("1"), digest, revision: &revision, content_digest: "sha256:c0" };
    store.adopt(path, &adoption, |_| holds).unwrap()
}

#[test]
fn an_adopted_file_is_like_any_other_and_keeps_its_revision() {
    for algorithm in Algorithm::ALL {
        let memory = Memory::new();
        memory.tamper(&theirs(), b"theirs");
        let digest = digest(algorithm, b"theirs");
        let record = {
            let store = over(memory.clone());
            let modified = memory.head(&theirs()).unwrap().unwrap().modified;
            let record = adopt(&store, &theirs(), &digest, true).unwrap();
            assert_eq!((record.owner.as_str(), record.size, record.sequence), ("source-watcher/1", 6, 1));
            assert_eq!(record.content_digest.as_deref(), Some("sha256:c0"));
            assert_eq!(record.revision, Some(format!("latest@{digest}")));
            assert_eq!((&record.digest, record.stored_at), (&digest, modified));
            assert_eq!(memory.record(&theirs()).unwrap().as_ref(), Some(&*record), "in the storage, at once");
            assert_eq!((store.file(&theirs()).as_ref(), store.stats().unrecorded), (Some(&record), 0));
            record
        };
        let store = over(memory.clone());
        assert_eq!(store.file(&theirs()), Some(record), "after a restart");
        assert_eq!(store.verify(&theirs(), &digest).unwrap(), Verdict::Ok);
        store.save_stamps();
        assert_eq!(store.file(&theirs()).unwrap().revision, Some(format!("latest@{digest}")));
        assert_eq!(adopt(&store, &theirs(), &digest, true), None, "its content is known");
    }
}

#[test]
fn what_is_not_sure_is_not_adopted() {
    type Prepare = fn(&Memory, &Store);
    let rows: [(&str, Prepare, &[u8], bool); 5] = [
        ("another content", |_, _| {}, b"theirs", false),
        ("another digest than the published one", |_, _| {}, b"published", true),
        ("it is gone", |memory, _| memory.lose(&theirs(), false), b"theirs", true),
        (
            "another owner's, content unknown",
            |memory, store| {
                store.verify(&theirs(), &sha256(b"theirs")).unwrap();
                let record = memory.record(&theirs()).unwrap();
                assert_eq!(record, None, "not saved yet");
                let found = store.file(&theirs()).unwrap();
                let record = Record { owner: "other/2".into(), ..(*found).clone() };
                store.index.update(&theirs(), Arc::new(record));
            },
            b"theirs",
            true,
        ),
        ("our own, content known", |_, store| _ = adopt(store, &theirs(), &sha256(b"theirs"), true), b"theirs", true),
    ];
    for (row, prepare, published, holds) in rows {
        let memory = Memory::new();
        memory.tamper(&theirs(), b"theirs");
        let store = over(memory.clone());
        prepare(&memory, &store);
        let before = memory.record(&theirs()).unwrap();
        assert_eq!(adopt(&store, &theirs(), &sha256(published), holds), None, "row {row}");
        assert_eq!(memory.record(&theirs()).unwrap(), before, "row {row}");
    }
}

#[test]
fn a_file_of_our_own_that_lost_its_record_is_named_by_its_content_again() {
    let memory = Memory::new();
    let path = conformance::path("front", &format!("{}.tar.gz", sha256(b"ours").hex()));
    memory.tamper(&path, b"ours");
    let store = over(memory.clone());
    let record = adopt(&store, &path, &sha256(b"ours"), true).unwrap();
    assert_eq!((record.revision.as_deref(), record.content_digest.as_deref()), (None, Some("sha256:c0")));
}

#[test]
fn a_file_that_is_touched_while_it_is_compared_is_not_adopted() {
    let memory = Memory::new();
    memory.tamper(&theirs(), b"theirs");
    let store = over(memory.clone());
    let digest = sha256(b"theirs");
    let adoption = Adoption { caller: &caller("1"), digest: &digest, revision: "r", content_digest: "sha256:c0" };
    let touch = |bytes: &[u8]| {
        memory.tamper(&theirs(), bytes);
        true
    };
    assert_eq!(store.adopt(&theirs(), &adoption, |_| touch(b"theirs")).unwrap(), None, "the same bytes, but who knows");
    assert!(store.adopt(&theirs(), &adoption, |_| touch(b"others")).unwrap().is_none());
    assert_eq!(memory.record(&theirs()).unwrap(), None);
}

/// The bytes are read to hash them and to compare them; with the record there, never again.
#[test]
fn adoption_costs_once() {
    let memory = Memory::new();
    memory.tamper(&theirs(), b"theirs");
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    let on_read = move |_: &Memory, _: &ArtifactPath| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let rig = |memory: &Memory| Rigged { on_read: Arc::new(on_read.clone()), ..Rigged::over(memory.clone()) };
    let digest = sha256(b"theirs");
    let adoption = Adoption { caller: &caller("1"), digest: &digest, revision: "r", content_digest: "sha256:c0" };
    let compared = Cell::new(0);
    let holds = |bytes: &mut dyn Read| {
        compared.set(compared.get() + 1);
        let mut read = Vec::new();
        bytes.read_to_end(&mut read).unwrap();
        read == b"theirs"
    };
    {
        let store = over(rig(&memory));
        assert!(store.adopt(&theirs(), &adoption, holds).unwrap().is_some());
    }
    let once = reads.load(Ordering::SeqCst);
    assert!(once >= 2, "hashed and compared");
    let store = over(rig(&memory));
    assert_eq!(store.adopt(&theirs(), &adoption, holds).unwrap(), None);
    assert_eq!(store.verify(&theirs(), &digest).unwrap(), Verdict::Ok);
    assert_eq!((reads.load(Ordering::SeqCst), compared.get()), (once, 1));
}

#[test]
fn an_adopted_file_is_collected_when_its_time_has_come() {
    let memory = Memory::new();
    let older = conformance::path("front", "17.tar.gz");
    memory.tamper(&older, b"older");
    memory.tamper(&theirs(), b"theirs");
    let store = over(memory.clone());
    let all = Retention { ttl: std::time::Duration::ZERO, grace: std::time::Duration::ZERO, records: 2, limit: 1000 };
    adopt(&store, &theirs(), &sha256(b"theirs"), true).unwrap();
    let dir = conformance::dir("front");
    assert_eq!(store.collect(&caller("1"), &dir, Some(&theirs()), &all).unwrap(), [older], "nobody's, and older");
    let put = Put {
        dir: dir.clone(),
        caller: caller("1"),
        algorithm: Algorithm::Sha256,
        content_digest: Some("sha256:c1".into()),
        take_over: false,
    };
    let (newer, record) = store.put(&put, &mut |out| out.write_all(b"newer")).unwrap();
    assert!(record.sequence > store.file(&theirs()).unwrap().sequence);
    assert_eq!(record.revision, None);
    assert_eq!(store.collect(&caller("1"), &dir, Some(&newer), &all).unwrap(), [theirs()]);
    assert!(memory.record(&theirs()).unwrap().is_none());
    assert!(record.stored_at <= Timestamp::now());
}
