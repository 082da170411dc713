//! Taking on a file that another program published: it keeps its name, its digest and its revision.

use std::{
    io::{self, Read},
    sync::Arc,
};

use tokio::time::Instant;
use weir_proto::{ArtifactPath, Digest};

use super::{
    super::{Body, Caller, Record, StorageError},
    Looked, Opened, Store, Verdict,
    examine::Finding,
};

/// What is known of a file that may be adopted.
#[derive(Clone, Debug)]
pub struct Adoption<'a> {
    /// Who answers for it from here on.
    pub caller: &'a Caller,
    /// The digest that it is published with.
    pub digest: &'a Digest,
    /// The revision that it is published under. A file with a name of ours lost its record; its content names it, as before.
    pub revision: &'a str,
    /// `sha256:<hex>` of the content that it should have.
    pub content_digest: &'a str,
}

impl Store {
    /// Takes on a file whose bytes have the digest and, as `holds` finds by reading them, the content. `None` when they do not, when
    /// there is no such file, when it is another owner's, or when its content is known already. What was adopted has a record like any other
    /// file, durable on return: it is never read for this again.
    pub fn adopt(
        &self,
        path: &ArtifactPath,
        adoption: &Adoption<'_>,
        holds: impl FnOnce(&mut dyn Read) -> bool,
    ) -> Result<Option<Arc<Record>>, StorageError> {
        let owner = adoption.caller.owner.to_string();
        let is_open = |record: &Record| {
            let is_ours = record.owner.is_empty() || record.owner == owner;
            record.content_digest.is_none() && record.alias.is_none() && is_ours
        };
        if self.index.record(path).is_some_and(|record| !is_open(&record))
            || self.verify(path, adoption.digest)? != Verdict::Ok
        {
            return Ok(None);
        }
        let Looked::Good(opened) = self.open_untouched(path)? else { return Ok(None) };
        if !holds(&mut Reader::new(&opened)) {
            return Ok(None);
        }
        let _one = self.stripes.lock(path.dir());
        let _held = self.epochs.hold(adoption.caller)?;
        let Finding::Intact(found, object) = self.examine(path)? else { return Ok(None) };
        // Somebody may have touched it while it was read.
        if object.head.stamp != opened.stamp || !is_open(&found) {
            return Ok(None);
        }
        let record = Record {
            owner,
            digest: adoption.digest.clone(),
            content_digest: Some(adoption.content_digest.to_owned()),
            revision: path.named_digest().is_none().then(|| adoption.revision.to_owned()),
            sequence: if found.sequence == 0 { self.sequence() } else { found.sequence },
            ..(*found).clone()
        };
        self.storage.adopt(path, &record)?;
        let record = Arc::new(record);
        self.index.update(path, Arc::clone(&record));
        self.index.renew(path, Instant::now());
        Ok(Some(record))
    }
}

/// Reads an open file from its start to its end.
struct Reader<'a> {
    body: &'a dyn Body,
    at: u64,
    size: u64,
}

impl<'a> Reader<'a> {
    fn new(opened: &'a Opened) -> Self {
        Self { body: &*opened.body, at: 0, size: opened.size }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.size - self.at).unwrap_or(usize::MAX).min(buffer.len());
        self.body.read_exact_at(&mut buffer[..length], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
