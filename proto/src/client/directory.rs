//! A directory on disk as a plain tar, in archive order: by name, each directory before what it holds.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _, Write},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::sync::mpsc::Sender;

use super::{Client, Error};

/// Bytes of one chunk; 64 KiB to 1 MiB serve best.
pub(super) const CHUNK: usize = 256 * 1024;

/// A part of the tar.
#[derive(Debug)]
pub(super) enum Piece {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// There are no more. A channel that closes without it brings a tar that must not be used.
    End,
}

/// Why a directory was not sent to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Nobody takes the bytes any more; the call says why.
    Unwanted,
    /// It can not be read.
    Unreadable(Error),
}

/// Sends regular files and directories; everything else is left out. Returns the number of symbolic links among that. Equal content gives
/// equal bytes: of the mode only the execute bit is there, owners and times are not. Blocks.
pub(super) fn send(root: &Path, pieces: Sender<Piece>) -> Result<u64, Stopped> {
    let mut tar = tar::Builder::new(Chunks { pieces, buffer: Vec::with_capacity(CHUNK) });
    let mut links = 0;
    // What is still to do, the next last.
    let mut rest = listed(root)?;
    while let Some(path) = rest.pop() {
        let metadata = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, error))?;
        let name = path.strip_prefix(root).map_err(|error| unreadable(&path, error))?;
        if metadata.is_dir() {
            tar.append_data(&mut header(&metadata), name, io::empty()).map_err(|error| unreadable(&path, error))?;
            rest.append(&mut listed(&path)?);
        } else if metadata.is_file() {
            append(&mut tar, &path, name, &metadata)?;
        } else {
            links += u64::from(metadata.is_symlink());
        }
    }
    let mut chunks = tar.into_inner().map_err(|error| unreadable(root, error))?;
    chunks.flush().map_err(|error| unreadable(root, error))?;
    chunks.pieces.blocking_send(Piece::End).map_err(|_| Stopped::Unwanted)?;
    Ok(links)
}

/// What a directory holds, in reverse order.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, Stopped> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    let paths: Result<Vec<_>, io::Error> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| unreadable(folder, error))?;
    paths.sort_unstable_by(|a, b| b.file_name().cmp(&a.file_name()));
    Ok(paths)
}

fn append(tar: &mut tar::Builder<Chunks>, path: &Path, name: &Path, seen: &Metadata) -> Result<(), Stopped> {
    let mut file = File::open(path).map_err(|error| unreadable(path, error))?;
    let opened = file.metadata().map_err(|error| unreadable(path, error))?;
    // Else what was a file a moment ago could be a link by now, and lead anywhere.
    if (opened.dev(), opened.ino()) != (seen.dev(), seen.ino()) {
        return Err(unreadable(path, "it was replaced meanwhile"));
    }
    let mut bytes = (&mut file).take(opened.len());
    tar.append_data(&mut header(&opened), name, &mut bytes).map_err(|error| unreadable(path, error))?;
    let short = bytes.limit() > 0;
    let more = file.read(&mut [0]).map_err(|error| unreadable(path, error))? > 0;
    if short || more { Err(unreadable(path, "it was written to meanwhile")) } else { Ok(()) }
}

fn header(metadata: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    let executable = metadata.is_dir() || metadata.permissions().mode() & 0o111 != 0;
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_entry_type(if metadata.is_dir() { tar::EntryType::Directory } else { tar::EntryType::Regular });
    header.set_size(if metadata.is_dir() { 0 } else { metadata.len() });
    header
}

fn unreadable(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Stopped {
    let cause = cause.into();
    let unwanted = cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if unwanted { Stopped::Unwanted } else { Stopped::Unreadable(Client::unreadable(path.to_owned(), cause)) }
}

/// Cuts what is written into chunks.
struct Chunks {
    pieces: Sender<Piece>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.pieces.blocking_send(Piece::Bytes(full)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
