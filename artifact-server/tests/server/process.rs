//! A running server.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use weir_proto::v1::{
    Caller, SetServingRequest, artifact_builder_client::ArtifactBuilderClient,
    artifact_storage_client::ArtifactStorageClient,
};

/// A client for plain HTTP. The authorities of this machine, which may have none, are of no interest to it.
pub(crate) fn client() -> reqwest::Client {
    let tls = weir_artifact_server::source::Roots::default().client_config().unwrap();
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

/// One request of a client of its own.
pub(crate) async fn get(url: impl reqwest::IntoUrl) -> reqwest::Result<reqwest::Response> {
    client().get(url).send().await
}

/// Bounds a broken run; nothing that works takes this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The lines a process has written so far.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Lines {
    fn follow(source: impl std::io::Read + Send + 'static) -> Self {
        let lines = Self::default();
        let sink = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                sink.0.0.lock().push(line);
                sink.0.1.notify_all();
            }
        });
        lines
    }

    /// Waits for a line and gives what `find` makes of it.
    pub(crate) fn wait<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let mut lines = self.0.0.lock();
        loop {
            if let Some(found) = lines.iter().rev().find_map(|line| find(line)) {
                return found;
            }
            let late = self.0.1.wait_for(&mut lines, DEADLINE).timed_out();
            assert!(!late, "no line says {what}: {lines:#?}");
        }
    }

    /// Waits until a text was said that often. It may be said in time only by another task, so the thread is not held up.
    pub(crate) async fn wait_times(&self, what: &str, times: usize) {
        let said = async {
            while self.text().matches(what).count() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let said = tokio::time::timeout(DEADLINE, said).await;
        assert!(said.is_ok(), "{what:?} was not said {times} times: {}", self.text());
    }

    pub(crate) fn text(&self) -> String {
        self.0.0.lock().join("\n")
    }
}

/// A folder with a volume and a socket; servers come and go on it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn volume(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("s/artifact.sock")
    }

    /// The command with every address on a free port; later flags win.
    pub(crate) fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-artifact-server"));
        command.env_clear().env("TMPDIR", self.path());
        command.arg(format!("--storage-path={}", self.volume().display()));
        command.arg(format!("--grpc-addr=unix://{}", self.socket().display()));
        command.args(["--storage-addr=127.0.0.1:0", "--storage-adv-addr=artifacts.test"]);
        command.args(["--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0", "--log-level=debug"]);
        command.args(flags);
        command
    }

    /// Starts a server and waits until it is ready.
    pub(crate) async fn start(&self, flags: &[&str]) -> Server {
        self.start_with(flags, |command| command).await
    }

    /// Starts a server with a change of its environment.
    pub(crate) async fn start_with(&self, flags: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> Server {
        let (child, lines) = self.launch(flags, change).await;
        let channel = Endpoint::try_from(format!("unix://{}", self.socket().display())).unwrap();
        let channel = channel.connect().await.unwrap();
        Server { child, lines, channel }
    }

    /// Starts a server that the flags put behind TLS; there is no channel to it yet.
    pub(crate) async fn start_secured(&self, flags: &[String]) -> Server {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (child, lines) = self.launch(&flags, |command| command).await;
        let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        Server { child, lines, channel }
    }

    async fn launch(&self, flags: &[&str], change: impl FnOnce(&mut Command) -> &mut Command) -> (Child, Lines) {
        let mut child = change(&mut self.command(flags)).stderr(Stdio::piped()).spawn().unwrap();
        let lines = Lines::follow(child.stderr.take().unwrap());
        let ready = lines.clone();
        tokio::task::spawn_blocking(move || ready.wait("ready", |line| line.contains("server ready").then_some(())))
            .await
            .unwrap();
        (child, lines)
    }

    /// Runs it to its end, for starts that fail: exit code and what it wrote to standard error.
    pub(crate) fn run(&self, flags: &[&str]) -> (Option<i32>, String) {
        let output = self.command(flags).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Every file below the volume that is no folder, relative, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        files_of(&self.volume())
    }

    /// As [`Place::files`], without what has a name for a moment only: a server that starts renews the records that it found, after it is ready.
    pub(crate) fn lasting(&self) -> Vec<String> {
        self.files().into_iter().filter(|file| !file.contains("/.tmp-")).collect()
    }
}

/// Every file below a folder but the server's own, relative, sorted.
pub(crate) fn files_of(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(folder, &mut |path| found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()));
    found.retain(|path| !path.starts_with(".weir/"));
    found.sort();
    found
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.map_while(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), visit),
            _ => visit(&entry.path()),
        }
    }
}

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) lines: Lines,
    channel: Channel,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who calls in tests that are not about callers.
pub(crate) fn caller() -> Option<Caller> {
    Some(Caller { owner: "source-watcher/1".into(), epoch: 0, ..Caller::default() })
}

impl Server {
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn storage(&self) -> ArtifactStorageClient<Channel> {
        ArtifactStorageClient::new(self.channel())
    }

    pub(crate) fn builder(&self) -> ArtifactBuilderClient<Channel> {
        ArtifactBuilderClient::new(self.channel())
    }

    /// From here on calls go this way.
    pub(crate) fn use_channel(&mut self, channel: Channel) {
        self.channel = channel;
    }

    /// Where gRPC is, of a server behind TLS.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.lines.wait("grpc", |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["grpc"].as_str()?.strip_prefix("https://")?.parse().ok()
        })
    }

    /// Opens the artifact port and says where it is.
    pub(crate) async fn serving(&self) -> SocketAddr {
        let request = SetServingRequest { caller: caller(), on: true };
        assert!(self.storage().set_serving(request).await.unwrap().into_inner().serving);
        self.port("artifacts")
    }

    /// Where a port was last opened, from the log: `artifacts`, `health` or `metrics`.
    pub(crate) fn port(&self, what: &str) -> SocketAddr {
        self.lines.wait(what, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["msg"] == "port open" && line["port"] == what).then(|| line["address"].as_str()?.parse().ok())?
        })
    }

    /// The value of a figure, all labels included in its name; 0 when there is none.
    pub(crate) async fn figure(&self, name: &str) -> f64 {
        let text = get(format!("http://{}/metrics", self.port("metrics"))).await.unwrap();
        let text = text.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_default()
    }

    /// The most memory that it had so far (`VmHWM`), in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// A path as the server sees it, which may have mounts of its own.
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code.
    pub(crate) async fn ended(mut self) -> Option<i32> {
        let end = tokio::task::spawn_blocking(move || self.child.wait().unwrap().code());
        tokio::time::timeout(DEADLINE, end).await.expect("it does not end").unwrap()
    }

    pub(crate) async fn stop(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await, Some(0));
    }
}
