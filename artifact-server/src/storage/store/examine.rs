//! Finding out what a file is worth: by its stamp when that has not moved, by its bytes otherwise.

use std::{io, sync::Arc};

use rustix::io::Errno;
use tokio::time::Instant;
use weir_proto::{Algorithm, ArtifactPath, Digest};

use super::{
    super::{Object, Record, StorageError},
    Entry, EventKind, State, Store,
};
use crate::hash::Hasher;

/// How often a file may change while it is read before it is given up.
const ATTEMPTS: usize = 3;

/// How much is read at once.
const BLOCK: usize = 128 * 1024;

/// What a file is worth.
pub(super) enum Finding {
    /// There is no such file.
    Missing,
    /// Its bytes are those of its record, and it is open.
    Intact(Arc<Record>, Object),
    /// They are not. It is out of service.
    Corrupted,
}

impl Store {
    /// Looks at a file and puts the index right. The caller holds the artifact's stripe. A file nobody knew is taken on: under a
    /// name of ours the bytes must fit the name, under another name they are what they are.
    pub(super) fn examine(&self, path: &ArtifactPath) -> Result<Finding, StorageError> {
        for _ in 0..ATTEMPTS {
            let known = self.index.get(path);
            let Some(object) = self.storage.open(path)? else {
                self.lose(path, known);
                return Ok(Finding::Missing);
            };
            if known.as_ref().is_some_and(|entry| *entry.stamp() == object.head.stamp) {
                match known.as_ref().map(|entry| &entry.state) {
                    Some(State::Recorded(record)) => return Ok(Finding::Intact(record.clone(), object)),
                    Some(State::Corrupted(_)) => {
                        if self.storage.delete(path).is_ok() {
                            self.index.remove(path);
                        }
                        return Ok(Finding::Corrupted);
                    }
                    _ => {}
                }
            }
            let listening = self.news.listen(path);
            if known.is_none() {
                // Else the news that it is gone would be news of a file that nobody knows.
                let state = State::Unrecorded(object.head.clone());
                self.index.insert(path, Entry { state, returned: Instant::now(), current: false });
            }
            let record = match known.as_ref().and_then(Entry::record) {
                Some(record) => Some(record.clone()),
                None => self.storage.record(path)?.map(Arc::new),
            };
            let expected = record.as_ref().map(|record| record.digest.clone()).or_else(|| path.named_digest());
            let algorithm = expected.as_ref().map_or(self.algorithm, Digest::algorithm);
            let digest = match hash(&object, algorithm) {
                Ok(digest) => digest,
                Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(cause) if Errno::from_io_error(&cause) == Some(Errno::IO) => None,
                Err(cause) => return Err(StorageError::io("read", path, cause)),
            };
            // By its name: the open file would not tell that it is gone, or that another has its name.
            let now = self.storage.head(path)?;
            if now.is_none_or(|now| now.stamp != object.head.stamp) || listening.heard() {
                continue;
            }
            return match digest {
                Some(digest) if expected.is_none_or(|expected| expected == digest) => {
                    let record = self.take_on(path, record.as_deref(), digest, &object);
                    if known.is_none() {
                        self.events.send(EventKind::Stored, Some(path), &record.owner);
                    }
                    Ok(Finding::Intact(record, object))
                }
                _ => {
                    self.condemn(path, record.as_deref(), &object);
                    Ok(Finding::Corrupted)
                }
            };
        }
        let cause = io::Error::other("it changes while it is read");
        Err(StorageError::io("read", path, cause))
    }

    /// Remembers that the bytes were right at this stamp, or writes a record for a file that had none.
    fn take_on(&self, path: &ArtifactPath, record: Option<&Record>, digest: Digest, object: &Object) -> Arc<Record> {
        let record = Arc::new(match record {
            Some(record) => Record { stamp: object.head.stamp.clone(), ..record.clone() },
            None => Record {
                owner: String::new(),
                digest,
                content_digest: None,
                revision: None,
                mode: None,
                alias: None,
                size: object.head.size,
                stored_at: object.head.modified,
                sequence: 0,
                stamp: object.head.stamp.clone(),
            },
        });
        self.moved.lock().insert(path.clone());
        self.index.update(path, record.clone());
        record
    }

    /// Writes the records of files that were hashed since the last call. Whoever asked for the files did not have to wait for this;
    /// what is lost with a crash is hashed again.
    pub fn save_stamps(&self) {
        let moved = std::mem::take(&mut *self.moved.lock());
        for path in moved {
            let _one = self.stripes.lock(path.dir());
            let Some(record) = self.index.record(&path) else { continue };
            if let Err(error) = self.storage.put_record(&path, &record) {
                tracing::warn!(path = %path, %error, "the record of an intact file could not be written");
            }
        }
    }

    /// Takes a file with wrong bytes out of service and removes it.
    fn condemn(&self, path: &ArtifactPath, record: Option<&Record>, object: &Object) {
        let owner = record.map_or("", |record| record.owner.as_str());
        let known = self.index.remove(path);
        self.condemned.add(path);
        match self.storage.delete(path) {
            Ok(_) => {
                tracing::warn!(path = %path, owner, "a stored file was changed behind the server's back; it is removed")
            }
            Err(error) => {
                tracing::error!(path = %path, owner, %error, "a stored file was changed behind the server's back and can not be removed; it is not served");
                let (returned, current) =
                    known.map_or((Instant::now(), false), |entry| (entry.returned, entry.current));
                let state = State::Corrupted(object.head.stamp.clone());
                self.index.insert(path, Entry { state, returned, current });
            }
        }
        self.events.send(EventKind::Corrupted, Some(path), owner);
    }

    /// Forgets a file that is gone, and says so if it was one of ours.
    pub(super) fn lose(&self, path: &ArtifactPath, known: Option<Entry>) {
        let Some(entry) = known else { return };
        self.index.remove(path);
        // What is left of it: its record.
        if let Err(error) = self.storage.delete(path) {
            tracing::debug!(path = %path, %error, "the record of a lost file could not be removed");
        }
        // Nobody was ever told of a file without a record.
        if matches!(entry.state, State::Recorded(_)) {
            tracing::warn!(path = %path, owner = entry.owner(), "a stored file has disappeared behind the server's back");
            self.events.send(EventKind::Lost, Some(path), entry.owner());
        }
    }
}

/// `Ok(None)` only if the hash itself fails, which it does not.
pub(super) fn hash(object: &Object, algorithm: Algorithm) -> io::Result<Option<Digest>> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; BLOCK.min(usize::try_from(object.head.size).unwrap_or(BLOCK))];
    let mut offset = 0;
    while offset < object.head.size {
        let left = usize::try_from(object.head.size - offset).unwrap_or(BLOCK).min(BLOCK);
        object.body.read_exact_at(&mut buffer[..left], offset)?;
        hasher.update(&buffer[..left]);
        offset += left as u64;
    }
    Ok(hasher.finish().ok())
}
