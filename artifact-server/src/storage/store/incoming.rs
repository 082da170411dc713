//! What is to be stored, and the bytes as they come in.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

use weir_proto::{Algorithm, ArtifactDir, ArtifactPath, Digest};

use super::{
    super::{Caller, Record, StorageError},
    sink::Sink,
};

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

/// As [`Put`], with what only some callers choose.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Artifact, owner and digest.
    pub put: Put,
    /// The file's name; `None` for `<sha256 of the bytes>.tar.gz`.
    pub file: Option<String>,
    /// What the revision is to be. `None` keeps what is recorded; `Some(None)` is the one of the content, if there is any.
    pub revision: Option<Option<String>>,
    /// Permission bits; `None` for 0600.
    pub mode: Option<u32>,
    /// What the bytes must be.
    pub expected: Option<Digest>,
    /// Digests that are asked for besides.
    pub also: Vec<Algorithm>,
}

impl From<Put> for Upload {
    fn from(put: Put) -> Self {
        Self { put, file: None, revision: None, mode: None, expected: None, also: Vec::new() }
    }
}

/// A file on its way in: nobody sees it, and dropping it leaves nothing.
pub struct Incoming {
    pub(super) upload: Upload,
    pub(super) sink: Sink,
    pub(super) location: String,
}

/// A file that is stored, durably.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it lies.
    pub path: ArtifactPath,
    /// What is recorded of it.
    pub record: Arc<Record>,
    /// Whether the same bytes were there already.
    pub unchanged: bool,
    /// The digests that were asked for, in that order.
    pub digests: Vec<Digest>,
}

impl Incoming {
    /// How many bytes there are so far.
    pub fn size(&self) -> u64 {
        self.sink.size
    }

    /// Adds bytes. Blocks.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.fill(&mut |out| out.write_all(bytes))
    }

    /// Adds the bytes that `write` produces. Blocks. Its error comes back as [`StorageError::Content`], unless it was the storage's own.
    pub fn fill(&mut self, write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> Result<(), StorageError> {
        let written = {
            let mut buffered = BufWriter::with_capacity(BLOCK, &mut self.sink);
            write(&mut buffered).and_then(|()| buffered.flush())
        };
        let place = || self.upload.put.dir.to_string();
        written.map_err(|cause| match self.sink.failed.take() {
            Some(number) => StorageError::io("write", format!("{}/{}", self.location, place()), number),
            None => StorageError::Content { place: place(), cause },
        })
    }
}
