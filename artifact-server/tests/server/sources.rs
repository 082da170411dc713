//! Tarballs over HTTP on loopback.

use std::{
    collections::HashMap,
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use warp::{Filter, Reply, http::StatusCode, reply::Response};
use weir_artifact_server::http;
use weir_proto::v1::Source;

/// An HTTP server with tarballs.
pub(crate) struct Sources {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Shared {
    bodies: Mutex<HashMap<String, Vec<u8>>>,
    requests: AtomicUsize,
    /// Answers to `/slow/…` wait for it after their first byte.
    gate: Option<Semaphore>,
    /// Clients that left while they waited.
    left: AtomicUsize,
}

/// Counts an answer that nobody waits for any more.
struct Waiting(Arc<Shared>);

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.0.gate.as_ref().is_some_and(|gate| !gate.is_closed()) {
            self.0.left.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Sources {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared { gate: Some(Semaphore::new(0)), ..Shared::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::clone(&shared);
        let filter = warp::path::full().map(move |path: warp::path::FullPath| answer(&answers, path.as_str())).boxed();
        let stop = CancellationToken::new();
        tokio::spawn(http::accept(listener, filter, http::Limits::default(), stop.clone(), stop.clone()));
        Self { address, shared, stop }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Serves a body and gives it as a source with the alias `repo`.
    pub(crate) fn add(&self, path: &str, body: Vec<u8>) -> Source {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
        self.shared.bodies.lock().insert(path.to_owned(), body);
        Source { alias: "repo".into(), url: self.url(path), digest }
    }

    /// Serves a tarball of these files.
    pub(crate) fn tarball(&self, path: &str, files: &[(&str, &str)]) -> Source {
        self.add(path, tarball(files))
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many clients left in the middle of an answer.
    pub(crate) fn left(&self) -> usize {
        self.shared.left.load(Ordering::SeqCst)
    }

    /// Lets slow answers go on.
    pub(crate) fn open_gate(&self) {
        if let Some(gate) = &self.shared.gate {
            gate.close();
        }
    }
}

fn answer(shared: &Arc<Shared>, path: &str) -> Response {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    if path == "/forbidden" {
        return StatusCode::FORBIDDEN.into_response();
    }
    let Some(body) = shared.bodies.lock().get(path).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    if !path.starts_with("/slow/") {
        return body.into_response();
    }
    let (first, rest) = (body[..1].to_vec(), body[1..].to_vec());
    let waiting = Waiting(Arc::clone(shared));
    let rest = stream::once(async move {
        if let Some(gate) = &waiting.0.gate {
            let _ = gate.acquire().await;
        }
        rest
    });
    warp::reply::stream(stream::iter([first]).chain(rest).map(Ok::<_, std::io::Error>)).into_response()
}

pub(crate) fn tarball(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    let mut gzip = tar.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}

/// The names in a tarball.
pub(crate) fn names(tarball: &[u8]) -> Vec<String> {
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(tarball));
    let entries = tar.entries().unwrap();
    entries.map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Text that hardly compresses.
pub(crate) fn noise(length: usize) -> String {
    let mut state = 1_u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(32 + u8::try_from((state >> 40) % 90).unwrap_or_default())
    };
    (0..length).map(letter).collect()
}
