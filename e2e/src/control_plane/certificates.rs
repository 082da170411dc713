//! Keys of one run: a certificate authority, the API server's certificate, and
//! the key that signs service account tokens.

use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// What clients need of them.
pub(super) struct Certificates {
    /// The authority's certificate, PEM.
    pub(super) authority: String,
}

impl Certificates {
    /// Generates them into `folder`: `server.crt`, `server.key`, `accounts.key`
    /// and `accounts.pub`.
    pub(super) fn write(folder: &Path) -> Result<Self> {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL, and so Python, takes a certificate whose issuer has its own name for self-signed, and asks an authority for its usages.
        root.distinguished_name.push(DnType::CommonName, "weir-e2e authority");
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(names)?;
        server.use_authority_key_identifier_extension = true;
        let server = server.signed_by(&key, &root)?;
        let write = |name: &str, pem: String| {
            std::fs::write(folder.join(name), pem).with_context(|| format!("cannot write {name}"))
        };
        write("server.crt", server.pem())?;
        write("server.key", key.serialize_pem())?;
        let accounts = KeyPair::generate()?;
        write("accounts.key", accounts.serialize_pem())?;
        write("accounts.pub", accounts.public_key_pem())?;
        Ok(Self { authority: root.pem() })
    }
}
