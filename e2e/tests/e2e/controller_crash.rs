//! The controller dies again and again while clients download: every URL that
//! was current, or was until just now, answers each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Value, json};
use tokio::time::Instant;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::git_server::Repository;
use weir_e2e::progress::say;
use weir_e2e::resources::{Kind, artifact, artifact_generator};
use weir_e2e::scene::{Scene, ensure_ready};
use weir_e2e::weir::Weir;

/// At least this many kills, each around a new commit.
const KILLS: usize = 12;

/// At least this many must hit a generator that had not finished.
const UNFINISHED: usize = 5;

/// At least this many must hit a collection that had not finished.
const COLLECTING: usize = 3;

/// After this many commits for either it stops, whatever has been reached.
const LAST_KILL: usize = 60;

const ARTIFACTS: usize = 16;

/// So many small artifacts that to remove an old version of each takes long enough to be killed meanwhile.
const SMALL: usize = 150;

/// A file may go 30 s after the server last told of it: its ttl, and the time
/// that one reconcile may take.
pub(crate) const RETENTION: [&str; 2] = ["--artifact-retention-ttl=20s", "--reconciliation-timeout=10s"];

/// How long a client goes on with a URL after it has seen the next one.
const STALE: Duration = Duration::from_secs(10);

/// What clients have seen: the current object and the one before it with the
/// time at which it was replaced, by name.
type Seen = BTreeMap<String, (Value, Option<(Value, Instant)>)>;

pub(crate) async fn downloads_survive_a_killed_controller(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &RETENTION).await?;
    let seed = 3;
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let repository = scene.repository("app", &[("README.md", "start")]).await?;
    let large = (0..ARTIFACTS)
        .map(|number| artifact(&format!("app-{number}"), &[(&format!("@repo/{number}/**"), "@artifact/")]));
    let small = (0..SMALL)
        .map(|number| artifact(&format!("small-{number}"), &[("@repo/README.md", &format!("@artifact/{number}"))]));
    let artifacts: Vec<_> = large.chain(small).collect();
    change(&scene, &repository, &mut random).await?;
    scene.apply(artifact_generator("app", "app", json!(artifacts))).await?;
    scene.ready(Kind::ArtifactGenerator, "app").await?;

    let clients = Clients::start(&scene);
    let (mut kills, mut unfinished, mut collecting) = (0, 0, 0);
    while kills < LAST_KILL && (kills < KILLS || unfinished < UNFINISHED) {
        let before = source_artifact(&scene).await?;
        change(&scene, &repository, &mut random).await?;
        working(&scene, &before).await?;
        // Every other kill comes early, to hit the build; the rest hit what follows.
        let latest = if kills % 2 == 0 { 30 } else { 500 };
        tokio::time::sleep(Duration::from_millis(random.random_range(0..latest))).await;
        weir.controller.kill().await?;
        kills += 1;
        let generator = generator(&scene).await?;
        unfinished += usize::from(ensure_current(&scene, &generator).await.is_err());
        weir.controller.restart().await?;
        finished(&scene).await?;
    }
    // From here on the small ones change too: soon there are many files to remove at the end of each run.
    let mut commits = 0;
    while commits < LAST_KILL && collecting < COLLECTING {
        commits += 1;
        std::fs::write(repository.work_tree().join("README.md"), commits.to_string())?;
        let before = source_artifact(&scene).await?;
        change(&scene, &repository, &mut random).await?;
        working(&scene, &before).await?;
        if let Some(begun) = removing(&scene, &weir).await? {
            weir.controller.kill().await?;
            kills += 1;
            // Files that went while it was killed are work that the collection still had.
            collecting += usize::from(archives(&weir)? < begun);
            weir.controller.restart().await?;
        }
        finished(&scene).await?;
    }
    let downloads = clients.stop().await?;
    say(format!(
        "controller killed {kills} times, {unfinished} times before the generator had finished, {collecting} times while old files \
         were being removed; {downloads} downloads, none failed (seed {seed})"
    ));
    ensure!(unfinished >= UNFINISHED, "only {unfinished} of {kills} kills came before the generator had finished");
    ensure!(collecting >= COLLECTING, "only {collecting} of {kills} kills came during a collection");
    ensure!(downloads >= kills * ARTIFACTS, "only {downloads} downloads");
    Ok(())
}

/// How many archives are on the volume.
fn archives(weir: &Weir) -> Result<usize> {
    Ok(weir.server.files()?.iter().filter(|file| file.ends_with(".tar.gz")).count())
}

/// Waits until the first archive is removed, and returns how many are left then; `None` when the run ends without. Polled without
/// the pauses of `eventually`: a collection takes milliseconds.
async fn removing(scene: &Scene, weir: &Weir) -> Result<Option<usize>> {
    let (end, mut most) = (Instant::now() + PATIENCE, 0);
    let mut look = Instant::now();
    while Instant::now() < end {
        let now = archives(weir)?;
        if now < most {
            return Ok(Some(now));
        }
        most = now;
        if look.elapsed() > Duration::from_millis(100) {
            if ensure_current(scene, &generator(scene).await?).await.is_ok() && archives(weir)? == most {
                return Ok(None);
            }
            look = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    anyhow::bail!("the generator does not become Ready")
}

/// A commit that changes every large artifact; asks source-controller to fetch it.
pub(crate) async fn change(scene: &Scene, repository: &Repository, random: &mut impl RngCore) -> Result<()> {
    for number in 0..ARTIFACTS {
        let folder = repository.work_tree().join(number.to_string());
        std::fs::create_dir_all(&folder)?;
        let mut noise = vec![0; 100_000];
        random.fill_bytes(&mut noise);
        std::fs::write(folder.join("noise"), noise)?;
    }
    repository.commit("Change", &[]).await?;
    scene.reconcile(Kind::GitRepository, "app").await
}

async fn generator(scene: &Scene) -> Result<Value> {
    scene.get(Kind::ArtifactGenerator, "app").await?.context("the generator is gone")
}

/// Waits until the source has the commit, which is when the controller begins. A build is short, so this is polled without the
/// pauses of `eventually`.
pub(crate) async fn working(scene: &Scene, before: &Value) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while source_artifact(scene).await? == *before {
        ensure!(Instant::now() < end, "the source did not change: {before}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(())
}

/// What the source offers.
pub(crate) async fn source_artifact(scene: &Scene) -> Result<Value> {
    let source = scene.get(Kind::GitRepository, "app").await?.context("no source")?;
    Ok(source["status"]["artifact"].clone())
}

/// The generator is Ready, and for the source's current artifact.
pub(crate) async fn ensure_current(scene: &Scene, generator: &Value) -> Result<()> {
    ensure_ready(generator)?;
    let source = source_artifact(scene).await?;
    let text = |field: &str| source[field].as_str().unwrap_or_default().to_owned();
    let observed = format!("repo=[digest={},revision={},url={}]", text("digest"), text("revision"), text("url"));
    let observed = format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(observed)));
    let status = &generator["status"]["observedSourcesDigest"];
    ensure!(*status == observed, "observedSourcesDigest is {status}, should be {observed}");
    Ok(())
}

pub(crate) async fn finished(scene: &Scene) -> Result<()> {
    eventually("the generator is Ready for the latest commit", PATIENCE, || async {
        ensure_current(scene, &generator(scene).await?).await
    })
    .await
}

/// Clients that download in a loop.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    downloads: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Result<()>>>,
}

impl Clients {
    pub(crate) fn start(scene: &Scene) -> Self {
        let (stop, downloads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..3)
            .map(|_| tokio::spawn(download_all(scene.clone(), Arc::clone(&stop), Arc::clone(&downloads))))
            .collect();
        Self { stop, downloads, tasks }
    }

    /// Ends them; the number of downloads, or the first that failed.
    pub(crate) async fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok(self.downloads.load(Ordering::Relaxed))
    }
}

async fn download_all(scene: Scene, stop: Arc<AtomicBool>, downloads: Arc<AtomicUsize>) -> Result<()> {
    let mut seen = Seen::new();
    while !stop.load(Ordering::Relaxed) {
        for object in scene.list(Kind::ExternalArtifact).await? {
            let name = object["metadata"]["name"].as_str().context("no name")?.to_owned();
            let (current, previous) = seen.entry(name).or_insert_with(|| (object.clone(), None));
            if current["status"]["artifact"]["url"] != object["status"]["artifact"]["url"] {
                *previous = Some((std::mem::replace(current, object), Instant::now()));
            }
            let recent = previous.as_ref().filter(|(_, replaced)| replaced.elapsed() < STALE);
            for object in std::iter::once(&*current).chain(recent.map(|(object, _)| object)) {
                scene.download(object).await.context("a download failed while the controller was killed")?;
                downloads.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}
