//! What is special about a folder.

use std::path::Path;

use super::{super::conformance, steps, *};

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

#[test]
fn conforms() {
    conformance::run(fresh);
}

#[test]
fn conforms_without_openat2() {
    conformance::run(|| Fresh { without_openat2: true, ..fresh() });
}

#[test]
fn publishing_takes_its_steps_in_order() {
    let fresh = fresh();
    let local = open(fresh.folder.path());
    conformance::put(&local, &conformance::path("front", "a.tar.gz"), "c/1", b"bytes");
    let expected = [
        "temporary file made",
        "bytes written",
        "file synced",
        "record synced",
        "record named",
        "file named",
        "folder synced",
        "parents synced",
    ];
    assert_eq!(steps::taken(), expected);
}
