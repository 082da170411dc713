//! The artifact server is killed while it writes: what is visible afterwards is
//! complete, and nothing temporary stays.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::progress::say;
use weir_e2e::resources::{Kind, artifact, artifact_generator, condition};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

const KILLS: usize = 50;

/// At least this many kills must leave a half-written file behind.
const IN_FLIGHT: usize = 40;

/// Bytes of noise in the large artifact: long enough to be hit while written.
const LARGE: usize = 12 << 20;

const SMALL: usize = 5;

/// How files that are being written are named.
const TEMPORARY: &str = ".tmp-";

pub(crate) async fn killed_writes_leave_nothing_partial(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--min-retry-delay=100ms", "--max-retry-delay=1s"]).await?;
    let seed = 40;
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    publish(&scene, &mut random).await?;
    let mut in_flight = 0;
    for round in 0..KILLS {
        // Another content each time, so there is always something to write.
        scene.apply(large(round)).await?;
        writing(&scene, &weir).await.with_context(|| format!("in round {round}"))?;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..120))).await;
        weir.server.kill().await?;
        in_flight += usize::from(weir.server.files()?.iter().any(|file| is_temporary(file)));
        ensure_complete(&weir)?;
        weir.server.restart().await?;
        let left: Vec<_> = weir.server.files()?.into_iter().filter(|file| is_temporary(file)).collect();
        // A write after the start is none of the dead server's.
        ensure_swept(&weir, &left).await?;
        downloads(&scene).await.with_context(|| format!("in round {round}"))?;
    }
    // The last write has ended by the time its artifact is Ready: then nothing temporary is there at all.
    let large = scene.ready(Kind::ArtifactGenerator, "large").await?;
    ensure!(large["status"]["inventory"].as_array().is_some_and(|list| list.len() == 1), "{large}");
    scene.download(&scene.ready(Kind::ExternalArtifact, "large").await?).await?;
    ensure_complete(&weir)?;
    ensure_nothing_temporary(&weir).await?;
    say(format!("artifact server killed {KILLS} times, {in_flight} times with a write in flight (seed {seed})"));
    ensure!(in_flight >= IN_FLIGHT, "only {in_flight} of {KILLS} kills hit a write");
    Ok(())
}

/// Small artifacts that are Ready all along, and the source of the large one.
async fn publish(scene: &Scene, random: &mut impl RngCore) -> Result<()> {
    let repository = scene.stage.git.repository(&format!("{}-app", scene.namespace)).await?;
    let mut noise = vec![0; LARGE];
    random.fill_bytes(&mut noise);
    std::fs::write(repository.work_tree().join("noise"), noise)?;
    for number in 0..SMALL {
        std::fs::write(repository.work_tree().join(format!("{number}.txt")), format!("{number}\n").repeat(500))?;
    }
    let commit = repository.commit("Start", &[]).await?;
    scene.apply(weir_e2e::resources::git_repository("app", repository.url())).await?;
    scene.fetched("app", &commit).await?;
    let artifacts: Vec<_> = (0..SMALL)
        .map(|number| artifact(&format!("small-{number}"), &[(&format!("@repo/{number}.txt"), "@artifact/")]))
        .collect();
    scene.apply(artifact_generator("small", "app", json!(artifacts))).await?;
    scene.ready(Kind::ArtifactGenerator, "small").await?;
    Ok(())
}

/// The large artifact; each round's has another content.
fn large(round: usize) -> serde_json::Value {
    let copies = [("@repo/noise", &*format!("@artifact/noise-{round}"))];
    artifact_generator("large", "app", json!([artifact("large", &copies)]))
}

fn is_temporary(file: &str) -> bool {
    Path::new(file).file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TEMPORARY))
}

/// Waits until the server writes a file.
async fn writing(scene: &Scene, weir: &Weir) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    // Polled without the pauses of `eventually`: a write is short.
    while !weir.server.files()?.iter().any(|file| is_temporary(file)) {
        if Instant::now() > end {
            let generator = scene.get(Kind::ArtifactGenerator, "large").await?;
            anyhow::bail!("the server wrote nothing within {PATIENCE:?}: {generator:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Each visible file has the content that its name states, server or no server.
fn ensure_complete(weir: &Weir) -> Result<()> {
    for file in weir.server.files()?.iter().filter(|file| file.ends_with(".tar.gz") && !is_temporary(file)) {
        let bytes = std::fs::read(weir.server.storage().join(file))?;
        let name = format!("{}.tar.gz", hex::encode(Sha256::digest(&bytes)));
        ensure!(file.ends_with(&format!("/{name}")), "{file} is visible but has the bytes of {name}");
    }
    Ok(())
}

/// The temporary files that were there right after the start are new ones: they
/// are gone when their write ends, so none of them stays.
async fn ensure_swept(weir: &Weir, left: &[String]) -> Result<()> {
    eventually("no temporary file of the killed server is left", PATIENCE, || async {
        let files = weir.server.files()?;
        let still: Vec<_> = left.iter().filter(|file| files.contains(file)).collect();
        ensure!(still.is_empty(), "{still:?}");
        Ok(())
    })
    .await
}

/// No temporary file, of whatever write. Generators may still be looked at once more, which writes nothing.
async fn ensure_nothing_temporary(weir: &Weir) -> Result<()> {
    let all = weir.server.files()?.into_iter().filter(|file| is_temporary(file)).collect::<Vec<_>>();
    ensure_swept(weir, &all).await?;
    let left: Vec<_> = weir.server.files()?.into_iter().filter(|file| is_temporary(file)).collect();
    ensure!(left.is_empty(), "left at the end: {left:?}");
    Ok(())
}

/// Each ExternalArtifact that is Ready downloads with its digest.
async fn downloads(scene: &Scene) -> Result<()> {
    let mut ready = 0;
    for object in scene.list(Kind::ExternalArtifact).await? {
        if condition(&object, "Ready").is_some_and(|ready| ready["status"] == "True") {
            ready += 1;
            download(scene, &object).await?;
        }
    }
    ensure!(ready >= SMALL, "only {ready} ExternalArtifacts are Ready");
    Ok(())
}

/// Downloads at once. Only two answers are taken for "not yet": 503, as the server may hash the file first, and a port that is not
/// open again.
async fn download(scene: &Scene, object: &Value) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let Err(error) = scene.download(object).await else { return Ok(()) };
        let cause = error.downcast_ref::<reqwest::Error>();
        let passing = cause.is_some_and(|cause| cause.is_connect() || cause.status().is_some_and(|code| code == 503));
        ensure!(passing && Instant::now() < end, "a Ready artifact can not be downloaded: {error:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
