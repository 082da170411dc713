//! Tar headers as Go's `archive/tar` writes them: USTAR where it fits, otherwise a PAX header in front.

use std::io;

use super::{BLOCK, padding};

const NAME: usize = 100;
const PREFIX: usize = 155;
/// PAX data above this is refused, as Go's writer does; readers refuse it too.
const MAX_PAX: usize = 1 << 20;
/// Octal digits and the NUL fill a size field of 12 bytes, so this does not fit any more: 8 GiB.
const SIZE_LIMIT: u64 = 1 << 33;

/// What a header is for.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Directory,
    File { executable: bool, size: u64 },
}

impl Kind {
    fn size(self) -> u64 {
        match self {
            Self::Directory => 0,
            Self::File { size, .. } => size,
        }
    }

    /// Only whether a file can be executed survives; everything else about modes is dropped.
    fn mode(self) -> u64 {
        match self {
            Self::Directory => 0o750,
            Self::File { executable: true, .. } => 0o700,
            Self::File { executable: false, .. } => 0o600,
        }
    }

    fn flag(self) -> u8 {
        match self {
            Self::Directory => b'5',
            Self::File { .. } => b'0',
        }
    }
}

/// The header blocks of one entry. Fails when the name is too long even for PAX (1 MiB).
pub(super) fn encode(name: &[u8], kind: Kind) -> io::Result<Vec<u8>> {
    let plain = name.is_ascii() && name.len() <= NAME;
    let split = split(name);
    if (plain || split.is_some()) && kind.size() < SIZE_LIMIT {
        let (prefix, name) = split.unwrap_or((b"", name));
        return Ok(main_header(name, prefix, kind).to_vec());
    }
    let mut records = Vec::new();
    if !plain {
        records.extend(record("path", name));
    }
    if kind.size() >= SIZE_LIMIT {
        records.extend(record("size", kind.size().to_string().as_bytes()));
    }
    if records.len() > MAX_PAX {
        let name = String::from_utf8_lossy(&name[..NAME]);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the name '{name}…' is too long for a tar")));
    }
    let mut blocks = pax_header(name, records.len() as u64).to_vec();
    let padding = padding(records.len() as u64);
    blocks.extend(records);
    blocks.extend(&[0; BLOCK][..padding]);
    blocks.extend(main_header(&ascii(name), b"", kind));
    Ok(blocks)
}

/// Splits a long name at the last slash that leaves at most 155 bytes before and 100 after it.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME || !name.is_ascii() {
        return None;
    }
    let slash = name[..name.len().min(PREFIX + 1)].iter().rposition(|&byte| byte == b'/')?;
    let (prefix, suffix) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && !suffix.is_empty() && suffix.len() <= NAME).then_some((prefix, suffix))
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + " =\n".len();
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

/// The header in front of PAX records. Its name is for readers that know no PAX, so the best effort will do.
fn pax_header(name: &[u8], size: u64) -> [u8; BLOCK] {
    let start = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let mut name = ascii(&[&name[..start], b"PaxHeaders.0/", &name[start..]].concat());
    name.truncate(NAME);
    while name.last() == Some(&b'/') {
        name.pop();
    }
    let mut block = template(&name, 0, size, b'x');
    seal(&mut block);
    block
}

fn main_header(name: &[u8], prefix: &[u8], kind: Kind) -> [u8; BLOCK] {
    let mut block = template(name, kind.mode(), kind.size(), kind.flag());
    octal(&mut block[329..337], 0);
    octal(&mut block[337..345], 0);
    text(&mut block[345..500], prefix);
    seal(&mut block);
    block
}

/// The fields that every header has; owner, group and time are zero.
fn template(name: &[u8], mode: u64, size: u64, flag: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    text(&mut block[..NAME], name);
    octal(&mut block[100..108], mode);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], 0);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}

/// Puts the checksum in: the sum of all bytes, with the field itself taken as blanks.
fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum = block.iter().map(|&byte| u64::from(byte)).sum();
    octal(&mut block[148..155], sum);
}

/// Copies a text, cut to the field. Where the cut leaves a slash at the end, the text ends before it: some readers take a trailing slash for
/// a directory.
fn text(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
    if value.len() > field.len() && field.ends_with(b"/") {
        let end = field.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        field[end] = 0;
    }
}

/// Zero-padded octal digits and a NUL; zero when the value does not fit (the PAX record counts then).
fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    let digits = format!("{value:0width$o}");
    let digits = if digits.len() > width { "0".repeat(width) } else { digits };
    field[..width].copy_from_slice(digits.as_bytes());
    field[width] = 0;
}

fn ascii(name: &[u8]) -> Vec<u8> {
    name.iter().copied().filter(u8::is_ascii).collect()
}
