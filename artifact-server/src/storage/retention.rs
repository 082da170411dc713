//! What garbage collection removes, as a function over a list.
//!
//! A file goes when it is older than the TTL, or when there are more files than records to keep and all others that stay are
//! newer. Three kinds of files never go: the one its caller names current, one that was returned to a caller within TTL plus
//! grace, and more than the limit of one call. Order is by sequence number; ages come from a clock that never jumps where
//! they protect, so that a wrong wall clock can only keep a file too long.

use std::time::Duration;

use jiff::SignedDuration;
use weir_proto::ArtifactPath;

/// How long and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Files stored longer ago than this go.
    pub ttl: Duration,
    /// How many files to keep of each artifact, the current one included.
    pub records: usize,
    /// A file returned to a caller less than `ttl` plus this ago stays: consumers may still be on their way to it.
    pub grace: Duration,
    /// At most this many files are removed by one call, oldest first.
    pub limit: usize,
}

impl Retention {
    /// The limit of the Flux artifact SDK.
    pub const LIMIT: usize = 1000;
    /// How long a reconciliation may take before the file it was given can go: ten minutes.
    pub const GRACE: Duration = Duration::from_secs(600);
}

impl Default for Retention {
    /// The defaults of `--artifact-retention-ttl` (1 minute) and `--artifact-retention-records` (2).
    fn default() -> Self {
        Self { ttl: Duration::from_secs(60), records: 2, grace: Self::GRACE, limit: Self::LIMIT }
    }
}

/// A stored file as collection sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which file.
    pub path: ArtifactPath,
    /// Its place in the order of storing; 0 for files that this server did not store.
    pub sequence: u64,
    /// How long ago it was stored, by the wall clock; less than nothing when that was set back. Breaks ties among those with sequence 0.
    pub age: SignedDuration,
    /// How long ago it was last returned to a caller. `None`: longer ago than anybody remembers.
    pub returned: Option<Duration>,
    /// Whether its caller names it current.
    pub current: bool,
}

/// The files of one artifact that go, oldest first.
pub fn garbage(files: &[Candidate], retention: &Retention) -> Vec<ArtifactPath> {
    let mut oldest_first: Vec<&Candidate> = files.iter().collect();
    oldest_first.sort_by(|a, b| {
        a.sequence.cmp(&b.sequence).then(b.age.cmp(&a.age)).then_with(|| a.path.file().cmp(b.path.file()))
    });
    let protected = retention.ttl.saturating_add(retention.grace);
    let may_go = |file: &Candidate| !file.current && file.returned.is_none_or(|returned| returned > protected);
    let ttl = SignedDuration::try_from(retention.ttl).unwrap_or(SignedDuration::MAX);
    let expired = |file: &Candidate| may_go(file) && file.age > ttl;

    let staying = files.iter().filter(|file| !expired(file)).count();
    let mut surplus = staying.saturating_sub(retention.records);
    let mut goes = |file: &Candidate| {
        let over = !expired(file) && surplus > 0 && may_go(file);
        surplus -= usize::from(over);
        expired(file) || over
    };
    oldest_first.into_iter().filter(|file| goes(file)).take(retention.limit).map(|file| file.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u64 = 1_000_000;

    /// `sequence:age:returned:flags`, ages in seconds, `-` for never returned, `c` for current.
    fn file(text: &str) -> Candidate {
        let parts: Vec<&str> = text.split(':').collect();
        let seconds = |text: &str| Duration::from_secs(text.parse().unwrap());
        Candidate {
            path: format!("externalartifact/apps/front/{}.tar.gz", text.replace(':', "_")).parse().unwrap(),
            sequence: parts[0].parse().unwrap(),
            age: SignedDuration::from_secs(parts[1].parse().unwrap()),
            returned: (parts[2] != "-").then(|| seconds(parts[2])),
            current: parts.get(3) == Some(&"c"),
        }
    }

    /// Row, files, TTL, records, grace, limit, indexes of the files that go.
    type Row = (&'static str, &'static [&'static str], u64, usize, u64, usize, &'static [usize]);

    const ROWS: &[Row] = &[
        (
            "upstream: 5 files, long TTL, keep 2",
            &["1:5:-", "2:4:-", "3:3:-", "4:2:-", "5:1:-:c"],
            LONG,
            2,
            0,
            1000,
            &[0, 1, 2],
        ),
        (
            "upstream: TTL shorter than the two oldest, keep 4",
            &["1:50:-", "2:40:-", "3:3:-", "4:2:-", "5:1:-:c"],
            30,
            4,
            0,
            1000,
            &[0, 1],
        ),
        (
            "upstream: limit 3 of 6, tiny TTL",
            &["1:9:-", "2:8:-", "3:7:-", "4:6:-", "5:5:-", "6:4:-"],
            0,
            2,
            0,
            3,
            &[0, 1, 2],
        ),
        ("nothing there", &[], 60, 2, 600, 1000, &[]),
        ("only the current one, old", &["1:9999:9999:c"], 60, 2, 600, 1000, &[]),
        (
            "the current one is the oldest and beyond the records",
            &["1:5:-:c", "2:4:-", "3:3:-"],
            LONG,
            2,
            0,
            1000,
            &[1],
        ),
        ("TTL is strict", &["1:60:-", "2:1:-:c"], 60, 2, 0, 1000, &[]),
        ("just over the TTL", &["1:61:-", "2:1:-:c"], 60, 2, 0, 1000, &[0]),
        (
            "expired ones count once",
            &["1:90:-", "2:80:-", "3:5:-", "4:4:-", "5:3:-", "6:2:-:c"],
            60,
            2,
            0,
            1000,
            &[0, 1, 2, 3],
        ),
        ("expired ones bring it below the records", &["1:90:-", "2:80:-", "3:5:-:c"], 60, 2, 0, 1000, &[0, 1]),
        ("equal ages: by sequence", &["3:5:-", "1:5:-", "2:5:-", "4:5:-:c"], LONG, 2, 0, 1000, &[1, 2]),
        ("returned within the TTL", &["1:9999:30", "2:1:1:c"], 60, 2, 0, 1000, &[]),
        ("returned within TTL and grace", &["1:9999:659", "2:1:1:c"], 60, 2, 600, 1000, &[]),
        ("returned at exactly TTL and grace", &["1:9999:660", "2:1:1:c"], 60, 2, 600, 1000, &[]),
        ("returned before TTL and grace", &["1:9999:661", "2:1:1:c"], 60, 2, 600, 1000, &[0]),
        ("returned lately, beyond the records", &["1:5:5", "2:4:4", "3:3:3", "4:2:2:c"], 60, 2, 600, 1000, &[]),
        (
            "clock set back: ages of nothing, records bound",
            &["1:0:9999", "2:0:9999", "3:0:9999", "4:0:1:c"],
            60,
            2,
            600,
            1000,
            &[0, 1],
        ),
        ("clock set forward: what was returned lately stays", &["1:86400:10", "2:86400:5:c"], 60, 2, 600, 1000, &[]),
        ("not stored by us: oldest of all, by age", &["7:1:-:c", "0:9:-", "0:8:-", "6:2:-"], LONG, 2, 0, 1000, &[1, 2]),
        (
            "not stored by us, with times that are yet to come: the oldest of them",
            &["0:-30:-", "0:-4:-", "0:-5:-", "0:-60:-:c"],
            0,
            2,
            0,
            1000,
            &[1, 2],
        ),
        ("keep none but the current", &["1:3:-", "2:2:-", "3:1:-:c"], LONG, 0, 0, 1000, &[0, 1]),
    ];

    #[test]
    fn rules() {
        for &(row, files, ttl, records, grace, limit, expected) in ROWS {
            let files: Vec<Candidate> = files.iter().map(|text| file(text)).collect();
            let seconds = Duration::from_secs;
            let retention = Retention { ttl: seconds(ttl), records, grace: seconds(grace), limit };
            let expected: Vec<ArtifactPath> = expected.iter().map(|&at| files[at].path.clone()).collect();
            assert_eq!(garbage(&files, &retention), expected, "row {row}");
        }
    }
}
