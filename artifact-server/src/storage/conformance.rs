//! What every backend must do. A backend's own tests call [`run`].

use std::{io::Write, sync::Barrier};

use jiff::Timestamp;
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{Prefix, Published, Record, Stamp, Storage, StorageError, Swept};

/// A place that can be opened again, with what was in it.
pub(super) trait Backend {
    fn open(&self) -> Box<dyn Storage>;
}

type Case = fn(&dyn Backend);

const CASES: &[(&str, Case)] = &[
    ("what was published can be read", published_is_readable),
    ("nothing is visible before it is published", staged_is_invisible),
    ("a dropped stage leaves nothing", dropped_stage_leaves_nothing),
    ("a taken key is left alone", put_if_absent),
    ("reads by range", range_reads),
    ("an empty object", empty_object),
    ("absent objects", absent_objects),
    ("listing by prefix", list_by_prefix),
    ("deleting", deleting),
    ("what is open stays readable when it is deleted", open_survives_deletion),
    ("records are replaced and durable", records_are_durable),
    ("the stamp holds until the bytes move", stamps_hold),
    ("one of many concurrent puts of one key wins whole", concurrent_puts_of_one_key),
    ("an object takes the place of another, with its record", replacing),
    ("what is open stays readable when it is replaced", open_survives_replacement),
    ("of many concurrent replacements one stays whole", concurrent_replacements),
    ("where an object lies", locating),
    ("puts and deletes in one artifact do not disturb each other", concurrent_puts_and_deletes),
    ("clearing one artifact", clearing),
    ("sweeping spares what is published", sweeping),
    ("documents of the server", documents),
];

/// Runs every case on a fresh backend.
pub(super) fn run<B: Backend>(make: impl Fn() -> B) {
    for (name, case) in CASES {
        println!("case: {name}");
        case(&make());
    }
}

pub(super) fn dir(name: &str) -> ArtifactDir {
    ArtifactDir::new("ExternalArtifact", "apps", name).unwrap()
}

pub(super) fn path(name: &str, file: &str) -> ArtifactPath {
    dir(name).file(file).unwrap()
}

pub(super) fn record(owner: &str, bytes: &[u8]) -> Record {
    let digest = weir_proto::Digest::new(weir_proto::Algorithm::Sha256, &crate::hash::sha256(bytes)).unwrap();
    Record {
        owner: owner.to_owned(),
        digest,
        content_digest: None,
        revision: None,
        mode: None,
        alias: None,
        size: bytes.len() as u64,
        stored_at: Timestamp::from_second(1_700_000_000).unwrap(),
        sequence: 1,
        stamp: Stamp::new(""),
    }
}

pub(super) fn put(storage: &dyn Storage, path: &ArtifactPath, owner: &str, bytes: &[u8]) -> Published {
    let mut stage = storage.stage(path.dir()).unwrap();
    stage.write_all(bytes).unwrap();
    stage.publish(path, &record(owner, bytes)).unwrap()
}

pub(super) fn replace(storage: &dyn Storage, path: &ArtifactPath, owner: &str, bytes: &[u8]) -> Stamp {
    let mut stage = storage.stage(path.dir()).unwrap();
    stage.write_all(bytes).unwrap();
    stage.replace(path, &record(owner, bytes)).unwrap()
}

pub(super) fn read(storage: &dyn Storage, path: &ArtifactPath) -> Option<Vec<u8>> {
    let object = storage.open(path).unwrap()?;
    let mut bytes = vec![0; usize::try_from(object.head.size).unwrap()];
    object.body.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

fn paths(storage: &dyn Storage, prefix: &Prefix) -> Vec<String> {
    let mut paths: Vec<String> = storage.list(prefix).unwrap().iter().map(|(path, _)| path.to_string()).collect();
    paths.sort();
    paths
}

fn published_is_readable(backend: &dyn Backend) {
    let bytes = vec![7; 300_000];
    let path = path("front", "a.tar.gz");
    {
        let storage = backend.open();
        assert!(matches!(put(&*storage, &path, "c/1", &bytes), Published::Stored(_)));
        assert_eq!(read(&*storage, &path), Some(bytes.clone()));
    }
    let storage = backend.open();
    assert_eq!(read(&*storage, &path), Some(bytes.clone()));
    assert_eq!(storage.head(&path).unwrap().unwrap().size, 300_000);
    let kept = storage.record(&path).unwrap().unwrap();
    assert_eq!(Record { stamp: Stamp::new(""), ..kept }, record("c/1", &bytes));
}

fn staged_is_invisible(backend: &dyn Backend) {
    let storage = backend.open();
    let path = path("front", "a.tar.gz");
    let mut stage = storage.stage(path.dir()).unwrap();
    stage.write_all(b"bytes").unwrap();
    stage.flush().unwrap();
    assert!(storage.open(&path).unwrap().is_none() && storage.head(&path).unwrap().is_none());
    assert!(storage.record(&path).unwrap().is_none());
    assert_eq!(paths(&*storage, &Prefix::all()), [""; 0]);
    stage.publish(&path, &record("c/1", b"bytes")).unwrap();
    assert_eq!(paths(&*storage, &Prefix::all()), ["externalartifact/apps/front/a.tar.gz"]);
}

fn dropped_stage_leaves_nothing(backend: &dyn Backend) {
    let storage = backend.open();
    let mut stage = storage.stage(&dir("front")).unwrap();
    stage.write_all(b"bytes").unwrap();
    drop(stage);
    assert_eq!(paths(&*storage, &Prefix::all()), [""; 0]);
    assert_eq!(storage.sweep().unwrap(), Swept::default());
}

fn put_if_absent(backend: &dyn Backend) {
    let storage = backend.open();
    let path = path("front", "a.tar.gz");
    put(&*storage, &path, "c/1", b"first");
    let head = storage.head(&path).unwrap();
    assert_eq!(put(&*storage, &path, "c/2", b"second"), Published::Present);
    assert_eq!(read(&*storage, &path).unwrap(), b"first");
    assert_eq!(storage.record(&path).unwrap().unwrap().owner, "c/1");
    assert_eq!(storage.head(&path).unwrap(), head);
    assert_eq!(storage.sweep().unwrap(), Swept::default());
}

fn range_reads(backend: &dyn Backend) {
    let storage = backend.open();
    let path = path("front", "a.tar.gz");
    put(&*storage, &path, "c/1", b"0123456789");
    let object = storage.open(&path).unwrap().unwrap();
    for (offset, expected) in [(0, "0123"), (3, "3456"), (9, "9"), (10, ""), (0, "0123456789")] {
        let mut buffer = vec![0; expected.len()];
        object.body.read_exact_at(&mut buffer, offset).unwrap();
        assert_eq!(buffer, expected.as_bytes(), "from {offset}");
    }
    for (offset, length) in [(0, 11), (10, 1), (u64::MAX - 4, 2)] {
        assert!(object.body.read_exact_at(&mut vec![0; length], offset).is_err(), "{length} from {offset}");
    }
}

fn empty_object(backend: &dyn Backend) {
    let storage = backend.open();
    let path = path("front", "a.tar.gz");
    put(&*storage, &path, "c/1", b"");
    assert_eq!(read(&*storage, &path).unwrap(), b"");
    assert_eq!(storage.head(&path).unwrap().unwrap().size, 0);
}

fn absent_objects(backend: &dyn Backend) {
    let storage = backend.open();
    put(&*storage, &path("front", "a.tar.gz"), "c/1", b"bytes");
    for path in [path("front", "b.tar.gz"), path("back", "a.tar.gz")] {
        assert!(storage.open(&path).unwrap().is_none());
        assert!(storage.head(&path).unwrap().is_none());
        assert!(storage.record(&path).unwrap().is_none());
        assert!(!storage.delete(&path).unwrap());
        assert!(matches!(storage.put_record(&path, &record("c/1", b"")), Err(StorageError::NotFound(_))));
        assert!(matches!(storage.adopt(&path, &record("c/1", b"")), Err(StorageError::NotFound(_))));
    }
}

fn list_by_prefix(backend: &dyn Backend) {
    let storage = backend.open();
    let all = ["a/apps/x/1", "a/apps/x/2", "a/apps/x-y/1", "a/apps/x.y/1", "a/app/x/1", "ab/apps/x/1"];
    for text in all {
        put(&*storage, &text.parse().unwrap(), "c/1", text.as_bytes());
    }
    let rows: [(&[&str], usize); 7] = [
        (&[], 6),
        (&["a"], 5),
        (&["a", "apps"], 4),
        (&["a", "apps", "x"], 2),
        (&["a", "app"], 1),
        (&["b"], 0),
        (&["a", "apps", "z"], 0),
    ];
    for (parts, count) in rows {
        let prefix = Prefix::from_parts(parts).unwrap();
        let mut expected: Vec<String> = all.iter().map(|&text| text.to_owned()).collect();
        expected.retain(|text| prefix.contains(&text.parse().unwrap()));
        expected.sort();
        assert_eq!(paths(&*storage, &prefix), expected, "below {prefix}");
        assert_eq!(expected.len(), count, "below {prefix}");
    }
    for (path, head) in storage.list(&Prefix::all()).unwrap() {
        assert_eq!(storage.head(&path).unwrap(), Some(head));
    }
}

fn deleting(backend: &dyn Backend) {
    let (kept, gone) = (path("front", "a.tar.gz"), path("front", "b.tar.gz"));
    {
        let storage = backend.open();
        put(&*storage, &kept, "c/1", b"kept");
        put(&*storage, &gone, "c/1", b"gone");
        assert!(storage.delete(&gone).unwrap());
        assert!(!storage.delete(&gone).unwrap());
    }
    let storage = backend.open();
    assert!(storage.head(&gone).unwrap().is_none() && storage.record(&gone).unwrap().is_none());
    assert_eq!(paths(&*storage, &Prefix::all()), [kept.to_string()]);
    assert_eq!(storage.sweep().unwrap(), Swept::default(), "the record went with the object");
    assert!(matches!(put(&*storage, &gone, "c/2", b"again"), Published::Stored(_)));
}

fn open_survives_deletion(backend: &dyn Backend) {
    let storage = backend.open();
    let path = path("front", "a.tar.gz");
    put(&*storage, &path, "c/1", b"0123456789");
    let object = storage.open(&path).unwrap().unwrap();
    assert!(storage.delete(&path).unwrap());
    let mut buffer = [0; 5];
    object.body.read_exact_at(&mut buffer, 5).unwrap();
    assert_eq!(&buffer, b"56789");
    assert_eq!(object.body.stamp().unwrap(), object.head.stamp, "its bytes are what they were");
}

fn records_are_durable(backend: &dyn Backend) {
    let path = path("front", "a.tar.gz");
    let changed = Record { sequence: 9, content_digest: Some("sha256:00".into()), ..record("c/2", b"bytes") };
    {
        let storage = backend.open();
        put(&*storage, &path, "c/1", b"bytes");
        storage.put_record(&path, &changed).unwrap();
        assert_eq!(storage.record(&path).unwrap().as_ref(), Some(&changed));
        let changed = Record { revision: Some("latest@sha256:00".into()), ..changed.clone() };
        storage.adopt(&path, &changed).unwrap();
        assert_eq!(storage.record(&path).unwrap(), Some(changed));
    }
    let storage = backend.open();
    let adopted = Record { revision: Some("latest@sha256:00".into()), ..changed };
    assert_eq!(storage.record(&path).unwrap(), Some(adopted));
    assert_eq!(paths(&*storage, &Prefix::all()), [path.to_string()], "records are not objects");
}

fn stamps_hold(backend: &dyn Backend) {
    let path = path("front", "a.tar.gz");
    let stamp = {
        let storage = backend.open();
        let Published::Stored(stamp) = put(&*storage, &path, "c/1", b"first") else { panic!("the key was free") };
        stamp
    };
    let storage = backend.open();
    let object = storage.open(&path).unwrap().unwrap();
    let stamps = [storage.head(&path).unwrap().unwrap().stamp, object.head.stamp, object.body.stamp().unwrap()];
    assert_eq!(stamps, [stamp.clone(), stamp.clone(), stamp.clone()]);
    storage.delete(&path).unwrap();
    put(&*storage, &path, "c/1", b"other");
    assert_ne!(storage.head(&path).unwrap().unwrap().stamp, stamp);
}

fn concurrent_puts_of_one_key(backend: &dyn Backend) {
    let storage = backend.open();
    let (storage, path) = (&*storage, path("front", "a.tar.gz"));
    let start = Barrier::new(8);
    let outcomes: Vec<(String, Published)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (start, path) = (&start, &path);
                scope.spawn(move || {
                    let owner = format!("c/{number}");
                    start.wait();
                    let outcome = put(storage, path, &owner, owner.as_bytes());
                    (owner, outcome)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let winners: Vec<&String> =
        outcomes.iter().filter(|(_, outcome)| *outcome != Published::Present).map(|(owner, _)| owner).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(read(storage, &path).unwrap(), winners[0].as_bytes());
    let record = storage.record(&path).unwrap().unwrap();
    assert_eq!(&record.owner, winners[0], "the record is the winner's");
    assert_eq!(storage.sweep().unwrap(), Swept::default());
}

fn replacing(backend: &dyn Backend) {
    let (path, other) = (path("front", "a.yaml"), path("front", "b.yaml"));
    let stamp = {
        let storage = backend.open();
        put(&*storage, &path, "c/1", b"first");
        let before = storage.head(&path).unwrap().unwrap().stamp;
        let stamp = replace(&*storage, &path, "c/2", b"second, longer");
        assert_ne!(stamp, before);
        replace(&*storage, &other, "c/3", b"the key was free");
        stamp
    };
    let storage = backend.open();
    assert_eq!(storage.sweep().unwrap(), Swept::default());
    assert_eq!(read(&*storage, &path).unwrap(), b"second, longer");
    assert_eq!(storage.head(&path).unwrap().unwrap().stamp, stamp);
    let kept = storage.record(&path).unwrap().unwrap();
    assert_eq!(Record { stamp: Stamp::new(""), ..kept }, record("c/2", b"second, longer"));
    assert_eq!(read(&*storage, &other).unwrap(), b"the key was free");
    assert_eq!(paths(&*storage, &Prefix::all()), [path.to_string(), other.to_string()]);
    assert!(storage.delete(&path).unwrap() && storage.delete(&other).unwrap());
    assert_eq!(storage.sweep().unwrap(), Swept::default(), "the records went with the objects");
}

fn open_survives_replacement(backend: &dyn Backend) {
    let storage = backend.open();
    let path = path("front", "a.yaml");
    put(&*storage, &path, "c/1", b"0123456789");
    let object = storage.open(&path).unwrap().unwrap();
    replace(&*storage, &path, "c/1", b"abc");
    let mut buffer = [0; 5];
    object.body.read_exact_at(&mut buffer, 5).unwrap();
    assert_eq!(&buffer, b"56789");
    assert_eq!(object.body.stamp().unwrap(), object.head.stamp, "its bytes are what they were");
    assert_eq!(read(&*storage, &path).unwrap(), b"abc");
}

fn concurrent_replacements(backend: &dyn Backend) {
    let storage = backend.open();
    let (storage, path) = (&*storage, path("front", "a.yaml"));
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (start, path) = (&start, &path);
            scope.spawn(move || {
                start.wait();
                for round in 0..5 {
                    let owner = format!("c/{number}-{round}");
                    replace(storage, path, &owner, owner.as_bytes());
                    assert!(storage.open(path).unwrap().is_some(), "there is always one");
                }
            });
        }
    });
    let record = storage.record(&path).unwrap().unwrap();
    assert_eq!(record.owner.as_bytes(), read(storage, &path).unwrap(), "bytes and record are of one");
    assert_eq!(storage.sweep().unwrap(), Swept::default());
}

fn locating(backend: &dyn Backend) {
    let storage = backend.open();
    let path = path("front", "a.tar.gz");
    let absent = storage.locate(&path).unwrap();
    assert_eq!(absent, format!("{}/{path}", storage.location()));
    put(&*storage, &path, "c/1", b"bytes");
    assert_eq!(storage.locate(&path).unwrap(), absent);
}

fn concurrent_puts_and_deletes(backend: &dyn Backend) {
    let storage = backend.open();
    let storage = &*storage;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..25 {
                    let path = path("front", &format!("{thread}-{round}.tar.gz"));
                    assert!(matches!(put(storage, &path, "c/1", b"bytes"), Published::Stored(_)));
                    assert!(storage.delete(&path).unwrap());
                }
            });
        }
    });
    assert_eq!(paths(storage, &Prefix::all()), [""; 0]);
    assert_eq!(storage.sweep().unwrap(), Swept::default());
}

fn clearing(backend: &dyn Backend) {
    let storage = backend.open();
    put(&*storage, &path("front", "a.tar.gz"), "c/1", b"bytes");
    put(&*storage, &path("back", "a.tar.gz"), "c/1", b"bytes");
    storage.clear(&dir("front")).unwrap();
    storage.clear(&dir("absent")).unwrap();
    assert_eq!(paths(&*storage, &Prefix::all()), ["externalartifact/apps/back/a.tar.gz"]);
    assert_eq!(storage.sweep().unwrap(), Swept::default());
}

fn sweeping(backend: &dyn Backend) {
    let path = path("front", "a.tar.gz");
    {
        let storage = backend.open();
        put(&*storage, &path, "c/1", b"bytes");
        storage.put_state("epochs", b"1").unwrap();
    }
    let storage = backend.open();
    assert_eq!(storage.sweep().unwrap(), Swept::default());
    assert_eq!(read(&*storage, &path).unwrap(), b"bytes");
    assert!(storage.record(&path).unwrap().is_some());
    assert_eq!(storage.state("epochs").unwrap().unwrap(), b"1");
}

fn documents(backend: &dyn Backend) {
    {
        let storage = backend.open();
        assert_eq!(storage.state("epochs").unwrap(), None);
        storage.put_state("epochs", b"first").unwrap();
        storage.put_state("epochs", b"second, longer").unwrap();
        storage.put_state("serving", b"on").unwrap();
    }
    let storage = backend.open();
    assert_eq!(storage.state("epochs").unwrap().unwrap(), b"second, longer");
    assert_eq!(storage.state("serving").unwrap().unwrap(), b"on");
    assert_eq!(paths(&*storage, &Prefix::all()), [""; 0]);
}
