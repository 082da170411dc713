//! What a client shows and whom it trusts.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{self, CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

/// What mutual TLS takes, in PEM: authorities that vouch for the artifact server, and certificate and key of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    authorities: Pem,
    certificate: Pem,
    key: Pem,
    server: Option<String>,
    pub(super) called: Called,
}

/// What the parts of [`Certificates`] are called in errors, e.g. by the flags that name their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called {
    /// The authorities.
    pub authorities: &'static str,
    /// The certificate of the client.
    pub certificate: &'static str,
    /// Its key.
    pub key: &'static str,
}

impl Default for Called {
    fn default() -> Self {
        Self { authorities: "the CA bundle", certificate: "the client certificate", key: "the client key" }
    }
}

/// Certificates that can not be used: one line that names the part, and the file if it is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CertificatesError(String);

/// Where PEM is.
#[derive(Clone, PartialEq, Eq)]
enum Pem {
    File(PathBuf),
    Bytes(Arc<[u8]>),
}

/// Without the bytes: they may be a key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

impl Certificates {
    /// Of files, as a Secret of type `kubernetes.io/tls` has them. They are read for each connection: renew them at any time, also one after
    /// the other.
    pub fn files(authorities: impl AsRef<Path>, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        let file = |path: &Path| Pem::File(path.to_owned());
        Self::of(file(authorities.as_ref()), file(certificate.as_ref()), file(key.as_ref()))
    }

    /// Of the PEM itself. It stays as it is: for renewed certificates connect anew.
    pub fn pem(authorities: impl AsRef<[u8]>, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let bytes = |bytes: &[u8]| Pem::Bytes(bytes.into());
        Self::of(bytes(authorities.as_ref()), bytes(certificate.as_ref()), bytes(key.as_ref()))
    }

    fn of(authorities: Pem, certificate: Pem, key: Pem) -> Self {
        Self { authorities, certificate, key, server: None, called: Called::default() }
    }

    /// With another name that the certificate of the server must have than the host of the endpoint, e.g. behind a port that is forwarded.
    pub fn with_server_name(mut self, name: &str) -> Self {
        self.server = Some(name.to_owned());
        self
    }

    /// With errors in the words of a program.
    pub fn called(mut self, called: Called) -> Self {
        self.called = called;
        self
    }

    /// The name that the certificate of the server must have.
    pub(super) fn name_of_server(&self, host: &str) -> Result<ServerName<'static>, CertificatesError> {
        let name = self.server.as_deref().unwrap_or(host);
        let parsed = ServerName::try_from(name.trim_end_matches('.').to_owned());
        parsed.map_err(|_| {
            CertificatesError(format!("the server name {name:?} is not valid: use a DNS name or an IP address"))
        })
    }

    /// Reads what there is.
    pub(super) fn load(&self) -> Result<ClientConfig, CertificatesError> {
        // A name of the caller's is checked here; a host is when it is known.
        self.name_of_server("localhost")?;
        let Called { authorities, certificate, key } = self.called;
        let mut roots = RootCertStore::empty();
        for authority in self.authorities.certificates(authorities)? {
            roots.add(authority).map_err(|error| self.authorities.wrong(authorities, error))?;
        }
        let chain = self.certificate.certificates(certificate)?;
        let private: PrivateKeyDer<'static> = self.key.one().map_err(|error| self.key.wrong(key, error))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| CertificatesError(error.to_string()))?;
        let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, private).map_err(|error| {
            let certificate = self.certificate.named(certificate);
            self.key.wrong(key, format!("it can not be used with {certificate} ({error}); give both of one pair"))
        });
        let mut config = config?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl Pem {
    fn certificates(&self, called: &str) -> Result<Vec<CertificateDer<'static>>, CertificatesError> {
        let read = match self {
            Self::File(path) => CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>),
            Self::Bytes(bytes) => CertificateDer::pem_slice_iter(bytes).collect(),
        };
        let found = read.map_err(|error| self.wrong(called, error))?;
        if found.is_empty() {
            return Err(self.wrong(called, "there is no certificate in it; give it one in PEM"));
        }
        Ok(found)
    }

    fn one<T: PemObject>(&self) -> Result<T, pki_types::pem::Error> {
        match self {
            Self::File(path) => T::from_pem_file(path),
            Self::Bytes(bytes) => T::from_pem_slice(bytes),
        }
    }

    fn named(&self, called: &str) -> String {
        match self {
            Self::File(path) => format!("{called} {}", path.display()),
            Self::Bytes(_) => called.to_owned(),
        }
    }

    fn wrong(&self, called: &str, problem: impl fmt::Display) -> CertificatesError {
        CertificatesError(format!("{}: {problem}", self.named(called)))
    }
}
