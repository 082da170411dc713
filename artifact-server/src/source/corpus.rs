//! Tarballs made byte by byte, for tests: what a writer of archives would refuse to write.

use super::header::BLOCK;

/// An entry's header before its checksum is set, and what follows it.
#[derive(Clone)]
pub(crate) struct Raw {
    header: [u8; BLOCK],
    content: Vec<u8>,
}

/// An entry of a POSIX archive with the given flag, name and content.
pub(crate) fn entry(flag: u8, name: &[u8], content: &[u8]) -> Raw {
    let mut raw = Raw { header: [0; BLOCK], content: content.to_vec() };
    raw.header[..name.len()].copy_from_slice(name);
    raw.header[257..265].copy_from_slice(b"ustar\x0000");
    raw.header[156] = flag;
    let size = format!("{:011o}", content.len());
    raw.put(100, b"0000644")
        .put(108, b"0000000")
        .put(116, b"0000000")
        .put(124, size.as_bytes())
        .put(136, b"00000000000")
}

/// A regular file.
pub(crate) fn file(name: &str, content: &[u8]) -> Raw {
    entry(b'0', name.as_bytes(), content)
}

/// A link of either kind.
pub(crate) fn link(flag: u8, name: &str, target: &str) -> Raw {
    entry(flag, name.as_bytes(), b"").put(157, target.as_bytes())
}

/// An extended header for the entry behind it.
pub(crate) fn pax(records: &[(&str, &str)]) -> Raw {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length += 1;
        }
        content.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    entry(b'x', b"PaxHeaders/x", &content)
}

/// A GNU long name (`L`) or long link target (`K`) for the entry behind it.
pub(crate) fn long(flag: u8, text: &[u8]) -> Raw {
    entry(flag, b"././@LongLink", text).gnu()
}

impl Raw {
    /// Overwrites header bytes.
    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.header[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Sets the mode.
    pub(crate) fn mode(self, mode: u32) -> Self {
        self.put(100, format!("{mode:07o}").as_bytes())
    }

    /// Sets the declared size, whatever the content is.
    pub(crate) fn size(self, octal: &str) -> Self {
        self.put(124, format!("{octal:0>11}").as_bytes())
    }

    /// Makes it an entry of an old GNU archive.
    pub(crate) fn gnu(self) -> Self {
        self.put(257, b"ustar  \x00")
    }

    /// The header with its checksum, the content and its padding.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = [&header[..], &self.content].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// The entries one behind the other, without an end marker.
pub(crate) fn open_ended(entries: &[Raw]) -> Vec<u8> {
    entries.iter().flat_map(Raw::bytes).collect()
}

/// A whole archive.
pub(crate) fn archive(entries: &[Raw]) -> Vec<u8> {
    [open_ended(entries), vec![0; 2 * BLOCK]].concat()
}
