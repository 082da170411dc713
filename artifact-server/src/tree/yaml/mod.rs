//! Merging YAML files, as the strategy Merge does: bytes in, bytes out.
//!
//! A file means what it means to the reference, which reads and writes it with sigs.k8s.io/yaml: YAML 1.1 becomes JSON, and JSON becomes
//! YAML. So `yes` is true and `0755` is 493, also in places that a merge does not touch, and every number has been a 64-bit float. What is
//! written is the same text too, except for characters that go-yaml escapes without need. The vectors of the tests are Go's own answers.
//!
//! The grammar is that of libyaml, which go-yaml is a translation of, through another translation of it: a parser for YAML 1.2 reads some
//! files differently and gives other errors. What scalars mean, anchors, merge keys and the order of keys are decided here.

use std::borrow::Cow;

use value::Map;

mod decode;
mod documents;
mod emit;
mod encoding;
mod node;
mod number;
mod order;
mod resolve;
mod scalar;
mod timestamp;
mod value;

/// Longest file that is read, in bytes.
pub const MAX_FILE: u64 = 8 * 1024 * 1024;
/// Most values in one document, as written and again with all aliases spelled out.
const MAX_VALUES: usize = 200_000;
/// Most maps and lists one inside the other.
const MAX_DEPTH: usize = 256;
/// Most bytes of text in one document with all aliases spelled out, and most bytes that are written.
const MAX_TEXT: usize = 16 * 1024 * 1024;
/// Most characters of a file that an error shows.
const MAX_SHOWN: usize = 200;

/// Why two files can not be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The file that is there already can not be read.
    #[error("{0}")]
    Base(LoadError),
    /// The file that is merged into it can not be read.
    #[error("{0}")]
    Over(LoadError),
    /// The result can not be written.
    #[error("failed to merged YAML: {0}")]
    Output(String),
}

/// Why a file can not be read. The texts are the reference's wherever it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A line starts like a separator of documents, but has more in it.
    #[error("error reading YAML document: invalid Yaml document separator: {0}")]
    Separator(String),
    /// A document is not YAML, or not a map.
    #[error("cannot unmarshal YAML document: {0}")]
    Document(String),
    /// It is longer than [`MAX_FILE`].
    #[error(
        "error reading YAML document: the file is larger than {MAX_FILE} bytes, which is the most that can be merged"
    )]
    TooLarge,
}

/// Merges the documents of `over` into those of `base`. Maps are merged key by key, everything else is replaced, also by null. Of
/// several documents in one file the later ones are merged into the first.
pub fn merge(base: &[u8], over: &[u8]) -> Result<Vec<u8>, MergeError> {
    // In this order the reference finds errors.
    let over = load(over).map_err(MergeError::Over)?;
    let mut merged = load(base).map_err(MergeError::Base)?;
    merged.overlay(over);
    emit::emit(&merged).map_err(MergeError::Output)
}

fn load(file: &[u8]) -> Result<Map, LoadError> {
    if file.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLarge);
    }
    let mut merged = Map::default();
    for document in documents::split(file)? {
        merged.overlay(decode::document(&document).map_err(LoadError::Document)?);
    }
    Ok(merged)
}

/// A text of a file as errors show it: they must not be as long as the file.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests;
