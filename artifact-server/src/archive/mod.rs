//! Archives: a [`Tree`] becomes a tar, byte for byte the same whoever asks and whenever.
//!
//! The uncompressed bytes equal those of Flux's Go SDK (`fluxcd/pkg/artifact`). The compressed ones do not: compressors differ.
//! So nothing that users see as changed may depend on compressed bytes; see [`crate::tree::digest`].

use std::io::{self, Write};

use crate::tree::{Content, Entry, File, Node, Tree, TreePath};

mod blocks;
mod gzip;
mod header;
pub mod ignore;

use blocks::Blocks;
use gzip::Gzip;
use header::Kind;

/// Tars are written in units of this many bytes.
const BLOCK: usize = 512;
/// The compressor is fed with, and contents are read in, pieces of this many bytes. Changing it may change archives.
const CHUNK: usize = 64 * 1024;
/// Compression level of Flux's archives (Go's default).
const LEVEL: u32 = 6;

/// Writes the tree as a gzip-compressed tar: level 6, no name, no time. Equal trees give equal bytes, for any thread count and
/// order of arrival. Fails when a content is shorter than its entry says, naming the file, and when `out` fails.
pub fn pack(tree: &Tree, out: &mut dyn Write) -> io::Result<()> {
    pack_unless(tree, out, &|| false)
}

/// As [`pack`], but fails with `ConnectionAborted` once `cancelled` says so. It is asked before each piece that is compressed: what comes
/// out may be far less than what goes in.
pub fn pack_unless(tree: &Tree, out: &mut dyn Write, cancelled: &dyn Fn() -> bool) -> io::Result<()> {
    let mut blocks = Blocks::new(Wanted { inner: Gzip::new(out)?, cancelled });
    pack_tar(tree, &mut blocks)?;
    blocks.finish()?.inner.finish()
}

/// Writes as long as somebody waits for it.
struct Wanted<'a, W> {
    inner: W,
    cancelled: &'a dyn Fn() -> bool,
}

impl<W: Write> Write for Wanted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.cancelled)() {
            // Not `Interrupted`: that one is tried again by those who write.
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the call was cancelled"));
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes the tree as a tar. The first entry is the root, named `.`; directories have no trailing slash, mode 0750; files 0600, or 0700
/// when executable. Owner, group and times are zero. Two zero blocks end it. Errors as for [`pack`].
pub fn pack_tar(tree: &Tree, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&header::encode(b".", Kind::Directory)?)?;
    let mut buffer = vec![0; CHUNK];
    for Entry { path, node } in tree.entries() {
        match node {
            Node::Directory => out.write_all(&header::encode(path.as_bytes(), Kind::Directory)?)?,
            Node::File(file) => write_file(path, file, &mut buffer, out)?,
        }
    }
    out.write_all(&[0; 2 * BLOCK])
}

fn write_file(path: &TreePath, file: &File, buffer: &mut [u8], out: &mut dyn Write) -> io::Result<()> {
    let kind = Kind::File { executable: file.executable, size: file.size };
    out.write_all(&header::encode(path.as_bytes(), kind)?)?;
    match &file.content {
        Content::Inline(bytes) if bytes.len() as u64 == file.size => out.write_all(bytes)?,
        Content::Inline(bytes) => return Err(wrong_size(path, file.size, bytes.len())),
        Content::Spooled(spool, start) => {
            let mut done = 0;
            while done < file.size {
                let length = buffer.len().min(usize::try_from(file.size - done).unwrap_or(usize::MAX));
                let piece = &mut buffer[..length];
                spool.read_exact_at(piece, start + done).map_err(|error| unreadable(path, &error))?;
                out.write_all(piece)?;
                done += length as u64;
            }
        }
    }
    out.write_all(&[0; BLOCK][..padding(file.size)])
}

/// How many zero bytes follow a content of this size.
fn padding(size: u64) -> usize {
    let over = size % BLOCK as u64;
    if over == 0 { 0 } else { BLOCK - over as usize }
}

fn wrong_size(path: &TreePath, size: u64, found: usize) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("'{path}' should have {size} bytes but {found} are there"))
}

fn unreadable(path: &TreePath, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can not read '{path}': {error}"))
}

#[cfg(test)]
mod tests;
