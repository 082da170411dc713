//! Over plain HTTP: the sources, and what no client can do to a server.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, renameat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::Mutex;
use warp::http::{Response, StatusCode};
use warp::{Filter, Reply};

use super::fixtures;
use crate::weir::ArtifactServer;

/// Servers of which each runner has one, by runner.
pub(super) type Servers = Arc<Mutex<BTreeMap<String, ArtifactServer>>>;

/// What `tell` steps are about.
#[derive(Clone)]
struct Told {
    /// The volume of the server that all runners share.
    storage: PathBuf,
    own: Servers,
    ending: Servers,
}

/// Serves the sources, and does what `tell` steps ask for.
pub(super) async fn serve(storage: PathBuf, own: Servers, ending: Servers) -> Result<SocketAddr> {
    let told = Told { storage, own, ending };
    let files = Arc::new(fixtures::sources()?);
    let sources = warp::get().and(warp::path!("sources" / String)).map(move |name: String| source(&files, &name));
    let tell = warp::post().and(warp::path!(String / String)).and(warp::body::bytes());
    let tell = tell.then(move |runner: String, word: String, body: bytes::Bytes| {
        let told = told.clone();
        async move {
            match told.carry_out(&runner, &word, &body).await {
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

impl Told {
    async fn carry_out(&self, runner: &str, word: &str, body: &[u8]) -> Result<()> {
        let path = || -> Result<PathBuf> {
            let body: Value = serde_json::from_slice(body)?;
            Ok(self.storage.join(body["path"].as_str().context("no path")?))
        };
        let none = || format!("no server for {runner}");
        match word {
            "damage" => damage(&path()?)?,
            "rot" => rot(&self.storage, &path()?)?,
            "lose" => std::fs::remove_file(path()?)?,
            "overflow" => {
                let servers = self.own.lock().await;
                let server = servers.get(runner).with_context(none)?;
                let pid = i32::try_from(server.process()?.pid()).ok().and_then(Pid::from_raw).with_context(none)?;
                let storage = server.storage().to_owned();
                drop(servers);
                tokio::task::spawn_blocking(move || overflow(pid, &storage)).await??;
            }
            "end" => {
                let server = self.ending.lock().await.remove(runner).with_context(none)?;
                // Its callers are not to wait until it has ended.
                tokio::spawn(async move { { server }.stop().await });
            }
            other => bail!("nobody knows how to {other}"),
        }
        Ok(())
    }
}

/// More happens on a volume than the kernel keeps for a server that does not listen for a while.
fn overflow(server: Pid, storage: &Path) -> Result<()> {
    let kept: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?.trim().parse()?;
    // Hidden: what lies there is nobody's artifact.
    let (one, two) = (storage.join(".one"), storage.join(".two"));
    kill_process(server, Signal::STOP)?;
    let happens = || -> Result<()> {
        std::fs::write(&one, "")?;
        // Each is two events, one for either name.
        for _ in 0..kept.div_ceil(2) {
            renameat(CWD, &one, CWD, &two)?;
            renameat(CWD, &two, CWD, &one)?;
        }
        Ok(std::fs::remove_file(&one)?)
    };
    let happened = happens();
    kill_process(server, Signal::CONT)?;
    happened
}

/// Damages a file by another name, outside of the volume: no watch of the volume's folders sees it, only who reads the file does. What the
/// server has heard before may still make it look: a case first waits for the second look at a new folder, and for later events from there.
fn rot(storage: &Path, path: &Path) -> Result<()> {
    let name = path.strip_prefix(storage)?.to_string_lossy().replace('/', "-");
    let other = storage.with_file_name("tmp").join(name);
    std::fs::hard_link(path, &other)?;
    let damaged = damage(&other);
    std::fs::remove_file(other)?;
    damaged
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
