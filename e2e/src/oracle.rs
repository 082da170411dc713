//! Go's own answers about globs, archives and YAML: what Weir does must be what they say.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;

use crate::tools::{Part, Tools};

/// The vectors of one kind: `count` lines or more, of which random ones follow `seed`.
///
/// # Errors
/// When the oracle fails; says why.
pub async fn vectors(tools: &Tools, kind: &str, count: usize, seed: u32) -> Result<String> {
    run(tools, &[kind, &count.to_string(), &seed.to_string()], Vec::new()).await
}

/// What Go reads in YAML files, as JSON, or an error with `!` in front.
///
/// # Errors
/// When the oracle fails; says why.
pub async fn read_yaml(tools: &Tools, files: &[Vec<u8>]) -> Result<Vec<String>> {
    let input: String = files.iter().map(|file| quote(file) + "\n").collect();
    let output = run(tools, &["read"], input.into_bytes()).await?;
    output.lines().map(|line| Ok(String::from_utf8(unquote(line)?)?)).collect()
}

async fn run(tools: &Tools, arguments: &[&str], input: Vec<u8>) -> Result<String> {
    let mut child = tokio::process::Command::new(tools.program(Part::Oracle)?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("no pipe to the oracle")?;
    let writing = tokio::spawn(async move { stdin.write_all(&input).await });
    let output = child.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "oracle {arguments:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    writing.await??;
    Ok(String::from_utf8(output.stdout)?)
}

/// Bytes as the vectors write them: `%xx` for what is no printable ASCII, and for `%`; nothing is `%`.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "%".to_owned();
    }
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    bytes.iter().map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect()
}

/// Undoes [`quote`].
///
/// # Errors
/// When a `%` is not followed by two hexadecimal digits.
pub fn unquote(text: &str) -> Result<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts.filter(|_| text != "%") {
        let (digits, rest) = part.split_at_checked(2).with_context(|| format!("a broken quote in {text}"))?;
        bytes.extend(hex::decode(digits).with_context(|| format!("a broken quote in {text}"))?);
        bytes.extend(rest.as_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_come_back() {
        for bytes in [&b""[..], b"a b\n", b"100%", "é".as_bytes(), b"\xff\0"] {
            assert_eq!(unquote(&quote(bytes)).unwrap(), bytes);
        }
        assert_eq!(quote(b"a b%"), "a%20b%25");
        assert!(unquote("%x").is_err());
    }
}
