//! The pipe between a download, which is async, and the unpacking, which blocks a thread of its own.

use std::io::{self, BufRead, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

/// Pieces of a download that may wait to be unpacked. A piece is what one read of the socket returned.
const WAITING: usize = 4;

/// Opens a pipe. Dropping the sender is the end of the stream; dropping the feed makes sends fail.
pub(super) fn pipe() -> (mpsc::Sender<Bytes>, Feed) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (sender, Feed { receiver, piece: Bytes::new() })
}

/// Reads what is sent. Only for threads that may block.
pub(super) struct Feed {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.piece.advance(amount);
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}
