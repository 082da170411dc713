//! Counting and hashing what goes to a stage.

use std::io::{self, Write};

use weir_proto::{Algorithm, ArtifactDir, ArtifactPath, Digest};

use super::super::{Stage, StorageError};
use crate::hash::Hasher;

/// Counts and hashes what goes to the stage.
pub(super) struct Sink {
    stage: Box<dyn Stage>,
    pub(super) size: u64,
    /// One for each algorithm, the one of names first.
    hashers: Vec<Hasher>,
    /// The storage's own error, which the writer may have wrapped or lost.
    pub(super) failed: Option<io::Error>,
}

/// All bytes are in.
pub(super) struct Hashed {
    stage: Option<Box<dyn Stage>>,
    pub(super) size: u64,
    sha256: Digest,
    others: Vec<Digest>,
}

impl Sink {
    /// Computes the SHA-256 in any case, for names.
    pub(super) fn new(stage: Box<dyn Stage>, algorithms: impl Iterator<Item = Algorithm>) -> Self {
        let mut hashers = vec![Hasher::new(Algorithm::Sha256)];
        for algorithm in algorithms {
            if !hashers.iter().any(|hasher| hasher.algorithm() == algorithm) {
                hashers.push(Hasher::new(algorithm));
            }
        }
        Self { stage, size: 0, hashers, failed: None }
    }

    pub(super) fn finish(self, dir: &ArtifactDir) -> Result<Hashed, StorageError> {
        let failed = |cause| StorageError::Content { place: dir.to_string(), cause: io::Error::other(cause) };
        let mut digests = self.hashers.into_iter().map(Hasher::finish);
        let sha256 = digests.next().ok_or_else(|| failed("there is no hash".to_owned()))?;
        let sha256 = sha256.map_err(|error| failed(error.to_string()))?;
        let others = digests.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))?;
        Ok(Hashed { stage: Some(self.stage), size: self.size, sha256, others })
    }
}

impl Hashed {
    /// The digest of an algorithm, if it was computed.
    pub(super) fn digest(&self, algorithm: Algorithm) -> Option<&Digest> {
        std::iter::once(&self.sha256).chain(&self.others).find(|digest| digest.algorithm() == algorithm)
    }

    /// The digest of an algorithm that was asked for.
    pub(super) fn chosen(&self, algorithm: Algorithm) -> Digest {
        self.digest(algorithm).unwrap_or(&self.sha256).clone()
    }

    /// The bytes. They are there once.
    pub(super) fn take_stage(&mut self, path: &ArtifactPath) -> Result<Box<dyn Stage>, StorageError> {
        let gone = || StorageError::io("write", path, io::Error::other("its bytes are used up"));
        self.stage.take().ok_or_else(gone)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stage.write(bytes) {
            Ok(written) => {
                self.hashers.iter_mut().for_each(|hasher| hasher.update(&bytes[..written]));
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
