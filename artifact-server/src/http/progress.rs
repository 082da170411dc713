//! A connection that gives up on a peer which does not read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How much a slow peer must take within the time, in bytes, to stay connected. A peer that takes one byte now and then
/// would hold an open file for days.
const LEAST: usize = 16 * 1024;

/// Fails writes with `TimedOut` when the peer takes less than [`LEAST`] within the given time while bytes wait for it.
pub(super) struct WriteProgress<S> {
    inner: S,
    within: Duration,
    /// Runs while bytes wait.
    deadline: Pin<Box<Sleep>>,
    waiting: bool,
    taken: usize,
}

impl<S> WriteProgress<S> {
    /// Watches over the writes of `inner`.
    pub(super) fn new(inner: S, within: Duration) -> Self {
        Self { inner, within, deadline: Box::pin(tokio::time::sleep(within)), waiting: false, taken: 0 }
    }

    fn restart(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + self.within);
        self.taken = 0;
    }

    /// Turns a write that would wait into an error once the time is over.
    fn judge(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(written)) => {
                self.taken = self.taken.saturating_add(written);
                if self.waiting && self.taken >= LEAST {
                    self.restart();
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if !self.waiting {
                    self.waiting = true;
                    self.restart();
                }
                ready!(self.deadline.as_mut().poll(cx));
                let message = "the client takes too few bytes";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
            }
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteProgress<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.judge(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// The HTTP layer flushes when all its bytes are written: nobody is waited for any more.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        if result.is_ready() {
            self.waiting = false;
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteProgress<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_dropped() {
        let (ours, _peer) = duplex(1024);
        let error = WriteProgress::new(ours, WITHIN).write_all(&[0; 4096]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_a_byte_a_second_is_dropped() {
        let (ours, mut peer) = duplex(1024);
        let reader = tokio::spawn(async move {
            while peer.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let error = WriteProgress::new(ours, WITHIN).write_all(&[0; 1 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        reader.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_peer_is_served() {
        let (ours, mut peer) = duplex(1024);
        let reader = tokio::spawn(async move {
            let (mut buffer, mut total) = ([0; 1024], 0);
            while let Ok(read @ 1..) = peer.read(&mut buffer).await {
                total += read;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            total
        });
        let mut connection = WriteProgress::new(ours, WITHIN);
        connection.write_all(&[0; 256 * 1024]).await.unwrap();
        connection.flush().await.unwrap();
        // Idle time between two answers is not the peer's fault.
        tokio::time::sleep(10 * WITHIN).await;
        connection.write_all(&[0; 256 * 1024]).await.unwrap();
        drop(connection);
        assert_eq!(reader.await.unwrap(), 512 * 1024);
    }
}
