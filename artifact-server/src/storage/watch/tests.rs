//! Real files, real kernel events.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
};

use weir_proto::{Algorithm, Owner};

use super::{
    super::{Caller, EventKind, LocalFolder, Put, Subscription, Verdict, conformance::dir},
    *,
};

const DEADLINE: Duration = Duration::from_secs(20);

fn caller() -> Caller {
    Caller { owner: Owner::new("source-watcher", "1").unwrap(), lease: None, tenant: None, epoch: 0 }
}

/// A volume below a folder of its own, so that the volume itself can be removed.
struct Volume {
    folder: tempfile::TempDir,
    store: Arc<Store>,
    events: Subscription,
    watch: Watch,
}

impl Volume {
    fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        fs::create_dir(&root).unwrap();
        let store = Store::open(Arc::new(LocalFolder::open(&root).unwrap()), Algorithm::Sha256).unwrap();
        let events = store.watch();
        let watch = Watch::start(store.clone(), &root, settings).unwrap();
        Self { folder, store, events, watch }
    }

    /// Finds out by events alone, or the test ends first.
    fn by_events() -> Self {
        let volume = Self::new(Settings { rescan: DEADLINE * 10, poll: DEADLINE * 10, force_polling: false });
        assert!(!volume.watch.is_polling());
        volume
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn at(&self, path: &ArtifactPath) -> PathBuf {
        self.root().join(path.to_string())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> ArtifactPath {
        let request = Put {
            dir: dir(name),
            caller: caller(),
            algorithm: Algorithm::Sha256,
            content_digest: None,
            take_over: false,
        };
        self.store.put(&request, &mut |out| out.write_all(bytes)).unwrap().0
    }

    async fn next(&mut self) -> (EventKind, Option<ArtifactPath>) {
        let event = tokio::time::timeout(DEADLINE, self.events.next()).await.expect("an event before the deadline");
        let event = event.unwrap();
        if !matches!(event.kind, EventKind::Removed | EventKind::Gap) {
            assert_eq!(event.owner, "source-watcher/1", "{event:?}");
        }
        (event.kind, event.path)
    }

    async fn stored(&mut self, name: &str, bytes: &[u8]) -> ArtifactPath {
        let path = self.put(name, bytes);
        assert_eq!(self.next().await, (EventKind::Stored, Some(path.clone())));
        path
    }

    async fn until_polling(&self, polling: bool) {
        let end = Instant::now() + DEADLINE;
        while self.watch.is_polling() != polling {
            assert!(Instant::now() < end, "still polling: {}", !polling);
            tokio::task::yield_now().await;
        }
    }

    async fn until_unrecorded(&self, count: usize) {
        let end = Instant::now() + DEADLINE;
        while self.store.stats().unrecorded != count {
            assert!(Instant::now() < end, "{:?}", self.store.stats());
            tokio::task::yield_now().await;
        }
    }

    /// The very next events, in any order.
    async fn expect(&mut self, row: &str, kind: EventKind, paths: &[&ArtifactPath]) {
        let mut found = Vec::new();
        for _ in paths {
            let (got, path) = self.next().await;
            assert_eq!(got, kind, "row {row}: {path:?}");
            found.push(path.unwrap());
        }
        found.sort();
        let mut paths: Vec<_> = paths.iter().map(|&path| path.clone()).collect();
        paths.sort();
        assert_eq!(found, paths, "row {row}");
    }
}

#[tokio::test]
async fn every_way_to_harm_a_file_is_told() {
    type Harm = fn(&Path);
    let append = |path: &Path| OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    let overwrite = |path: &Path| OpenOptions::new().write(true).open(path).unwrap().write_all(b"B").unwrap();
    let rows: [(&str, Harm, EventKind); 9] = [
        ("removed", |path| fs::remove_file(path).unwrap(), EventKind::Lost),
        ("renamed away", |path| move_file(path, &path.with_extension("away")), EventKind::Lost),
        ("truncated", |path| drop(fs::File::create(path).unwrap()), EventKind::Corrupted),
        ("appended to", append, EventKind::Corrupted),
        ("overwritten in place", overwrite, EventKind::Corrupted),
        ("replaced by a link", replace_by_link, EventKind::Lost),
        ("replaced by a folder", replace_by_folder, EventKind::Lost),
        ("replaced by another file", replace_by_file, EventKind::Corrupted),
        ("folder removed", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap(), EventKind::Lost),
    ];
    let mut volume = Volume::by_events();
    for (row, harm, kind) in rows {
        let path = volume.stored("front", b"bytes").await;
        harm(&volume.at(&path));
        volume.expect(row, kind, &[&path]).await;
        assert!(volume.store.open_verified(&path).unwrap().is_none(), "row {row}");
        // Built again, it is as good as before.
        let again = volume.stored("front", b"bytes").await;
        assert!(volume.store.open_verified(&again).unwrap().is_some(), "row {row}");
        let removed = volume.store.remove_all(&caller(), &dir("front"), false).unwrap();
        volume.expect(row, EventKind::Removed, &removed.iter().collect::<Vec<_>>()).await;
    }
}

fn move_file(from: &Path, to: &Path) {
    rustix::fs::rename(from, to).unwrap();
}

fn replace_by_link(path: &Path) {
    let link = path.with_file_name(".link");
    symlink("/etc/hostname", &link).unwrap();
    move_file(&link, path);
}

fn replace_by_folder(path: &Path) {
    // The server removes folders that are empty.
    fs::write(path.with_file_name(".stray"), "").unwrap();
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

fn replace_by_file(path: &Path) {
    let other = path.with_extension("other");
    fs::write(&other, "BYTES").unwrap();
    move_file(&other, path);
}

#[tokio::test]
async fn own_work_and_harmless_changes_are_silent() {
    let mut volume = Volume::by_events();
    let put = |number: usize| volume.put(&format!("app-{number}"), format!("bytes {number}").as_bytes());
    let mut paths: Vec<ArtifactPath> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|first| scope.spawn(move || (first..1000).step_by(8).map(put).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    paths.sort();
    let own: Vec<&ArtifactPath> = paths.iter().collect();
    assert_eq!(own[0].dir(), &dir("app-0"));
    volume.store.remove_all(&caller(), &dir("app-0"), false).unwrap();
    let touched = volume.at(&paths[1]);
    fs::set_permissions(&touched, fs::Permissions::from_mode(0o640)).unwrap();
    OpenOptions::new().append(true).open(&touched).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::read(&touched).unwrap();
    fs::write(volume.root().join("README"), "mine").unwrap();
    fs::create_dir_all(volume.root().join("lost+found/x")).unwrap();
    // Events come in order: what follows here shows that there was nothing before.
    let last = paths.last().unwrap().clone();
    fs::remove_file(volume.at(&last)).unwrap();
    volume.expect("own writes", EventKind::Stored, &own).await;
    volume.expect("own removal", EventKind::Removed, &[&paths[0]]).await;
    volume.expect("the only loss", EventKind::Lost, &[&last]).await;
    let digest = volume.store.file(&paths[1]).unwrap().digest.clone();
    assert_eq!(volume.store.verify(&paths[1], &digest).unwrap(), Verdict::Ok);
}

#[tokio::test]
async fn files_of_others_are_counted_and_come_and_go_in_silence() {
    let mut volume = Volume::by_events();
    let aside = volume.folder.path().join("aside");
    fs::create_dir_all(aside.join("front")).unwrap();
    fs::write(aside.join("front/2936578364.tar.gz"), "of the reference").unwrap();
    fs::create_dir_all(volume.root().join("externalartifact")).unwrap();
    move_file(&aside, &volume.root().join("externalartifact/apps"));
    volume.until_unrecorded(1).await;
    fs::remove_dir_all(volume.root().join("externalartifact")).unwrap();
    volume.until_unrecorded(0).await;
    volume.stored("front", b"bytes").await;
}

#[tokio::test]
async fn whole_folders_can_go_and_come_back() {
    let mut volume = Volume::by_events();
    let front = volume.stored("front", b"front").await;
    let back = volume.stored("back", b"back").await;
    let (namespace, aside) = (volume.root().join("externalartifact/apps"), volume.folder.path().join("aside"));
    move_file(&namespace, &aside);
    volume.expect("namespace renamed away", EventKind::Lost, &[&front, &back]).await;
    move_file(&aside, &namespace);
    volume.expect("namespace renamed back", EventKind::Stored, &[&front, &back]).await;
    fs::remove_file(volume.at(&front)).unwrap();
    volume.expect("watched again", EventKind::Lost, &[&front]).await;
    fs::remove_dir_all(volume.root().join("externalartifact")).unwrap();
    volume.expect("everything removed", EventKind::Lost, &[&back]).await;
    let front = volume.stored("front", b"front").await;
    fs::remove_file(volume.at(&front)).unwrap();
    volume.expect("folders made anew are watched", EventKind::Lost, &[&front]).await;
}

#[tokio::test]
async fn the_volume_itself_can_go_and_come_back() {
    let mut volume =
        Volume::new(Settings { poll: Duration::from_millis(20), rescan: DEADLINE * 10, force_polling: false });
    let path = volume.stored("front", b"bytes").await;
    fs::remove_dir_all(volume.root()).unwrap();
    volume.expect("root removed", EventKind::Lost, &[&path]).await;
    fs::create_dir(volume.root()).unwrap();
    let path = volume.stored("front", b"bytes").await;
    fs::remove_file(volume.at(&path)).unwrap();
    volume.expect("the new root is watched", EventKind::Lost, &[&path]).await;
    volume.until_polling(false).await;
    let path = volume.stored("back", b"bytes").await;
    fs::remove_file(volume.at(&path)).unwrap();
    volume.expect("by events again", EventKind::Lost, &[&path]).await;
}

#[tokio::test]
async fn polling_finds_the_same() {
    let settings = Settings { poll: Duration::from_millis(20), force_polling: true, ..Settings::default() };
    let mut volume = Volume::new(settings);
    assert!(volume.watch.is_polling());
    let first = volume.stored("front", b"bytes").await;
    let second = volume.stored("back", b"bytes").await;
    fs::remove_file(volume.at(&first)).unwrap();
    volume.expect("removed", EventKind::Lost, &[&first]).await;
    fs::write(volume.at(&second), "other").unwrap();
    volume.expect("changed", EventKind::Corrupted, &[&second]).await;
}

#[tokio::test]
async fn lost_events_mean_a_look_at_everything_and_a_gap() {
    let mut volume = Volume::by_events();
    let path = volume.stored("front", b"bytes").await;
    volume.watch.shared.pending.lock().overflow = true;
    fs::remove_file(volume.at(&path)).unwrap();
    volume.watch.shared.wake.notify_one();
    volume.expect("removed meanwhile", EventKind::Lost, &[&path]).await;
    assert_eq!(volume.next().await, (EventKind::Gap, None));
}

#[tokio::test]
async fn without_watches_left_polling_takes_over() {
    let settings = Settings { poll: Duration::from_millis(20), rescan: DEADLINE * 10, force_polling: false };
    let mut volume = Volume::new(settings);
    let path = volume.stored("front", b"bytes").await;
    volume.watch.shared.pending.lock().broken = Some(Broken::Limit);
    volume.watch.shared.wake.notify_one();
    fs::remove_file(volume.at(&path)).unwrap();
    volume.expect("removed", EventKind::Lost, &[&path]).await;
    volume.until_polling(true).await;
    let path = volume.stored("front", b"bytes").await;
    fs::remove_file(volume.at(&path)).unwrap();
    volume.expect("removed again", EventKind::Lost, &[&path]).await;
}
