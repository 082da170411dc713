//! One incremental hash over every algorithm of the contract.

use sha2::Digest as _;
use weir_proto::{Algorithm, Digest, DigestError};

/// Hashes a stream of bytes piece by piece. SHA-256 uses the processor's SHA instructions where it has them.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// SHA-1, 160 bits.
    Sha1(sha1::Sha1),
    /// SHA-2, 256 bits.
    Sha256(sha2::Sha256),
    /// SHA-2, 384 bits.
    Sha384(sha2::Sha384),
    /// SHA-2, 512 bits.
    Sha512(sha2::Sha512),
    /// BLAKE3, 256 bits. Boxed: its state is some 2 KiB.
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    /// Starts a hash.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
        }
    }

    /// The algorithm it was started with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha1(_) => Algorithm::Sha1,
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha384(_) => Algorithm::Sha384,
            Self::Sha512(_) => Algorithm::Sha512,
            Self::Blake3(_) => Algorithm::Blake3,
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
            Self::Blake3(hash) => {
                hash.update(bytes);
            }
        }
    }

    /// The digest of all bytes added. Fails only if a hash had another length than its algorithm says, which a test rules out.
    pub fn finish(self) -> Result<Digest, DigestError> {
        match self {
            Self::Sha1(hash) => Digest::new(Algorithm::Sha1, &hash.finalize()),
            Self::Sha256(hash) => Digest::new(Algorithm::Sha256, &hash.finalize()),
            Self::Sha384(hash) => Digest::new(Algorithm::Sha384, &hash.finalize()),
            Self::Sha512(hash) => Digest::new(Algorithm::Sha512, &hash.finalize()),
            Self::Blake3(hash) => Digest::new(Algorithm::Blake3, hash.finalize().as_bytes()),
        }
    }
}

/// The SHA-256 of bytes in memory, raw.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The published vectors of "abc", fed in two pieces.
    #[test]
    fn known_vectors() {
        let rows = [
            "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        ];
        let mut algorithms = Vec::new();
        for row in rows {
            let expected: Digest = row.parse().unwrap();
            let mut hasher = Hasher::new(expected.algorithm());
            assert_eq!(hasher.algorithm(), expected.algorithm());
            hasher.update(b"a");
            hasher.update(b"bc");
            assert_eq!(hasher.finish().unwrap(), expected, "row {row}");
            algorithms.push(expected.algorithm());
        }
        assert!(Algorithm::ALL.iter().all(|algorithm| algorithms.contains(algorithm)));
        assert!(Digest::new(Algorithm::Sha256, &sha256(b"abc")).unwrap().to_string().ends_with("20015ad"));
    }
}
