//! Where stored files live. [`Storage`] is what a backend must guarantee, [`Store`] is the engine over it that everybody else
//! uses: index, verification, ownership, retention and events.
//!
//! The trait is shaped like an object store: keys, whole objects, a record with each. Folders, links and renames are the
//! business of [`LocalFolder`] alone. `conformance` is one suite that every backend passes.

use std::{io, sync::Arc};

use jiff::Timestamp;
use weir_proto::{ArtifactDir, ArtifactPath};

use crate::tree::ReadAt;

#[cfg(test)]
mod conformance;
mod epochs;
mod error;
mod local;
mod memory;
mod prefix;
mod record;
pub mod retention;
pub(crate) mod state;
mod store;
mod stripes;
pub mod watch;

#[cfg(test)]
pub(crate) use store::rigged;

pub use epochs::{Caller, Epochs};
pub use error::StorageError;
pub use local::LocalFolder;
pub use memory::Memory;
pub use prefix::Prefix;
pub use record::{Record, RecordError, Stamp};
pub use retention::Retention;
pub use store::{
    Adoption, Aliased, DirGuard, EventKind, Filter, HeldLock, Incoming, Listed, Looked, Opened, Put, Stats, Store,
    StoreEvent, Stored, Subscription, Upload, Verdict,
};

/// A place that keeps objects, each with a record. Calls block; use them from threads that may.
///
/// A key is an [`ArtifactPath`]. Objects never change: they are published once and deleted, or another is put in their place as a whole.
/// Something under a key that the backend did not make and that is not plain bytes counts as absent.
pub trait Storage: Send + Sync + 'static {
    /// The root or bucket, for messages.
    fn location(&self) -> String;

    /// Where an object lies or would lie, for people and for programs that share the storage. Fails when what stands in the way could lead
    /// them elsewhere. Says nothing of whether the object is there.
    fn locate(&self, path: &ArtifactPath) -> Result<String, StorageError>;

    /// Starts an object of this artifact. Nobody sees it before [`Stage::publish`]; dropping it leaves nothing.
    fn stage(&self, dir: &ArtifactDir) -> Result<Box<dyn Stage>, StorageError>;

    /// Opens an object for reads by range. What was opened stays readable when the object is deleted meanwhile.
    fn open(&self, path: &ArtifactPath) -> Result<Option<Object>, StorageError>;

    /// Size and stamp of an object, without reading it.
    fn head(&self, path: &ArtifactPath) -> Result<Option<Head>, StorageError>;

    /// The record of an object. `None` when there is none, or none that can be read.
    fn record(&self, path: &ArtifactPath) -> Result<Option<Record>, StorageError>;

    /// Replaces the record of an object that is there. Durable on return; readers see the old or the new one, never a mixture, also after
    /// a crash.
    fn put_record(&self, path: &ArtifactPath, record: &Record) -> Result<(), StorageError>;

    /// Replaces the record of an object that somebody else put there. On return both are as durable as if they had been published here.
    fn adopt(&self, path: &ArtifactPath, record: &Record) -> Result<(), StorageError>;

    /// The objects whose keys start with a prefix, in no order.
    fn list(&self, prefix: &Prefix) -> Result<Vec<(ArtifactPath, Head)>, StorageError>;

    /// Deletes an object, then its record. False when it was not there. Those who have it open go on reading.
    fn delete(&self, path: &ArtifactPath) -> Result<bool, StorageError>;

    /// Removes what else lies under an artifact's prefix: locks and strays of other programs.
    fn clear(&self, dir: &ArtifactDir) -> Result<(), StorageError>;

    /// Removes what a crash left: unpublished objects and records without an object. For start-up, before anything is staged.
    fn sweep(&self) -> Result<Swept, StorageError>;

    /// A small document of the server itself, outside the keys: epochs, what is served. `None` only when there is none: one that
    /// can not be read is an error.
    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// Replaces such a document. Durable on return; readers see the old or the new one.
    fn put_state(&self, name: &str, bytes: &[u8]) -> Result<(), StorageError>;
}

/// An object on its way in. Write the bytes, then publish.
pub trait Stage: io::Write + Send {
    /// Makes the bytes and the record durable and visible together, unless the key is taken. `path` lies in the folder that
    /// was staged for. On an error, and when the key is taken, nothing of it is left.
    fn publish(self: Box<Self>, path: &ArtifactPath, record: &Record) -> Result<Published, StorageError>;

    /// Puts the bytes and the record in place of whatever has the key, or under a free key, durably. Whoever looks finds the old object with
    /// the old record or the new one with the new, also after a crash; those who have the old one open go on reading it. On an error one of
    /// the two is there.
    fn replace(self: Box<Self>, path: &ArtifactPath, record: &Record) -> Result<Stamp, StorageError>;
}

/// What became of an object on its way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// Visible, with this stamp. The stored record may carry an earlier stamp: then the bytes are hashed again after a restart.
    Stored(Stamp),
    /// The key was taken; the object there is durable and untouched.
    Present,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length in bytes.
    pub size: u64,
    /// When it was written, by the storage's clock.
    pub modified: Timestamp,
    /// Changes whenever the bytes may have changed.
    pub stamp: Stamp,
}

/// An open object.
#[derive(Clone)]
pub struct Object {
    /// As it was when it was opened.
    pub head: Head,
    /// Its bytes.
    pub body: Arc<dyn Body>,
}

/// The bytes of an open object.
pub trait Body: ReadAt {
    /// The stamp of the open object now; another than [`Object::head`]'s when somebody touched its bytes meanwhile. Deleting it is no touch.
    fn stamp(&self) -> io::Result<Stamp>;
}

/// What [`Storage::sweep`] met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Unpublished objects that were removed.
    pub temporary: usize,
    /// Records without an object that were removed, and those of objects that were about to be replaced and were not.
    pub records: usize,
    /// Lock files and half-written files of source-watcher that were removed.
    pub inherited: usize,
    /// Things that are not ours and were left alone.
    pub foreign: usize,
}
