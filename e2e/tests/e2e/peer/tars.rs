//! Tars, entry by entry.

use std::collections::BTreeSet;
use std::io::Read as _;

use anyhow::{Context, Result, ensure};

const BLOCK: usize = 512;

/// An entry of a tar: its name, and all bytes that it takes, extended headers included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: Vec<u8>,
    pub(super) bytes: &'a [u8],
}

pub(super) fn gunzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain)?;
    Ok(plain)
}

/// Cuts a tar into its entries. By hand, as the usual reader takes a newline in a long name for its end.
pub(super) fn entries(tar: &[u8]) -> Result<Vec<Entry<'_>>> {
    let (mut found, mut from, mut at) = (Vec::new(), 0, 0);
    let mut long = None;
    loop {
        let block = tar.get(at..at + BLOCK).context("the tar is cut off")?;
        if block == [0; BLOCK] {
            break;
        }
        let header = tar::Header::from_byte_slice(block);
        let content = at + BLOCK;
        let end = content + usize::try_from(header.entry_size()?)?;
        let data = tar.get(content..end).context("the tar is cut off")?;
        at = end.next_multiple_of(BLOCK);
        if header.entry_type().is_pax_local_extensions() {
            long = long_name(data)?;
            continue;
        }
        let name = long.take().unwrap_or_else(|| header.path_bytes().into_owned());
        found.push(Entry { name, bytes: tar.get(from..at).context("the tar is cut off")? });
        from = at;
    }
    ensure!(tar[at..] == [0; 2 * BLOCK], "the tar ends with {} bytes", tar.len() - at);
    Ok(found)
}

/// The path in an extended header: records of `<length> <key>=<value>` and a newline.
fn long_name(mut records: &[u8]) -> Result<Option<Vec<u8>>> {
    while let Some(space) = records.iter().position(|&byte| byte == b' ') {
        let length: usize = std::str::from_utf8(&records[..space])?.parse()?;
        let record = records.get(space + 1..length - 1).context("a record is cut off")?;
        if let Some(path) = record.strip_prefix(b"path=") {
            return Ok(Some(path.to_vec()));
        }
        records = &records[length..];
    }
    Ok(None)
}

/// Folders that lead to an entry and have none themselves.
pub(super) fn missing_parents(entries: &[Entry<'_>]) -> BTreeSet<Vec<u8>> {
    let names: BTreeSet<&[u8]> = entries.iter().map(|entry| entry.name.as_slice()).collect();
    let mut missing = BTreeSet::new();
    for name in &names {
        for at in (0..name.len()).filter(|&at| name[at] == b'/') {
            if !names.contains(&name[..at]) {
                missing.insert(name[..at].to_vec());
            }
        }
    }
    missing
}

/// What two tars differ in, entry by entry; `None` when they have the same bytes.
pub(super) fn difference(ours: &[Entry<'_>], theirs: &[Entry<'_>]) -> Option<String> {
    let text = |entry: Option<&Entry<'_>>| {
        entry.map_or("nothing more".to_owned(), |entry| {
            format!("{:?} in {} bytes", String::from_utf8_lossy(&entry.name), entry.bytes.len())
        })
    };
    let longest = ours.len().max(theirs.len());
    let at = (0..longest).find(|&at| ours.get(at) != theirs.get(at))?;
    let mut told = format!("entry {at}: Weir has {}, the SDK {}", text(ours.get(at)), text(theirs.get(at)));
    if let (Some(one), Some(other)) = (ours.get(at), theirs.get(at))
        && let Some(byte) = one.bytes.iter().zip(other.bytes).position(|(one, other)| one != other)
    {
        told += &format!("; byte {byte} of it is {:#x} and {:#x}", one.bytes[byte], other.bytes[byte]);
    }
    Some(told)
}
