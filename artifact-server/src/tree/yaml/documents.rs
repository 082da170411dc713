//! Where one document of a file ends and the next begins, as Kubernetes sees it: by lines, before anything is parsed.

use super::{LoadError, shortened};

/// What starts a line between two documents.
const SEPARATOR: &[u8] = b"---";

/// The documents of a file. Each ends in a newline; CRLF has become LF. Nothing but blanks and a comment may stand behind a separator.
pub(super) fn split(file: &[u8]) -> Result<Vec<Vec<u8>>, LoadError> {
    let mut documents = Vec::new();
    let mut current = Vec::new();
    let body = file.strip_suffix(b"\n").unwrap_or(file);
    let lines = body.split(|&byte| byte == b'\n').filter(|_| !file.is_empty());
    for line in lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        if let Some(rest) = line.strip_prefix(SEPARATOR) {
            let rest = String::from_utf8_lossy(rest);
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                return Err(LoadError::Separator(shortened(rest).into_owned()));
            }
            if !current.is_empty() {
                documents.push(std::mem::take(&mut current));
                continue;
            }
        }
        current.extend_from_slice(line);
        current.push(b'\n');
    }
    documents.extend((!current.is_empty()).then_some(current));
    Ok(documents)
}
