//! A storage whose reads and changes a test can follow and disturb. Everything else is done by the storage below.

use std::{
    io::{self, Write},
    sync::Arc,
};

use weir_proto::{ArtifactDir, ArtifactPath};

use super::super::{Body, Head, Memory, Object, Prefix, Published, Record, Stage, Stamp, Storage, StorageError, Swept};
use crate::tree::ReadAt;

/// Called before each read of bytes.
type OnRead = Arc<dyn Fn(&Memory, &ArtifactPath) -> io::Result<()> + Send + Sync>;

/// Called before each read of a record.
type OnRecord = Arc<dyn Fn(&ArtifactPath) -> io::Result<()> + Send + Sync>;

/// Called around a replacement; an error is that of the replacement.
type OnReplace = Arc<dyn Fn(bool) -> io::Result<()> + Send + Sync>;

pub(crate) struct Rigged {
    pub(crate) memory: Memory,
    pub(crate) on_read: OnRead,
    /// Called before each change that others can see.
    pub(crate) on_change: Arc<dyn Fn() + Send + Sync>,
    /// Called before a record is read.
    pub(crate) on_record: OnRecord,
    /// Called before an object takes the place of another, and with `true` after it.
    pub(crate) on_replace: OnReplace,
}

impl Rigged {
    /// Disturbs nothing.
    pub(crate) fn over(memory: Memory) -> Self {
        Self {
            memory,
            on_read: Arc::new(|_, _| Ok(())),
            on_change: Arc::new(|| {}),
            on_record: Arc::new(|_| Ok(())),
            on_replace: Arc::new(|_| Ok(())),
        }
    }
}

struct Followed {
    stage: Box<dyn Stage>,
    on_change: Arc<dyn Fn() + Send + Sync>,
    on_replace: OnReplace,
}

impl Write for Followed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stage.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stage.flush()
    }
}

impl Stage for Followed {
    fn publish(self: Box<Self>, path: &ArtifactPath, record: &Record) -> Result<Published, StorageError> {
        (self.on_change)();
        self.stage.publish(path, record)
    }

    fn replace(self: Box<Self>, path: &ArtifactPath, record: &Record) -> Result<Stamp, StorageError> {
        (self.on_change)();
        let failed = |cause| StorageError::io("write", path, cause);
        (self.on_replace)(false).map_err(failed)?;
        let stamp = self.stage.replace(path, record)?;
        (self.on_replace)(true).map_err(failed)?;
        Ok(stamp)
    }
}

struct Disturbed {
    memory: Memory,
    on_read: OnRead,
    path: ArtifactPath,
    opened: Stamp,
    body: Arc<dyn Body>,
}

impl ReadAt for Disturbed {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (self.on_read)(&self.memory, &self.path)?;
        self.body.read_exact_at(buffer, offset)
    }
}

impl Body for Disturbed {
    /// As an open file would tell: the stamp of what is under the key now. Removing it is no touch.
    fn stamp(&self) -> io::Result<Stamp> {
        let head = self.memory.head(&self.path).map_err(io::Error::other)?;
        Ok(head.map_or_else(|| self.opened.clone(), |head| head.stamp))
    }
}

impl Storage for Rigged {
    fn location(&self) -> String {
        self.memory.location()
    }

    fn locate(&self, path: &ArtifactPath) -> Result<String, StorageError> {
        self.memory.locate(path)
    }

    fn stage(&self, dir: &ArtifactDir) -> Result<Box<dyn Stage>, StorageError> {
        let (on_change, on_replace) = (self.on_change.clone(), self.on_replace.clone());
        self.memory.stage(dir).map(|stage| Box::new(Followed { stage, on_change, on_replace }) as Box<dyn Stage>)
    }

    fn open(&self, path: &ArtifactPath) -> Result<Option<Object>, StorageError> {
        let (memory, on_read) = (self.memory.clone(), self.on_read.clone());
        let opened = self.memory.open(path)?;
        Ok(opened.map(|Object { head, body }| {
            let opened = head.stamp.clone();
            Object { head, body: Arc::new(Disturbed { memory, on_read, path: path.clone(), opened, body }) }
        }))
    }

    fn head(&self, path: &ArtifactPath) -> Result<Option<Head>, StorageError> {
        self.memory.head(path)
    }

    fn record(&self, path: &ArtifactPath) -> Result<Option<Record>, StorageError> {
        (self.on_record)(path).map_err(|cause| StorageError::io("read", path, cause))?;
        self.memory.record(path)
    }

    fn put_record(&self, path: &ArtifactPath, record: &Record) -> Result<(), StorageError> {
        (self.on_change)();
        self.memory.put_record(path, record)
    }

    fn adopt(&self, path: &ArtifactPath, record: &Record) -> Result<(), StorageError> {
        (self.on_change)();
        self.memory.adopt(path, record)
    }

    fn list(&self, prefix: &Prefix) -> Result<Vec<(ArtifactPath, Head)>, StorageError> {
        self.memory.list(prefix)
    }

    fn delete(&self, path: &ArtifactPath) -> Result<bool, StorageError> {
        (self.on_change)();
        self.memory.delete(path)
    }

    fn clear(&self, dir: &ArtifactDir) -> Result<(), StorageError> {
        (self.on_change)();
        self.memory.clear(dir)
    }

    fn sweep(&self) -> Result<Swept, StorageError> {
        self.memory.sweep()
    }

    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.memory.state(name)
    }

    fn put_state(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        (self.on_change)();
        self.memory.put_state(name, bytes)
    }
}
