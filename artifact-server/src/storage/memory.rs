//! Objects in memory: for tests, and to keep the trait honest.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use weir_proto::{ArtifactDir, ArtifactPath};

use super::{Body, Head, Object, Prefix, Published, Record, Stage, Stamp, Storage, StorageError, Swept};
use crate::tree::ReadAt;

/// A storage that forgets everything when it is dropped.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<ArtifactPath, (Head, Bytes)>,
    records: BTreeMap<ArtifactPath, Record>,
    documents: BTreeMap<String, Vec<u8>>,
    generation: u64,
}

impl State {
    fn insert(&mut self, path: &ArtifactPath, bytes: Bytes) -> Stamp {
        self.generation += 1;
        let stamp = Stamp::new(self.generation.to_string());
        let head = Head { size: bytes.len() as u64, modified: Timestamp::now(), stamp: stamp.clone() };
        self.objects.insert(path.clone(), (head, bytes));
        stamp
    }
}

impl Memory {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts other bytes under a key, as somebody behind the server's back would.
    #[cfg(test)]
    pub(crate) fn tamper(&self, path: &ArtifactPath, bytes: &[u8]) {
        self.state.lock().insert(path, Bytes::copy_from_slice(bytes));
    }

    /// Puts other bytes of the same length under a key within one tick of the clock: the stamp does not tell.
    #[cfg(test)]
    pub(crate) fn overwrite(&self, path: &ArtifactPath, bytes: &'static [u8]) {
        if let Some((head, old)) = self.state.lock().objects.get_mut(path) {
            assert_eq!(head.size, bytes.len() as u64);
            *old = Bytes::from_static(bytes);
        }
    }

    /// Makes an object vanish, its record too if wanted.
    #[cfg(test)]
    pub(crate) fn lose(&self, path: &ArtifactPath, with_record: bool) {
        let mut state = self.state.lock();
        state.objects.remove(path);
        if with_record {
            state.records.remove(path);
        }
    }
}

struct Staged {
    state: Arc<Mutex<State>>,
    bytes: Vec<u8>,
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for Staged {
    fn publish(self: Box<Self>, path: &ArtifactPath, record: &Record) -> Result<Published, StorageError> {
        let mut state = self.state.lock();
        if state.objects.contains_key(path) {
            return Ok(Published::Present);
        }
        let stamp = state.insert(path, Bytes::from(self.bytes));
        state.records.insert(path.clone(), Record { stamp: stamp.clone(), ..record.clone() });
        Ok(Published::Stored(stamp))
    }

    fn replace(self: Box<Self>, path: &ArtifactPath, record: &Record) -> Result<Stamp, StorageError> {
        let mut state = self.state.lock();
        let stamp = state.insert(path, Bytes::from(self.bytes));
        state.records.insert(path.clone(), Record { stamp: stamp.clone(), ..record.clone() });
        Ok(stamp)
    }
}

struct Open {
    bytes: Bytes,
    stamp: Stamp,
}

impl ReadAt for Open {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = usize::try_from(offset).ok().and_then(|from| self.bytes.get(from..from.checked_add(buffer.len())?));
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Body for Open {
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(self.stamp.clone())
    }
}

impl Storage for Memory {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn locate(&self, path: &ArtifactPath) -> Result<String, StorageError> {
        Ok(format!("memory/{path}"))
    }

    fn stage(&self, _: &ArtifactDir) -> Result<Box<dyn Stage>, StorageError> {
        Ok(Box::new(Staged { state: self.state.clone(), bytes: Vec::new() }))
    }

    fn open(&self, path: &ArtifactPath) -> Result<Option<Object>, StorageError> {
        let state = self.state.lock();
        Ok(state.objects.get(path).map(|(head, bytes)| Object {
            head: head.clone(),
            body: Arc::new(Open { bytes: bytes.clone(), stamp: head.stamp.clone() }),
        }))
    }

    fn head(&self, path: &ArtifactPath) -> Result<Option<Head>, StorageError> {
        Ok(self.state.lock().objects.get(path).map(|(head, _)| head.clone()))
    }

    fn record(&self, path: &ArtifactPath) -> Result<Option<Record>, StorageError> {
        Ok(self.state.lock().records.get(path).cloned())
    }

    fn put_record(&self, path: &ArtifactPath, record: &Record) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        if !state.objects.contains_key(path) {
            return Err(StorageError::NotFound(path.clone()));
        }
        state.records.insert(path.clone(), record.clone());
        Ok(())
    }

    fn adopt(&self, path: &ArtifactPath, record: &Record) -> Result<(), StorageError> {
        self.put_record(path, record)
    }

    fn list(&self, prefix: &Prefix) -> Result<Vec<(ArtifactPath, Head)>, StorageError> {
        let state = self.state.lock();
        let found = state.objects.iter().filter(|(path, _)| prefix.contains(path));
        Ok(found.map(|(path, (head, _))| (path.clone(), head.clone())).collect())
    }

    fn delete(&self, path: &ArtifactPath) -> Result<bool, StorageError> {
        let mut state = self.state.lock();
        state.records.remove(path);
        Ok(state.objects.remove(path).is_some())
    }

    fn clear(&self, dir: &ArtifactDir) -> Result<(), StorageError> {
        let mut state = self.state.lock();
        state.objects.retain(|path, _| path.dir() != dir);
        state.records.retain(|path, _| path.dir() != dir);
        Ok(())
    }

    fn sweep(&self) -> Result<Swept, StorageError> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let before = state.records.len();
        state.records.retain(|path, _| state.objects.contains_key(path));
        Ok(Swept { records: before - state.records.len(), ..Swept::default() })
    }

    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.state.lock().documents.get(name).cloned())
    }

    fn put_state(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
        self.state.lock().documents.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::conformance, *};

    impl conformance::Backend for Memory {
        fn open(&self) -> Box<dyn Storage> {
            Box::new(self.clone())
        }
    }

    #[test]
    fn conforms() {
        conformance::run(Memory::new);
    }
}
