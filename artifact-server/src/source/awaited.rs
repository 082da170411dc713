//! Bytes that lie somewhere, read from the first to the last for as long as somebody waits for what is made of them.

use std::io::{self, BufReader, Read};

use super::SourceError;

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// See the module.
pub(super) struct Awaited<'a, R> {
    read: R,
    left: u64,
    offset: u64,
    cancelled: &'a dyn Fn() -> bool,
}

impl<'a, R: Fn(&mut [u8], u64) -> io::Result<()>> Awaited<'a, R> {
    /// Reads `size` bytes with `read`, which fills a buffer from an offset. Fails with [`SourceError::Cancelled`] once `cancelled` says so.
    pub(super) fn buffered(size: u64, read: R, cancelled: &'a dyn Fn() -> bool) -> BufReader<Self> {
        BufReader::with_capacity(BUFFER, Self { read, left: size, offset: 0, cancelled })
    }
}

impl<R: Fn(&mut [u8], u64) -> io::Result<()>> Read for Awaited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.cancelled)() {
            return Err(io::Error::other(SourceError::Cancelled));
        }
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = (self.read)(&mut buffer[..length], self.offset);
        read.map_err(|error| io::Error::other(SourceError::storage(&error)))?;
        self.offset += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}
