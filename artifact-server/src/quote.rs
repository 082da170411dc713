//! Names in errors, quoted as Go does it.

/// The most of a name that an error shows, in bytes.
const SHOWN: usize = 256;

/// Bytes in double quotes, as Go's `%q` writes them. Long names are shortened.
pub(crate) fn quoted(name: &[u8]) -> String {
    let (shown, end) = if name.len() > SHOWN { (&name[..SHOWN], "\"…") } else { (name, "\"") };
    let mut text = String::from("\"");
    for chunk in shown.utf8_chunks() {
        chunk.valid().chars().for_each(|character| push_quoted(&mut text, character));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text + end
}

fn push_quoted(text: &mut String, character: char) {
    match character {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\x07' => text.push_str("\\a"),
        '\x08' => text.push_str("\\b"),
        '\x0b' => text.push_str("\\v"),
        '\x0c' => text.push_str("\\f"),
        '\'' => text.push('\''),
        _ if character.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(character))),
        // Rust escapes what can not be printed; combining marks are the only other characters that it escapes at a start.
        _ if character.escape_debug().len() == 1 => text.push(character),
        _ if u32::from(character) > 0xffff => text.push_str(&format!("\\U{:08x}", u32::from(character))),
        _ => text.push_str(&format!("\\u{:04x}", u32::from(character))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected texts are the output of Go's fmt.Sprintf("%q", …).
    #[test]
    fn quotes_like_go() {
        let rows: &[(&[u8], &str)] = &[
            (b"a'b\"c\\d", r#""a'b\"c\\d""#),
            (b"\n\r\t\x07\x08\x0b\x0c\x01\x7f", r#""\n\r\t\a\b\v\f\x01\x7f""#),
            ("é漢🦀".as_bytes(), "\"é漢🦀\""),
            (b"\xff\xc3", r#""\xff\xc3""#),
            ("\u{202e}x\u{200b}".as_bytes(), r#""\u202ex\u200b""#),
            ("\u{e0001}".as_bytes(), r#""\U000e0001""#),
        ];
        for (name, expected) in rows {
            assert_eq!(quoted(name), *expected);
        }
        assert_eq!(quoted(&[b'x'; 300]).chars().count(), SHOWN + 3);
    }
}
