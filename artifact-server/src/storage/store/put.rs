//! Storing a file.

use std::{
    io::{self, Write},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::time::Instant;
use weir_proto::{Algorithm, ArtifactDir, ArtifactPath, Digest};

use super::{
    super::{Caller, Object, Published, Record, Stage, Stamp, StorageError},
    Entry, EventKind, Incoming, Put, State, Store, Stored, Upload,
    examine::{Finding, hash},
    sink::{Hashed, Sink},
};

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
        let mut incoming = self.begin(request.clone().into())?;
        incoming.fill(write)?;
        self.finish(incoming).map(|stored| (stored.path, stored.record))
    }

    /// Makes room for a file. Nothing of the artifact is kept from others until [`Store::finish`]. Blocks.
    pub fn begin(&self, upload: Upload) -> Result<Incoming, StorageError> {
        self.may_store(&upload.put.caller, &upload.put.dir, upload.put.take_over)?;
        let expected = upload.expected.as_ref().map(Digest::algorithm);
        let algorithms = upload.also.iter().copied().chain(expected).chain([upload.put.algorithm]);
        let sink = Sink::new(self.storage.stage(&upload.put.dir)?, algorithms);
        Ok(Incoming { upload, sink, location: self.storage.location() })
    }

    /// Makes a file visible and durable. The same bytes under the same name are not stored again; other bytes under a name that was chosen
    /// take the place of those that are there. On an error nothing is left of what came in.
    pub fn finish(&self, incoming: Incoming) -> Result<Stored, StorageError> {
        let Incoming { upload, sink, .. } = incoming;
        let put = &upload.put;
        let hashed = sink.finish(&put.dir)?;
        let path = checked_path(&upload, &hashed)?;
        let _one = self.stripes.lock(&put.dir);
        self.may_store(&put.caller, &put.dir, put.take_over)?;
        let found = self.examine(&path)?;
        // Producing the bytes may have taken minutes.
        let _held = self.epochs.hold(&put.caller)?;
        let digests = upload.also.iter().filter_map(|&algorithm| hashed.digest(algorithm).cloned()).collect();
        let (record, unchanged) = match found {
            Finding::Intact(record, _) if record.alias.is_some() => {
                return Err(StorageError::NameTaken { path, by: "an alias", field: "file" });
            }
            Finding::Intact(record, object) if is_same(&upload, &hashed, (&path, &record), &object) => {
                (self.reuse(&upload, &path, &record, &hashed)?, true)
            }
            Finding::Intact(..) => (self.replace(&upload, &path, hashed)?, false),
            Finding::Missing | Finding::Corrupted => self.publish(&upload, &path, hashed)?,
        };
        self.take_over(&put.caller, &put.dir)?;
        self.index.renew_predecessor(&path, Instant::now());
        Ok(Stored { path, record, unchanged, digests })
    }

    /// Refuses to mix owners under one artifact, and a caller whose epoch is over.
    pub fn may_store(&self, caller: &Caller, dir: &ArtifactDir, take_over: bool) -> Result<(), StorageError> {
        let owner = caller.owner.to_string();
        let files = self.index.artifact(dir);
        match files.iter().map(|(_, entry)| entry.owner()).find(|&found| !found.is_empty() && found != owner) {
            Some(other) if !take_over => {
                let advice = "ask to take it over, or choose another name";
                Err(StorageError::OwnedByAnother { place: dir.to_string(), owner: other.to_owned(), advice })
            }
            _ => Ok(()),
        }
    }

    /// A new record for bytes that have just come in.
    fn new_record(&self, upload: &Upload, hashed: &Hashed) -> Record {
        let put = &upload.put;
        Record {
            owner: put.caller.owner.to_string(),
            digest: hashed.chosen(put.algorithm),
            content_digest: put.content_digest.clone(),
            revision: upload.revision.clone().flatten(),
            mode: upload.mode,
            alias: None,
            size: hashed.size,
            stored_at: Timestamp::now(),
            sequence: self.sequence(),
            stamp: Stamp::new(""),
        }
    }

    /// True when it was there.
    fn publish(
        &self,
        upload: &Upload,
        path: &ArtifactPath,
        mut hashed: Hashed,
    ) -> Result<(Arc<Record>, bool), StorageError> {
        let record = self.new_record(upload, &hashed);
        match hashed.take_stage(path)?.publish(path, &record)? {
            Published::Stored(stamp) => Ok((self.appeared(path, Record { stamp, ..record }, false), false)),
            // Somebody put it there since it was looked for.
            Published::Present => match self.examine(path)? {
                Finding::Intact(found, object) if is_same(upload, &hashed, (path, &found), &object) => {
                    Ok((self.reuse(upload, path, &found, &hashed)?, true))
                }
                _ => Err(StorageError::io("write", path, io::Error::other("somebody else changes the file"))),
            },
        }
    }

    /// Puts other bytes in place of those that are there. Those who read these go on reading them.
    fn replace(&self, upload: &Upload, path: &ArtifactPath, mut hashed: Hashed) -> Result<Arc<Record>, StorageError> {
        let record = self.new_record(upload, &hashed);
        self.put_in_place(path, record, hashed.take_stage(path)?)
    }

    /// Puts an object under a key, whatever is there. The caller holds the artifact's stripe.
    pub(super) fn put_in_place(
        &self,
        path: &ArtifactPath,
        record: Record,
        stage: Box<dyn Stage>,
    ) -> Result<Arc<Record>, StorageError> {
        let known = self.index.get(path);
        match stage.replace(path, &record) {
            Ok(stamp) => {
                let current = known.is_some_and(|entry| entry.current);
                Ok(self.appeared(path, Record { stamp, ..record }, current))
            }
            Err(error) => {
                // The old object is there, or the new one: what is known of it must be what is so.
                self.index.remove(path);
                if self.examine(path).is_err()
                    && let Some(known) = known
                {
                    self.index.insert(path, known);
                }
                Err(error)
            }
        }
    }

    fn appeared(&self, path: &ArtifactPath, record: Record, current: bool) -> Arc<Record> {
        let record = Arc::new(record);
        let state = State::Recorded(record.clone());
        self.index.insert(path, Entry { state, returned: Instant::now(), current });
        self.events.send(EventKind::Stored, Some(path), &record.owner);
        record
    }

    /// The bytes are there: only what is said of them may have to change.
    fn reuse(
        &self,
        upload: &Upload,
        path: &ArtifactPath,
        found: &Arc<Record>,
        hashed: &Hashed,
    ) -> Result<Arc<Record>, StorageError> {
        let put = &upload.put;
        let digest = hashed.chosen(put.algorithm);
        let mut record = Record { owner: put.caller.owner.to_string(), digest, ..(**found).clone() };
        if put.content_digest.is_some() {
            record.content_digest.clone_from(&put.content_digest);
        }
        if let Some(revision) = &upload.revision {
            record.revision.clone_from(revision);
        }
        let record = if record == **found { found.clone() } else { self.rewrite(path, record)? };
        self.index.renew(path, Instant::now());
        Ok(record)
    }

    /// Makes all files of the artifact the new owner's.
    pub(super) fn take_over(&self, caller: &Caller, dir: &ArtifactDir) -> Result<(), StorageError> {
        let owner = caller.owner.to_string();
        for (path, entry) in self.index.artifact(dir) {
            let Some(record) = entry.record().filter(|record| record.owner != owner) else { continue };
            match self.rewrite(&path, Record { owner: owner.clone(), ..(**record).clone() }) {
                Err(StorageError::NotFound(_)) => self.lose(&path, Some(entry)),
                other => drop(other?),
            }
        }
        Ok(())
    }

    pub(super) fn rewrite(&self, path: &ArtifactPath, record: Record) -> Result<Arc<Record>, StorageError> {
        self.storage.put_record(path, &record)?;
        let record = Arc::new(record);
        self.index.update(path, record.clone());
        Ok(record)
    }
}

/// The file's path, if the bytes are what they should be.
fn checked_path(upload: &Upload, hashed: &Hashed) -> Result<ArtifactPath, StorageError> {
    let dir = &upload.put.dir;
    let sha256 = hashed.chosen(Algorithm::Sha256);
    let path = match &upload.file {
        Some(file) => dir.file(file),
        None => dir.file(&format!("{}.tar.gz", sha256.hex())),
    };
    let path =
        path.map_err(|error| StorageError::Content { place: dir.to_string(), cause: io::Error::other(error) })?;
    let wrong = |field, expected: &Digest, found: &Digest| StorageError::DigestMismatch {
        place: path.to_string(),
        field,
        expected: Box::new(expected.clone()),
        found: Box::new(found.clone()),
    };
    if let Some(expected) = &upload.expected
        && let Some(found) = hashed.digest(expected.algorithm())
        && found != expected
    {
        return Err(wrong("expected_digest", expected, found));
    }
    match path.named_digest() {
        Some(named) if named != sha256 => Err(wrong("file", &named, &sha256)),
        _ => Ok(path),
    }
}

/// Whether an intact file has these bytes, and these permissions if they were chosen. Only a record of an algorithm that was not computed
/// costs a read.
fn is_same(upload: &Upload, hashed: &Hashed, (path, record): (&ArtifactPath, &Record), object: &Object) -> bool {
    if upload.file.is_some() && record.mode != upload.mode {
        return false;
    }
    if path.named_digest().is_some() {
        return true;
    }
    match hashed.digest(record.digest.algorithm()) {
        Some(digest) => *digest == record.digest,
        None if record.size != hashed.size => false,
        None => {
            matches!(hash(object, Algorithm::Sha256), Ok(Some(digest)) if digest == hashed.chosen(Algorithm::Sha256))
        }
    }
}
