//! The engine, over memory and over a folder.

use std::sync::Arc;

use weir_proto::{Algorithm, ArtifactPath, Owner};

use super::{
    super::{Memory, Record, StorageError, conformance::dir},
    *,
};

fn owner(uid: &str) -> Owner {
    Owner::new("source-watcher", uid).unwrap()
}

fn request(name: &str, uid: &str) -> Put {
    Put {
        dir: dir(name),
        owner: owner(uid),
        algorithm: Algorithm::Sha256,
        content_digest: Some("sha256:c0".into()),
        take_over: false,
    }
}

fn put(store: &Store, request: &Put, bytes: &[u8]) -> Result<(ArtifactPath, Arc<Record>), StorageError> {
    store.put(request, &mut |out| out.write_all(bytes))
}

fn over_memory() -> (Memory, Arc<Store>) {
    let memory = Memory::new();
    let store = Store::open(Arc::new(memory.clone()), Algorithm::Sha256).unwrap();
    (memory, store)
}

#[test]
fn a_changed_file_is_taken_out_of_service() {
    let (memory, store) = over_memory();
    let (path, record) = put(&store, &request("front", "1"), b"bytes").unwrap();
    assert_eq!(store.verify(&path, &record.digest).unwrap(), Verdict::Ok);
    memory.tamper(&path, b"other");
    assert_eq!(store.verify(&path, &record.digest).unwrap(), Verdict::Corrupted);
    assert_eq!(store.verify(&path, &record.digest).unwrap(), Verdict::Missing);
    assert!(store.open_verified(&path).unwrap().is_none());
    put(&store, &request("front", "1"), b"bytes").unwrap();
    memory.lose(&path, true);
    assert_eq!(store.verify(&path, &record.digest).unwrap(), Verdict::Missing);
}

#[tokio::test]
async fn locks_are_by_artifact_and_go_with_their_guards() {
    let (_, store) = over_memory();
    let first = store.lock(&dir("front")).await;
    let _other = store.lock(&dir("back")).await;
    assert_eq!(store.locks.len(), 2);
    let front = dir("front");
    let waiter = tokio::time::timeout(std::time::Duration::from_millis(20), store.lock(&front));
    assert!(waiter.await.is_err());
    drop(first);
    assert_eq!(store.locks.len(), 1);
}
