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
        let (name, hex) = text.split_once(':').ok_or(DigestError::Format)?;
        let algorithm: Algorithm = name.parse()?;
        if hex.len() != algorithm.length() * 2 {
            return Err(DigestError::Length);
        }
        if !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Format);
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
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
