//! Mutual TLS to an artifact server (feature `tls`, which `client` has): what [`Certificates`] are, and connections that show them.
//!
//! Files are read for each connection, so that renewed certificates need no restart of a client.

mod certificates;

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};

pub use certificates::{Called, Certificates, CertificatesError};

/// A connection to an endpoint with `https://` that is made when first used, and again whenever it breaks; each time with the files as they
/// are then. Certificates that can not be used now are an error at once. Must run inside a tokio runtime.
pub fn connect_lazy(endpoint: &Endpoint, certificates: &Certificates) -> Result<Channel, CertificatesError> {
    certificates.load()?;
    let certificates = certificates.clone();
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |url| connect(certificates.clone(), url))))
}

/// A connection over TLS whose first bytes have been read already.
type Secured = BufReader<TlsStream<TcpStream>>;

/// Connects to the host of a URL. Errors say what to do.
async fn connect(certificates: Certificates, url: Uri) -> io::Result<TokioIo<Secured>> {
    let files = certificates.clone();
    let load = tokio::task::spawn_blocking(move || files.load());
    let config = load.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_u16().unwrap_or(443);
    let name = certificates.name_of_server(&host).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let shown = name.to_str().into_owned();
    let explain = |error| explain(error, &shown, certificates.called);
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = BufReader::new(stream.map_err(explain)?);
    // Under TLS 1.3 a client is done before the server has seen its certificate. The server speaks first in HTTP/2: with its settings, or
    // with what it has against the certificate, which would be lost later.
    if stream.fill_buf().await.map_err(explain)?.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::ConnectionReset,
            "the connection was closed right after the handshake",
        ));
    }
    Ok(TokioIo::new(stream))
}

/// What to do when one side does not take the certificate of the other.
fn explain(error: io::Error, name: &str, called: Called) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let advice = match cause {
        Some(rustls::Error::InvalidCertificate(_)) => {
            format!(
                "the artifact server must show a certificate for {name:?} of an authority in {}",
                called.authorities
            )
        }
        Some(rustls::Error::AlertReceived(_)) => format!(
            "it does not take {}, which must be in date and of an authority in its --grpc-client-ca",
            called.certificate
        ),
        _ => return error,
    };
    io::Error::other(format!("{error}: {advice}"))
}
