//! What is special about a folder.

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use rustix::fs::{CWD, Mode, mkfifoat};

use super::{
    super::{
        Published,
        conformance::{self, dir, path, put, read, record, replace},
    },
    steps, *,
};

struct Fresh {
    folder: tempfile::TempDir,
    without_openat2: bool,
}

fn fresh() -> Fresh {
    Fresh { folder: tempfile::tempdir().unwrap(), without_openat2: false }
}

fn open(path: &Path) -> LocalFolder {
    LocalFolder::open(path).unwrap()
}

impl conformance::Backend for Fresh {
    fn open(&self) -> Box<dyn Storage> {
        let local = open(self.folder.path());
        if self.without_openat2 {
            local.root.beneath.without_openat2();
        }
        Box::new(local)
    }
}

/// Everything below a folder except the server's own documents: relative names, in order.
fn names(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                walk(root, &path, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.retain(|name| !name.starts_with(".weir/"));
    found.sort();
    found
}

#[test]
fn conforms() {
    conformance::run(fresh);
}

#[test]
fn conforms_without_openat2() {
    conformance::run(|| Fresh { without_openat2: true, ..fresh() });
}

const STEPS: [&str; 8] = [
    "temporary file made",
    "bytes written",
    "file synced",
    "record synced",
    "record named",
    "file named",
    "folder synced",
    "parents synced",
];

#[test]
fn publishing_takes_its_steps_in_order() {
    let fresh = fresh();
    let local = open(fresh.folder.path());
    let path = path("front", "a.tar.gz");
    put(&local, &path, "c/1", b"bytes");
    assert_eq!(steps::taken(), STEPS);
    let file = fs::metadata(fresh.folder.path().join(path.to_string())).unwrap();
    assert_eq!(file.mode() & 0o7777, 0o600);
    let folder = fs::metadata(fresh.folder.path().join("externalartifact/apps")).unwrap();
    assert_eq!(folder.mode() & 0o7777, 0o700);
}

#[test]
fn a_record_is_durable_when_it_was_replaced() {
    let fresh = fresh();
    let local = open(fresh.folder.path());
    let path = path("front", "a.tar.gz");
    put(&local, &path, "c/1", b"bytes");
    let before = steps::taken().len();
    local.put_record(&path, &record("c/2", b"bytes")).unwrap();
    assert_eq!(steps::taken()[before..], ["record replaced", "folder synced"]);
}

/// This test ends its own process at each step, in a child, and looks at what is left.
#[test]
fn a_crash_at_any_step_leaves_nothing_or_all() {
    const FOLDER: &str = "WEIR_TEST_FOLDER";
    let path = path("front", "a.tar.gz");
    if let Ok(folder) = std::env::var(FOLDER) {
        let local = open(Path::new(&folder));
        put(&local, &path, "c/1", b"bytes");
        return;
    }
    for (at, step) in STEPS.iter().enumerate() {
        let fresh = fresh();
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::local::tests::a_crash_at_any_step_leaves_nothing_or_all"])
            .env(FOLDER, fresh.folder.path())
            .env(steps::END_AT, step)
            .output()
            .unwrap();
        assert!(!ended.status.success(), "the child must end at step {step:?}");

        let local = open(fresh.folder.path());
        let swept = local.sweep().unwrap();
        let visible = at >= STEPS.iter().position(|&step| step == "file named").unwrap();
        assert_eq!(swept.temporary > 0, at < STEPS.len() - 3, "{step}: {swept:?}");
        assert_eq!(swept.records, usize::from(*step == "record named"), "{step}: {swept:?}");
        assert_eq!(read(&local, &path), visible.then(|| b"bytes".to_vec()), "{step}");
        assert_eq!(local.record(&path).unwrap().is_some(), visible, "{step}");
        assert_eq!(local.list(&Prefix::all()).unwrap().len(), usize::from(visible), "{step}");
        let left = names(fresh.folder.path());
        assert!(!left.iter().any(|name| name.contains(TEMPORARY)), "{step}: {left:?}");
        assert_eq!(matches!(put(&local, &path, "c/2", b"bytes"), Published::Present), visible, "{step}");
    }
}

const REPLACING: [&str; 9] = [
    "temporary file made",
    "bytes written",
    "file synced",
    "record synced",
    "successor named",
    "file replaced",
    "record replaced",
    "folder synced",
    "",
];

/// As [`a_crash_at_any_step_leaves_nothing_or_all`], for a file that takes the place of another.
#[test]
fn a_crash_at_any_step_of_replacing_leaves_one_of_the_two() {
    const FOLDER: &str = "WEIR_TEST_FOLDER";
    let path = path("front", "a.yaml");
    if let Ok(folder) = std::env::var(FOLDER) {
        let local = open(Path::new(&folder));
        let before = steps::taken().len();
        replace(&local, &path, "c/2", b"newer");
        assert_eq!(steps::taken()[before..], REPLACING[..8]);
        return;
    }
    for (at, step) in REPLACING.iter().enumerate() {
        let fresh = fresh();
        put(&open(fresh.folder.path()), &path, "c/1", b"bytes");
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::local::tests::a_crash_at_any_step_of_replacing_leaves_one_of_the_two"])
            .env(FOLDER, fresh.folder.path())
            .env(steps::END_AT, step)
            .output()
            .unwrap();
        assert_eq!(ended.status.success(), step.is_empty(), "the child must end at step {step:?}");

        let local = open(fresh.folder.path());
        let swept = local.sweep().unwrap();
        let replaced = at >= REPLACING.iter().position(|&step| step == "file replaced").unwrap();
        let (owner, bytes) = if replaced { ("c/2", b"newer") } else { ("c/1", b"bytes") };
        assert_eq!(read(&local, &path).unwrap(), bytes, "{step}");
        let kept = local.record(&path).unwrap().unwrap();
        assert_eq!((kept.owner.as_str(), kept.digest), (owner, record(owner, bytes).digest), "{step}");
        assert_eq!(swept.records, usize::from(*step == "successor named"), "{step}: {swept:?}");
        assert_eq!(swept.foreign, 0, "{step}");
        let left = names(fresh.folder.path());
        assert_eq!(
            left,
            ["externalartifact/apps/front/.a.yaml.record", "externalartifact/apps/front/a.yaml"],
            "{step}"
        );
        assert_eq!(local.sweep().unwrap(), Swept::default(), "{step}");
    }
}

#[test]
fn a_successor_is_judged_by_bytes_alone() {
    let fresh = fresh();
    let local = open(fresh.folder.path());
    let path = path("front", "a.yaml");
    put(&local, &path, "c/1", b"bytes");
    let folder = fresh.folder.path().join("externalartifact/apps/front");
    let rows: [(&str, Vec<u8>, &str); 4] = [
        ("of the same length", record("c/2", b"other").to_json().unwrap(), "c/1"),
        ("damaged", b"{".to_vec(), "c/1"),
        ("empty", Vec::new(), "c/1"),
        ("of these bytes", record("c/2", b"bytes").to_json().unwrap(), "c/2"),
    ];
    for (row, json, owner) in rows {
        fs::write(folder.join(".a.yaml.next"), json).unwrap();
        local.sweep().unwrap();
        assert!(!folder.join(".a.yaml.next").exists(), "row {row}");
        assert_eq!(local.record(&path).unwrap().unwrap().owner, owner, "row {row}");
    }
    fs::write(folder.join(".b.yaml.next"), record("c/2", b"").to_json().unwrap()).unwrap();
    assert_eq!(local.sweep().unwrap(), Swept { records: 1, ..Swept::default() }, "of a file that is not there");
}

#[test]
fn permissions_are_applied_but_for_those_that_would_keep_the_server_out() {
    for (mode, expected) in [(None, 0o600), (Some(0o644), 0o644), (Some(0), 0o600), (Some(0o055), 0o655)] {
        let fresh = fresh();
        let local = open(fresh.folder.path());
        let path = path("front", "a.yaml");
        let mut stage = local.stage(path.dir()).unwrap();
        stage.write_all(b"bytes").unwrap();
        stage.publish(&path, &Record { mode, ..record("c/1", b"bytes") }).unwrap();
        let file = fs::metadata(fresh.folder.path().join(path.to_string())).unwrap();
        assert_eq!(file.mode() & 0o7777, expected);
        assert_eq!(local.record(&path).unwrap().unwrap().mode, mode);
    }
}

#[test]
fn a_place_that_leads_elsewhere_is_not_named() {
    let path = path("front", "a.yaml");
    for part in [
        "externalartifact",
        "externalartifact/apps",
        "externalartifact/apps/front",
        "externalartifact/apps/front/a.yaml",
    ] {
        for without_openat2 in [false, true] {
            let fresh = Fresh { without_openat2, ..fresh() };
            let local = conformance::Backend::open(&fresh);
            assert!(local.locate(&path).is_ok(), "nothing is there");
            let link = fresh.folder.path().join(part);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink("/etc", &link).unwrap();
            let refused = local.locate(&path).unwrap_err().to_string();
            assert!(refused.contains("symbolic link"), "{part}: {refused}");
        }
    }
}

#[test]
fn a_failed_publication_leaves_nothing() {
    let fresh = fresh();
    let local = open(fresh.folder.path());
    // The file's name is as long as names can be, so its record's is too long.
    let path = path("front", &"a".repeat(250));
    let mut stage = local.stage(path.dir()).unwrap();
    stage.write_all(b"bytes").unwrap();
    assert!(stage.publish(&path, &record("c/1", b"bytes")).is_err());
    assert_eq!(names(fresh.folder.path()), [""; 0]);
    assert!(!fresh.folder.path().join("externalartifact/apps/front").exists());
}

#[test]
fn what_is_not_a_regular_file_is_no_file_and_gives_way() {
    type Plant = fn(&Path);
    let rows: [(&str, Plant); 5] = [
        ("link to a file outside", |path| symlink("/etc/hostname", path).unwrap()),
        ("link to nothing", |path| symlink("nothing", path).unwrap()),
        ("folder with content", |path| fs::create_dir_all(path.join("x/y")).unwrap()),
        ("pipe", |path| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap()),
        ("socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
    ];
    for (row, plant) in rows {
        let fresh = fresh();
        let local = open(fresh.folder.path());
        let path = path("front", "a.tar.gz");
        put(&local, &self::path("front", "b.tar.gz"), "c/1", b"other");
        plant(&fresh.folder.path().join(path.to_string()));
        assert!(local.open(&path).unwrap().is_none(), "row {row}");
        assert!(local.head(&path).unwrap().is_none(), "row {row}");
        assert_eq!(local.list(&Prefix::all()).unwrap().len(), 1, "row {row}");
        assert!(!local.delete(&path).unwrap(), "row {row}");
        assert_eq!(local.sweep().unwrap(), Swept { foreign: 1, ..Swept::default() }, "row {row}");
        assert!(matches!(put(&local, &path, "c/1", b"bytes"), Published::Stored(_)), "row {row}");
        assert_eq!(read(&local, &path).unwrap(), b"bytes", "row {row}");
        assert_eq!(local.sweep().unwrap(), Swept::default(), "row {row}");
    }
    assert!(fs::metadata("/etc/hostname").is_ok());
}

#[test]
fn links_in_place_of_folders_lead_nowhere() {
    for without_openat2 in [false, true] {
        for part in ["externalartifact", "externalartifact/apps", "externalartifact/apps/front"] {
            let outside = tempfile::tempdir().unwrap();
            fs::create_dir_all(outside.path().join("apps/front")).unwrap();
            fs::create_dir_all(outside.path().join("front")).unwrap();
            for secret in ["apps/front/a.tar.gz", "front/a.tar.gz", "a.tar.gz"] {
                fs::write(outside.path().join(secret), "secret").unwrap();
            }
            let before = names(outside.path());
            let fresh = Fresh { without_openat2, ..fresh() };
            let local = conformance::Backend::open(&fresh);
            let link = fresh.folder.path().join(part);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(outside.path(), &link).unwrap();

            let path = path("front", "a.tar.gz");
            assert!(local.open(&path).unwrap().is_none() && local.head(&path).unwrap().is_none(), "{part}");
            assert!(local.list(&Prefix::all()).unwrap().is_empty(), "{part}");
            assert!(!local.delete(&path).unwrap(), "{part}");
            let Err(refused) = local.stage(&dir("front")) else { panic!("staged through a link at {part}") };
            assert!(refused.to_string().contains("a symbolic link stands where a folder should be"), "{refused}");
            local.clear(&dir("front")).unwrap();
            local.sweep().unwrap();
            assert_eq!(names(outside.path()), before, "{part}");
        }
    }
}

#[test]
fn sweeping_removes_our_leftovers_and_nothing_else() {
    let fresh = fresh();
    let root = fresh.folder.path();
    let artifact = root.join("externalartifact/apps/front");
    {
        let local = open(root);
        put(&local, &path("front", "a.tar.gz"), "c/1", b"bytes");
        local.put_state("epochs", b"1").unwrap();
    }
    fs::write(artifact.join(".tmp-0123456789abcdef"), "half").unwrap();
    fs::create_dir_all(artifact.join(".tmp-fedcba9876543210/x")).unwrap();
    fs::write(artifact.join(".b.tar.gz.record"), "{}").unwrap();
    fs::write(root.join(".weir/.tmp-0123456789abcdef"), "half").unwrap();
    fs::create_dir_all(root.join("externalartifact/apps/half")).unwrap();
    fs::write(root.join("externalartifact/apps/half/.tmp-0123456789abcdef"), "half").unwrap();
    // Others'.
    fs::create_dir_all(root.join("lost+found")).unwrap();
    fs::write(root.join("README"), "mine").unwrap();
    fs::write(artifact.join("2936578364.tar.gz"), "of the reference").unwrap();
    fs::write(artifact.join(".hidden"), "mine").unwrap();
    fs::create_dir_all(root.join("externalartifact/apps/empty")).unwrap();
    let local = open(root);
    assert_eq!(local.sweep().unwrap(), Swept { temporary: 4, records: 1, inherited: 0, foreign: 3 });
    let left = [
        "README",
        "externalartifact/apps/front/.a.tar.gz.record",
        "externalartifact/apps/front/.hidden",
        "externalartifact/apps/front/2936578364.tar.gz",
        "externalartifact/apps/front/a.tar.gz",
    ];
    assert_eq!(names(root), left);
    assert!(!root.join("externalartifact/apps/half").exists(), "a folder with nothing but our leftovers goes");
    assert!(root.join("externalartifact/apps/empty").exists(), "an empty folder may be anybody's");
    assert_eq!(local.state("epochs").unwrap().unwrap(), b"1");
    let mut listed: Vec<String> =
        local.list(&Prefix::all()).unwrap().iter().map(|(path, _)| path.to_string()).collect();
    listed.sort();
    assert_eq!(listed, [left[3], left[4]], "a file of the reference is a file without a record");
    // One that came after the start.
    fs::write(artifact.join("2936578364.tar.gz.lock"), "").unwrap();
    assert!(local.delete(&left[3].parse().unwrap()).unwrap());
    assert!(!artifact.join("2936578364.tar.gz.lock").exists(), "its lock goes with it");
    local.clear(&dir("front")).unwrap();
    assert!(!artifact.exists());
}

/// faults.md 11: exactly what source-watcher leaves, and nothing that only looks like it.
#[test]
fn sweeping_removes_what_source_watcher_left() {
    let fresh = fresh();
    let root = fresh.folder.path();
    let front = root.join("externalartifact/apps/front");
    let gone = [
        "externalartifact/apps/front/1.tar.gz.lock",
        "externalartifact/apps/front/2936578364.tar.gz.lock",
        "externalartifact/apps/front/2936578364.tar.gz1804289383",
        "externalartifact/apps/left/2936578364.tar.gz.lock",
    ];
    let kept = [
        "externalartifact/apps/1.tar.gz.lock",
        "externalartifact/apps/front/.3.tar.gz7.record",
        "externalartifact/apps/front/2.tar.gz.lock",
        "externalartifact/apps/front/2936578364.tar.gz",
        "externalartifact/apps/front/3.tar.gz7",
        "externalartifact/apps/front/4.tar.gz9",
        "externalartifact/apps/front/web.tar.gz.lock",
        "gitrepository/apps/front/1.tar.gz.lock",
        "lost+found/1.tar.gz.lock",
    ];
    for name in gone.iter().chain(&kept) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, if name.ends_with(".lock") { "" } else { "half" }).unwrap();
    }
    fs::write(front.join("2.tar.gz.lock"), "not empty, so no lock of its").unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    fs::File::options().append(true).open(front.join("4.tar.gz9")).unwrap().set_modified(later).unwrap();
    symlink("2936578364.tar.gz", front.join("5.tar.gz.lock")).unwrap();
    fs::create_dir(front.join("6.tar.gz.lock")).unwrap();
    let swept = open(root).sweep().unwrap();
    assert_eq!((swept.inherited, swept.temporary, swept.records), (4, 0, 0));
    let mut left = names(root);
    left.retain(|name| name != "externalartifact/apps/front/5.tar.gz.lock");
    assert_eq!(left, kept);
    assert!(front.join("6.tar.gz.lock").exists() && front.join("5.tar.gz.lock").is_symlink());
    assert!(!root.join("externalartifact/apps/left").exists(), "a folder with nothing else goes");
    assert_eq!(open(root).sweep().unwrap().inherited, 0);
}

#[test]
fn an_adopted_file_is_made_durable_before_its_record() {
    let fresh = fresh();
    let root = fresh.folder.path();
    let path = path("front", "2936578364.tar.gz");
    fs::create_dir_all(root.join(path.dir().as_str())).unwrap();
    fs::write(root.join(path.to_string()), "theirs").unwrap();
    let local = open(root);
    let before = local.head(&path).unwrap();
    local.adopt(&path, &record("c/1", b"theirs")).unwrap();
    assert_eq!(steps::taken(), ["file synced", "record replaced", "folder synced", "parents synced"]);
    assert_eq!(local.record(&path).unwrap(), Some(record("c/1", b"theirs")));
    assert_eq!(local.head(&path).unwrap(), before, "its stamp does not move");
}

#[test]
fn damaged_records_count_as_absent() {
    let fresh = fresh();
    let local = open(fresh.folder.path());
    let path = path("front", "a.tar.gz");
    put(&local, &path, "c/1", b"bytes");
    let file = fresh.folder.path().join("externalartifact/apps/front/.a.tar.gz.record");
    for damage in [b"".as_slice(), b"{\"version\":1", b"\xff\xfe", &[b' '; 100_000]] {
        fs::write(&file, damage).unwrap();
        assert_eq!(local.record(&path).unwrap(), None);
    }
    fs::remove_file(&file).unwrap();
    symlink("/etc/hostname", &file).unwrap();
    assert_eq!(local.record(&path).unwrap(), None);
    local.put_record(&path, &record("c/2", b"bytes")).unwrap();
    assert_eq!(local.record(&path).unwrap().unwrap().owner, "c/2");
}

#[test]
fn an_unusable_root_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let (root, file) = (folder.path(), folder.path().join("file"));
    fs::write(&file, "").unwrap();
    let refused = |path: &Path| LocalFolder::open(path).err().map(|error| error.to_string()).unwrap();
    let missing = root.join("missing");
    assert_eq!(
        refused(&missing),
        format!(
            "storage path {} does not exist: mount a volume there, create the folder or set --storage-path",
            missing.display()
        )
    );
    assert_eq!(refused(&file), format!("storage path {} is not a folder: set --storage-path to one", file.display()));
    let first = open(root);
    assert_eq!(
        refused(root),
        format!(
            "storage path {} is in use by another artifact server: stop that one, or give each its own volume",
            root.display()
        )
    );
    drop(first);
    drop(open(root));
}

/// Root may do anything, so one thread becomes somebody else.
#[test]
fn an_unwritable_root_is_one_clear_line() {
    use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    fs::create_dir(&root).unwrap();
    drop(open(&root));
    for (row, mode) in [("nothing may be read", 0o000), ("nothing may be written", 0o555)] {
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if rustix::process::geteuid().is_root() {
                    let (nobody, nogroup) = (Uid::from_raw(65534), Gid::from_raw(65534));
                    set_thread_groups(&[]).unwrap();
                    set_thread_res_gid(nogroup, nogroup, nogroup).unwrap();
                    set_thread_res_uid(nobody, nobody, nobody).unwrap();
                }
                LocalFolder::open(&root).err().map(|error| error.to_string())
            });
            thread.join().unwrap()
        });
        let error = error.unwrap_or_default();
        assert!(error.contains(&format!("storage path {}: Permission denied", root.display())), "{row}: {error}");
        assert!(error.contains("read and write access to the volume, for example with fsGroup"), "{row}: {error}");
        assert_eq!(error.lines().count(), 1, "{row}");
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_root_that_was_removed_and_made_again_is_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    fs::create_dir(&root).unwrap();
    let local = open(&root);
    let path = path("front", "a.tar.gz");
    put(&local, &path, "c/1", b"bytes");
    fs::remove_dir_all(&root).unwrap();
    assert!(local.open(&path).unwrap().is_none());
    assert!(local.list(&Prefix::all()).unwrap().is_empty());
    let Err(error) = local.stage(path.dir()) else { panic!("staged without a root") };
    assert!(
        error.to_string().ends_with("is not there any more: mount the volume again or create the folder"),
        "{error}"
    );
    fs::create_dir(&root).unwrap();
    assert!(matches!(put(&local, &path, "c/1", b"bytes"), Published::Stored(_)));
    assert_eq!(read(&local, &path).unwrap(), b"bytes");
    fs::remove_dir_all(root.join("externalartifact")).unwrap();
    assert!(matches!(put(&local, &path, "c/1", b"again"), Published::Stored(_)));
    assert_eq!(read(&local, &path).unwrap(), b"again");
}
