//! An HTTP server on loopback that does as it is told, also what a real one should not.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What to answer.
#[derive(Clone)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    end: End,
    gate: Option<watch::Receiver<bool>>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Close,
    /// A reset, so that the client sees an error even where the body could end.
    Reset,
    /// The bytes go on for ever.
    Endless,
    /// Nothing more comes, and the connection stays open.
    Stall,
    /// A byte comes now and then.
    Trickle,
}

impl Reply {
    /// 200 with a body.
    pub(crate) fn ok(body: &[u8]) -> Self {
        Self::text("200 OK", "", body)
    }

    /// A status without a body.
    pub(crate) fn status(status: &str) -> Self {
        Self::text(status, "", b"")
    }

    /// A status, header lines and a body.
    pub(crate) fn text(status: &str, headers: &str, body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        Self { bytes: [head.as_bytes(), body].concat(), end: End::Close, gate: None }
    }

    /// 200, the first bytes of a body, then a reset. Without bytes there is no head either.
    pub(crate) fn reset(body: &[u8], length: usize) -> Self {
        let mut reply = Self::ok(body);
        reply.bytes.truncate(if length == 0 { 0 } else { reply.bytes.len() - body.len() + length });
        Self { end: End::Reset, ..reply }
    }

    /// 200 and the first bytes of a body; the rest never comes.
    pub(crate) fn stall(body: &[u8], length: usize) -> Self {
        Self { end: End::Stall, ..Self::reset(body, length) }
    }

    /// 200 and a body of which a byte comes now and then.
    pub(crate) fn trickle(body: &[u8]) -> Self {
        Self { end: End::Trickle, ..Self::ok(body) }
    }

    /// 200 and a body that goes on for ever.
    pub(crate) fn endless(body: &[u8]) -> Self {
        let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        Self { bytes: [&head[..], body].concat(), end: End::Endless, gate: None }
    }

    /// Answers only once the gate is open.
    pub(crate) fn behind(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.0.subscribe()), ..self }
    }
}

/// Holds replies back.
pub(crate) struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Gate {
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }
}

/// A running server. It ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts one. `reply` gets the number of requests so far and the path.
    pub(crate) async fn start(reply: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let reply = Arc::new(reply);
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, reply) = (Arc::clone(&seen), Arc::clone(&reply));
                connections.spawn(async move {
                    // The client may leave at any time.
                    let _ = serve(stream, &seen, &*reply).await;
                });
            }
        });
        Self { address, requests, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The paths asked for so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    /// Ends it and returns the address, where nothing listens any more.
    pub(crate) async fn close(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    reply: &(dyn Fn(usize, &str) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let count = {
        let mut seen = seen.lock();
        seen.push(path.clone());
        seen.len() - 1
    };
    let reply = reply(count, &path);
    if let Some(mut gate) = reply.gate {
        let _ = gate.wait_for(|open| *open).await;
    }
    if reply.end == End::Trickle {
        let head = reply.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_default() + 4;
        stream.write_all(&reply.bytes[..head]).await?;
        for byte in &reply.bytes[head..] {
            stream.write_u8(*byte).await?;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        return stream.shutdown().await;
    }
    stream.write_all(&reply.bytes).await?;
    match reply.end {
        End::Close | End::Trickle => stream.shutdown().await,
        End::Reset => stream.set_zero_linger(),
        End::Stall => std::future::pending().await,
        End::Endless => loop {
            stream.write_all(&reply.bytes).await?;
        },
    }
}
