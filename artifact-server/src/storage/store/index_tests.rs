//! What the index finds, and what it has to look at for that.

use jiff::Timestamp;

use super::{
    super::{Head, Prefix, Record, Stamp, conformance},
    index::Index,
    *,
};

fn record(owner: &str, size: u64) -> Entry {
    let record = Record { size, ..conformance::record(owner, b"bytes") };
    Entry { state: State::Recorded(Arc::new(record)), returned: Instant::now(), current: false }
}

fn head(size: u64) -> Head {
    Head { size, modified: Timestamp::UNIX_EPOCH, stamp: Stamp::new("1") }
}

fn path(text: &str) -> ArtifactPath {
    text.parse().unwrap()
}

/// Names that stand beside each other in unfortunate orders: `-` and `.` come before a slash, digits after it.
const NAMES: [&str; 5] = ["a", "a-b", "a.b", "a0", "ab"];
const LABELS: [&str; 4] = ["a", "a-b", "a0", "ab"];

/// Every kind, namespace and name of the above, with two files each; the owner goes by the namespace.
fn full() -> Index {
    let index = Index::default();
    for kind in LABELS {
        for (at, namespace) in LABELS.iter().enumerate() {
            for name in NAMES {
                for file in ["1", "2"] {
                    let owner = ["c/1", "c/2", "c0/1", ""][at];
                    index.insert(&path(&format!("{kind}/{namespace}/{name}/{file}")), record(owner, 1));
                }
            }
        }
    }
    index
}

fn filter([controller, kind, namespace, name, owner]: [&str; 5]) -> Filter {
    let own = str::to_owned;
    Filter {
        controller: own(controller),
        kind: own(kind),
        namespace: own(namespace),
        name: own(name),
        owner: own(owner),
    }
}

#[test]
fn every_filter_finds_what_a_walk_finds_and_looks_at_no_more_than_it_must() {
    let index = full();
    let everything = index.below(&Prefix::all());
    assert_eq!(everything.len(), 4 * 4 * 5 * 2);
    // Row, filter, artifacts that are found, artifacts that are looked at.
    let rows = [
        ("everything", ["", "", "", "", ""], 80, 80),
        ("an artifact", ["", "a", "a-b", "a.b", ""], 1, 1),
        ("an artifact that is not there", ["", "a", "a-b", "b", ""], 0, 0),
        ("a kind", ["", "a", "", "", ""], 20, 20),
        ("a kind that begins as another", ["", "ab", "", "", ""], 20, 20),
        ("the beginning of a kind", ["", "b", "", "", ""], 0, 0),
        ("a kind and a namespace", ["", "a", "a", "", ""], 5, 5),
        ("a namespace", ["", "", "a", "", ""], 20, 20),
        ("a name", ["", "", "", "a-b", ""], 16, 16),
        ("a kind and a name", ["", "a0", "", "a-b", ""], 4, 4),
        ("a namespace and a name", ["", "", "a0", "a.b", ""], 4, 4),
        ("an owner", ["", "", "", "", "c/1"], 20, 20),
        ("an owner that has nothing", ["", "", "", "", "c/3"], 0, 0),
        ("a controller", ["c", "", "", "", ""], 40, 40),
        ("a controller that begins as another", ["c0", "", "", "", ""], 20, 20),
        ("the beginning of a controller", ["", "", "", "", "c"], 0, 0),
        ("an owner in one place", ["", "a", "a", "a", "c/1"], 1, 1),
        ("an owner in another's place", ["", "a", "a-b", "a", "c/1"], 0, 0),
        ("an owner and a name", ["", "", "", "a.b", "c/2"], 4, 4),
        ("a controller and a kind", ["c", "a-b", "", "", ""], 10, 10),
        ("a controller in one place", ["c", "a", "a", "a", ""], 1, 1),
        ("a controller in another's place", ["c0", "a", "a", "a", ""], 0, 1),
        ("an owner of another controller", ["c0", "", "", "", "c/1"], 0, 20),
    ];
    for (row, parts, found, looked) in rows {
        let filter = filter(parts);
        let got: Vec<_> = index.select(&filter).into_iter().map(|(path, _)| path).collect();
        let walked = everything.iter().filter(|(path, entry)| filter.matches(path, entry.owner()));
        assert_eq!(got, walked.map(|(path, _)| path.clone()).collect::<Vec<_>>(), "row {row}");
        assert_eq!((got.len(), index.looked_at(&filter)), (found * 2, looked), "row {row}");
    }
}

#[test]
fn prefixes_find_what_is_below_them() {
    let index = full();
    let rows: [(&[&str], usize); 5] =
        [(&[], 160), (&["a"], 40), (&["a", "a-b"], 10), (&["a", "a-b", "a.b"], 2), (&["a", "a-b", "b"], 0)];
    for (parts, count) in rows {
        let prefix = Prefix::from_parts(parts).unwrap();
        let found = index.below(&prefix);
        assert_eq!(found.len(), count, "below {prefix}");
        assert!(found.iter().all(|(path, _)| prefix.contains(path)), "below {prefix}");
        assert!(found.is_sorted_by(|one, other| one.0 < other.0), "below {prefix}");
    }
}

#[test]
fn owners_and_totals_follow_every_change() {
    let index = Index::default();
    let (one, two) = (path("a/a/a/1"), path("a/a/a/2"));
    let of = |owner: &str| index.select(&filter(["", "", "", "", owner])).len();
    let totals = || {
        let Stats { files, bytes, unrecorded, .. } = index.stats();
        (files, bytes, unrecorded)
    };
    index.insert(&one, record("c/1", 5));
    index.insert(&two, Entry { state: State::Unrecorded(head(7)), ..record("", 0) });
    assert_eq!((of("c/1"), totals()), (1, (2, 12, 1)));
    // It is taken on, and taken over.
    for (owner, before, after) in [("", 1, 0), ("c/1", 2, 0), ("c/2", 1, 1)] {
        index.update(&two, Arc::new(Record { size: 7, ..conformance::record(owner, b"bytes") }));
        assert_eq!((of("c/1"), of("c/2"), totals()), (before, after, (2, 12, 0)), "{owner:?}");
    }
    index.doubt(&two);
    index.renew(&two, Instant::now());
    assert_eq!((of("c/1"), of("c/2"), totals()), (1, 1, (2, 12, 0)));
    index.insert(&one, Entry { state: State::Corrupted(Stamp::new("2")), ..record("", 0) });
    assert_eq!((of("c/1"), totals()), (0, (2, 7, 0)), "nobody's, and of no size");
    assert!(index.remove(&one).is_some() && index.remove(&one).is_none());
    assert_eq!((of("c/2"), totals()), (1, (1, 7, 0)));
    assert!(index.remove(&two).is_some());
    assert_eq!((of("c/2"), totals(), index.is_empty()), (0, (0, 0, 0), true));
}
