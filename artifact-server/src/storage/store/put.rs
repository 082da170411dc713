//! Storing a file.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::time::Instant;
use weir_proto::{Algorithm, ArtifactDir, ArtifactPath, Digest};

use super::{
    super::{Caller, Published, Record, Stage, Stamp, StorageError},
    Entry, EventKind, State, Store,
    examine::Finding,
};
use crate::hash::Hasher;

/// Bytes are hashed and written in pieces of this size, however they come.
const BLOCK: usize = 64 * 1024;

/// What is to be stored, except for the bytes.
#[derive(Clone, Debug)]
pub struct Put {
    /// The artifact.
    pub dir: ArtifactDir,
    /// Who answers for the file, and may have to give way to another before it is visible.
    pub caller: Caller,
    /// The algorithm of the digest that consumers see. The file's name is the SHA-256 in any case.
    pub algorithm: Algorithm,
    /// `sha256:<hex>` of the content before it was archived.
    pub content_digest: Option<String>,
    /// Also when files of another owner lie under this artifact: they become this owner's.
    pub take_over: bool,
}

impl Store {
    /// Stores the bytes that `write` produces as `<sha256 of the bytes>.tar.gz` and returns when they and their record are
    /// durable. Bytes that are there already are not stored again: their record is returned, brought up to date.
    ///
    /// An error of `write` comes back as [`StorageError::Content`], unless it was the storage's own. On any error nothing is left.
    pub fn put(
        &self,
        request: &Put,
        write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(ArtifactPath, Arc<Record>), StorageError> {
        self.admit(request)?;
        let mut sink = Sink::new(self.storage.stage(&request.dir)?, request.algorithm);
        let written = {
            let mut buffered = BufWriter::with_capacity(BLOCK, &mut sink);
            write(&mut buffered).and_then(|()| buffered.flush())
        };
        if let Err(cause) = written {
            let place = request.dir.to_string();
            return Err(match sink.failed {
                Some(number) => StorageError::io("write", format!("{}/{place}", self.storage.location()), number),
                None => StorageError::Content { place, cause },
            });
        }
        let (stage, size, name, digest) = sink.finish(&request.dir)?;
        let path = request.dir.file(&format!("{}.tar.gz", name.hex()));
        let path = path.map_err(|error| content_error(&request.dir, io::Error::other(error)))?;

        let _one = self.stripes.lock(&request.dir);
        self.admit(request)?;
        let found = self.examine(&path)?;
        // Producing the bytes may have taken minutes.
        let _held = self.epochs.hold(&request.caller)?;
        let stored = match found {
            Finding::Intact(record, _) => self.reuse(request, &path, &record, digest)?,
            Finding::Missing | Finding::Corrupted => self.publish(stage, request, &path, (size, digest))?,
        };
        self.take_over(request)?;
        self.index.renew_predecessor(&path, Instant::now());
        Ok((path, stored))
    }

    /// Refuses to mix owners under one artifact.
    fn admit(&self, request: &Put) -> Result<(), StorageError> {
        let owner = request.caller.owner.to_string();
        let files = self.index.artifact(&request.dir);
        match files.iter().map(|(_, entry)| entry.owner()).find(|&found| !found.is_empty() && found != owner) {
            Some(other) if !request.take_over => {
                Err(StorageError::OwnedByAnother { place: request.dir.to_string(), owner: other.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn publish(
        &self,
        stage: Box<dyn Stage>,
        request: &Put,
        path: &ArtifactPath,
        (size, digest): (u64, Digest),
    ) -> Result<Arc<Record>, StorageError> {
        let record = Record {
            owner: request.caller.owner.to_string(),
            digest,
            content_digest: request.content_digest.clone(),
            revision: None,
            size,
            stored_at: Timestamp::now(),
            sequence: self.sequence(),
            stamp: Stamp::new(""),
        };
        match stage.publish(path, &record)? {
            Published::Stored(stamp) => {
                let record = Arc::new(Record { stamp, ..record });
                let state = State::Recorded(record.clone());
                self.index.insert(path, Entry { state, returned: Instant::now(), current: false });
                self.events.send(EventKind::Stored, Some(path), &record.owner);
                Ok(record)
            }
            // Somebody put it there since it was looked for.
            Published::Present => match self.examine(path)? {
                Finding::Intact(found, _) => self.reuse(request, path, &found, record.digest),
                Finding::Missing | Finding::Corrupted => {
                    Err(StorageError::io("write", path, io::Error::other("somebody else changes the file")))
                }
            },
        }
    }

    /// The bytes are there: only what is said of them may have to change.
    fn reuse(
        &self,
        request: &Put,
        path: &ArtifactPath,
        found: &Arc<Record>,
        digest: Digest,
    ) -> Result<Arc<Record>, StorageError> {
        let mut record = Record { owner: request.caller.owner.to_string(), digest, ..(**found).clone() };
        if request.content_digest.is_some() {
            record.content_digest.clone_from(&request.content_digest);
        }
        let record = if record == **found { found.clone() } else { self.rewrite(path, record)? };
        self.index.renew(path, Instant::now());
        Ok(record)
    }

    /// Makes all files of the artifact the new owner's.
    fn take_over(&self, request: &Put) -> Result<(), StorageError> {
        let owner = request.caller.owner.to_string();
        for (path, entry) in self.index.artifact(&request.dir) {
            let Some(record) = entry.record().filter(|record| record.owner != owner) else { continue };
            match self.rewrite(&path, Record { owner: owner.clone(), ..(**record).clone() }) {
                Err(StorageError::NotFound(_)) => self.lose(&path, Some(entry)),
                other => drop(other?),
            }
        }
        Ok(())
    }

    fn rewrite(&self, path: &ArtifactPath, record: Record) -> Result<Arc<Record>, StorageError> {
        self.storage.put_record(path, &record)?;
        let record = Arc::new(record);
        self.index.update(path, record.clone());
        Ok(record)
    }
}

/// Counts and hashes what goes to the stage.
struct Sink {
    stage: Box<dyn Stage>,
    size: u64,
    name: Hasher,
    /// `None` when it is the name's algorithm.
    chosen: Option<Hasher>,
    /// The storage's own error, which the writer may have wrapped or lost.
    failed: Option<io::Error>,
}

impl Sink {
    fn new(stage: Box<dyn Stage>, algorithm: Algorithm) -> Self {
        let chosen = (algorithm != Algorithm::Sha256).then(|| Hasher::new(algorithm));
        Self { stage, size: 0, name: Hasher::new(Algorithm::Sha256), chosen, failed: None }
    }

    fn finish(self, dir: &ArtifactDir) -> Result<(Box<dyn Stage>, u64, Digest, Digest), StorageError> {
        let failed = |error| content_error(dir, io::Error::other(error));
        let name = self.name.finish().map_err(failed)?;
        let chosen = self.chosen.map(Hasher::finish).transpose().map_err(failed)?;
        let digest = chosen.unwrap_or_else(|| name.clone());
        Ok((self.stage, self.size, name, digest))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stage.write(bytes) {
            Ok(written) => {
                let taken = &bytes[..written];
                self.name.update(taken);
                if let Some(chosen) = &mut self.chosen {
                    chosen.update(taken);
                }
                self.size += written as u64;
                Ok(written)
            }
            Err(error) => {
                self.failed =
                    Some(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error));
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stage.flush()
    }
}

fn content_error(dir: &ArtifactDir, cause: io::Error) -> StorageError {
    StorageError::Content { place: dir.to_string(), cause }
}
