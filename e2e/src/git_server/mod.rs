//! A git server over smart HTTP on loopback, and repositories to commit to.

mod cgi;
mod repository;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use warp::Filter;

pub use repository::{Repository, ensure_git};

use crate::run_dir::RunDir;

/// Serves bare repositories below one folder, for reading and pushing.
#[derive(Debug)]
pub struct GitServer {
    root: PathBuf,
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl GitServer {
    /// Starts it on a free port. It ends when the value is dropped.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(run: &RunDir) -> Result<Self> {
        let root = run.folder("git")?;
        // Bound here and never given back, so an ephemeral port is as good as any.
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no free port for the git server")?;
        let address = listener.local_addr()?;
        let served = root.clone();
        let filter = warp::method()
            .and(warp::path::full())
            .and(warp::query::raw().or(warp::any().map(String::new)).unify())
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .then(move |method, path: warp::path::FullPath, query, headers, body| {
                let request = cgi::Request { method, path: path.as_str().to_owned(), query, headers, body };
                cgi::answer(served.clone(), request)
            });
        let serving = tokio::spawn(warp::serve(filter).incoming(listener).run());
        Ok(Self { root, address, serving })
    }

    /// Creates an empty repository and a work tree for it.
    ///
    /// # Errors
    /// When git fails, or a repository of that name exists.
    pub async fn repository(&self, name: &str) -> Result<Repository> {
        let url = format!("http://{}/{name}.git", self.address);
        Repository::create(&self.root, name, url).await
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
