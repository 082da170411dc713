//! Certificates of authorities of a test's own, as the files that Secrets would hold.

use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one, and its certificate as `ca.crt` in a folder.
    pub(crate) fn new(name: &str, folder: &Path) -> Result<Self> {
        let mut root = CertificateParams::default();
        root.distinguished_name.push(DnType::CommonName, name);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
        std::fs::write(folder.join("ca.crt"), root.pem())?;
        Ok(Self(root))
    }

    /// Writes `<file>.crt` and `<file>.key`, for a host name or an address.
    pub(crate) fn issue(&self, folder: &Path, file: &str, host: &str) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host.to_owned()])?.signed_by(&key, &self.0)?;
        std::fs::write(folder.join(format!("{file}.crt")), certificate.pem())?;
        std::fs::write(folder.join(format!("{file}.key")), key.serialize_pem())?;
        Ok(())
    }
}

/// The flags of an artifact server behind `https://` on loopback: its pair is `server`, its policy `policy.yaml`.
pub(crate) fn of_server(folder: &Path, port: u16) -> Vec<String> {
    let flag = |flag: &str, name: &str| format!("--{flag}={}", folder.join(name).display());
    vec![
        format!("--grpc-addr=https://127.0.0.1:{port}"),
        flag("grpc-tls-cert", "server.crt"),
        flag("grpc-tls-key", "server.key"),
        flag("grpc-client-ca", "ca.crt"),
        flag("grpc-policy", "policy.yaml"),
    ]
}

/// The flags of a controller that calls it with the pair `file`.
pub(crate) fn of_controller(folder: &Path, port: u16, file: &str) -> Vec<String> {
    let flag = |flag: &str, name: String| format!("--{flag}={}", folder.join(name).display());
    vec![
        format!("--artifact-server=https://127.0.0.1:{port}"),
        flag("artifact-server-ca", "ca.crt".to_owned()),
        flag("artifact-server-cert", format!("{file}.crt")),
        flag("artifact-server-key", format!("{file}.key")),
    ]
}

/// Flags as programs take them.
pub(crate) fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}
