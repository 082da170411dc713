//! The gzip frame around a tar, with compressors that are used again.
//!
//! A compressor holds a few hundred KiB. Taking them anew for each of thousands of small archives costs time, and leaves the
//! allocator with holes that it does not give back: the server's peak memory was several times as high.

use std::io::{self, Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use parking_lot::Mutex;

use super::LEVEL;

/// Magic, deflate, no flags, no time, no extra flags, unknown system: the header that Go writes.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Room for compressed bytes. The compressor pauses when it is full, and where it pauses can decide how it goes on: changing this
/// may change archives.
const ROOM: usize = 32 * 1024;

/// Compressors kept for the next archive. As many as there are ever workers on a small machine; more are let go.
const KEPT: usize = 8;

static IDLE: Mutex<Vec<Compress>> = Mutex::new(Vec::new());

/// Compresses what is written to it. Nothing is complete before [`Gzip::finish`].
pub(super) struct Gzip<'a> {
    out: &'a mut dyn Write,
    compressor: Compress,
    checksum: Crc,
    compressed: Vec<u8>,
}

impl<'a> Gzip<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> io::Result<Self> {
        out.write_all(&HEADER)?;
        let compressor = IDLE.lock().pop().unwrap_or_else(|| Compress::new(Compression::new(LEVEL), false));
        Ok(Self { out, compressor, checksum: Crc::new(), compressed: Vec::with_capacity(ROOM) })
    }

    /// Writes what is left, checksum and length.
    pub(super) fn finish(mut self) -> io::Result<()> {
        while self.step(&[], FlushCompress::Finish)?.1 != Status::StreamEnd {}
        self.out.write_all(&self.checksum.sum().to_le_bytes())?;
        self.out.write_all(&self.checksum.amount().to_le_bytes())?;
        self.out.flush()?;
        // As new: the next archive must not depend on this one.
        self.compressor.reset();
        let mut idle = IDLE.lock();
        if idle.len() < KEPT {
            idle.push(self.compressor);
        }
        Ok(())
    }

    /// One turn of the compressor. Returns how much of the input it took.
    fn step(&mut self, input: &[u8], flush: FlushCompress) -> io::Result<(usize, Status)> {
        let before = self.compressor.total_in();
        self.compressed.clear();
        let status = self.compressor.compress_vec(input, &mut self.compressed, flush).map_err(io::Error::other)?;
        self.out.write_all(&self.compressed)?;
        let taken = usize::try_from(self.compressor.total_in() - before).map_err(io::Error::other)?;
        Ok((taken, status))
    }
}

impl Write for Gzip<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            done += self.step(&bytes[done..], FlushCompress::None)?.0;
        }
        self.checksum.update(bytes);
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
