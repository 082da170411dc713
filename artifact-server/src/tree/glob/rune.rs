//! Runes of byte strings that may not be UTF-8.

/// What stands for bytes that are not UTF-8, each on its own.
pub(super) const INVALID: (char, usize) = (char::REPLACEMENT_CHARACTER, 1);

/// The first rune and how many bytes it takes. Bytes that are not UTF-8 count one by one, as in Go. Empty input gives a length of zero.
pub(super) fn first(bytes: &[u8]) -> (char, usize) {
    let length = match bytes.first() {
        None => return (char::REPLACEMENT_CHARACTER, 0),
        Some(&byte @ 0..=0x7f) => return (char::from(byte), 1),
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        Some(_) => return INVALID,
    };
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(|text| text.chars().next()).map_or(INVALID, |rune| (rune, length))
}

/// The places between runes, with both ends.
pub(in crate::tree) fn borders(bytes: &[u8]) -> Vec<usize> {
    let step = |&at: &usize| Some(at + first(&bytes[at..]).1).filter(|_| at < bytes.len());
    std::iter::successors(Some(0), step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_utf8_count_one_by_one() {
        for (bytes, expected) in [
            (&b""[..], (char::REPLACEMENT_CHARACTER, 0)),
            (b"a/", ('a', 1)),
            ("é".as_bytes(), ('é', 2)),
            ("€".as_bytes(), ('€', 3)),
            ("😀".as_bytes(), ('😀', 4)),
            (b"\xe2\x82", INVALID),
            (b"\xc3(", INVALID),
            (b"\xed\xa0\x80", INVALID),
            (b"\xf5\x80\x80\x80", INVALID),
            (b"\x80", INVALID),
        ] {
            assert_eq!(first(bytes), expected, "{bytes:?}");
        }
    }
}
