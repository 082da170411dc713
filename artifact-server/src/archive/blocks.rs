//! Hands bytes on in blocks of one fixed size.

use std::io::{self, Write};

use super::CHUNK;

/// Collects what is written and passes it on in blocks of exactly [`CHUNK`] bytes, the last one shorter. So a compressor behind it
/// sees the same pieces however the bytes arrive, and gives the same output.
pub(super) struct Blocks<W: Write> {
    inner: W,
    pending: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, pending: Vec::with_capacity(CHUNK) }
    }

    /// Passes the rest on and gives the inner writer back.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&self.pending)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        if self.pending.len() == CHUNK {
            self.inner.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(taken)
    }

    /// Does nothing: passing on less than a block would change what the inner writer sees.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
