//! Walks the members of a tar stream: which entry is next, and its content.

use std::io::{self, BufRead};

use super::{
    header::{BLOCK, Header, HeaderError, text},
    pax::{self, Extensions},
};

/// Most bytes of one extended header or long name, as in Go's `archive/tar`. They are held in memory.
const MAX_EXTENDED: u64 = 1024 * 1024;

/// Why the stream can not be walked on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    /// The reader below failed, or ended too early.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Not a tar header, or one that contradicts itself.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// An extended header of more than [`MAX_EXTENDED`] bytes.
    #[error("header field too long")]
    Extended,
}

/// One entry of a tarball, extended headers applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// As stored, not checked.
    pub(super) name: Vec<u8>,
    /// Target of a link, as stored.
    pub(super) link: Vec<u8>,
    /// Type flag. The old flag for files has become `0` or, with a trailing slash in the name, `5`.
    pub(super) flag: u8,
    /// Permission bits, and the type bits that some writers add.
    pub(super) mode: i64,
    /// Bytes of content that follow.
    pub(super) size: u64,
    /// A sparse file in one of GNU's formats.
    pub(super) sparse: bool,
}

/// What stands in front of an entry and describes it. The last of each kind counts.
#[derive(Default)]
struct Ahead {
    /// Content of a PAX header.
    pax: Vec<u8>,
    /// GNU's way to store names and link targets of more than 100 bytes. They win over PAX.
    long_name: Vec<u8>,
    long_link: Vec<u8>,
}

/// The members of a tar stream, one after the other. It reads nothing behind the end marker.
pub(super) struct Members<R> {
    reader: R,
    /// Bytes of the current content not read yet.
    left: u64,
    /// Bytes behind the content up to the next block.
    padding: u64,
}

impl<R: BufRead> Members<R> {
    /// Starts at the first header.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0 }
    }

    /// The next entry; `None` at the end. What was not read of the entry before is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Member>, StreamError> {
        let mut ahead = Ahead::default();
        loop {
            self.skip()?;
            let Some(block) = self.header()? else {
                return Ok(None);
            };
            let header = Header::parse(&block)?;
            self.open(header.content_size()?);
            match header.flag {
                b'x' => ahead.pax = self.extended_pax()?,
                // Defaults for the entries behind it. Flux ignores them, and what stood in front of it is forgotten.
                b'g' => {
                    self.extended_pax()?;
                    ahead = Ahead::default();
                }
                b'L' => ahead.long_name = text(&self.extended()?).to_vec(),
                b'K' => ahead.long_link = text(&self.extended()?).to_vec(),
                _ => return self.member(header, ahead).map(Some),
            }
        }
    }

    /// Joins a header with what stood in front of it.
    fn member(&mut self, mut header: Header, ahead: Ahead) -> Result<Member, StreamError> {
        let pax = Extensions::parse(&ahead.pax)?;
        header.size = pax.size.unwrap_or(header.size);
        let or = |long: Vec<u8>, pax: Option<Vec<u8>>, own| if long.is_empty() { pax.unwrap_or(own) } else { long };
        header.name = or(ahead.long_name, pax.path, header.name);
        header.link = or(ahead.long_link, pax.link, header.link);
        if header.flag == 0 {
            header.flag = if header.name.ends_with(b"/") { b'5' } else { b'0' };
        }
        let size = header.content_size()?;
        self.open(size);
        let sparse = pax.sparse || header.flag == b'S';
        Ok(Member { name: header.name, link: header.link, flag: header.flag, mode: header.mode, size, sparse })
    }

    /// Hands the content of the current entry to `sink`, piece by piece.
    pub(super) fn content(&mut self, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), StreamError> {
        while self.left > 0 {
            let taken = self.piece(self.left, &mut sink)?;
            if taken == 0 {
                return Err(ended().into());
            }
            self.left -= taken;
        }
        Ok(())
    }

    /// Hands at most `most` bytes to `sink` and says how many; 0 at the end of the stream.
    fn piece(&mut self, most: u64, sink: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
        let piece = self.reader.fill_buf()?;
        let length = piece.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        sink(&piece[..length])?;
        self.reader.consume(length);
        Ok(length as u64)
    }

    fn open(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The content of an extended header.
    fn extended(&mut self) -> Result<Vec<u8>, StreamError> {
        if self.left > MAX_EXTENDED {
            return Err(StreamError::Extended);
        }
        let mut bytes = Vec::new();
        self.content(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// The content of a PAX header, its form checked.
    fn extended_pax(&mut self) -> Result<Vec<u8>, StreamError> {
        let bytes = self.extended()?;
        pax::check(&bytes)?;
        Ok(bytes)
    }

    /// Goes to the next block. Content must be there; padding may be cut off at the end of the stream.
    fn skip(&mut self) -> Result<(), StreamError> {
        self.content(|_| Ok(()))?;
        while self.padding > 0 {
            match self.piece(self.padding, &mut |_| Ok(()))? {
                0 => break,
                taken => self.padding -= taken,
            }
        }
        Ok(())
    }

    /// The next header block. Two blocks of zeros end the archive; so does the end of the stream at a block's start, also
    /// behind a single block of zeros.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, StreamError> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        match self.block()? {
            Some(ZEROS) => match self.block()? {
                Some(ZEROS) | None => Ok(None),
                Some(_) => Err(HeaderError.into()),
            },
            block => Ok(block),
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, StreamError> {
        let mut block = [0; BLOCK];
        if self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let cut = |error: io::Error| if error.kind() == io::ErrorKind::UnexpectedEof { ended() } else { error };
        self.reader.read_exact(&mut block).map_err(cut)?;
        Ok(Some(block))
    }
}

/// The stream is cut off.
fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "unexpected end of the archive")
}
