//! The engine, over memory.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use jiff::Timestamp;
use weir_proto::{Algorithm, ArtifactPath, Digest, Owner};

use super::{
    super::{
        Caller, Memory, Prefix, Record, Retention, StorageError,
        conformance::{self, dir},
    },
    rigged::Rigged,
    *,
};

fn caller(uid: &str) -> Caller {
    Caller { owner: Owner::new("source-watcher", uid).unwrap(), lease: None, tenant: None, epoch: 0 }
}

fn request(name: &str, uid: &str) -> Put {
    Put {
        dir: dir(name),
        caller: caller(uid),
        algorithm: Algorithm::Sha256,
        content_digest: Some("sha256:c0".into()),
        take_over: false,
    }
}

fn put(store: &Store, request: &Put, bytes: &[u8]) -> Result<(ArtifactPath, Arc<Record>), StorageError> {
    store.put(request, &mut |out| out.write_all(bytes))
}

fn over(storage: impl Storage) -> Arc<Store> {
    Store::open(Arc::new(storage), Algorithm::Sha256).unwrap()
}

fn over_memory() -> (Memory, Arc<Store>) {
    let memory = Memory::new();
    (memory.clone(), over(memory))
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Algorithm::Sha256, &crate::hash::sha256(bytes)).unwrap()
}

fn served(store: &Store, path: &ArtifactPath) -> Option<Vec<u8>> {
    let opened = store.open_verified(path).unwrap()?;
    let mut bytes = vec![0; usize::try_from(opened.size).unwrap()];
    opened.body.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// The kinds and paths of all events so far.
fn events(subscription: &mut Subscription) -> Vec<(EventKind, String)> {
    let mut found = Vec::new();
    while let Some(Some(event)) = futures::FutureExt::now_or_never(subscription.next()) {
        found.push((event.kind, event.path.map_or(String::new(), |path| path.to_string())));
    }
    found
}

#[test]
fn bytes_are_stored_once() {
    let (_, store) = over_memory();
    let mut watcher = store.watch();
    let (path, first) = put(&store, &request("front", "1"), b"bytes").unwrap();
    assert_eq!(path.file(), format!("{}.tar.gz", sha256(b"bytes").hex()));
    assert_eq!((first.digest.clone(), first.size, first.sequence), (sha256(b"bytes"), 5, 1));
    let (again, second) = put(&store, &request("front", "1"), b"bytes").unwrap();
    assert_eq!((&again, &second), (&path, &first));
    let stored = vec![(EventKind::Stored, path.to_string())];
    assert_eq!(events(&mut watcher), stored);
    // The same content composed by another format: only the record changes.
    let other = Put { content_digest: Some("sha256:c1".into()), ..request("front", "1") };
    let (_, third) = put(&store, &other, b"bytes").unwrap();
    assert_eq!(third.content_digest.as_deref(), Some("sha256:c1"));
    assert_eq!((third.sequence, third.stored_at), (first.sequence, first.stored_at));
    assert_eq!(store.storage().record(&path).unwrap().as_ref(), Some(&*third));
    assert_eq!(events(&mut watcher), []);
}

#[test]
fn digests_are_as_configured_and_names_always_sha256() {
    let (_, store) = over_memory();
    for algorithm in Algorithm::ALL {
        let (path, record) = put(&store, &Put { algorithm, ..request("front", "1") }, b"bytes").unwrap();
        assert_eq!(record.digest.algorithm(), algorithm);
        assert_eq!(path.file(), format!("{}.tar.gz", sha256(b"bytes").hex()));
        assert_eq!(store.verify(&path, &record.digest).unwrap(), Verdict::Ok);
        assert_eq!(store.verify(&path, &sha256(b"bytes")).unwrap(), Verdict::Ok, "by its name");
        assert_eq!(store.verify(&path, &sha256(b"other")).unwrap(), Verdict::Mismatch);
    }
    let (path, _) = put(&store, &request("front", "1"), b"bytes").unwrap();
    let mut blake3 = crate::hash::Hasher::new(Algorithm::Blake3);
    blake3.update(b"bytes");
    assert_eq!(store.verify(&path, &blake3.finish().unwrap()).unwrap(), Verdict::Ok, "an algorithm nobody recorded");
}

#[test]
fn failed_puts_leave_nothing() {
    let (memory, store) = over_memory();
    let failed = store.put(&request("front", "1"), &mut |out| {
        out.write_all(&vec![1; 200_000])?;
        Err(io::Error::other("the spool is gone"))
    });
    let error = failed.unwrap_err();
    assert!(matches!(error, StorageError::Content { .. }), "{error}");
    assert_eq!(error.to_string(), "the content of externalartifact/apps/front could not be written: the spool is gone");
    assert!(store.list(&Filter::default()).is_empty() && memory.list(&Prefix::all()).unwrap().is_empty());
}

#[test]
fn owners_keep_to_their_own() {
    let (_, store) = over_memory();
    let (mine, theirs) = (caller("1"), caller("2"));
    let (path, _) = put(&store, &request("front", "1"), b"first").unwrap();
    let refused = put(&store, &request("front", "2"), b"second").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "externalartifact/apps/front belongs to source-watcher/1: ask to take it over, or choose another name"
    );
    assert_eq!(refused.reason(), weir_proto::Reason::OwnedByAnother);
    assert!(matches!(store.remove(&theirs, &path), Err(StorageError::OwnedByAnother { .. })));
    assert_eq!(store.remove_all(&theirs, &dir("front"), false).unwrap(), []);
    let all = Retention { ttl: Duration::ZERO, grace: Duration::ZERO, records: 0, limit: 1000 };
    assert_eq!(store.collect(&theirs, &dir("front"), None, &all).unwrap(), []);
    assert!(served(&store, &path).is_some());

    let take_over = Put { take_over: true, ..request("front", "2") };
    let (second, _) = put(&store, &take_over, b"second").unwrap();
    assert_eq!(store.file(&path).unwrap().owner, theirs.owner.to_string());
    assert_eq!(store.storage().record(&path).unwrap().unwrap().owner, theirs.owner.to_string());
    assert!(matches!(store.remove(&mine, &path), Err(StorageError::OwnedByAnother { .. })));
    let mut removed = [path.clone(), second.clone()];
    removed.sort();
    assert_eq!(store.remove_all(&theirs, &dir("front"), false).unwrap(), removed);
    assert!(matches!(store.remove(&theirs, &path), Err(StorageError::NotFound(_))));
    assert_eq!(store.remove_all(&theirs, &dir("front"), false).unwrap(), [], "nothing there is success");
}

#[test]
fn a_file_lost_meanwhile_does_not_stop_a_take_over() {
    let (memory, store) = over_memory();
    let (path, _) = put(&store, &request("front", "1"), b"first").unwrap();
    memory.lose(&path, true);
    let take_over = Put { take_over: true, ..request("front", "2") };
    put(&store, &take_over, b"second").unwrap();
    assert_eq!(store.file(&path), None);
}

#[test]
fn lists_by_controller_kind_and_namespace() {
    let (memory, store) = over_memory();
    let others = Put {
        caller: Caller { owner: Owner::new("other", "1").unwrap(), lease: None, tenant: None, epoch: 0 },
        ..request("back", "1")
    };
    let elsewhere = Put { dir: ArtifactDir::new("GitRepository", "apps", "x").unwrap(), ..request("front", "1") };
    let mine = put(&store, &request("front", "1"), b"mine").unwrap().0;
    let theirs = put(&store, &others, b"theirs").unwrap().0;
    let far = put(&store, &elsewhere, b"far").unwrap().0;
    let rows = [
        ("everything", "", "", "", vec![&theirs, &mine, &far]),
        ("a controller", "source-watcher", "", "", vec![&mine, &far]),
        ("a kind", "", "externalartifact", "", vec![&theirs, &mine]),
        ("a namespace", "", "", "apps", vec![&theirs, &mine, &far]),
        ("another namespace", "", "", "app", vec![]),
        ("all three", "other", "externalartifact", "apps", vec![&theirs]),
        ("part of a controller's name", "source", "", "", vec![]),
    ];
    for (row, controller, kind, namespace, expected) in rows {
        let filter = Filter {
            controller: controller.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            ..Filter::default()
        };
        let found = store.list(&filter);
        assert_eq!(found.iter().map(|file| &file.path).collect::<Vec<_>>(), expected, "row {row}");
    }
    let of = |owner: &str| store.list(&Filter { owner: owner.into(), ..Filter::default() }).len();
    assert_eq!((of("source-watcher/1"), of("other/1"), of("source-watcher/2"), of("source-watcher/")), (2, 1, 0, 0));
    assert_eq!(store.stat(&mine).unwrap().unwrap().size, 4);
    memory.lose(&mine, true);
    assert_eq!(store.stat(&mine).unwrap(), None);
}

#[test]
fn a_file_is_worth_its_bytes() {
    let (memory, store) = over_memory();
    let mut watcher = store.watch();
    let (path, record) = put(&store, &request("front", "1"), b"bytes").unwrap();
    let is = |verdict| assert_eq!(store.verify(&path, &record.digest).unwrap(), verdict);
    is(Verdict::Ok);
    memory.tamper(&path, b"bytes");
    is(Verdict::Ok);
    assert_eq!(store.file(&path).unwrap().stamp, memory.head(&path).unwrap().unwrap().stamp, "the new stamp counts");
    events(&mut watcher);
    memory.tamper(&path, b"other");
    is(Verdict::Corrupted);
    is(Verdict::Missing);
    assert!(memory.head(&path).unwrap().is_none());
    assert_eq!(events(&mut watcher), [(EventKind::Corrupted, path.to_string())]);
    put(&store, &request("front", "1"), b"bytes").unwrap();
    events(&mut watcher);
    memory.lose(&path, false);
    is(Verdict::Missing);
    assert!(memory.record(&path).unwrap().is_none());
    assert_eq!(events(&mut watcher), [(EventKind::Lost, path.to_string())]);
    put(&store, &request("front", "1"), b"bytes").unwrap();
    memory.tamper(&path, b"other");
    let (_, again) = put(&store, &request("front", "1"), b"bytes").unwrap();
    assert_eq!(served(&store, &path).unwrap(), b"bytes", "storing again repairs");
    assert!(again.sequence > record.sequence);
}

#[test]
fn changed_bytes_are_never_served() {
    let (memory, store) = over_memory();
    let (path, _) = put(&store, &request("front", "1"), b"bytes").unwrap();
    assert_eq!(served(&store, &path).unwrap(), b"bytes");
    memory.tamper(&path, b"bytes");
    assert_eq!(served(&store, &path).unwrap(), b"bytes", "hashed again");
    for other in [b"BYTES".as_slice(), b"bytes and more", b"byte", b""] {
        memory.tamper(&path, other);
        assert_eq!(served(&store, &path), None);
        put(&store, &request("front", "1"), b"bytes").unwrap();
    }
    memory.lose(&path, true);
    assert_eq!(served(&store, &path), None);
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_hashed_again() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    let memory = Memory::new();
    let on_read = move |memory: &Memory, path: &ArtifactPath| {
        // The first hash sees good bytes, but they are others before it ends.
        if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            memory.tamper(path, b"other");
        }
        Ok(())
    };
    let store = over(Rigged { on_read: Arc::new(on_read), ..Rigged::over(memory.clone()) });
    let (path, record) = put(&store, &request("front", "1"), b"bytes").unwrap();
    memory.tamper(&path, b"bytes");
    assert!(store.open_verified(&path).unwrap().is_none());
    assert_eq!(reads.load(Ordering::SeqCst), 2);
    assert_eq!(store.verify(&path, &record.digest).unwrap(), Verdict::Missing);
}

#[test]
fn a_file_that_never_settles_is_not_served() {
    let memory = Memory::new();
    let on_read = |memory: &Memory, path: &ArtifactPath| {
        memory.tamper(path, b"bytes");
        Ok(())
    };
    let store = over(Rigged { on_read: Arc::new(on_read), ..Rigged::over(memory.clone()) });
    let (path, _) = put(&store, &request("front", "1"), b"bytes").unwrap();
    memory.tamper(&path, b"bytes");
    let Err(error) = store.open_verified(&path) else { panic!("served while it changed") };
    assert!(error.to_string().contains("it changes while it is read"), "{error}");
}

#[test]
fn unreadable_bytes_are_wrong_bytes() {
    let memory = Memory::new();
    let on_read = |_: &Memory, _: &ArtifactPath| Err(io::Error::from_raw_os_error(5));
    let store = over(Rigged { on_read: Arc::new(on_read), ..Rigged::over(memory.clone()) });
    let (path, record) = put(&store, &request("front", "1"), b"bytes").unwrap();
    memory.tamper(&path, b"bytes");
    assert_eq!(store.verify(&path, &record.digest).unwrap(), Verdict::Corrupted);
}

#[test]
fn files_without_a_record_are_taken_on_when_asked_for() {
    let memory = Memory::new();
    let named = |bytes: &[u8]| conformance::path("front", &format!("{}.tar.gz", sha256(bytes).hex()));
    let (ours, wrong) = (named(b"ours"), named(b"something else"));
    let reference = conformance::path("front", "2936578364.tar.gz");
    memory.tamper(&ours, b"ours");
    memory.tamper(&wrong, b"wrong");
    memory.tamper(&reference, b"reference");
    let store = over(memory.clone());
    assert_eq!((store.stats().files, store.stats().unrecorded), (3, 3));
    assert!(store.list(&Filter::default()).iter().all(|file| file.record.is_none()));
    assert_eq!(store.list(&Filter { controller: "source-watcher".into(), ..Filter::default() }), []);

    assert_eq!(served(&store, &ours).unwrap(), b"ours");
    assert_eq!(store.verify(&wrong, &sha256(b"wrong")).unwrap(), Verdict::Corrupted, "its name says otherwise");
    assert_eq!(store.verify(&reference, &sha256(b"other")).unwrap(), Verdict::Mismatch);
    assert_eq!(store.verify(&reference, &sha256(b"reference")).unwrap(), Verdict::Ok);
    let adopted = store.file(&reference).unwrap();
    assert_eq!((adopted.owner.as_str(), adopted.sequence, adopted.size), ("", 0, 9));
    store.save_stamps();
    assert_eq!(memory.record(&reference).unwrap().as_ref(), Some(&*adopted));
    memory.tamper(&reference, b"REFERENCE");
    assert_eq!(served(&store, &reference), None, "once hashed, it may not change");

    // The next owner of the artifact owns them too.
    let (path, _) = put(&store, &request("front", "1"), b"ours").unwrap();
    assert_eq!(path, ours);
    assert_eq!(store.file(&ours).unwrap().owner, caller("1").owner.to_string());
}

#[test]
fn one_record_that_can_not_be_read_stops_nobody_else() {
    let (memory, store) = over_memory();
    let (bad, record) = put(&store, &request("front", "1"), b"bad").unwrap();
    let (good, _) = put(&store, &request("back", "1"), b"good").unwrap();
    drop(store);
    let broken = Arc::new(AtomicBool::new(true));
    let (at, still) = (bad.clone(), broken.clone());
    let on_record = move |path: &ArtifactPath| match *path == at && still.load(Ordering::SeqCst) {
        true => Err(io::Error::from_raw_os_error(5)),
        false => Ok(()),
    };
    let store = over(Rigged { on_record: Arc::new(on_record), ..Rigged::over(memory) });
    assert_eq!(served(&store, &good).unwrap(), b"good");
    let error = store.verify(&bad, &record.digest).unwrap_err().to_string();
    assert!(error.starts_with("can not read externalartifact/apps/front/"), "{error}");
    assert!(put(&store, &request("front", "1"), b"bad").is_err(), "whose it is can not be told");
    broken.store(false, Ordering::SeqCst);
    assert_eq!(store.verify(&bad, &record.digest).unwrap(), Verdict::Ok);
    assert_eq!(store.file(&bad).unwrap().owner, caller("1").owner.to_string(), "still its owner's");
}

#[test]
fn sequences_go_on_after_a_restart() {
    let (memory, store) = over_memory();
    for number in 1..=3_u64 {
        let (_, record) = put(&store, &request("front", "1"), &number.to_le_bytes()).unwrap();
        assert_eq!(record.sequence, number);
    }
    let instance = store.instance().to_owned();
    drop(store);
    let store = over(memory);
    assert_ne!(store.instance(), instance);
    assert_eq!(put(&store, &request("back", "1"), b"bytes").unwrap().1.sequence, 4);
    assert_eq!(store.stats().files, 4);
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn what_consumers_may_still_fetch_stays() {
    let (_, store) = over_memory();
    let (caller, front, retention) =
        (caller("1"), dir("front"), Retention { ttl: seconds(60), ..Retention::default() });
    let put = |bytes: &[u8]| put(&store, &request("front", "1"), bytes).unwrap().0;
    let collect = |current: &ArtifactPath| store.collect(&caller, &front, Some(current), &retention).unwrap();
    let first = put(b"first");
    assert_eq!(collect(&first), []);
    tokio::time::advance(seconds(86_400)).await;
    assert_eq!(collect(&first), [], "current files have no age");

    // Superseded a day after it was stored: its readers have from now on.
    tokio::time::advance(seconds(86_400)).await;
    let second = put(b"second");
    assert_eq!(collect(&second), []);
    tokio::time::advance(seconds(660)).await;
    assert_eq!(collect(&second), [], "exactly TTL and grace");
    tokio::time::advance(seconds(1)).await;
    // Stored less than the TTL ago by the wall clock, which the test can not stop: so the records decide, and both fit.
    assert_eq!(collect(&second), []);
    let one = Retention { records: 1, ..retention };
    assert_eq!(store.collect(&caller, &front, Some(&second), &one).unwrap(), std::slice::from_ref(&first));
    assert!(served(&store, &first).is_none() && served(&store, &second).is_some());

    // Never collected between: what was last returned is what may be published.
    tokio::time::advance(seconds(86_400)).await;
    let third = put(b"third");
    tokio::time::advance(seconds(86_400)).await;
    let fourth = put(b"fourth");
    let none = Retention { records: 0, ..retention };
    let collect = || store.collect(&caller, &front, Some(&fourth), &none).unwrap();
    assert_eq!(collect(), [], "the second was named current, the third was returned last");
    tokio::time::advance(seconds(661)).await;
    store.renew(&third);
    assert_eq!(collect(), [second], "the third was returned again just now");
    tokio::time::advance(seconds(661)).await;
    assert_eq!(collect(), [third]);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_every_file_counts_as_fresh() {
    let memory = Memory::new();
    let none = Retention { records: 0, ttl: seconds(60), ..Retention::default() };
    let old: Vec<ArtifactPath> = {
        let store = over(memory.clone());
        [b"old", b"odd"].iter().map(|bytes| put(&store, &request("front", "1"), *bytes).unwrap().0).collect()
    };
    for path in &old {
        let long_ago = Record { stored_at: Timestamp::UNIX_EPOCH, ..memory.record(path).unwrap().unwrap() };
        memory.put_record(path, &long_ago).unwrap();
    }
    let store = over(memory);
    // Storing renews one of them besides.
    let (new, _) = put(&store, &request("front", "1"), b"new").unwrap();
    let collect = || store.collect(&caller("1"), &dir("front"), Some(&new), &none).unwrap();
    assert_eq!(collect(), []);
    tokio::time::advance(seconds(660)).await;
    assert_eq!(collect(), []);
    tokio::time::advance(seconds(1)).await;
    let mut watcher = store.watch();
    assert_eq!(collect(), old);
    let removed: Vec<_> = old.iter().map(|path| (EventKind::Removed, path.to_string())).collect();
    assert_eq!(events(&mut watcher), removed);
}

#[tokio::test(start_paused = true)]
async fn files_of_the_reference_go_when_their_time_has_come() {
    let memory = Memory::new();
    let reference = conformance::path("front", "2936578364.tar.gz");
    memory.tamper(&reference, b"reference");
    let store = over(memory);
    let (new, _) = put(&store, &request("front", "1"), b"new").unwrap();
    let none = Retention { records: 0, ..Retention::default() };
    tokio::time::advance(seconds(600)).await;
    assert_eq!(store.collect(&caller("1"), &dir("front"), Some(&reference), &none).unwrap(), [], "published still");
    tokio::time::advance(seconds(661)).await;
    assert_eq!(store.collect(&caller("1"), &dir("front"), Some(&new), &none).unwrap(), [reference]);
}

#[tokio::test]
async fn slow_watchers_are_told_of_the_gap() {
    let (_, store) = over_memory();
    put(&store, &request("front", "1"), b"before").unwrap();
    let mut watcher = store.watch();
    assert_eq!(watcher.start(), 1);
    for _ in 0..10_000 {
        store.report_gap();
    }
    let gap = watcher.next().await.unwrap();
    assert_eq!((gap.kind, gap.path), (EventKind::Gap, None));
    let next = watcher.next().await.unwrap();
    assert_eq!(next.sequence, gap.sequence + 1, "nothing between the gap and what follows");
    let mut last = next.sequence;
    while last < 10_001 {
        let event = watcher.next().await.unwrap();
        assert_eq!(event.sequence, last + 1);
        last = event.sequence;
    }
    drop(store);
    assert_eq!(watcher.next().await, None);
}

#[tokio::test]
async fn locks_are_by_artifact_and_go_with_their_guards() {
    let (_, store) = over_memory();
    let first = store.lock(&dir("front")).await;
    let _other = store.lock(&dir("back")).await;
    assert_eq!(store.locks.len(), 2);
    let front = dir("front");
    let mut waiter = Box::pin(store.lock(&front));
    assert!(futures::FutureExt::now_or_never(&mut waiter).is_none(), "one at a time");
    let mut impatient = Box::pin(store.lock(&front));
    assert!(futures::FutureExt::now_or_never(&mut impatient).is_none());
    drop(impatient);
    drop(first);
    drop(waiter.await);
    assert_eq!(store.locks.len(), 1, "only the other artifact's is left");
}

#[tokio::test]
async fn a_held_lock_keeps_out_all_but_those_with_its_token() {
    use futures::FutureExt as _;
    let (_, store) = over_memory();
    let (front, back) = (dir("front"), dir("back"));
    let held = store.hold(&front).await;
    let token = held.token().to_owned();
    let both = [back.clone(), front.clone()];
    let mine = store.enter(&both, Some(&token)).await.unwrap().expect("its own");
    drop(mine);
    assert!(store.enter(&both, None).await.unwrap().is_none(), "somebody else's");
    assert!(store.unlocked(&both, None).now_or_never().is_none(), "it waits");
    let waiting = store.lock(&back).now_or_never().expect("nobody keeps the other's turn while it waits");
    drop(waiting);
    let mut next = Box::pin(store.hold(&front));
    assert!((&mut next).now_or_never().is_none(), "one at a time");
    drop(held);
    assert!(matches!(store.unlocked(&both, Some(&token)).await, Err(StorageError::LockLost)));
    let next = next.await;
    assert!(matches!(store.enter(&both, Some(&token)).await, Err(StorageError::LockLost)));
    assert!(store.enter(&both, Some(next.token())).await.unwrap().is_some());
    drop(next);
    assert_eq!((store.locks.len(), store.stats().locked), (0, 0), "nothing is left");
}

#[tokio::test]
async fn a_held_lock_goes_to_who_came_first() {
    use futures::FutureExt as _;
    let (_, store) = over_memory();
    let front = dir("front");
    let held = store.hold(&front).await;
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(store.hold(&front))).collect();
    assert!(waiting.iter_mut().all(|hold| hold.now_or_never().is_none()));
    drop(held);
    // Whoever looks first.
    let mut third = waiting.remove(2);
    assert!((&mut third).now_or_never().is_none());
    let first = waiting.remove(0).now_or_never().expect("it came first");
    // The second gives up.
    drop(waiting);
    assert!((&mut third).now_or_never().is_none());
    drop(first);
    assert!(third.now_or_never().is_some());
}

#[tokio::test]
async fn a_lock_is_granted_when_whoever_changes_the_artifact_is_done() {
    use futures::FutureExt as _;
    let (_, store) = over_memory();
    let front = dir("front");
    let turn = store.lock(&front).await;
    let mut hold = Box::pin(store.hold(&front));
    assert!((&mut hold).now_or_never().is_none());
    drop(turn);
    let held = hold.now_or_never().expect("now it is");
    // Whoever waits for its turn behind the lock has to wait for the lock, too.
    let dirs = [front.clone()];
    let mut entering = Box::pin(store.enter(&dirs, None));
    assert!(matches!((&mut entering).now_or_never(), Some(Ok(None))));
    drop(held);
    assert!(store.enter(&dirs, None).await.unwrap().is_some());
}

#[test]
fn a_chosen_name_can_get_other_bytes() {
    let (_, store) = over_memory();
    let upload = || Upload { file: Some("a.yaml".into()), ..Upload::from(request("front", "1")) };
    let store_it = |upload: Upload, bytes: &[u8]| {
        let mut incoming = store.begin(upload)?;
        incoming.append(bytes)?;
        store.finish(incoming)
    };
    let one = store_it(upload(), b"one").unwrap();
    assert!(!one.unchanged);
    let opened = store.open_verified(&one.path).unwrap().unwrap();
    let again = store_it(upload(), b"one").unwrap();
    assert_eq!((again.unchanged, &again.record), (true, &one.record));
    // The same bytes, though the record has a digest that was not computed for this.
    let other = Put { algorithm: Algorithm::Blake3, ..request("front", "1") };
    let blake3 = store_it(Upload { put: other, ..upload() }, b"one").unwrap();
    assert!(blake3.unchanged && blake3.record.digest.algorithm() == Algorithm::Blake3);
    assert!(store_it(upload(), b"one").unwrap().unchanged);

    let mut watcher = store.watch();
    let two = store_it(upload(), b"two").unwrap();
    assert_eq!((two.unchanged, &two.path, served(&store, &two.path)), (false, &one.path, Some(b"two".to_vec())));
    let event = futures::FutureExt::now_or_never(watcher.next()).unwrap().unwrap();
    assert_eq!((event.kind, event.path), (EventKind::Stored, Some(one.path.clone())));
    assert!(two.record.sequence > one.record.sequence);
    assert_eq!(&opened.piece(0..3, 9).unwrap()[..], b"one", "who has it open reads on");
    let wrong = Upload { expected: Some(sha256(b"x")), ..upload() };
    assert!(matches!(store_it(wrong, b"three"), Err(StorageError::DigestMismatch { .. })));
    let promised = format!("{}.tar.gz", sha256(b"x").hex());
    let named = Upload { file: Some(promised), ..upload() };
    assert!(matches!(store_it(named.clone(), b"three"), Err(StorageError::DigestMismatch { .. })));
    store_it(named, b"x").unwrap();
    assert_eq!(served(&store, &two.path).unwrap(), b"two");
}

#[test]
fn a_replacement_that_fails_is_known_for_what_it_left() {
    for (fails_after, expected) in [(false, b"one"), (true, b"two")] {
        let on_replace = Arc::new(move |after| match after == fails_after {
            true => Err(io::Error::from_raw_os_error(5)),
            false => Ok(()),
        });
        let store = over(Rigged { on_replace, ..Rigged::over(Memory::new()) });
        let write = |bytes: &[u8]| {
            let mut incoming =
                store.begin(Upload { file: Some("a.yaml".into()), ..Upload::from(request("front", "1")) })?;
            incoming.append(bytes)?;
            store.finish(incoming)
        };
        let one = write(b"one").unwrap();
        assert!(write(b"two").is_err());
        assert_eq!(served(&store, &one.path).unwrap(), expected, "neither lost nor taken for damaged");
        assert_eq!(store.verify(&one.path, &sha256(expected)).unwrap(), Verdict::Ok);
    }
}

#[test]
fn aliases_follow_their_files_and_are_never_collected() {
    let (_, store) = over_memory();
    let (one, _) = put(&store, &request("front", "1"), b"one").unwrap();
    let (two, _) = put(&store, &request("front", "1"), b"two").unwrap();
    let name = dir("front").file("latest").unwrap();
    let aliased = store.alias(&caller("1"), &one, &name, false).unwrap();
    assert_eq!((aliased.target, aliased.unchanged), (one.clone(), false));
    assert!(store.alias(&caller("1"), &one, &name, false).unwrap().unchanged);
    assert_eq!(served(&store, &name).unwrap(), b"one");
    assert_eq!(store.verify(&name, &sha256(b"one")).unwrap(), Verdict::Ok);
    store.alias(&caller("1"), &two, &name, false).unwrap();
    assert_eq!(served(&store, &name).unwrap(), b"two");
    assert_eq!((store.stats().files, store.stats().aliases), (2, 1));
    let nothing = Retention { ttl: Duration::ZERO, grace: Duration::ZERO, records: 0, limit: 1000 };
    std::thread::sleep(Duration::from_millis(2));
    let mut removed = store.collect(&caller("1"), &dir("front"), None, &nothing).unwrap();
    removed.sort();
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(removed, both);
    assert_eq!(served(&store, &name), None, "it leads nowhere");
    assert_eq!(store.verify(&name, &sha256(b"two")).unwrap(), Verdict::Missing);
    assert!(matches!(store.alias(&caller("1"), &one, &name, false), Err(StorageError::NotFound(_))));
    // Opened again, it is still one.
    put(&store, &request("front", "1"), b"two").unwrap();
    let again = Store::open(store.storage().clone(), Algorithm::Sha256).unwrap();
    assert_eq!(served(&again, &name).unwrap(), b"two");
    assert_eq!(again.target(&name), two);
}

/// Whoever changed the bytes has put the time back, and by the next piece the file has lost its name: its stamp says nothing.
#[test]
fn what_is_condemned_is_not_sent_to_its_end() {
    use std::os::unix::fs::FileExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = over(super::super::LocalFolder::open(folder.path()).unwrap());
    let (path, record) = put(&store, &request("a", "1"), b"good bytes").unwrap();
    let opened = store.open_verified(&path).unwrap().unwrap();
    let file = std::fs::File::options().write(true).open(folder.path().join(path.to_string())).unwrap();
    let times = std::fs::FileTimes::new().set_modified(file.metadata().unwrap().modified().unwrap());
    file.write_all_at(b"evil", 0).unwrap();
    file.set_times(times).unwrap();
    assert_eq!(store.verify(&path, &record.digest).unwrap(), Verdict::Corrupted);
    assert!(opened.piece(0..opened.size, 1024).is_err());

    // Stored again it is another file, and one that is removed on purpose is sent to its end.
    put(&store, &request("a", "1"), b"good bytes").unwrap();
    let opened = store.open_verified(&path).unwrap().unwrap();
    store.remove(&caller("1"), &path).unwrap();
    assert_eq!(opened.piece(0..opened.size, 1024).unwrap(), b"good bytes"[..]);
}
