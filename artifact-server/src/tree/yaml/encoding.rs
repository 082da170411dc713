//! Bytes of a document to text, with the errors of go-yaml.

use std::borrow::Cow;

/// The text of a document without its byte order mark: UTF-8, or UTF-16 when a mark says so.
pub(super) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, &'static str> {
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes).map(Cow::Owned),
        _ => utf8(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)).map(Cow::Borrowed),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map_err(|error| fault(&bytes[error.valid_up_to()..]))
}

/// What is wrong with the character that the bytes start with.
fn fault(bytes: &[u8]) -> &'static str {
    let width = match bytes.first() {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => return "invalid leading UTF-8 octet",
    };
    let Some(sequence) = bytes.get(..width) else {
        return "incomplete UTF-8 octet sequence";
    };
    if sequence[1..].iter().any(|byte| byte & 0xc0 != 0x80) {
        return "invalid trailing UTF-8 octet";
    }
    let overlong = matches!(sequence, [0xc0 | 0xc1, ..] | [0xe0, 0x80..=0x9f, ..] | [0xf0, 0x80..=0x8f, ..]);
    if overlong { "invalid length of a UTF-8 sequence" } else { "invalid Unicode character" }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, &'static str> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    let mut units = char::decode_utf16(pairs.iter().map(|&pair| unit(pair)));
    while let Some(character) = units.next() {
        text.push(character.map_err(|error| match error.unpaired_surrogate() {
            0xdc00.. => "unexpected low surrogate area",
            _ if units.next().is_some() => "expected low surrogate area",
            _ => "incomplete UTF-16 surrogate pair",
        })?);
    }
    if rest.is_empty() { Ok(text) } else { Err("incomplete UTF-16 character") }
}
