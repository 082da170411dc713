//! What source-controller would be: an HTTP server with one tarball, which counts how often it is asked.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::net::TcpListener;
use warp::Filter as _;

use super::monorepo::Snapshot;

/// A running server on a free loopback port. It ends with the runtime.
pub(super) struct SourceServer {
    address: SocketAddr,
    files: Arc<Mutex<HashMap<String, bytes::Bytes>>>,
    downloads: Arc<AtomicU64>,
}

impl SourceServer {
    /// Starts it.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let files: Arc<Mutex<HashMap<String, bytes::Bytes>>> = Arc::default();
        let downloads = Arc::<AtomicU64>::default();
        let (shelf, count) = (files.clone(), downloads.clone());
        let route = warp::path!(String).map(move |name: String| {
            let found = shelf.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
            count.fetch_add(1, Ordering::Relaxed);
            let status = if found.is_some() { 200 } else { 404 };
            warp::http::Response::builder().status(status).body(found.unwrap_or_default())
        });
        tokio::spawn(warp::serve(route).incoming(listener).run());
        Ok(Self { address, files, downloads })
    }

    /// Offers a snapshot and answers with its URL. Older ones go: a source has one artifact.
    pub(super) fn offer(&self, snapshot: &Snapshot) -> String {
        let name = format!("{}.tar.gz", snapshot.digest.trim_start_matches("sha256:"));
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.clear();
        files.insert(name.clone(), snapshot.bytes.clone().into());
        format!("http://{}/{name}", self.address)
    }

    /// How often anything was asked for.
    pub(super) fn downloads(&self) -> u64 {
        self.downloads.load(Ordering::Relaxed)
    }
}
