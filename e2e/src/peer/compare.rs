//! What can be asked of the SDK in bulk, and what it answers: the other side is `e2e/peer/compare.go`.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

/// Many calls of the SDK.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Questions {
    /// Folders to archive.
    pub archives: Vec<ArchiveOf>,
    /// Names to make.
    pub names: Vec<Name>,
    /// Artifacts to collect.
    pub collections: Vec<Collection>,
    /// Files to write.
    pub writes: Vec<WriteOf>,
    /// Files to verify.
    pub verdicts: Vec<Verdict>,
}

/// One answer for each question, in order.
#[derive(Clone, Debug, Deserialize)]
pub struct Answers {
    /// What was archived.
    #[serde(deserialize_with = "list")]
    pub archives: Vec<ArchiveAnswer>,
    /// How things are called.
    #[serde(deserialize_with = "list")]
    pub names: Vec<NameAnswer>,
    /// For each artifact, the paths that were removed, below the root.
    #[serde(deserialize_with = "list")]
    pub collections: Vec<Removed>,
    /// What was written.
    #[serde(deserialize_with = "list")]
    pub writes: Vec<WriteAnswer>,
    /// `ok`, `missing`, `differs`, `no file` or `refused: <why>`.
    #[serde(deserialize_with = "list")]
    pub verdicts: Vec<String>,
}

/// Go has two empty lists.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A folder to archive.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveOf {
    /// The folder.
    pub folder: PathBuf,
    /// The file to write, in an existing folder.
    pub target: PathBuf,
    /// What is left out.
    pub filter: Filter,
    /// With [`Filter::Source`]: what an object has in `spec.ignore`.
    pub ignore: Option<String>,
}

/// The filters that Flux's controllers archive with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// source-watcher's: version control and the default list.
    Watcher,
    /// source-controller's, of a `GitRepository`: the folder's own `.sourceignore` files, then `spec.ignore`; the default list without any.
    Source,
    /// Nothing is left out.
    None,
}

/// What was archived.
#[derive(Clone, Debug, Deserialize)]
pub struct ArchiveAnswer {
    /// `sha256:<hex>` of the archive.
    pub digest: String,
    /// Its length in bytes.
    pub size: u64,
}

/// What to name, and a URL whose host is to be replaced.
#[derive(Clone, Debug, Serialize)]
pub struct Name {
    /// Folder of the volume.
    pub root: PathBuf,
    /// The advertised address.
    pub address: String,
    /// Kind of the object.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of the file.
    pub file: String,
    /// The revision.
    pub revision: String,
    /// The URL.
    pub other: String,
}

/// How things are called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NameAnswer {
    /// Folder of the artifact.
    pub dir: String,
    /// Path of the file.
    pub path: String,
    /// URL of the file.
    pub url: String,
    /// The revision.
    pub revision: String,
    /// Where the file lies.
    pub local: String,
    /// The URL with its host replaced; empty when it is none.
    pub other: String,
}

/// An artifact to collect.
#[derive(Clone, Debug, Serialize)]
pub struct Collection {
    /// Folder of the volume.
    pub root: PathBuf,
    /// Path of the current file below it.
    pub current: String,
    /// Nanoseconds.
    pub ttl: u64,
    /// How many to keep.
    pub records: usize,
}

/// What was collected.
#[derive(Clone, Debug, Deserialize)]
pub struct Removed {
    /// Paths below the root.
    pub removed: Vec<String>,
}

/// A file to write.
#[derive(Clone, Debug, Serialize)]
pub struct WriteOf {
    /// Folder of the volume.
    pub root: PathBuf,
    /// Path of the file below it.
    pub path: String,
    /// Algorithm of its digest.
    pub algorithm: String,
    /// Its permission bits.
    pub mode: u32,
    /// What it holds.
    pub text: String,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct WriteAnswer {
    /// The digest.
    pub digest: String,
    /// The length.
    pub size: u64,
    /// The permission bits on disk.
    pub mode: u32,
}

/// A file to verify.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Folder of the volume.
    pub root: PathBuf,
    /// Path of the file below it.
    pub path: String,
    /// The digest that it should have.
    pub digest: String,
}
