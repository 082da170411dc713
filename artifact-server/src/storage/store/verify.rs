//! Whether a file still is what it was.

use std::{collections::HashMap, io, ops::Range, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;
use weir_proto::{Algorithm, ArtifactPath, Digest};

use super::{
    super::{Body, Object, Record, Stamp, StorageError},
    Store,
    examine::{Finding, hash},
};

/// The answer to "does this file still have this digest?".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Present, with the digest asked for.
    Ok,
    /// No such file.
    Missing,
    /// Present, but its bytes were not those of its record. It is removed.
    Corrupted,
    /// Present and intact, with another digest than asked for.
    Mismatch,
}

/// A file that may be served: its bytes were those of `digest` at the stamp it was opened with.
#[derive(Clone)]
pub struct Opened {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// When they were stored.
    pub stored_at: Timestamp,
    /// The stamp at which the bytes were those of `digest`. While the body's stamp is this one, they still are.
    pub stamp: Stamp,
    /// The bytes; they stay readable when the file is removed meanwhile.
    pub body: Arc<dyn Body>,
    /// How often the file was condemned before it was opened, and where to see whether it was since.
    condemned: (Condemned, ArtifactPath, u64),
}

/// How often files were found to have wrong bytes and taken away. A download that runs does not see that by the stamp alone: whoever changed the
/// bytes may have put the times back, and that the file lost its name is no change of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Condemned(Arc<Mutex<HashMap<ArtifactPath, u64>>>);

impl Condemned {
    fn count(&self, path: &ArtifactPath) -> u64 {
        self.0.lock().get(path).copied().unwrap_or_default()
    }

    /// To be called before the file loses its name.
    pub(super) fn add(&self, path: &ArtifactPath) {
        *self.0.lock().entry(path.clone()).or_default() += 1;
    }
}

impl Opened {
    /// Reads the start of a range, `most` bytes at most. Blocks. Fails when the file has been touched since it was verified.
    pub fn piece(&self, range: Range<u64>, most: u64) -> io::Result<Bytes> {
        let length = usize::try_from((range.end - range.start).min(most)).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.body.read_exact_at(&mut bytes, range.start)?;
        let (condemned, path, before) = &self.condemned;
        if self.body.stamp()? != self.stamp || condemned.count(path) != *before {
            return Err(io::Error::other("the file was changed while it was read"));
        }
        Ok(bytes.into())
    }
}

/// What a look at a file says without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked<T> {
    /// There is none, or none that may be served.
    Missing,
    /// Its stamp has not moved: its bytes are good.
    Good(T),
    /// Somebody touched it: it has to be hashed before it is served.
    Touched,
}

impl Store {
    /// Looks at the stamp first and hashes only when it has moved. A file with wrong bytes is taken out of service, removed and
    /// reported as an event. A good one counts as returned to its caller.
    ///
    /// Here and below, an alias stands for the file that it names.
    pub fn verify(&self, path: &ArtifactPath, digest: &Digest) -> Result<Verdict, StorageError> {
        let path = &self.target(path);
        let record = match self.unmoved(path)? {
            Some(record) => record,
            None => {
                let _one = self.stripes.lock(path.dir());
                match self.examine(path)? {
                    Finding::Missing => return Ok(Verdict::Missing),
                    Finding::Corrupted => return Ok(Verdict::Corrupted),
                    Finding::Intact(record, _) => record,
                }
            }
        };
        let verdict = if self.has_digest(path, &record, digest)? { Verdict::Ok } else { Verdict::Mismatch };
        if verdict == Verdict::Ok {
            self.index.renew(path, Instant::now());
        }
        Ok(verdict)
    }

    /// Opens a file to serve it. `None` when there is none, or none that may be served. A file whose stamp has moved since it was
    /// last hashed is hashed first, through the same handle that is returned; that can take a while for a big one.
    pub fn open_verified(&self, path: &ArtifactPath) -> Result<Option<Opened>, StorageError> {
        let path = &self.target(path);
        let before = self.condemned.count(path);
        match self.open_untouched(path)? {
            Looked::Missing => return Ok(None),
            Looked::Good(opened) => return Ok(Some(opened)),
            Looked::Touched => {}
        }
        let _one = self.stripes.lock(path.dir());
        Ok(match self.examine(path)? {
            Finding::Intact(record, object) => Some(self.opened(path, before, &record, object)),
            Finding::Missing | Finding::Corrupted => None,
        })
    }

    /// Opens a file to serve it, unless it has to be hashed first. Never takes long. A file that is gone counts as touched, so that the
    /// loss is noted by [`Store::open_verified`].
    pub fn open_untouched(&self, path: &ArtifactPath) -> Result<Looked<Opened>, StorageError> {
        let path = &self.target(path);
        let before = self.condemned.count(path);
        let Some(known) = self.index.get(path) else { return Ok(Looked::Missing) };
        Ok(match (known.record(), self.storage.open(path)?) {
            (Some(record), Some(object)) if record.stamp == object.head.stamp => {
                Looked::Good(self.opened(path, before, record, object))
            }
            _ => Looked::Touched,
        })
    }

    /// The record, when the file's stamp still is the recorded one.
    fn unmoved(&self, path: &ArtifactPath) -> Result<Option<Arc<Record>>, StorageError> {
        let Some(record) = self.index.record(path) else { return Ok(None) };
        let head = self.storage.head(path)?;
        Ok(head.filter(|head| head.stamp == record.stamp).map(|_| record))
    }

    /// Whether an intact file has this digest. Only a digest in a third algorithm, neither the record's nor the name's, costs a read.
    fn has_digest(&self, path: &ArtifactPath, record: &Record, digest: &Digest) -> Result<bool, StorageError> {
        if record.digest.algorithm() == digest.algorithm() {
            return Ok(record.digest == *digest);
        }
        if digest.algorithm() == Algorithm::Sha256
            && let Some(named) = path.named_digest()
        {
            return Ok(named == *digest);
        }
        let Some(object) = self.storage.open(path)? else { return Ok(false) };
        let hashed = hash(&object, digest.algorithm()).map_err(|cause| StorageError::io("read", path, cause))?;
        Ok(object.head.stamp == record.stamp && hashed.as_ref() == Some(digest))
    }

    /// `before` is how often the file was condemned before it was looked at.
    fn opened(&self, path: &ArtifactPath, before: u64, record: &Record, object: Object) -> Opened {
        Opened {
            digest: record.digest.clone(),
            size: object.head.size,
            stored_at: record.stored_at,
            stamp: object.head.stamp,
            body: object.body,
            condemned: (self.condemned.clone(), path.clone(), before),
        }
    }
}
