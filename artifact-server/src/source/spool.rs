//! The spool: the contents of all files of a source, one behind the other in one file.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use super::shelf::Charge;
use crate::tree::ReadAt;

/// Bytes gathered before a write.
const BUFFER: usize = 256 * 1024;

/// The file behind a source. It has no name, so nothing of it is left after a crash; its space and its share of the budget
/// come back when the last holder lets go.
#[derive(Debug)]
pub(super) struct Spool {
    file: Arc<File>,
    pub(super) charge: Charge,
}

impl ReadAt for Spool {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// Appends to a spool.
pub(super) struct Writer {
    buffered: BufWriter<Arc<File>>,
    /// Bytes written so far.
    pub(super) offset: u64,
}

impl Writer {
    /// Makes a spool in `folder`.
    pub(super) fn create(folder: &Path, charge: Charge) -> io::Result<(Arc<Spool>, Self)> {
        let file = Arc::new(tempfile::tempfile_in(folder)?);
        let buffered = BufWriter::with_capacity(BUFFER, Arc::clone(&file));
        Ok((Arc::new(Spool { file, charge }), Self { buffered, offset: 0 }))
    }

    /// Appends bytes; they can be read after [`Writer::finish`].
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffered.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Writes out what is still in memory. There is no sync: the spool need not outlive the process.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.buffered.flush()
    }
}
