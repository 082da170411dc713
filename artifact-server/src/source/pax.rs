//! PAX records: the extended headers in front of an entry.

use super::header::HeaderError;

/// What the extended headers in front of an entry say about it. The last of each kind counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// Replaces the header's name.
    pub(super) path: Option<Vec<u8>>,
    /// Replaces the header's link target.
    pub(super) link: Option<Vec<u8>>,
    /// Replaces the header's size.
    pub(super) size: Option<i64>,
    /// The entry is a sparse file in one of GNU's PAX formats.
    pub(super) sparse: bool,
}

/// Checks the form of all records of an extended header, `<length> <key>=<value>\n` each, without reading the values.
pub(super) fn check(mut bytes: &[u8]) -> Result<(), HeaderError> {
    while !bytes.is_empty() {
        (_, _, bytes) = record(bytes)?;
    }
    Ok(())
}

impl Extensions {
    /// Reads the content of an extended header. An empty value means that the header's own field stays.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut extensions = Self::default();
        let mut size: &[u8] = &[];
        let mut numbers: [(&[u8], &[u8]); 5] =
            [(b"uid", b""), (b"gid", b""), (b"mtime", b""), (b"atime", b""), (b"ctime", b"")];
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes)?;
            bytes = rest;
            match key {
                b"path" => extensions.path = (!value.is_empty()).then(|| value.to_vec()),
                b"linkpath" => extensions.link = (!value.is_empty()).then(|| value.to_vec()),
                b"size" => size = value,
                _ if key.starts_with(b"GNU.sparse.") => extensions.sparse = true,
                _ => numbers.iter_mut().filter(|(name, _)| *name == key).for_each(|(_, last)| *last = value),
            }
        }
        extensions.size = if size.is_empty() { None } else { Some(integer(size)?) };
        // Not used, but an extended header with a wrong number in any of these is wrong.
        for (name, value) in numbers.into_iter().filter(|(_, value)| !value.is_empty()) {
            if name.ends_with(b"id") { integer(value).map(drop)? } else { time(value)? }
        }
        Ok(extensions)
    }
}

/// A key, its value and what follows the record.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits the first record off.
fn record(bytes: &[u8]) -> Result<Record<'_>, HeaderError> {
    let space = bytes.iter().position(|&byte| byte == b' ').ok_or(HeaderError)?;
    let length = usize::try_from(integer(&bytes[..space])?).map_err(|_| HeaderError)?;
    if length < 5 || length > bytes.len() || length <= space + 1 {
        return Err(HeaderError);
    }
    let (record, rest) = bytes.split_at(length);
    let [body @ .., b'\n'] = &record[space + 1..] else {
        return Err(HeaderError);
    };
    let equals = body.iter().position(|&byte| byte == b'=').ok_or(HeaderError)?;
    let (key, value) = (&body[..equals], &body[equals + 1..]);
    let text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
    if key.is_empty() || if text { value.contains(&0) } else { key.contains(&0) } {
        return Err(HeaderError);
    }
    Ok((key, value, rest))
}

/// A decimal number with an optional sign.
fn integer(text: &[u8]) -> Result<i64, HeaderError> {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(HeaderError)
}

/// Checks a time: seconds with an optional sign, and decimals after a point.
fn time(text: &[u8]) -> Result<(), HeaderError> {
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    integer(parts.next().unwrap_or_default())?;
    let decimals = parts.next().unwrap_or_default();
    if decimals.iter().all(u8::is_ascii_digit) { Ok(()) } else { Err(HeaderError) }
}
