//! Accepts connections and serves them within limits, which warp alone has not.

use std::{io, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use warp::{filters::BoxedFilter, reply::Response};

use super::progress::WriteProgress;
use crate::args::ListenAddress;

/// What one client, and all clients together, may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time for the head of a request; also how long a connection may be idle.
    pub header_time: Duration,
    /// Time within which a client must take some bytes of an answer.
    pub write_time: Duration,
    /// Open connections; more wait to be accepted.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_time: Duration::from_secs(15), write_time: Duration::from_secs(30), connections: 2048 }
    }
}

/// Headers of a request; more is answered 431.
const MAX_HEADERS: usize = 64;
/// Bytes of a request's head, and of the read buffer; more is answered 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Opens a port as Go's `net.Listen` does: an empty host is every interface, IPv4 and IPv6.
pub async fn listen(address: &ListenAddress) -> io::Result<TcpListener> {
    if !address.host.is_empty() {
        return TcpListener::bind((address.host.as_str(), address.port)).await;
    }
    match TcpListener::bind(("::", address.port)).await {
        // A machine without IPv6.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => TcpListener::bind(("0.0.0.0", address.port)).await,
        result => result,
    }
}

/// Says where a port is, also when the system chose it.
pub fn log_open(listener: &TcpListener, port: &'static str) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(port, %address, "port open");
    }
}

/// Accepts and serves connections until `stop`; on return new ones are refused. Open ones live on: see [`Draining`]. `abort` cuts them off.
pub async fn accept(
    listener: TcpListener,
    filter: BoxedFilter<(Response,)>,
    limits: Limits,
    stop: CancellationToken,
    abort: CancellationToken,
) -> Draining {
    let open = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    while let Some(stream) = next(&listener, &stop).await {
        let Some(Ok(slot)) = stop.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await else { break };
        let service = TowerToHyperService::new(warp::service(filter.clone()));
        let connection = open.watch(protocol(limits).serve_connection(prepare(stream, limits), service));
        let abort = abort.clone();
        tokio::spawn(async move {
            // A client that breaks off or is too slow is nothing that an operator could mend.
            if let Some(Err(error)) = abort.run_until_cancelled(connection).await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(slot);
        });
    }
    Draining(open)
}

/// Connections that still finish their answers.
pub struct Draining(GracefulShutdown);

impl Draining {
    /// Returns when all have finished, or on `abort`.
    pub async fn finish(self, abort: CancellationToken) {
        abort.run_until_cancelled(self.0.shutdown()).await;
    }
}

/// The next connection; `None` when it is time to stop. Out of descriptors, it waits for some to come free.
async fn next(listener: &TcpListener, stop: &CancellationToken) -> Option<TcpStream> {
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, _)) => return Some(stream),
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(50))).await?;
            }
        }
    }
}

/// HTTP/1.1 with a bounded head.
fn protocol(limits: Limits) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(limits.header_time);
    protocol.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
    protocol
}

fn prepare(stream: TcpStream, limits: Limits) -> TokioIo<WriteProgress<TcpStream>> {
    // Answers are written whole or in large pieces: waiting to fill packets only delays their ends.
    let _ = stream.set_nodelay(true);
    TokioIo::new(WriteProgress::new(stream, limits.write_time))
}
