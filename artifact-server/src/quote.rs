//! Names in errors, quoted as Go does it and bounded.

/// The most of a name that an error shows, in bytes.
const SHOWN: usize = 256;

/// Bytes in double quotes, as Go's `%q` writes them. Long names are shortened.
pub(crate) fn quoted(name: &[u8]) -> String {
    let (shown, end) = if name.len() > SHOWN { (&name[..SHOWN], "…") } else { (name, "") };
    weir_proto::quoted(shown) + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(quoted(b"a\"\xff"), r#""a\"\xff""#);
        assert_eq!(quoted(&[b'x'; SHOWN]).chars().count(), SHOWN + 2);
        let long = quoted(&[b'x'; SHOWN + 1]);
        assert!(long.chars().count() == SHOWN + 3 && long.ends_with("\"…"), "{long}");
    }
}
