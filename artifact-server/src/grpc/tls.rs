//! Mutual TLS: what the server shows, and whom it lets in.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use crate::{
    args::TlsFiles,
    live::{Live, NamedFile},
};

/// Reads certificate, key and client authorities, and reads them again when they change. One that does not fit the others changes nothing.
pub(super) async fn open(files: &TlsFiles) -> Result<Live<ServerConfig>, String> {
    let named = |flag, path: &std::path::Path| NamedFile { flag, path: path.to_owned() };
    let files = [
        named("grpc-tls-cert", &files.certificate),
        named("grpc-tls-key", &files.key),
        named("grpc-client-ca", &files.client_authorities),
    ];
    let named = files.to_vec();
    Live::open("the certificates of --grpc-addr", named, move |contents| match contents {
        [certificate, key, authorities] => config(&files, certificate, key, authorities),
        _ => Err("not all files were read".to_owned()),
    })
    .await
}

fn config(files: &[NamedFile; 3], certificate: &[u8], key: &[u8], authorities: &[u8]) -> Result<ServerConfig, String> {
    let [certificate_file, key_file, authorities_file] = files;
    let chain = certificates(certificate_file, certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        key_file.error(format!("no private key in PEM that can be read ({error}); give it the key of --grpc-tls-cert"))
    })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities_file, authorities)? {
        roots
            .add(authority)
            .map_err(|error| authorities_file.error(format!("not a certificate authority: {error}")))?;
    }
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let clients = clients.map_err(|error| authorities_file.error(error))?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(|error| error.to_string())?.with_client_cert_verifier(clients);
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        let certificate = certificate_file.path.display();
        key_file
            .error(format!("it can not be used with the certificate {certificate} ({error}); give both of one pair"))
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(file: &NamedFile, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(file.error("there is no certificate in it; give it one in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(file.error(format!("it is not PEM: {error}"))),
    }
}
