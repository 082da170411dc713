use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{net::TcpListener, sync::mpsc};

use super::*;

#[tokio::test]
async fn refuses_addresses_it_can_not_call() {
    for good in ["unix:///run/weir/s/artifact.sock", "http://127.0.0.1:9092", "http://[::1]:1"] {
        assert!(Server::new(good, &Certificates::default(), Policy::default()).is_ok(), "{good}");
    }
    for bad in ["", "/run/x.sock", "unix:relative", "tcp://a:1", "http://"] {
        let error = Server::new(bad, &Certificates::default(), Policy::default()).map(drop).unwrap_err().to_string();
        assert!(error.contains("use unix:///path/to.sock, https://host:port or http://host:port"), "{bad}: {error}");
    }
}

#[tokio::test]
async fn names_the_endpoint_when_nobody_answers() {
    let server = Server::new("unix:///nowhere/weir.sock", &Certificates::default(), Policy::default()).unwrap();
    let error = server.info().await.unwrap_err();
    let ServerError::Unreachable { address, cause } = &error else { panic!("{error:?}") };
    assert_eq!(address, "unix:///nowhere/weir.sock");
    assert!(cause.contains("No such file"), "{cause}");
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap()
}

fn pair(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let (params, key) = (CertificateParams::new([name.to_owned()]).unwrap(), KeyPair::generate().unwrap());
    (params.signed_by(&key, authority).unwrap(), key)
}

/// Writes what a client has; the names are those of the flags.
fn write(folder: &Path, trusts: &Authority, shows: &(rcgen::Certificate, KeyPair)) -> Certificates {
    let files = Certificates {
        authorities: folder.join("ca.crt"),
        certificate: folder.join("tls.crt"),
        key: folder.join("tls.key"),
    };
    std::fs::write(&files.authorities, trusts.pem()).unwrap();
    std::fs::write(&files.certificate, shows.0.pem()).unwrap();
    std::fs::write(&files.key, shows.1.serialize_pem()).unwrap();
    files
}

/// Shakes hands with clients of one authority, says which certificate each showed, and hangs up.
async fn handshakes(authority: &Authority) -> (u16, mpsc::UnboundedReceiver<CertificateDer<'static>>) {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let (certificate, key) = pair(authority, "127.0.0.1");
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = builder.with_client_cert_verifier(clients);
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, shown) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                let chain = stream.get_ref().1.peer_certificates().unwrap();
                sender.send(chain[0].clone()).unwrap();
            }
        }
    });
    (port, shown)
}

#[tokio::test]
async fn certificates_are_read_for_each_connection_and_errors_say_what_to_do() {
    let (ours, foreign, folder) = (authority(), authority(), tempfile::tempdir().unwrap());
    let (port, mut shown) = handshakes(&ours).await;
    let address = format!("https://127.0.0.1:{port}");
    let (one, two, other) = (pair(&ours, "one"), pair(&ours, "two"), pair(&foreign, "other"));
    let files = write(folder.path(), &ours, &one);
    let server = Server::new(&address, &files, Policy::default()).unwrap();
    server.info().await.unwrap_err();
    assert_eq!(shown.recv().await.unwrap(), *one.0.der());
    write(folder.path(), &ours, &two);
    server.info().await.unwrap_err();
    assert_eq!(shown.recv().await.unwrap(), *two.0.der(), "renewed without a restart");

    write(folder.path(), &ours, &other);
    let error = server.info().await.unwrap_err().to_string();
    assert!(error.contains("received fatal alert") && error.contains("--artifact-server-cert"), "{error}");
    write(folder.path(), &foreign, &one);
    let error = server.info().await.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate") && error.contains("--artifact-server-ca"), "{error}");
    std::fs::write(&files.key, two.1.serialize_pem()).unwrap();
    let error = server.info().await.unwrap_err().to_string();
    let key = files.key.display().to_string();
    assert!(error.contains(&format!("--artifact-server-key {key}")) && error.contains("of one pair"), "{error}");
    let error = Server::new(&address, &files, Policy::default()).map(drop).unwrap_err().to_string();
    assert!(error.contains(&key) && !error.contains('\n'), "{error}");
    std::fs::write(&files.authorities, "").unwrap();
    let error = Server::new(&address, &files, Policy::default()).map(drop).unwrap_err().to_string();
    assert!(error.contains("--artifact-server-ca") && error.contains("there is no certificate in it"), "{error}");
}
