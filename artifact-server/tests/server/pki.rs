//! Certificates as the files of a server, and clients that show them.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper_util::rt::TokioIo;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Error, Uri};

pub(crate) use crate::authority::{Authority, Pair};

/// Certificates of clients.
impl Authority {
    /// For a client with DNS names.
    pub(crate) fn client(&self, names: &[&str]) -> Pair {
        self.sign(names, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// For a client with a URI.
    pub(crate) fn client_with_uri(&self, uri: &str) -> Pair {
        self.sign(&[], |params| params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap())))
    }
}

/// The files of a server.
pub(crate) struct Files(pub(crate) PathBuf);

impl Files {
    pub(crate) fn new(folder: &Path, pair: &Pair, clients: &Authority) -> Self {
        let files = Self(folder.join("tls"));
        std::fs::create_dir_all(&files.0).unwrap();
        files.write("tls.crt", &pair.certificate);
        files.write("tls.key", &pair.key);
        files.write("ca.crt", &clients.pem());
        files
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    pub(crate) fn flags(&self) -> Vec<String> {
        let flag = |flag: &str, name: &str| format!("--{flag}={}", self.0.join(name).display());
        vec![
            "--grpc-addr=https://127.0.0.1:0".to_owned(),
            flag("grpc-tls-cert", "tls.crt"),
            flag("grpc-tls-key", "tls.key"),
            flag("grpc-client-ca", "ca.crt"),
        ]
    }
}

/// A new connection. Under TLS 1.3 a client learns with its first call that its certificate is not good.
pub(crate) async fn connect(server: SocketAddr, trusts: &Authority, shows: Option<&Pair>) -> Result<Channel, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusts.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |_: Uri| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(server).await?;
            let name = ServerName::from(server.ip());
            io::Result::Ok(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Endpoint::from_shared(format!("https://{server}")).unwrap().connect_with_connector(connect).await
}
