//! Mutual TLS to the artifact server. The files are read for each connection, so that renewed certificates need no restart.

use std::{io, path::PathBuf, sync::Arc};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::Uri;

/// What mutual TLS takes: files of PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Authorities that vouch for the artifact server.
    pub authorities: PathBuf,
    /// What this client shows.
    pub certificate: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
}

impl Certificates {
    /// Whether all files are named.
    pub fn are_complete(&self) -> bool {
        [&self.authorities, &self.certificate, &self.key].iter().all(|file| !file.as_os_str().is_empty())
    }

    /// Reads the files. The error is one line that names flag and file.
    pub(super) fn load(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        for authority in certificates("artifact-server-ca", &self.authorities)? {
            roots.add(authority).map_err(|error| at("artifact-server-ca", &self.authorities, error))?;
        }
        let chain = certificates("artifact-server-cert", &self.certificate)?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| at("artifact-server-key", &self.key, error))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).map_err(|error| {
            let certificate = self.certificate.display();
            let problem =
                format!("it can not be used with the certificate {certificate} ({error}); give both of one pair");
            at("artifact-server-key", &self.key, problem)
        });
        let mut config = config?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn at(flag: &str, file: &std::path::Path, problem: impl std::fmt::Display) -> String {
    format!("--{flag} {}: {problem}", file.display())
}

fn certificates(flag: &str, file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| at(flag, file, error))?;
    if found.is_empty() { Err(at(flag, file, "there is no certificate in it; give it one in PEM")) } else { Ok(found) }
}

/// Connects to the host of a URL. Errors say what to do.
pub(super) async fn connect(certificates: Certificates, url: Uri) -> io::Result<TokioIo<Secured>> {
    let load = tokio::task::spawn_blocking(move || certificates.load());
    let config = load.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(io::Error::other)?;
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = BufReader::new(stream.map_err(|error| explain(error, &host))?);
    // Under TLS 1.3 a client is done before the server has seen its certificate. The server speaks first in HTTP/2: with its settings, or
    // with what it has against the certificate, which would be lost later.
    if stream.fill_buf().await.map_err(|error| explain(error, &host))?.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::ConnectionReset,
            "the connection was closed right after the handshake",
        ));
    }
    Ok(TokioIo::new(stream))
}

/// A connection over TLS whose first bytes have been read already.
type Secured = BufReader<TlsStream<TcpStream>>;

/// What to do when one side does not take the certificate of the other.
fn explain(error: io::Error, host: &str) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let advice = match cause {
        Some(rustls::Error::InvalidCertificate(_)) => {
            format!("the artifact server must show a certificate for {host:?} of an authority in --artifact-server-ca")
        }
        Some(rustls::Error::AlertReceived(_)) => {
            "it does not take the certificate in --artifact-server-cert, which must be \
                                                  in date and of an authority in its --grpc-client-ca"
                .to_owned()
        }
        _ => return error,
    };
    io::Error::other(format!("{error}: {advice}"))
}
