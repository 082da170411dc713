//! Whether a tarball holds exactly a tree.
//!
//! It is read once, in step with the tree, up to the first difference. So it is unpacked nowhere, and it costs no more than the tree itself,
//! whatever the tarball claims to be.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::{
    Limits, SourceError,
    admission::{Admitted, admit},
    member::{Member, Members, StreamError},
};
use crate::{
    quote::quoted,
    tree::{Entry, File, Node, Tree},
};

/// Bytes read, and bytes decoded, at once.
const BUFFER: usize = 64 * 1024;

/// Most bytes that the headers of one entry may take: its own, and an extended one with a path of 4095 bytes.
const HEADERS: u64 = 8 * 1024;

/// Most bytes for the root and the end of the archive.
const FRAME: u64 = 64 * 1024;

/// The first thing that a tarball has otherwise; says it of the tarball.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Difference(String);

/// Compares a gzip-compressed tar with a tree: the same entries in archive order, each once, files with the same content and execute bit.
/// An entry for the root may be there or not. Owners, times and permission bits but for the execute bit do not count, as nobody who unpacks
/// a source heeds them. What lies behind the end marker of the tar is not read, as in Flux.
pub fn compare(tarball: impl Read, tree: &Tree) -> Result<(), Difference> {
    let decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, tarball));
    let bounded = Bounded { inner: decoder, left: allowance(tree) };
    let mut members = Members::new(BufReader::with_capacity(BUFFER, bounded));
    let limits = Limits::for_cache(u64::MAX, u64::MAX);
    let mut expected = tree.entries().iter();
    while let Some(member) = members.next().map_err(unreadable)? {
        let admitted = admit(&member, &limits).map_err(|error| match error {
            SourceError::Refused(text) => Difference(text),
            other => Difference(other.to_string()),
        })?;
        if admitted == Admitted::Nothing {
            continue;
        }
        let Some(entry) = expected.next() else {
            return Err(Difference(format!("entry {} is one too many", quoted(&member.name))));
        };
        same(&mut members, &member, &admitted, entry)?;
    }
    match expected.next() {
        None => Ok(()),
        Some(Entry { path, .. }) => Err(Difference(format!("entry {} is missing", quoted(path.as_bytes())))),
    }
}

/// Compares one entry, content included.
fn same<R: BufRead>(
    members: &mut Members<R>,
    member: &Member,
    admitted: &Admitted,
    expected: &Entry,
) -> Result<(), Difference> {
    let differs = |what: &str| Difference(format!("entry {} {what}", quoted(&member.name)));
    match (admitted, &expected.node) {
        (Admitted::Directory(path), _) | (Admitted::File { path, .. }, _) if *path != expected.path => {
            Err(differs(&format!("stands where {} should", quoted(expected.path.as_bytes()))))
        }
        (Admitted::Directory(_), Node::Directory) => Ok(()),
        (Admitted::File { executable, .. }, Node::File(file)) if *executable != file.executable => {
            Err(differs("has another execute bit"))
        }
        (Admitted::File { .. }, Node::File(file)) if member.size != file.size => Err(differs("has another size")),
        (Admitted::File { .. }, Node::File(file)) => {
            if has_content(members, file)? {
                Ok(())
            } else {
                Err(differs("has another content"))
            }
        }
        // Also links: who unpacks them gets something else each time.
        _ => Err(differs("is of another kind")),
    }
}

fn has_content<R: BufRead>(members: &mut Members<R>, file: &File) -> Result<bool, Difference> {
    let mut hash = Sha256::new();
    let hashed = members.content(|piece| {
        hash.update(piece);
        Ok(())
    });
    hashed.map_err(unreadable)?;
    Ok(<[u8; 32]>::from(hash.finalize()) == file.sha256)
}

fn unreadable(error: StreamError) -> Difference {
    Difference(format!("tar error: {error}"))
}

/// More than the tar of a tree can take, whoever writes it.
fn allowance(tree: &Tree) -> u64 {
    tree.entries().iter().fold(FRAME, |sum, entry| {
        let content = match &entry.node {
            Node::Directory => 0,
            Node::File(file) => file.size,
        };
        sum.saturating_add(content).saturating_add(HEADERS)
    })
}

/// Fails, rather than ends, after a number of bytes: an end would be the archive's.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.left =
            self.left.checked_sub(length as u64).ok_or_else(|| io::Error::other("it is larger than its content"))?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
