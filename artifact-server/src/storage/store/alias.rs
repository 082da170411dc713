//! Second names for files.
//!
//! An alias is an object of its own, whose record names the file. So it is durable, owned and listed like any other, on every storage, and
//! it is pointed elsewhere by replacing it.

use std::{io, sync::Arc};

use jiff::Timestamp;
use tokio::time::Instant;
use weir_proto::{Algorithm, ArtifactPath, Digest};

use super::{
    super::{Caller, Record, Stamp, StorageError},
    Store,
    examine::Finding,
};

/// What became of an alias.
#[derive(Clone, Debug)]
pub struct Aliased {
    /// The file that it names.
    pub target: ArtifactPath,
    /// What is recorded of that file.
    pub record: Arc<Record>,
    /// Whether it named that file already.
    pub unchanged: bool,
}

impl Store {
    /// The file that a path stands for: the one that an alias names, else itself. It may not be there.
    pub fn target(&self, path: &ArtifactPath) -> ArtifactPath {
        let alias = self.index.record(path).and_then(|record| record.alias.clone());
        alias.and_then(|file| path.dir().file(&file).ok()).unwrap_or_else(|| path.clone())
    }

    /// Makes `name` an alias of a file of the same artifact, or points it there. Durable on return; readers find the old file or the new one.
    /// A name that a file has is refused, and so is a file that is not there. Blocks.
    pub fn alias(
        &self,
        caller: &Caller,
        path: &ArtifactPath,
        name: &ArtifactPath,
        take_over: bool,
    ) -> Result<Aliased, StorageError> {
        let dir = path.dir();
        self.may_store(caller, dir, take_over)?;
        let _one = self.stripes.lock(dir);
        self.may_store(caller, dir, take_over)?;
        let target = self.target(path);
        let Finding::Intact(record, _) = self.examine(&target)? else {
            return Err(StorageError::NotFound(target));
        };
        let found = self.examine(name)?;
        let _held = self.epochs.hold(caller)?;
        let unchanged = match found {
            Finding::Intact(found, _) if found.alias.is_none() => {
                return Err(StorageError::NameTaken { path: name.clone(), by: "a file", field: "name" });
            }
            Finding::Intact(found, _) => found.alias.as_deref() == Some(target.file()),
            Finding::Missing | Finding::Corrupted => false,
        };
        if !unchanged {
            self.point(caller, name, &target)?;
        }
        self.take_over(caller, dir)?;
        self.index.renew(&target, Instant::now());
        // Taking it over may have moved it.
        let record = self.index.record(&target).unwrap_or(record);
        Ok(Aliased { target, record, unchanged })
    }

    /// The bytes are for people who look at the volume.
    fn point(&self, caller: &Caller, name: &ArtifactPath, target: &ArtifactPath) -> Result<(), StorageError> {
        let text = format!("an alias of {}\n", target.file());
        let failed = |cause| StorageError::io("write", format!("{}/{name}", self.storage.location()), cause);
        let digest = Digest::new(Algorithm::Sha256, &crate::hash::sha256(text.as_bytes()));
        let record = Record {
            owner: caller.owner.to_string(),
            digest: digest.map_err(|error| failed(io::Error::other(error)))?,
            content_digest: None,
            revision: None,
            mode: None,
            alias: Some(target.file().to_owned()),
            size: text.len() as u64,
            stored_at: Timestamp::now(),
            sequence: self.sequence(),
            stamp: Stamp::new(""),
        };
        let mut stage = self.storage.stage(name.dir())?;
        stage.write_all(text.as_bytes()).map_err(failed)?;
        self.put_in_place(name, record, stage).map(drop)
    }
}
