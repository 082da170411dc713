//! Many at once, on a real server: nothing fails, every byte is right, memory has a bound, and a lock has one holder.
//!
//! The figures of a run are printed: `cargo test -p weir-artifact-server --test server -- load:: --nocapture`.

use std::{
    collections::BTreeMap,
    io::Read,
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{self, BoxFuture},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use weir_artifact_server::hash::Hasher;
use weir_proto::{
    Algorithm, Owner,
    client::Client,
    v1::{
        ArchiveHeader, ArchiveRequest, Artifact, ArtifactRef, ReadRequest, WriteHeader, WriteRequest, archive_request,
        artifact_storage_client::ArtifactStorageClient, read_response, write_request,
    },
};

use crate::{
    process::{Place, caller, get},
    uploads::{digest, reference},
};

/// How many do the same thing at once.
const MANY: usize = 200;
/// Of those, how many send a little and then nothing, until all others are done.
const SLOW: usize = 10;
/// Size of a chunk.
const CHUNK: usize = 128 << 10;
/// Size of a page of noise.
const PAGE: usize = 4096;
/// The most memory that the server may have had, KiB; see docs/benchmarks.md for what it is made of.
const MOST_MEMORY: u64 = 400 << 10;
/// Bounds a broken run; a whole one takes seconds.
const LONG: Duration = Duration::from_secs(300);

/// Bytes that do not compress. Each page of them is another one, in whatever upload.
#[derive(Clone, Copy)]
struct Noise {
    seed: u64,
    length: usize,
}

/// What all pages have in common.
static GRAIN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..CHUNK as u64 / 8).flat_map(|at| mixed(at).to_le_bytes()).collect());

impl Noise {
    /// 1 to 4 MiB.
    fn new(round: usize, number: usize) -> Self {
        Self { seed: (round * MANY + number) as u64, length: (1 << 20) + number * (3 << 20) / MANY }
    }

    fn chunks(self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.length).step_by(CHUNK).map(move |start| {
            let mut chunk = GRAIN.clone();
            for (at, page) in chunk.chunks_exact_mut(PAGE).enumerate() {
                let mark = mixed((self.seed << 32) ^ (start + at * PAGE) as u64);
                page[..8].copy_from_slice(&mark.to_le_bytes());
            }
            chunk.truncate(self.length - start);
            chunk
        })
    }

    fn digest(self) -> String {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        self.chunks().for_each(|chunk| hasher.update(&chunk));
        hasher.finish().unwrap().to_string()
    }
}

/// The finisher of splitmix64.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A connection of its own, as each of many clients has.
async fn connection(place: &Place) -> Channel {
    let endpoint = Endpoint::try_from(format!("unix://{}", place.socket().display())).unwrap();
    endpoint.connect().await.unwrap()
}

/// Counts those that are done, and lets others wait for it.
struct Done(watch::Sender<usize>);

impl Done {
    fn one(&self) {
        self.0.send_modify(|done| *done += 1);
    }

    fn all_but_slow(&self) -> BoxFuture<'static, ()> {
        let mut done = self.0.subscribe();
        let wait = async move {
            while *done.borrow_and_update() < MANY - SLOW {
                done.changed().await.unwrap();
            }
        };
        wait.boxed()
    }
}

/// What is sent. The slow ones stop in the middle, until all others are done.
fn paced<T: Send + 'static>(
    number: usize,
    done: &Arc<Done>,
    messages: impl Iterator<Item = T> + Send + 'static,
) -> ReceiverStream<T> {
    let (sender, receiver) = mpsc::channel(1);
    let (done, slow) = (Arc::clone(done), number < SLOW);
    tokio::spawn(async move {
        for (at, message) in messages.enumerate() {
            if slow && at == 3 {
                done.all_but_slow().await;
            }
            if sender.send(message).await.is_err() {
                break;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// A file for `Write`.
fn bytes_of(noise: Noise, artifact: Option<ArtifactRef>, file: String) -> impl Iterator<Item = WriteRequest> + Send {
    use write_request::Message::{Chunk, Header};
    let header = Header(WriteHeader { caller: caller(), artifact, file, ..WriteHeader::default() });
    let messages = std::iter::once(header).chain(noise.chunks().map(Chunk));
    messages.map(|message| WriteRequest { message: Some(message) })
}

/// A tar with one file for `Archive`.
fn tar_of(noise: Noise, artifact: Option<ArtifactRef>, file: String) -> impl Iterator<Item = ArchiveRequest> + Send {
    use archive_request::Message::{Chunk, Header};
    let header = Header(ArchiveHeader { caller: caller(), artifact, file, ..ArchiveHeader::default() });
    let mut entry = tar::Header::new_gnu();
    entry.set_path("data").unwrap();
    entry.set_size(noise.length as u64);
    entry.set_mode(0o644);
    entry.set_cksum();
    let end = vec![0; noise.length.next_multiple_of(512) - noise.length + 1024];
    let chunks = std::iter::once(entry.as_bytes().to_vec()).chain(noise.chunks()).chain([end]);
    let messages = std::iter::once(header).chain(chunks.map(Chunk));
    messages.map(|message| ArchiveRequest { message: Some(message) })
}

/// Stores bytes as they are, or every second time an archive of a file with them.
async fn upload(place: Arc<Place>, round: usize, number: usize, done: Arc<Done>) -> Artifact {
    let noise = Noise::new(round, number);
    let (artifact, file) = (reference(&format!("app-{number}")), format!("{round}.bin"));
    let mut storage = ArtifactStorageClient::new(connection(&place).await);
    let stored = if number.is_multiple_of(2) {
        let messages = paced(number, &done, bytes_of(noise, artifact, file));
        let artifact = storage.write(messages).await.unwrap().into_inner().artifact.unwrap();
        assert_eq!((&artifact.digest, artifact.size), (&noise.digest(), noise.length as i64), "{number}");
        artifact
    } else {
        let messages = paced(number, &done, tar_of(noise, artifact, file));
        storage.archive(messages).await.unwrap().into_inner().artifact.unwrap()
    };
    done.one();
    stored
}

/// Reads an artifact over HTTP, or every second pair over gRPC, and checks each byte.
async fn download(place: Arc<Place>, round: usize, number: usize, artifact: Artifact, at: SocketAddr, done: Arc<Done>) {
    let (mut bytes, slow) = (Vec::new(), number < SLOW);
    if number % 4 < 2 {
        let mut response = get(format!("http://{at}/{}", artifact.path)).await.unwrap().error_for_status().unwrap();
        while let Some(chunk) = response.chunk().await.unwrap() {
            if slow && !bytes.is_empty() {
                done.all_but_slow().await;
            }
            bytes.extend_from_slice(&chunk);
        }
    } else {
        let mut storage = ArtifactStorageClient::new(connection(&place).await);
        let request = ReadRequest { path: artifact.path.clone(), ..ReadRequest::default() };
        let mut answers = storage.read(request).await.unwrap().into_inner();
        while let Some(answer) = answers.message().await.unwrap() {
            if slow && !bytes.is_empty() {
                done.all_but_slow().await;
            }
            if let Some(read_response::Message::Chunk(chunk)) = answer.message {
                bytes.extend_from_slice(&chunk);
            }
        }
    }
    let check = move || {
        assert_eq!((digest(Algorithm::Sha256, &bytes), bytes.len() as i64), (artifact.digest, artifact.size));
        let expected = Noise::new(round, number).digest();
        if number.is_multiple_of(2) {
            assert_eq!(digest(Algorithm::Sha256, &bytes), expected, "{number}");
        } else {
            let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
            let entries = archive.entries().unwrap().map(Result::unwrap);
            let files: Vec<_> = entries.filter(|entry| entry.header().entry_type().is_file()).map(content).collect();
            assert_eq!(files, [("data".to_owned(), expected)], "{number}");
        }
    };
    tokio::task::spawn_blocking(check).await.unwrap();
    done.one();
}

/// Name and digest of a file in an archive.
fn content(mut entry: tar::Entry<'_, impl Read>) -> (String, String) {
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).unwrap();
    (entry.path().unwrap().display().to_string(), digest(Algorithm::Sha256, &bytes))
}

/// All of them; what each gives, in order. The first that fails ends it: others may wait for it.
async fn together<T: Send + 'static>(tasks: impl Iterator<Item = impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let mut running = JoinSet::new();
    for (number, task) in tasks.enumerate() {
        running.spawn(async move { (number, task.await) });
    }
    let all = async {
        let mut results = BTreeMap::new();
        while let Some(result) = running.join_next().await {
            results.extend([result.unwrap()]);
        }
        results.into_values().collect()
    };
    tokio::time::timeout(LONG, all).await.expect("nobody is kept waiting")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_uploads_and_downloads_at_once_are_right_and_bounded() {
    let place = Arc::new(Place::new());
    // The slow ones are to wait for the others, however long those take here.
    let server = place.start(&["--serve=always", "--log-level=info", "--grpc-upload-silence=1h"]).await;
    let (idle, at) = (server.peak_memory(), server.port("artifacts"));
    let uploads = |round| {
        let (place, done) = (Arc::clone(&place), Arc::new(Done(watch::Sender::new(0))));
        together((0..MANY).map(move |number| upload(Arc::clone(&place), round, number, Arc::clone(&done))))
    };
    let start = Instant::now();
    let stored = uploads(0).await;
    let (uploaded, after_uploads) = (start.elapsed(), server.peak_memory());

    let start = Instant::now();
    let (from, done) = (Arc::clone(&place), Arc::new(Done(watch::Sender::new(0))));
    let downloads = together(
        stored
            .into_iter()
            .enumerate()
            .map(move |(number, artifact)| download(Arc::clone(&from), 0, number, artifact, at, Arc::clone(&done))),
    );
    future::join(uploads(1), downloads).await;
    let (both, peak) = (start.elapsed(), server.peak_memory());

    let files = place.files();
    let visible = files.iter().filter(|file| file.ends_with(".bin")).count();
    assert!(visible == 2 * MANY && !files.iter().any(|file| file.contains("/.tmp-")), "{files:#?}");
    let sent: usize = (0..MANY).map(|number| Noise::new(0, number).length).sum();
    println!("{MANY} uploads of {} MiB together: {:.1} s", sent >> 20, uploaded.as_secs_f64());
    println!("as many again, and {MANY} downloads meanwhile: {:.1} s", both.as_secs_f64());
    let [idle, after_uploads, peak] = [idle, after_uploads, peak].map(|kib| kib >> 10);
    println!(
        "peak memory of the server: {idle} MiB at the start, {after_uploads} MiB after the uploads, {peak} MiB in the end"
    );
    assert!(peak << 10 <= MOST_MEMORY, "{peak} MiB are more than {} MiB", MOST_MEMORY >> 10);
    server.stop().await;
}

/// Each reads a number and writes the next one. Without the lock most of them would be lost: a read and a write are two calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_who_count_under_one_lock_lose_nothing() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let endpoint = format!("unix://{}", place.socket().display());
    let header = || WriteHeader { artifact: reference("web"), file: "count".into(), ..WriteHeader::default() };
    let client = move || Client::connect(&endpoint).unwrap().acting_as(&Owner::new("source-watcher", "1").unwrap());
    let path = client().write(header(), "0").await.unwrap().artifact.unwrap().path;
    let inside = Arc::new(AtomicUsize::new(0));
    let whole = ReadRequest { path, ..ReadRequest::default() };
    let start = Instant::now();
    let one = |_| {
        let (client, inside, request) = (client(), Arc::clone(&inside), whole.clone());
        async move {
            let guard = client.lock(reference("web").unwrap()).await.unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            let bytes = guard.client().read(request).await.unwrap().bytes().await.unwrap();
            let count: usize = String::from_utf8(bytes).unwrap().parse().unwrap();
            guard.client().write(header(), (count + 1).to_string()).await.unwrap();
            inside.fetch_sub(1, Ordering::SeqCst);
        }
    };
    together((0..MANY).map(one)).await;
    println!("{MANY} who lock, read, write and free one artifact: {:.1} s", start.elapsed().as_secs_f64());
    let counted = client().read(whole).await.unwrap().bytes().await.unwrap();
    assert_eq!(String::from_utf8(counted).unwrap(), MANY.to_string());
    assert_eq!(server.figure("weir_storage_locks").await, 0.0);
    server.stop().await;
}
