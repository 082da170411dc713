//! Tars that a caller sends. Their bytes are spooled first, so that a slow sender takes no thread, and unpacked when all are there. Both are
//! under the budget of the cache, and neither is kept.

use std::sync::Arc;

use weir_proto::{Failure, Reason};

use super::{
    Source, SourceCache, SourceError,
    awaited::Awaited,
    limits::Rules,
    spool::{Spool, Writer},
    unpack::unpack,
};
use crate::tree::ReadAt as _;

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
        let read = |buffer: &mut [u8], offset| sent.spool.read_exact_at(buffer, offset);
        let reader = Awaited::buffered(sent.size, read, cancelled);
        unpack(reader, &inner.fetcher.folder, &sent.rules, inner.shelf.charge())
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
