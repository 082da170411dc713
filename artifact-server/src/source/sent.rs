//! Tars that a caller sends. Their bytes are spooled first, so that a slow sender takes no thread, and unpacked when all are there. Both are
//! under the budget of the cache, and neither is kept.

use std::{
    io::{self, BufReader, Read},
    sync::Arc,
};

use weir_proto::{Failure, Reason};

use super::{
    Source, SourceCache, SourceError,
    limits::Rules,
    spool::{Spool, Writer},
    unpack::unpack,
};
use crate::tree::ReadAt as _;

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// A tar on its way in. Dropping it leaves nothing.
pub struct Receiving {
    spool: Arc<Spool>,
    writer: Writer,
    rules: Rules,
}

/// A tar whose bytes are all there.
pub struct Sent {
    spool: Arc<Spool>,
    size: u64,
    rules: Rules,
}

impl SourceCache {
    /// Makes room for a tar whose files may take `max_bytes` together. Blocks.
    pub fn receive(&self, max_bytes: u64) -> Result<Receiving, SourceError> {
        let inner = &self.0;
        let created = Writer::create(&inner.fetcher.folder, inner.shelf.charge());
        let (spool, writer) = created.map_err(|error| SourceError::storage(&error))?;
        Ok(Receiving { spool, writer, rules: Rules::sent(inner.fetcher.limits, max_bytes) })
    }

    /// Unpacks a tar. Blocks. Fails with [`SourceError::Cancelled`] when `cancelled` says so.
    pub fn open_sent(&self, sent: &Sent, cancelled: &dyn Fn() -> bool) -> Result<Source, SourceError> {
        let inner = &self.0;
        let reader = Reader { sent, offset: 0, cancelled };
        unpack(BufReader::with_capacity(BUFFER, reader), &inner.fetcher.folder, &sent.rules, inner.shelf.charge())
    }
}

impl Receiving {
    /// Adds bytes. Blocks.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        let most = self.rules.limits.uncompressed_bytes;
        if self.writer.offset.saturating_add(bytes.len() as u64) > most {
            let text = format!("the tar is larger than {most} bytes; raise {}", self.rules.size_flag);
            return Err(SourceError::TooLarge(text));
        }
        self.spool.charge.grow_bytes(bytes.len() as u64)?;
        self.writer.append(bytes).map_err(|error| SourceError::storage(&error))
    }

    /// No more will come. Blocks.
    pub fn finish(self) -> Result<Sent, SourceError> {
        let Self { spool, writer, rules } = self;
        let size = writer.offset;
        writer.finish().map_err(|error| SourceError::storage(&error))?;
        Ok(Sent { spool, size, rules })
    }
}

/// Reads what was sent as long as somebody waits for it.
struct Reader<'a> {
    sent: &'a Sent,
    offset: u64,
    cancelled: &'a dyn Fn() -> bool,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.cancelled)() {
            return Err(io::Error::other(SourceError::Cancelled));
        }
        let left = usize::try_from(self.sent.size - self.offset).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let read = self.sent.spool.read_exact_at(&mut buffer[..length], self.offset);
        read.map_err(|error| io::Error::other(SourceError::storage(&error)))?;
        self.offset += length as u64;
        Ok(length)
    }
}

impl SourceError {
    /// The error of a tar that a caller sent, where nothing was downloaded.
    pub(crate) fn of_sent(self) -> Failure {
        match self {
            Self::Refused(text) => Failure::new(Reason::ArchiveRefused, text),
            Self::TooLarge(text) => Failure::new(Reason::TooLarge, text),
            other => other.into(),
        }
    }
}
