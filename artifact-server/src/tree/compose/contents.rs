//! What composition asks of others: it opens no file itself.

use std::sync::Arc;

use weir_proto::Failure;

use crate::tree::{File, Tree, yaml::MergeError};

/// Makes files out of files, for the strategies that need to look into them.
pub trait Contents {
    /// Merges the YAML of `over` into `base`. The result has the mode of `base`. Equal contents give an equal result.
    fn merge(&self, base: &File, over: &File) -> Result<File, ContentError>;

    /// What is in a tarball. Equal contents give equal trees.
    fn unpack(&self, tarball: &File) -> Result<Arc<Tree>, Failure>;
}

/// Why two files are not merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentError {
    /// They can not be.
    Merge(MergeError),
    /// Their bytes can not be had.
    Failed(Failure),
}
