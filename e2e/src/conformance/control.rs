//! Over plain HTTP: the sources, and what no client can do to a server.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::sync::Mutex;
use warp::http::{Response, StatusCode};
use warp::{Filter, Reply};

use super::fixtures;
use crate::weir::ArtifactServer;

/// Servers that can be ended, by runner.
pub(super) type Ending = Arc<Mutex<BTreeMap<String, ArtifactServer>>>;

/// Serves the sources, and does what `tell` steps ask for.
pub(super) async fn serve(storage: PathBuf, ending: Ending) -> Result<SocketAddr> {
    let files = Arc::new(fixtures::sources()?);
    let sources = warp::get().and(warp::path!("sources" / String)).map(move |name: String| source(&files, &name));
    let tell = warp::post().and(warp::path!(String / String)).and(warp::body::bytes());
    let tell = tell.then(move |runner: String, word: String, body: bytes::Bytes| {
        let (storage, ending) = (storage.clone(), Arc::clone(&ending));
        async move {
            match told(&storage, &ending, &runner, &word, &body).await {
                Ok(()) => StatusCode::OK.into_response(),
                Err(error) => warp::reply::with_status(format!("{error:#}"), StatusCode::BAD_REQUEST).into_response(),
            }
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(warp::serve(sources.or(tell)).incoming(listener).run());
    Ok(address)
}

fn source(files: &BTreeMap<&'static str, Vec<u8>>, name: &str) -> warp::reply::Response {
    match (files.get(name), name) {
        (Some(bytes), _) => bytes.clone().into_response(),
        (None, "forbidden") => StatusCode::FORBIDDEN.into_response(),
        (None, "moved") => {
            let moved = Response::builder().status(StatusCode::FOUND).header("location", "repository.tgz");
            moved.body("").map_or_else(|_| StatusCode::NOT_FOUND.into_response(), Reply::into_response)
        }
        (None, _) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn told(storage: &Path, ending: &Ending, runner: &str, word: &str, body: &[u8]) -> Result<()> {
    let path = || -> Result<PathBuf> {
        let body: Value = serde_json::from_slice(body)?;
        Ok(storage.join(body["path"].as_str().context("no path")?))
    };
    match word {
        "damage" => damage(&path()?)?,
        "lose" => std::fs::remove_file(path()?)?,
        "end" => {
            let server = ending.lock().await.remove(runner).with_context(|| format!("no server for {runner}"))?;
            // Its callers are not to wait until it has ended.
            tokio::spawn(async move { { server }.stop().await });
        }
        other => bail!("nobody knows how to {other}"),
    }
    Ok(())
}

/// Turns the last byte of a file over.
fn damage(path: &Path) -> Result<()> {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::End(-1))?;
    Ok(file.write_all(&[!byte[0]])?)
}
