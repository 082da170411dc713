//! Keys of one run: a certificate authority, the API server's certificate, and
//! the key that signs service account tokens.

use std::path::Path;

use anyhow::Result;
use rcgen::KeyPair;

use crate::certificates::{Authority, write};

/// What clients need of them.
pub(super) struct Certificates {
    /// The authority's certificate, PEM.
    pub(super) authority: String,
}

impl Certificates {
    /// Generates them into `folder`: `server.crt`, `server.key`, `accounts.key`
    /// and `accounts.pub`.
    pub(super) fn write(folder: &Path) -> Result<Self> {
        let root = Authority::new("weir-e2e")?;
        root.sign(folder, "server", &["127.0.0.1", "localhost", "kubernetes.default.svc"], |_| {})?;
        let accounts = KeyPair::generate()?;
        write(folder, "accounts.key", accounts.serialize_pem())?;
        write(folder, "accounts.pub", accounts.public_key_pem())?;
        Ok(Self { authority: root.pem() })
    }
}
