//! What Kubernetes takes as the key and the value of a label, in the words of kube-apiserver; and how a value gets there.

/// Longest key and longest value, in bytes.
const LIMIT: usize = 63;

/// Whether a capture name can be the key of a label; else what is wrong. It has no `/`, so it needs no prefix.
pub(super) fn key(name: &str) -> Result<(), String> {
    let mut wrong = Vec::new();
    if name.len() > LIMIT {
        wrong.push("name part must be no more than 63 bytes");
    }
    if !is_qualified(name) {
        wrong.push(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
             character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        );
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Whether a text can be the value of a label; else what is wrong.
pub(super) fn value(text: &str) -> Result<(), String> {
    let mut wrong = Vec::new();
    if text.len() > LIMIT {
        wrong.push("must be no more than 63 bytes");
    }
    if !text.is_empty() && !is_qualified(text) {
        wrong.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
             end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        );
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Lower case as Go has it: each character by itself, to one character.
pub(super) fn lower(text: &str) -> String {
    let one = |character: char| {
        let mut lower = character.to_lowercase();
        match (lower.next(), lower.next()) {
            (Some(only), None) => only,
            // The one character whose lower case is two, i and a dot above it.
            _ if character == 'İ' => 'i',
            _ => character,
        }
    };
    text.chars().map(one).collect()
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let ends = [bytes.first(), bytes.last()];
    bytes.iter().all(inside) && ends.into_iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
}
