//! Who vouches for the servers of sources behind https.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring, version};
use rustls_native_certs::CertificateResult;

/// Certificate authorities that are trusted. The default is none, which is no error as long as no source is behind https.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    /// Why there are none, or not all.
    trouble: String,
}

impl Default for Roots {
    fn default() -> Self {
        Self { store: Arc::new(RootCertStore::empty()), trouble: "none was looked for".to_owned() }
    }
}

impl Roots {
    /// Those of the system. The environment variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name a file of PEM and folders in their place.
    pub fn of_system() -> Self {
        Self::new(rustls_native_certs::load_native_certs())
    }

    /// Those in a file of PEM.
    pub fn from_file(file: &Path) -> Self {
        Self::new(rustls_native_certs::load_certs_from_paths(Some(file), None))
    }

    fn new(found: CertificateResult) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        let trouble = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        Self { store: Arc::new(store), trouble }
    }

    /// Why nobody is trusted, if that is so.
    pub(super) fn nobody(&self) -> Option<&str> {
        self.store.is_empty().then_some(&self.trouble)
    }

    /// TLS 1.2 and 1.3 that trust these authorities and nobody else. There is no way to leave the check out.
    pub fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let versions = [&version::TLS13, &version::TLS12];
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
        Ok(builder.with_root_certificates(Arc::clone(&self.store)).with_no_client_auth())
    }
}
