//! Tar header blocks, read with the verdicts of Go's `archive/tar`.
//!
//! Flux reads tarballs with that package, so what it refuses is refused here, and sizes and names never come out
//! differently: a tarball must not mean one thing to Flux and another to Weir.

/// Length of a header block; contents are padded to a multiple of it.
pub(super) const BLOCK: usize = 512;

/// Magic of POSIX archives, and magic and version of old GNU ones.
const USTAR: &[u8] = b"ustar\x00";
const GNU: &[u8] = b"ustar  \x00";

/// The block is not a tar header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid tar header")]
pub(super) struct HeaderError;

/// The fields of a header block that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// As stored, prefix included.
    pub(super) name: Vec<u8>,
    /// Target of a link, as stored.
    pub(super) link: Vec<u8>,
    /// Type flag, e.g. `b'0'` for a file.
    pub(super) flag: u8,
    /// Permission bits, and the type bits that some writers add.
    pub(super) mode: i64,
    /// Size of the content in bytes; may be negative or meaningless, see [`Header::content_size`].
    pub(super) size: i64,
}

impl Header {
    /// Reads a block that is not all zeros.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, HeaderError> {
        if !checksum_holds(block) {
            return Err(HeaderError);
        }
        let mut header = Self {
            name: text(&block[..100]).to_vec(),
            link: text(&block[157..257]).to_vec(),
            flag: block[156],
            mode: number(&block[100..108])?,
            size: number(&block[124..136])?,
        };
        // Not used, but a header with a wrong number in any of these is wrong: owner, group, time.
        for field in [&block[108..116], &block[116..124], &block[136..148]] {
            number(field)?;
        }
        let prefix = prefix(block)?;
        if !prefix.is_empty() {
            header.name = [prefix, b"/", &header.name].concat();
        }
        Ok(header)
    }

    /// How many bytes of content follow. Links, devices and directories have none, whatever the header says.
    pub(super) fn content_size(&self) -> Result<u64, HeaderError> {
        match self.flag {
            b'1'..=b'6' => Ok(0),
            _ => u64::try_from(self.size).map_err(|_| HeaderError),
        }
    }
}

/// The checksum is over the block with its own field taken as spaces. Old writers summed signed bytes.
fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let Ok(stored) = octal(&block[148..156]) else {
        return false;
    };
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (at, &byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    stored == unsigned || stored == signed
}

/// The part of the name that newer formats store apart, and a check of the numbers that only they have.
fn prefix(block: &[u8; BLOCK]) -> Result<&[u8], HeaderError> {
    let ustar = &block[257..263] == USTAR;
    if !ustar && &block[257..265] != GNU {
        return Ok(&[]);
    }
    number(&block[329..337])?;
    number(&block[337..345])?;
    if !ustar {
        return Ok(gnu_prefix(block));
    }
    if &block[508..512] == b"tar\x00" {
        number(&block[476..488])?;
        number(&block[488..500])?;
        return Ok(text(&block[345..476]));
    }
    Ok(text(&block[345..500]))
}

/// GNU headers have two times where POSIX has the prefix. Go once wrote a prefix there; it is taken when the times can not be
/// read and the text is plain.
fn gnu_prefix(block: &[u8; BLOCK]) -> &[u8] {
    let readable = |field: &[u8]| field[0] == 0 || number(field).is_ok();
    let prefix = text(&block[345..500]);
    if (readable(&block[345..357]) && readable(&block[357..369])) || !prefix.is_ascii() { &[] } else { prefix }
}

/// A text field ends at the first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number is octal text, or big-endian binary in two's complement when the first bit is set.
fn number(field: &[u8]) -> Result<i64, HeaderError> {
    let first = field.first().copied().unwrap_or_default();
    if first & 0x80 == 0 {
        return octal(field);
    }
    let invert = if first & 0x40 == 0 { 0x00 } else { 0xff };
    let mut value = 0u64;
    for (at, &byte) in field.iter().enumerate() {
        let byte = if at == 0 { (byte ^ invert) & 0x7f } else { byte ^ invert };
        if value >> 56 > 0 {
            return Err(HeaderError);
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).map_err(|_| HeaderError)?;
    Ok(if invert == 0 { value } else { !value })
}

/// Octal text between spaces and NULs; nothing is zero.
fn octal(field: &[u8]) -> Result<i64, HeaderError> {
    let padding = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = field.iter().position(|byte| !padding(byte)) else {
        return Ok(0);
    };
    let end = field.iter().rposition(|byte| !padding(byte)).map_or(start, |last| last + 1);
    let digits = text(&field[start..end]);
    if digits.is_empty() || !digits.iter().all(|byte| matches!(byte, b'0'..=b'7')) {
        return Err(HeaderError);
    }
    let mut value = 0u64;
    for digit in digits {
        if value >> 61 > 0 {
            return Err(HeaderError);
        }
        value = value << 3 | u64::from(digit - b'0');
    }
    Ok(value.cast_signed())
}
