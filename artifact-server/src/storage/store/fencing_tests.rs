//! Former leaders: whatever they wait for, nothing of it becomes visible.

use std::{
    sync::{OnceLock, atomic::AtomicUsize},
    time::Duration,
};

use weir_proto::{Owner, Reason};

use super::{
    super::{Caller, Memory, Prefix, Record, Retention, StorageError, conformance::dir},
    rigged::Rigged,
    *,
};

/// Keeps nothing.
const ALL: Retention = Retention { ttl: Duration::ZERO, grace: Duration::ZERO, records: 0, limit: 1000 };

fn at(epoch: u64) -> Caller {
    Caller { owner: Owner::new("source-watcher", "1").unwrap(), lease: None, tenant: None, epoch }
}

fn request(epoch: u64) -> Put {
    Put { dir: dir("front"), caller: at(epoch), algorithm: Algorithm::Sha256, content_digest: None, take_over: false }
}

fn put(store: &Store, request: &Put, bytes: &[u8]) -> Result<ArtifactPath, StorageError> {
    store.put(request, &mut |out| out.write_all(bytes)).map(|(path, _)| path)
}

/// All files with their records.
fn everything(memory: &Memory) -> Vec<(ArtifactPath, Record)> {
    let files = memory.list(&Prefix::all()).unwrap().into_iter();
    files.map(|(path, _)| (path.clone(), memory.record(&path).unwrap().unwrap())).collect()
}

#[test]
fn a_former_leader_changes_nothing() {
    type Change = fn(&Store, &ArtifactPath) -> Result<(), StorageError>;
    let rows: [(&str, Change); 8] = [
        ("store", |store, _| put(store, &request(1), b"new").map(drop)),
        ("store what is there", |store, _| put(store, &request(1), b"bytes").map(drop)),
        ("say something else of what is there", |store, _| {
            put(store, &Put { content_digest: Some("sha256:c1".into()), ..request(1) }, b"bytes").map(drop)
        }),
        ("take over", |store, _| {
            let caller =
                Caller { owner: Owner::new("source-watcher", "2").unwrap(), lease: None, tenant: None, epoch: 1 };
            put(store, &Put { caller, take_over: true, ..request(1) }, b"bytes").map(drop)
        }),
        ("remove", |store, path| store.remove(&at(1), path)),
        ("remove all", |store, _| store.remove_all(&at(1), &dir("front"), true).map(drop)),
        ("collect", |store, _| store.collect(&at(1), &dir("front"), None, &ALL).map(drop)),
        ("a document", |store, _| store.note(&at(1), "serving.json", Some(&["source-watcher"]))),
    ];
    for (row, change) in rows {
        let memory = Memory::new();
        let store = Store::open(Arc::new(memory.clone()), Algorithm::Sha256).unwrap();
        let path = put(&store, &request(1), b"bytes").unwrap();
        let before = everything(&memory);
        let mut watcher = store.watch();
        store.epochs().admit(&at(2)).unwrap();
        let error = change(&store, &path).unwrap_err();
        assert!(matches!(error, StorageError::StaleEpoch { epoch: 1, seen: 2, .. }), "row {row}: {error}");
        assert_eq!(error.reason(), Reason::StaleEpoch);
        assert_eq!(everything(&memory), before, "row {row}");
        assert_eq!(memory.state("serving.json").unwrap(), None, "row {row}");
        assert!(futures::FutureExt::now_or_never(watcher.next()).is_none(), "row {row}: nobody hears of it");
    }
}

#[test]
fn an_epoch_can_end_while_bytes_are_produced() {
    for (row, bytes) in [("new bytes", b"other"), ("bytes that are there", b"bytes")] {
        let memory = Memory::new();
        let store = Store::open(Arc::new(memory.clone()), Algorithm::Sha256).unwrap();
        put(&store, &request(1), b"bytes").unwrap();
        let before = everything(&memory);
        let stored = store.put(&Put { content_digest: Some("sha256:c1".into()), ..request(1) }, &mut |out| {
            store.epochs().admit(&at(2)).unwrap();
            out.write_all(bytes)
        });
        assert!(matches!(stored, Err(StorageError::StaleEpoch { .. })), "row {row}");
        assert_eq!(everything(&memory), before, "row {row}");
    }
}

#[test]
fn no_epoch_begins_between_the_last_question_and_the_change() {
    let (cell, asked) = (Arc::new(OnceLock::<Arc<Store>>::new()), Arc::new(AtomicUsize::new(0)));
    let (inner, count) = (cell.clone(), asked.clone());
    let on_change = move || {
        if let Some(store) = inner.get() {
            assert!(store.epochs().is_held());
            count.fetch_add(1, Ordering::SeqCst);
        }
    };
    let storage = Rigged { on_change: Arc::new(on_change), ..Rigged::over(Memory::new()) };
    let store = Store::open(Arc::new(storage), Algorithm::Sha256).unwrap();
    assert!(cell.set(store.clone()).is_ok());
    store.epochs().admit(&at(1)).unwrap();
    assert!(!store.epochs().is_held());
    let changes = || asked.swap(0, Ordering::SeqCst);
    assert_eq!(changes(), 1, "the epoch itself");
    let path = put(&store, &request(1), b"bytes").unwrap();
    assert_eq!(changes(), 1, "published");
    put(&store, &Put { content_digest: Some("sha256:c1".into()), ..request(1) }, b"bytes").unwrap();
    assert_eq!(changes(), 1, "a record");
    store.remove(&at(1), &path).unwrap();
    put(&store, &request(1), b"bytes").unwrap();
    store.remove_all(&at(1), &dir("front"), false).unwrap();
    put(&store, &request(1), b"bytes").unwrap();
    store.collect(&at(1), &dir("front"), None, &ALL).unwrap();
    store.note(&at(1), "serving.json", Some(&["source-watcher"])).unwrap();
    assert!(changes() >= 6);
    assert!(store.stat(&path).unwrap().is_none() && !store.epochs().is_held());
}
