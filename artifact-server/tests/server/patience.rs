//! What the artifact port does under load and against slow clients. The parts of the server run in this process, with limits that a test can reach.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;
use weir_artifact_server::{
    http::{self, Files, Limits, Patience},
    metrics::Metrics,
    storage::{Caller, LocalFolder, Put, Store},
};
use weir_proto::{Algorithm, ArtifactDir, ArtifactPath};

use crate::process::{DEADLINE, get};

/// A store and an artifact port of its own.
struct Port {
    folder: TempDir,
    store: Arc<Store>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Port {
    async fn open(verifying: Duration, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Arc::new(LocalFolder::open(folder.path()).unwrap()), Algorithm::Sha256).unwrap();
        let patience = Patience { verifying, openings: 2, hashings: 2 };
        let filter = Files::new(Arc::clone(&store), Metrics::new(Vec::new), patience).filter();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(http::accept(listener, filter, limits, stop.clone(), stop.clone()));
        Self { folder, store, address, stop }
    }

    fn store(&self, name: &str) -> ArtifactPath {
        let put = Put {
            dir: ArtifactDir::new("ExternalArtifact", "apps", name).unwrap(),
            caller: Caller { owner: "c/1".parse().unwrap(), lease: None, tenant: None, epoch: 0 },
            algorithm: Algorithm::Sha256,
            content_digest: None,
            take_over: false,
        };
        self.store.put(&put, &mut |out| out.write_all(name.as_bytes())).unwrap().0
    }

    async fn get(&self, path: &ArtifactPath) -> reqwest::Response {
        get(format!("http://{}/{path}", self.address)).await.unwrap()
    }

    fn file(&self, path: &ArtifactPath) -> std::fs::File {
        std::fs::File::options().write(true).open(self.folder.path().join(path.to_string())).unwrap()
    }
}

/// A file of zeros that take no room and hours to hash. Whoever hashes it comes to its end when this is dropped.
struct Endless(std::fs::File);

impl Endless {
    fn made_of(file: std::fs::File) -> Self {
        file.set_len(1 << 40).unwrap();
        Self(file)
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
    }
}

/// A client waits long enough for a small file on a machine that is busy, and the large one is never done: so what is answered while others wait
/// for that was not held up by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_takes_long_to_hash_holds_up_nobody_else() {
    let port = Port::open(Duration::from_secs(3), Limits::default()).await;
    let (large, touched, good) = (port.store("large"), port.store("touched"), port.store("good"));
    let endless = Endless::made_of(port.file(&large));
    for _ in 0..3 {
        let mut many = FuturesUnordered::new();
        many.extend((0..8).map(|_| port.get(&large)));
        let others = async {
            assert_eq!(port.get(&good).await.status(), 200, "nobody touched it");
            port.file(&touched).set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(port.get(&touched).await.status(), 200, "the large one is hashed once, however many ask");
        };
        tokio::select! {
            biased;
            answer = many.next() => panic!("the others wait as long: {answer:?}"),
            () = others => {}
        }
        while let Some(answer) = many.next().await {
            assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"5".parse().unwrap()));
            assert_eq!(
                answer.text().await.unwrap(),
                "the file is being verified, or the server has more to do than it can: ask again\n"
            );
        }
    }
    drop(endless);
    let gone = async {
        while port.get(&large).await.status() != 404 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, gone).await.expect("in the end it is found to be wrong");
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let port = Port::open(DEADLINE, Limits { connections: 2, ..Limits::default() }).await;
    let address = port.address;
    let ask = |path: ArtifactPath| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let good = port.store("good");
    let mut answered = Vec::new();
    for _ in 0..2 {
        let mut stream = ask(good.clone()).await;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        answered.push(stream);
    }
    let mut third = ask(good.clone()).await;
    let mut start = [0; 12];
    let early = tokio::time::timeout(Duration::from_millis(300), third.read_exact(&mut start)).await;
    assert!(early.is_err(), "two are open already");
    answered.pop();
    tokio::time::timeout(DEADLINE, third.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_is_dropped() {
    let port = Port::open(DEADLINE, Limits { header_time: Duration::from_millis(300), ..Limits::default() }).await;
    for part in [&b""[..], b"GET / HTTP/1.1\r\nHost:"] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(part).await.unwrap();
        let mut rest = Vec::new();
        // An answer that says so, or none: the connection is closed in any case.
        let closed = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
        let _ = closed.expect("the default is 15 seconds, this port's limit is not");
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}
