//! Stored files are damaged again and again while clients download them: what comes with 200 is right each time.

use std::fs::{File, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use rand::{RngCore, SeedableRng};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::progress::say;
use weir_e2e::resources::{Kind, artifact, artifact_generator, git_repository};
use weir_e2e::scene::Scene;
use weir_e2e::weir::Weir;

/// Clients of each file.
const CLIENTS: usize = 3;

/// Each kind of damage is done so often.
const PASSES: usize = 3;

/// Names and sizes of the artifacts, in the order in which they are damaged. The server takes a while to find out about the large
/// one, which is hit while it is sent; meanwhile nobody but the clients asks for the small one, which is sent in one go.
const FILES: [(&str, usize); 2] = [("large", 8 << 20), ("small", 100 << 10)];

/// What is done to a file behind the server's back.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// Other bytes in the same file, and its old time of modification.
    InPlace,
    /// Another file of that length and time under its name.
    Replaced,
    Truncated,
    Appended,
}

const KINDS: [Damage; 4] = [Damage::InPlace, Damage::Replaced, Damage::Truncated, Damage::Appended];

/// The clients do not pause between before the first damage and after the last repair.
pub(crate) async fn changed_bytes_are_never_served(scene: Scene) -> Result<()> {
    let mut weir = Weir::start(&scene).await?;
    publish(&scene).await?;
    let mut targets = Vec::new();
    for (name, _) in FILES {
        let object = scene.ready(Kind::ExternalArtifact, name).await?;
        scene.download(&object).await?;
        let text =
            |field: &str| object["status"]["artifact"][field].as_str().context("no such field").map(str::to_owned);
        let file = weir.server.storage().join(text("path")?);
        targets.push(Target { clients: Clients::start(&text("url")?)?, url: text("url")?, file });
    }
    let rounds = PASSES * KINDS.len();
    for round in 0..rounds {
        let damage = KINDS[round % KINDS.len()];
        let served: Vec<_> = targets.iter().map(|target| target.clients.served()).collect();
        for target in &targets {
            inflict(damage, &target.file).with_context(|| format!("{damage:?}"))?;
        }
        let what = format!("the files are repaired ({damage:?}, round {round})");
        eventually(&what, PATIENCE, || async {
            targets.iter().zip(&served).try_for_each(|(target, served)| target.ensure_repaired(*served))
        })
        .await?;
        if targets.iter().any(|target| target.clients.have_ended()) {
            break;
        }
    }
    for (target, (name, _)) in targets.into_iter().zip(FILES) {
        let (served, refused) = target.clients.stop().await?;
        say(format!("{served} downloads of the {name} file, damaged {rounds} times, all right; {refused} got nothing"));
        ensure!(refused > 0, "no client has asked for the {name} file while it was damaged");
    }
    scene.ready(Kind::ArtifactGenerator, "app").await?;
    weir.stop().await
}

/// A stored file and those who download it.
struct Target {
    url: String,
    file: PathBuf,
    clients: Clients,
}

impl Target {
    /// Its bytes are right again, and all clients have got them. Also when a client has given up, which ends the waiting.
    fn ensure_repaired(&self, served: usize) -> Result<()> {
        if self.clients.have_ended() {
            return Ok(());
        }
        let digest = hex::encode(Sha256::digest(std::fs::read(&self.file)?));
        ensure!(digest == named(&self.url), "{} has the bytes of {digest}", self.file.display());
        ensure!(self.clients.served() >= served + 2 * CLIENTS, "{} is not served", self.url);
        Ok(())
    }
}

async fn publish(scene: &Scene) -> Result<()> {
    let repository = scene.stage.git.repository(&format!("{}-app", scene.namespace)).await?;
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    for (name, size) in FILES {
        let mut noise = vec![0; size];
        random.fill_bytes(&mut noise);
        std::fs::write(repository.work_tree().join(name), noise)?;
    }
    let commit = repository.commit("Start", &[]).await?;
    scene.apply(git_repository("app", repository.url())).await?;
    scene.fetched("app", &commit).await?;
    let copies = FILES.map(|(name, _)| artifact(name, &[(&format!("@repo/{name}"), "@artifact/")]));
    scene.apply(artifact_generator("app", "app", json!(copies))).await?;
    scene.ready(Kind::ArtifactGenerator, "app").await?;
    Ok(())
}

/// Damages a file.
#[expect(clippy::disallowed_methods, reason = "nothing is published here: others rename as they like")]
fn inflict(damage: Damage, path: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let before = file.metadata()?;
    let times = FileTimes::new().set_modified(before.modified()?);
    match damage {
        Damage::InPlace => {
            file.write_all_at(&[0; 4 << 10], before.len() / 2)?;
            file.set_times(times)?;
        }
        Damage::Replaced => {
            let mut bytes = std::fs::read(path)?;
            bytes.rotate_left(1 << 10);
            let other = path.with_file_name("other");
            std::fs::write(&other, bytes)?;
            File::options().write(true).open(&other)?.set_times(times)?;
            std::fs::rename(&other, path)?;
        }
        Damage::Truncated => file.set_len(before.len() / 2)?,
        Damage::Appended => file.write_all_at(b"more", before.len())?,
    }
    Ok(())
}

/// The digest that a URL names.
fn named(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default().trim_end_matches(".tar.gz")
}

/// Clients that download in a loop, without a pause.
struct Clients {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Clients {
    fn start(url: &str) -> Result<Self> {
        let mut clients =
            Self { stop: Arc::default(), served: Arc::default(), refused: Arc::default(), tasks: Vec::new() };
        for _ in 0..CLIENTS {
            let (stop, served, refused) = (clients.stop.clone(), clients.served.clone(), clients.refused.clone());
            let (url, client) = (url.to_owned(), weir_e2e::fetch::client()?);
            clients.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let counter = if is_served(&client, &url).await? { &served } else { &refused };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        Ok(clients)
    }

    /// Downloads so far.
    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// One of them, as it got something wrong.
    fn have_ended(&self) -> bool {
        self.tasks.iter().any(JoinHandle::is_finished)
    }

    /// Ends them; the downloads that were served and those that were not, or the first that was wrong.
    async fn stop(self) -> Result<(usize, usize)> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok((self.served.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed)))
    }
}

/// Whether a download came, as a whole, with 200. Its bytes must then be those that the URL and the ETag name. A download that
/// breaks off is none: its client knows.
async fn is_served(client: &reqwest::Client, url: &str) -> Result<bool> {
    let response = client.get(url).send().await.context("the server does not answer")?;
    let status = response.status().as_u16();
    // 500 when the damage lands between the check and the first read.
    ensure!(matches!(status, 200 | 404 | 500 | 503), "{url} says {status}");
    let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
    let Ok(bytes) = response.bytes().await else { return Ok(false) };
    if status != 200 {
        return Ok(false);
    }
    let digest = hex::encode(Sha256::digest(&bytes));
    ensure!(digest == named(url), "{url} gave {} bytes of {digest} with 200", bytes.len());
    ensure!(tag == format!("\"sha256:{digest}\""), "{url} gave the ETag {tag}");
    Ok(true)
}
