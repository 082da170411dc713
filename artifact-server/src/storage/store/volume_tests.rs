//! The engine on volumes that are full, read-only or busy: a small tmpfs in a mount namespace of its own.

use std::{path::Path, process::Command, sync::Arc};

use weir_proto::{Algorithm, ArtifactPath, Owner, Reason};

use super::{
    super::{LocalFolder, Record, StorageError, conformance::dir},
    *,
};

fn caller() -> Caller {
    Caller { owner: Owner::new("source-watcher", "1").unwrap(), lease: None, tenant: None, epoch: 0 }
}

const FOLDER: &str = "WEIR_TEST_VOLUME";

fn put(store: &Store, name: &str, bytes: &[u8]) -> Result<(ArtifactPath, Arc<Record>), StorageError> {
    let request =
        Put { dir: dir(name), caller: caller(), algorithm: Algorithm::Sha256, content_digest: None, take_over: false };
    store.put(&request, &mut |out| out.write_all(bytes))
}

fn open(folder: &Path) -> Result<Arc<Store>, StorageError> {
    Store::open(Arc::new(LocalFolder::open(folder)?), Algorithm::Sha256)
}

/// Runs one test of this file again as the only user of a fresh tmpfs. True in that second run.
fn on_a_small_volume(test: &str) -> bool {
    if std::env::var_os(FOLDER).is_some() {
        return true;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let script = "mount -t tmpfs -o size=256k,nr_inodes=60 weir \"$WEIR_TEST_VOLUME\" && exec \"$@\"";
    command.args(["sh", "-ec", script, "sh"]).arg(std::env::current_exe().unwrap());
    let name = format!("storage::store::volume_tests::{test}");
    let output = command.args(["--exact", &name, "--nocapture"]).env(FOLDER, folder.path()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn volume() -> std::path::PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

fn remount(mode: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(volume()).status().unwrap();
    assert!(status.success());
}

fn count_temporary(folder: &Path) -> usize {
    let output = Command::new("find").arg(folder).args(["-name", ".tmp-*"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().count()
}

#[test]
fn a_full_volume_says_so_and_recovers() {
    if !on_a_small_volume("a_full_volume_says_so_and_recovers") {
        return;
    }
    let store = open(&volume()).unwrap();
    let (kept, record) = put(&store, "kept", b"kept").unwrap();
    let noise: Vec<u8> = (0..400_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..3 {
        let error = put(&store, "big", &noise).unwrap_err();
        assert_eq!(error.reason(), Reason::StorageFull);
        let text = error.to_string();
        assert!(text.contains("externalartifact/apps/big is full (No space left on device"), "{text}");
        assert!(text.ends_with("free space, enlarge the volume or keep fewer artifacts"), "{text}");
        assert_eq!(count_temporary(&volume()), 0);
        assert!(!volume().join("externalartifact/apps/big").exists());
    }
    assert_eq!(store.verify(&kept, &record.digest).unwrap(), Verdict::Ok);

    // Not bytes but files run out: every artifact takes three.
    let mut names = Vec::new();
    let error = loop {
        let name = format!("small-{}", names.len());
        match put(&store, &name, name.as_bytes()) {
            Ok(_) => names.push(name),
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Reason::StorageFull, "{error}");
    assert!(names.len() > 5 && count_temporary(&volume()) == 0);
    for name in &names {
        store.remove_all(&caller(), &dir(name), false).unwrap();
    }
    put(&store, "again", b"again").unwrap();
    assert_eq!(store.verify(&kept, &record.digest).unwrap(), Verdict::Ok);
}

#[test]
fn a_read_only_volume_serves_and_refuses() {
    if !on_a_small_volume("a_read_only_volume_serves_and_refuses") {
        return;
    }
    let store = open(&volume()).unwrap();
    let (kept, _) = put(&store, "kept", b"kept").unwrap();
    let (changed, digest) =
        put(&store, "changed", b"right").map(|(path, record)| (path, record.digest.clone())).unwrap();
    std::fs::write(volume().join(changed.to_string()), "wrong").unwrap();
    let mut watcher = store.watch();
    remount("ro");
    assert!(store.open_verified(&kept).unwrap().is_some());
    let error = put(&store, "new", b"new").unwrap_err();
    assert_eq!(error.reason(), Reason::StorageFailed);
    assert!(error.to_string().ends_with(": the volume is mounted read-only; mount it for writing"), "{error}");
    // Wrong bytes are out of service although they can not be removed.
    for _ in 0..2 {
        assert_eq!(store.verify(&changed, &digest).unwrap(), Verdict::Corrupted);
        assert!(store.open_verified(&changed).unwrap().is_none());
        store.check_below(&super::super::Prefix::all()).unwrap();
    }
    assert!(store.list(&Filter::default()).iter().all(|file| file.path != changed));
    let events: Vec<_> = std::iter::from_fn(|| futures::FutureExt::now_or_never(watcher.next()).flatten()).collect();
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Corrupted], "told once");
    remount("rw");
    put(&store, "changed", b"right").unwrap();
    assert_eq!(store.verify(&changed, &digest).unwrap(), Verdict::Ok);
    drop(store);
    remount("ro");
    let error = open(&volume()).err().map(|error| error.to_string()).unwrap();
    assert!(error.starts_with("can not write to storage path ") && error.contains("mounted read-only"), "{error}");
}

#[test]
fn many_at_once_stay_consistent() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let caller = caller();
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let (store, caller) = (&store, &caller);
            scope.spawn(move || {
                for round in 0..40_usize {
                    let name = format!("app-{}", (thread + round) % 3);
                    let bytes = format!("content {}", round % 5);
                    let (path, record) = put(store, &name, bytes.as_bytes()).unwrap();
                    // Another thread may have removed it by now, but nobody ever sees other bytes.
                    let verdict = store.verify(&path, &record.digest).unwrap();
                    assert!(matches!(verdict, Verdict::Ok | Verdict::Missing), "{verdict:?}");
                    if let Some(opened) = store.open_verified(&path).unwrap() {
                        let mut read = vec![0; bytes.len()];
                        opened.body.read_exact_at(&mut read, 0).unwrap();
                        assert_eq!(read, bytes.as_bytes());
                    }
                    match (thread, round % 4) {
                        (0, 0) => drop(store.remove_all(caller, &dir(&name), false).unwrap()),
                        (1, 1) => drop(store.remove(caller, &path)),
                        (2, 2) => store.check_below(&super::super::Prefix::all()).unwrap(),
                        _ => {}
                    }
                }
            });
        }
    });
    let known = store.list(&Filter::default());
    drop(store);
    assert_eq!(count_temporary(folder.path()), 0);
    let store = open(folder.path()).unwrap();
    let found = store.list(&Filter::default());
    assert_eq!(
        found.iter().map(|file| (&file.path, file.size)).collect::<Vec<_>>(),
        known.iter().map(|file| (&file.path, file.size)).collect::<Vec<_>>()
    );
    assert_eq!(store.stats().swept, super::super::Swept::default());
    for file in found {
        assert_eq!(store.verify(&file.path, &file.record.unwrap().digest).unwrap(), Verdict::Ok);
    }
}
