//! What both remove from the same volume.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use weir_artifact_server::storage::Retention;
use weir_artifact_server::storage::retention::{Candidate, garbage};
use weir_e2e::peer::{Collection, Questions, compare};
use weir_e2e::scene::Scene;
use weir_proto::client::Client;
use weir_proto::v1::{ArtifactRef, Caller, Collectable, GarbageCollectRequest};

use super::{documented, one_of, random, repeat, seeds, start};

/// How many artifacts are compared.
const VOLUMES: u64 = 200;

/// Far longer than a run takes: ages are whole hours and a half.
const HOUR: u64 = 3600;

/// The files of an artifact: names, and how many hours ago each was stored; times that are yet to come are less than nothing.
#[derive(Clone, Debug)]
struct Files {
    artifact: String,
    hours: Vec<(String, i64)>,
    current: String,
    records: usize,
}

impl Files {
    fn invent(seed: u64) -> Self {
        let mut random = random(seed);
        let mut hours: Vec<i64> = (-30..60).collect();
        hours.shuffle(&mut random);
        hours.truncate(random.random_range(0..14));
        let hours: Vec<_> =
            hours.into_iter().map(|hours| (format!("{:08x}.tar.gz", random.random::<u32>()), hours)).collect();
        // As source-watcher asks, a name that no file has; or one of the files.
        let current = match hours.is_empty() || random.random_bool(0.2) {
            true => "gone.tar.gz".to_owned(),
            false => one_of(&mut random, &hours).0,
        };
        Self { artifact: format!("a{seed}"), hours, current, records: random.random_range(1..7) }
    }

    fn dir(&self) -> String {
        format!("externalartifact/apps/{}", self.artifact)
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir())
    }

    /// Puts them on a volume.
    fn put(&self, root: &Path, now: SystemTime) -> Result<()> {
        fs::create_dir_all(root.join(self.dir()))?;
        for (name, hours) in &self.hours {
            let seconds = Duration::from_secs(hours.unsigned_abs() * HOUR + HOUR / 2);
            let time = if *hours < 0 { now + seconds } else { now - seconds };
            let path = root.join(self.path(name));
            fs::write(&path, name).with_context(|| path.display().to_string())?;
            File::options().write(true).open(&path)?.set_modified(time)?;
        }
        Ok(())
    }

    fn question(&self, root: &Path, ttl: u64) -> Collection {
        Collection { root: root.to_owned(), current: self.path(&self.current), ttl, records: self.records }
    }

    /// What the SDK removes, and what it leaves because it counts twice: once others were too old, half of what is too much. That is put to it.
    fn counted_once(&self, theirs: &[String], too_old: impl Fn(i64) -> bool) -> Result<BTreeSet<String>> {
        let mut removed: BTreeSet<String> = theirs.iter().cloned().collect();
        let mut oldest_first: Vec<_> = self.hours.iter().filter(|(name, _)| *name != self.current).collect();
        oldest_first.sort_by_key(|(_, hours)| -hours);
        let old = oldest_first.iter().filter(|(_, hours)| too_old(*hours)).count();
        let surplus = (self.hours.len() - old).saturating_sub(self.records);
        let all = surplus.min(oldest_first.len() - old);
        if old > 0 {
            documented(
                "Of what is too much, each file that `GarbageCollect` removes counts twice once others were too old",
            )?;
            ensure!(removed.len() == old + surplus.div_ceil(2).min(all), "the SDK counts otherwise: {removed:?}");
            removed.extend(oldest_first.iter().map(|(name, _)| self.path(name)).take(old + all));
        }
        Ok(removed)
    }
}

/// Random volumes lose the same files: over the wire with a TTL that has passed or has not for each file, and by the rules alone with any TTL.
pub(crate) async fn random_volumes_lose_the_same_files(scene: Scene) -> Result<()> {
    let run = scene.stage.run.folder("peer")?;
    let (mut server, client) = start(&scene).await?;
    let seeds = seeds(VOLUMES)?;
    let volumes: Vec<_> = seeds.clone().map(Files::invent).collect();
    let (theirs, ruled, now) = (run.join("theirs"), run.join("ruled"), SystemTime::now());
    server.stop().await?;
    let mut questions = Questions::default();
    for (seed, files) in seeds.clone().zip(&volumes) {
        for root in [server.storage(), &theirs, &ruled] {
            files.put(root, now)?;
        }
        // What was stored hours ago is over it, what will be is not: so it makes no difference that files count as new at a start.
        questions.collections.push(files.question(&theirs, random(seed).random_range(0..1000)));
    }
    let ttls: Vec<u64> = seeds.clone().map(|seed| random(seed).random_range(0..60)).collect();
    let by_rules = volumes.iter().zip(&ttls).map(|(files, hours)| files.question(&ruled, hours * HOUR * 1_000_000_000));
    questions.collections.extend(by_rules);
    let answers = compare(&scene.stage.tools, &questions).await?.collections;
    server.restart().await?;

    let mut seen = 0;
    for (index, (seed, files)) in seeds.zip(&volumes).enumerate() {
        let expected = files.counted_once(&answers[index].removed, |hours| hours >= 0).with_context(|| repeat(seed))?;
        let ours = collect(&client, files, questions.collections[index].ttl).await.with_context(|| repeat(seed))?;
        ensure!(ours == expected, "{files:?}: Weir removes {ours:?}, the SDK {expected:?}; {}", repeat(seed));
        ensure!(left(server.storage(), files)? == files.hours.len() - ours.len(), "not what is told; {}", repeat(seed));
        seen += ours.len();

        let ttl = ttls[index];
        let removed = &answers[volumes.len() + index].removed;
        let expected = files.counted_once(removed, |hours| hours >= i64::try_from(ttl).unwrap_or(i64::MAX));
        let expected = expected.with_context(|| repeat(seed))?;
        let ours = by_the_rules(files, Duration::from_secs(ttl * HOUR))?;
        ensure!(ours == expected, "{files:?}, {ttl} h: Weir {ours:?}, the SDK {expected:?}; {}", repeat(seed));
    }
    ensure!(seen > 200 || std::env::var_os(super::SEED).is_some(), "only {seen} files were removed");
    server.stop().await.map(drop)
}

async fn collect(client: &Client, files: &Files, nanoseconds: u64) -> Result<BTreeSet<String>> {
    let kind = "ExternalArtifact".to_owned();
    let artifact = ArtifactRef { kind, namespace: "apps".into(), name: files.artifact.clone() };
    let of = Collectable { artifact: Some(artifact), current_path: files.path(&files.current) };
    let ttl = Duration::from_nanos(nanoseconds).try_into()?;
    let request = GarbageCollectRequest {
        caller: Some(Caller { owner: "peer/1".into(), ..Caller::default() }),
        artifacts: vec![of],
        ttl: Some(ttl),
        records: u32::try_from(files.records)?,
        grace: Some(Duration::ZERO.try_into()?),
        limit: 0,
    };
    Ok(client.storage().garbage_collect(request).await?.into_inner().removed.into_iter().collect())
}

/// As the server decides about files that it stored itself and nobody asked for since.
fn by_the_rules(files: &Files, ttl: Duration) -> Result<BTreeSet<String>> {
    let mut sorted = files.hours.clone();
    sorted.sort_by_key(|(_, hours)| -hours);
    let candidates: Result<Vec<Candidate>> = (1..)
        .zip(&sorted)
        .map(|(sequence, (name, hours))| {
            let half = i64::try_from(HOUR / 2)? * if *hours < 0 { -1 } else { 1 };
            Ok(Candidate {
                path: files.path(name).parse()?,
                sequence,
                age: SignedDuration::from_secs(hours * i64::try_from(HOUR)? + half),
                returned: None,
                current: *name == files.current,
            })
        })
        .collect();
    let retention = Retention { ttl, records: files.records, grace: Duration::ZERO, limit: Retention::LIMIT };
    Ok(garbage(&candidates?, &retention).iter().map(ToString::to_string).collect())
}

fn left(root: &Path, files: &Files) -> Result<usize> {
    let folder = root.join(files.dir());
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.with_context(|| folder.display().to_string())?,
    };
    Ok(entries.filter_map(Result::ok).filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).count())
}

/// Where the two differ on purpose, each row of docs/differences.md by an example.
pub(crate) async fn where_collection_differs(scene: Scene) -> Result<()> {
    let run = scene.stage.run.folder("peer")?;
    let (mut server, client) = start(&scene).await?;
    server.stop().await?;
    let theirs = run.join("theirs");
    let name = |number: usize| format!("{number:04}.tar.gz");
    let files = |artifact: &str, hours: Vec<i64>, current: usize| {
        let hours: Vec<_> = hours.into_iter().enumerate().map(|(at, hours)| (name(at), hours)).collect();
        Files { artifact: artifact.into(), hours, current: name(current), records: 2 }
    };
    let ties = files("ties", vec![-1, -5, -5, -5, -9], 4);
    let many = files("many", (0..1003).collect(), 0);
    let odd = files("odd", vec![-1, -5, -9], 2);
    let now = SystemTime::now();
    for root in [server.storage(), &theirs] {
        for files in [&ties, &many, &odd] {
            files.put(root, now)?;
        }
        fs::create_dir(root.join(odd.path("folder")))?;
        for hidden in [".hidden", "folder/0.tar.gz"] {
            fs::write(root.join(odd.path(hidden)), hidden)?;
        }
    }
    let collections = [&ties, &many, &odd].map(|files| files.question(&theirs, 0)).to_vec();
    let answers = compare(&scene.stage.tools, &Questions { collections, ..Questions::default() }).await?.collections;
    server.restart().await?;
    let mut ours = Vec::new();
    for files in [&ties, &many, &odd] {
        ours.push(collect(&client, files, 0).await?);
    }
    let paths = |files: &Files, numbers: &[usize]| -> BTreeSet<String> {
        numbers.iter().map(|&number| files.path(&name(number))).collect()
    };
    documented("Files with the same modification time hide each other from garbage collection")?;
    ensure!(ours[0] == paths(&ties, &[0, 1, 2]), "{:?}", ours[0]);
    ensure!(answers[0].removed != [ties.path(&name(0)), ties.path(&name(1)), ties.path(&name(2))], "take back the row");
    documented("`GarbageCollect` looks at the first 1000 files by name")?;
    ensure!(!ours[1].contains(&many.path(&name(1))) && ours[1].contains(&many.path(&name(1002))), "not the oldest");
    ensure!(ours[1].len() == 1000, "{} are removed", ours[1].len());
    ensure!(answers[1].removed.contains(&many.path(&name(1))), "take back the row");
    ensure!(!answers[1].removed.contains(&many.path(&name(1002))), "take back the row");
    documented("`GarbageCollect` counts and removes whatever lies in the folder")?;
    ensure!(ours[2] == paths(&odd, &[0]), "{:?}", ours[2]);
    ensure!(server.storage().join(odd.path(".hidden")).exists(), "it is nobody's artifact");
    ensure!(answers[2].removed.contains(&odd.path(".hidden")), "take back the row: {:?}", answers[2]);
    server.stop().await.map(drop)
}
