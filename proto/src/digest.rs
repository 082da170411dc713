//! Digests as Flux writes them: `<algorithm>:<lower-case hex>`.

use std::{fmt, str::FromStr};

/// A hash that artifacts may be named by. The list is the one of Flux's artifact SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Kept for old sources; consumers refuse artifacts that use it.
    Sha1,
    /// The default.
    Sha256,
    /// SHA-2 with 384 bits.
    Sha384,
    /// SHA-2 with 512 bits.
    Sha512,
    /// BLAKE3 with 256 bits.
    Blake3,
}

impl Algorithm {
    /// Every algorithm, in the order in which help texts list them.
    pub const ALL: [Self; 5] = [Self::Sha256, Self::Sha384, Self::Sha512, Self::Blake3, Self::Sha1];

    /// Reads the name that a flag gives. The error says which there are.
    pub fn of_flag(name: &str) -> Result<Self, String> {
        let [others @ .., last] = Self::ALL.map(Self::name);
        name.parse().map_err(|error: DigestError| format!("{error}; use {} or {last}", others.join(", ")))
    }

    /// The name in front of the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }

    /// Length of the hash in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 | Self::Blake3 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(name: &str) -> Result<Self, DigestError> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        found.ok_or_else(|| DigestError::UnsupportedAlgorithm(name.to_owned()))
    }
}

/// A digest whose algorithm is known and whose hex has the right length.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// Joins an algorithm and the raw hash. The length must be the algorithm's.
    pub fn new(algorithm: Algorithm, hash: &[u8]) -> Result<Self, DigestError> {
        if hash.len() != algorithm.length() {
            return Err(DigestError::Length);
        }
        let hex = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { algorithm, hex })
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hash in lower-case hex, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Reads a digest as Flux reads the one of a source: without `<algorithm>:` it is taken as SHA-256.
    pub fn parse_lenient(text: &str) -> Result<Self, DigestError> {
        if text.contains(':') { text.parse() } else { format!("sha256:{text}").parse() }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let parts = text.split_once(':').filter(|(_, hex)| !hex.is_empty());
        let (name, hex) = parts.ok_or(DigestError::Format)?;
        let algorithm: Algorithm =
            name.parse().map_err(|error| if is_shaped(name, hex) { error } else { DigestError::Format })?;
        if hex.len() != algorithm.length() * 2 {
            return Err(DigestError::Length);
        }
        if !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Format);
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

/// Whether it looks like a digest, of whatever algorithm: words of small letters and digits with one of `.+_-` between them, and a hash.
fn is_shaped(name: &str, hash: &str) -> bool {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_hash = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-');
    name.split(['.', '+', '_', '-']).all(is_word) && hash.bytes().all(is_hash)
}

/// Why a text is not a digest. The texts are those that Flux users know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `<algorithm>:<hex>`.
    #[error("invalid checksum digest format")]
    Format,
    /// The hex is too short or too long for the algorithm.
    #[error("invalid checksum digest length")]
    Length,
    /// A name that is not in [`Algorithm::ALL`].
    #[error("unsupported digest algorithm: {0}")]
    UnsupportedAlgorithm(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        let hash = "ab".repeat(32);
        let rows = [
            ("sha256", format!("sha256:{hash}"), None),
            ("blake3", format!("blake3:{hash}"), None),
            ("no colon", hash.clone(), Some(DigestError::Format)),
            ("empty", String::new(), Some(DigestError::Format)),
            ("short", "sha256:abcd".into(), Some(DigestError::Length)),
            ("upper case", format!("sha256:{}", hash.to_uppercase()), Some(DigestError::Format)),
            ("unknown", format!("md5:{hash}"), Some(DigestError::UnsupportedAlgorithm("md5".into()))),
            ("unknown, of two words", "sha3-256:Z=".into(), Some(DigestError::UnsupportedAlgorithm("sha3-256".into()))),
            ("a colon alone", ":".into(), Some(DigestError::Format)),
            ("no hash", "sha256:".into(), Some(DigestError::Format)),
            ("unknown, no hash", "md5:".into(), Some(DigestError::Format)),
            ("unknown, with a hash that is none", "md5:a:b".into(), Some(DigestError::Format)),
            ("an algorithm in capitals is no name", format!("SHA256:{hash}"), Some(DigestError::Format)),
            ("nor is one that ends between words", format!("sha3-:{hash}"), Some(DigestError::Format)),
        ];
        for (row, text, error) in rows {
            let got = text.parse::<Digest>();
            assert_eq!(got.as_ref().err(), error.as_ref(), "row {row}");
            if let Ok(digest) = got {
                assert_eq!(digest.to_string(), text, "row {row}");
            }
        }
        assert_eq!(Digest::parse_lenient(&hash).unwrap().to_string(), format!("sha256:{hash}"));
    }
}
