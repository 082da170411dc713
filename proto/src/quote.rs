//! Texts in errors, quoted as Go does it: users of Flux look for errors as they know them.

/// Bytes in double quotes, as Go's `%q` writes them.
pub fn quoted(text: impl AsRef<[u8]>) -> String {
    let mut quoted = String::from("\"");
    for chunk in text.as_ref().utf8_chunks() {
        chunk.valid().chars().for_each(|character| push(&mut quoted, character));
        chunk.invalid().iter().for_each(|byte| quoted.push_str(&format!("\\x{byte:02x}")));
    }
    quoted.push('"');
    quoted
}

fn push(text: &mut String, character: char) {
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
        // Rust escapes what can not be printed, and a combining mark where nothing stands before it.
        _ if format!("a{character}").escape_debug().count() == 2 => text.push(character),
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
            ("\u{301}a\u{301}".as_bytes(), "\"\u{301}a\u{301}\""),
            (b"\xff\xc3", r#""\xff\xc3""#),
            ("\u{202e}x\u{200b}".as_bytes(), r#""\u202ex\u200b""#),
            ("\u{e0001}".as_bytes(), r#""\U000e0001""#),
        ];
        for (name, expected) in rows {
            assert_eq!(quoted(name), *expected);
        }
    }
}
