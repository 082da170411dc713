//! Certificates of authorities of a test's own, as the files that Secrets would hold, and the flags that name them.

use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut root = CertificateParams::default();
        // OpenSSL, and so Python, takes a certificate whose issuer has its own name for self-signed, and asks an authority for its usages.
        root.distinguished_name.push(DnType::CommonName, format!("{name} authority"));
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self(CertifiedIssuer::self_signed(root, KeyPair::generate()?)?))
    }

    /// A new one, with its certificate as `ca.crt` in a folder.
    ///
    /// # Errors
    /// When no key can be made, or the file can not be written.
    pub fn in_folder(name: &str, folder: &Path) -> Result<Self> {
        let authority = Self::new(name)?;
        write(folder, "ca.crt", authority.pem())?;
        Ok(authority)
    }

    /// Its own certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes `<file>.crt` and `<file>.key`, for a host name or an address.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn issue(&self, folder: &Path, file: &str, host: &str) -> Result<()> {
        self.sign(folder, file, &[host], |_| {})
    }

    /// Writes `<file>.crt` and `<file>.key`, for these hosts, and with what `change` makes of it.
    ///
    /// # Errors
    /// When a host is none, or a file can not be written.
    pub fn sign(
        &self,
        folder: &Path,
        file: &str,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<()> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.0)?;
        write(folder, &format!("{file}.crt"), certificate.pem())?;
        write(folder, &format!("{file}.key"), key.serialize_pem())
    }
}

/// Writes a file of PEM; an error names it.
pub(crate) fn write(folder: &Path, name: &str, pem: String) -> Result<()> {
    std::fs::write(folder.join(name), pem).with_context(|| format!("cannot write {name}"))
}

/// The flags of an artifact server behind `https://` on loopback: its pair is `server`, its policy `policy.yaml`.
#[must_use]
pub fn of_server(folder: &Path, port: u16) -> Vec<String> {
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
#[must_use]
pub fn of_controller(folder: &Path, port: u16, file: &str) -> Vec<String> {
    let flag = |flag: &str, name: String| format!("--{flag}={}", folder.join(name).display());
    vec![
        format!("--artifact-server=https://127.0.0.1:{port}"),
        flag("artifact-server-ca", "ca.crt".to_owned()),
        flag("artifact-server-cert", format!("{file}.crt")),
        flag("artifact-server-key", format!("{file}.key")),
    ]
}

/// Flags as programs take them.
#[must_use]
pub fn words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}
