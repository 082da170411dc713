//! Connections of clients, each with who is at its other end.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::access::Peer;
use crate::{live::Live, policy::Identity};

/// How long a client may take to show its certificate, and how many may be about to at a time.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 128;

/// How long nothing is accepted after the system could not accept.
const PAUSE: Duration = Duration::from_millis(50);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection.
pub(super) struct Connection {
    io: Box<dyn Io>,
    peer: Peer,
}

impl Connection {
    /// From another process on this machine.
    pub(super) fn unix(stream: UnixStream) -> Self {
        let identity = match stream.peer_cred() {
            Ok(who) => Identity::Process { uid: who.uid(), gid: who.gid(), pid: who.pid() },
            Err(_) => Identity::Unknown,
        };
        Self { io: Box::new(stream), peer: Peer::new(identity) }
    }

    /// From anywhere.
    pub(super) fn plain(stream: TcpStream) -> Self {
        // Fails on a connection that is over.
        let _ = stream.set_nodelay(true);
        Self { io: Box::new(stream), peer: Peer::new(Identity::Unknown) }
    }

    /// Waits for a certificate that is good.
    async fn secure(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let _ = stream.set_nodelay(true);
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let identity = shown.map_or(Identity::Unknown, |certificate| Identity::of_certificate(certificate));
        Ok(Self { io: Box::new(stream), peer: Peer::new(identity) })
    }
}

/// Connections of clients with a good certificate. Each new one meets the certificates of the moment; those that are open stay so.
pub(super) fn secured(
    listener: TcpListener,
    config: Live<ServerConfig>,
) -> impl Stream<Item = io::Result<Connection>> + Send {
    let (accepted, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let next = async { (Arc::clone(&room).acquire_owned().await, listener.accept().await) };
            let (turn, stream) = tokio::select! {
                () = accepted.closed() => return,
                next = next => next,
            };
            let Ok((stream, client)) = stream else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (accepted, config) = (accepted.clone(), config.get());
            tokio::spawn(async move {
                let _turn = turn;
                match tokio::time::timeout(HANDSHAKE, Connection::secure(stream, config)).await {
                    Ok(Ok(connection)) => drop(accepted.send(Ok(connection)).await),
                    Ok(Err(error)) if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) => {
                        tracing::info!(%client, %error, "refused a client, its TLS or its certificate is not good");
                    }
                    // It went away, or said nothing: a probe of the port.
                    Ok(Err(_)) | Err(_) => tracing::debug!(%client, "a client showed no certificate"),
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
