//! Channels to the peers of a setup.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::conformance::setup::Peer;

/// A connection that is made when first used.
pub(super) fn channel(peer: &Peer) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(peer.endpoint.clone())?;
    let Some(authority) = &peer.authority else { return Ok(endpoint.connect_lazy()) };
    let config = config(authority, peer.certificate.as_deref().zip(peer.key.as_deref()))?;
    let connector = TlsConnector::from(Arc::new(config));
    let connect = tower::service_fn(move |url: Uri| {
        let connector = connector.clone();
        async move {
            let (host, port) = (url.host().unwrap_or_default().to_owned(), url.port_u16().unwrap_or(443));
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            let name = ServerName::try_from(host).map_err(io::Error::other)?;
            let mut stream = BufReader::new(connector.connect(name, stream).await?);
            // Under TLS 1.3 a client is done before the server has seen its certificate. The server speaks first in HTTP/2: until then nobody
            // knows whether there is a connection.
            match stream.fill_buf().await?.len() {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                _ => io::Result::Ok(TokioIo::new(stream)),
            }
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connect))
}

fn config(authority: &Path, shows: Option<(&Path, &Path)>) -> Result<ClientConfig> {
    let read = |file: &Path| CertificateDer::from_pem_file(file).with_context(|| file.display().to_string());
    let mut roots = RootCertStore::empty();
    roots.add(read(authority)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            builder.with_client_auth_cert(vec![read(certificate)?], PrivateKeyDer::from_pem_file(key)?)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
