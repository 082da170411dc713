//! Unpacks a tarball in one pass: gunzip, tar, policy, spool and index. It keeps one buffer of content in memory, never a file.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::{
    Source, SourceError, SourceSummary,
    admission::{Admitted, admit},
    limits::Rules,
    member::{Member, Members, StreamError, ended},
    shelf::Charge,
    spool::{Spool, Writer},
};
use crate::{
    quote::quoted,
    tree::{Content, Entry, File, Node, Tree, TreePath},
};

/// How gzip begins. No tar does: its first bytes are those of a name, which may not hold these.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes decoded at once.
const BUFFER: usize = 128 * 1024;

/// Reads a tar, which the rules may want gzip-compressed, from `input` into a spool in `folder`. What lies behind the end marker of the tar is not read, as
/// in Flux. The caller must not hand the source out before it has checked the digest of the input.
pub(super) fn unpack(
    mut input: impl BufRead,
    folder: &Path,
    rules: &Rules,
    charge: Charge,
) -> Result<Source, SourceError> {
    let limits = &rules.limits;
    let start = input.fill_buf().map_err(|error| stream_error(error.into(), b""))?;
    let plain = match start {
        [] if rules.plain => return Err(SourceError::Refused("there is no tar: the stream has no bytes".to_owned())),
        [] => return Err(SourceError::Refused("requires gzip-compressed body: EOF".to_owned())),
        start => rules.plain && !start.starts_with(&GZIP),
    };
    let decoder = if plain { Decoder::Plain(input) } else { Decoder::Gzip(Box::new(MultiGzDecoder::new(input))) };
    let decoded = Decoded { decoder, decoded: 0, max: limits.uncompressed_bytes, flag: rules.size_flag };
    let mut members = Members::new(BufReader::with_capacity(BUFFER, decoded));
    let (spool, writer) = Writer::create(folder, charge).map_err(|error| SourceError::storage(&error))?;
    let mut index = Index {
        spool,
        writer,
        rules,
        places: HashMap::new(),
        entries: Vec::new(),
        sizes: 0,
        bytes: 0,
        skipped_links: 0,
    };
    let (mut count, mut last) = (0, Vec::new());
    while let Some(member) = members.next().map_err(|error| about(stream_error(error, &last), &last))? {
        count += 1;
        limits
            .check_entries(count)
            .and_then(|()| index.add(&mut members, &member))
            .map_err(|error| about(error, &member.name))?;
        last = member.name;
    }
    // Nothing else tells a tar that is cut off between two entries from a whole one: who made it may have died. Gzip has an end of its own.
    if plain && !members.has_end_mark() {
        return Err(about(stream_error(ended().into(), &last), &last));
    }
    index.finish()
}

/// The tree as it grows.
struct Index<'a> {
    spool: Arc<Spool>,
    writer: Writer,
    rules: &'a Rules,
    /// Where a path is in `entries`.
    places: HashMap<TreePath, usize>,
    entries: Vec<Entry>,
    /// Sum of the sizes of all entries.
    sizes: u64,
    /// Sum of the sizes of all files as they come, hard links too.
    bytes: u64,
    skipped_links: u64,
}

impl Index<'_> {
    fn add<R: BufRead>(&mut self, members: &mut Members<R>, member: &Member) -> Result<(), SourceError> {
        self.count_size(member)?;
        match admit(member, &self.rules.limits)? {
            Admitted::Nothing => Ok(()),
            Admitted::Link if self.rules.skips_links => {
                self.skipped_links += 1;
                Ok(())
            }
            Admitted::Link => {
                let name = String::from_utf8_lossy(&member.name);
                Err(SourceError::Refused(format!(
                    "tar file entry {name} is a symlink, which is not allowed in this context"
                )))
            }
            Admitted::Directory(path) => self.place(path, Node::Directory, member),
            Admitted::File { path, executable } => {
                self.spool.charge.grow_bytes(member.size)?;
                let file = self.spool_file(members, member, executable)?;
                self.count(file.size)?;
                self.place(path, Node::File(file), member)
            }
            Admitted::HardLink { path, target } => {
                let earlier = self.places.get(&target).map(|&place| &self.entries[place].node);
                let Some(Node::File(file)) = earlier else {
                    let (name, link) = (quoted(&member.name), quoted(&member.link));
                    return Err(SourceError::Refused(format!(
                        "tar file entry {name} is a hard link to {link}, which is not an earlier file of the archive"
                    )));
                };
                let file = file.clone();
                self.count(file.size)?;
                self.place(path, Node::File(file), member)
            }
        }
    }

    /// Counts the size of an entry, before anything else is looked at.
    fn count_size(&mut self, member: &Member) -> Result<(), SourceError> {
        let most = self.rules.sizes;
        self.sizes = self.sizes.saturating_add(member.size);
        if self.sizes <= most {
            return Ok(());
        }
        let name = quoted(&member.name);
        if self.rules.plain {
            let flag = self.rules.size_flag;
            return Err(SourceError::TooLarge(format!("takes the files over {most} bytes; raise {flag}")));
        }
        Err(SourceError::Refused(format!("tar {name} is bigger than max archive size of {most} bytes")))
    }

    /// Counts the size of a file. A hard link counts as the file that it names: it takes no room here, but it does in every artifact.
    fn count(&mut self, size: u64) -> Result<(), SourceError> {
        self.bytes = self.bytes.saturating_add(size);
        let (max, flag) = (self.rules.files, self.rules.size_flag);
        if self.bytes <= max {
            return Ok(());
        }
        let text = format!("takes the files of the source over {max} bytes, hard links included; raise {flag}");
        Err(SourceError::TooLarge(text))
    }

    /// Copies the content of the current member to the spool and hashes it on the way.
    fn spool_file<R: BufRead>(
        &mut self,
        members: &mut Members<R>,
        member: &Member,
        executable: bool,
    ) -> Result<File, SourceError> {
        let offset = self.writer.offset;
        let mut hash = Sha256::new();
        let writer = &mut self.writer;
        let copied = members.content(|piece| {
            hash.update(piece);
            writer.append(piece).map_err(|error| io::Error::other(SourceError::storage(&error)))
        });
        copied.map_err(|error| stream_error(error, &member.name))?;
        let content = Content::Spooled(Arc::clone(&self.spool) as _, offset);
        Ok(File { executable, size: member.size, sha256: hash.finalize().into(), content })
    }

    /// Puts a node at its path. Of several files with one path the last content counts, and the first mode: Flux writes each
    /// over the one before.
    fn place(&mut self, path: TreePath, mut node: Node, member: &Member) -> Result<(), SourceError> {
        let Some(&place) = self.places.get(&path) else {
            self.make_parents(&path, member)?;
            return self.push(path, node);
        };
        let before = &mut self.entries[place].node;
        match (&*before, &mut node) {
            (Node::Directory, Node::Directory) => {}
            (Node::File(first), Node::File(last)) => {
                last.executable = first.executable;
                *before = node;
            }
            _ => {
                let name = quoted(&member.name);
                return Err(SourceError::Refused(format!("tar file entry {name} is both a file and a directory")));
            }
        }
        Ok(())
    }

    /// Adds the directories that a path lies in. They are counted like entries, as one long path can stand for many.
    fn make_parents(&mut self, path: &TreePath, member: &Member) -> Result<(), SourceError> {
        let mut parent = path.parent();
        while let Some(directory) = parent {
            match self.places.get(&directory).map(|&place| &self.entries[place].node) {
                Some(Node::Directory) => break,
                Some(Node::File(_)) => {
                    let (name, file) = (quoted(&member.name), quoted(directory.as_bytes()));
                    return Err(SourceError::Refused(format!(
                        "tar file entry {name} lies below {file}, which is a file"
                    )));
                }
                None => {
                    parent = directory.parent();
                    self.push(directory, Node::Directory)?;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, path: TreePath, node: Node) -> Result<(), SourceError> {
        self.rules.limits.check_entries(self.entries.len() as u64 + 1)?;
        self.spool.charge.grow_index(path.as_bytes().len())?;
        self.places.insert(path.clone(), self.entries.len());
        self.entries.push(Entry { path, node });
        Ok(())
    }

    fn finish(self) -> Result<Source, SourceError> {
        self.writer.finish().map_err(|error| SourceError::storage(&error))?;
        drop(self.places);
        let tree = Tree::from_entries(self.entries)
            .map_err(|conflict| SourceError::Refused(format!("tar file entry {conflict}")))?;
        let mut summary = SourceSummary { skipped_links: self.skipped_links, ..SourceSummary::default() };
        for entry in tree.entries() {
            match &entry.node {
                Node::Directory => summary.directories += 1,
                Node::File(file) => {
                    summary.files += 1;
                    summary.bytes += file.size;
                }
            }
        }
        Ok(Source::new(tree, summary, self.spool))
    }
}

/// Names the entry in the error of a limit.
fn about(error: SourceError, name: &[u8]) -> SourceError {
    match error {
        SourceError::TooLarge(text) => SourceError::TooLarge(format!("tar entry {} {text}", quoted(name))),
        other => other,
    }
}

/// Turns an error of the stream into one for users. `last` is the entry it happened in or behind.
fn stream_error(error: StreamError, last: &[u8]) -> SourceError {
    let error = match error {
        StreamError::Read(error) => match error.downcast::<SourceError>() {
            Ok(ours) => return ours,
            Err(error) => StreamError::Read(error),
        },
        other => other,
    };
    let place = if last.is_empty() { "at its start".to_owned() } else { format!("after entry {}", quoted(last)) };
    SourceError::Refused(format!("tar error: {error} ({place})"))
}

/// What Go says of a body that does not even begin like gzip. An error of the reader below stays what it is.
fn not_gzip(error: io::Error) -> io::Error {
    let cause = match error.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected EOF",
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => "gzip: invalid header",
        _ => return error,
    };
    io::Error::other(SourceError::Refused(format!("requires gzip-compressed body: {cause}")))
}

/// All members of a gzip stream, or what is not compressed.
enum Decoder<R> {
    Gzip(Box<MultiGzDecoder<R>>),
    Plain(R),
}

/// Decompresses, up to a limit.
struct Decoded<R> {
    decoder: Decoder<R>,
    decoded: u64,
    max: u64,
    flag: &'static str,
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = match &mut self.decoder {
            Decoder::Plain(reader) => reader.read(buffer)?,
            Decoder::Gzip(decoder) => match decoder.read(buffer) {
                Err(error) if self.decoded == 0 && decoder.header().is_none() => return Err(not_gzip(error)),
                other => other?,
            },
        };
        self.decoded += length as u64;
        if self.decoded > self.max {
            return Err(io::Error::other(SourceError::TooLarge(format!(
                "takes the tarball over {} bytes when unpacked; raise {}",
                self.max, self.flag
            ))));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
