//! Sources behind https: whom to believe.

use std::path::Path;

use rcgen::{CertificateParams, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use weir_artifact_server::source::{Roots, SourceCache, SourceRequest};
use weir_proto::{Failure, Reason};

use crate::{
    authority::Authority,
    server::{Reply, Server},
    setup::{cache, digest, small},
    tls_server::TlsServer,
};

/// A cache that trusts the certificates in a file.
fn trusting(folder: &Path, pem: &str) -> SourceCache {
    let file = folder.join("trusted.pem");
    std::fs::write(&file, pem).unwrap();
    let roots = Roots::from_file(&file);
    cache(&folder.join("cache"), |settings| settings.roots = roots)
}

fn request(url: String) -> SourceRequest {
    SourceRequest { url, digest: digest(&small()), http_retry: Some(3), source_host: None, tenant: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_a_trusted_authority_vouches_for_is_believed() {
    for (row, versions) in [("TLS 1.2", &[&TLS12][..]), ("TLS 1.3", &[&TLS13]), ("both", &[&TLS12, &TLS13])] {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
        let server = TlsServer::start(&authority.server(), versions, &small()).await;
        let others = format!("{}\n{}", Authority::new("other").pem(), authority.pem());
        let fetched = trusting(folder.path(), &others).get(&request(server.url("/x"))).await;
        assert!(fetched.unwrap().downloaded, "row {row}");
        assert_eq!(server.connections(), 1, "row {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_who_it_should_be_is_refused_at_once() {
    const ADVICE: &str = "name a file with the certificate of its authority in SSL_CERT_FILE of the artifact server";
    // Row, whether the authority is trusted, what is wrong with the certificate, parts of the error.
    type Row = (&'static str, bool, fn(&mut CertificateParams), &'static [&'static str]);
    let rows: [Row; 4] = [
        ("unknown authority", false, |_| {}, &["UnknownIssuer", ADVICE]),
        (
            "another host",
            true,
            |params| *params = CertificateParams::new(["elsewhere.test".to_owned()]).unwrap(),
            &["not valid for name \"127.0.0.1\"", "elsewhere.test"],
        ),
        ("expired", true, |params| params.not_after = date_time_ymd(2020, 1, 1), &["certificate expired"]),
        ("not yet valid", true, |params| params.not_before = date_time_ymd(2190, 1, 1), &["certificate not valid yet"]),
    ];
    for (row, trusted, change, parts) in rows {
        let (folder, authority, other) =
            (tempfile::tempdir().unwrap(), Authority::new("ours"), Authority::new("other"));
        let server = TlsServer::start(&authority.sign(&["127.0.0.1"], change), &[&TLS12, &TLS13], &small()).await;
        let pem = if trusted { authority.pem() } else { other.pem() };
        let request = request(server.url("/x"));
        let error = trusting(folder.path(), &pem).get(&request).await.map(drop).unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(failure.reason, Reason::SourceUnavailable, "row {row}: {failure}");
        let start = format!("failed to download archive: GET {} giving up after 1 attempt(s): ", request.url);
        assert!(failure.message.starts_with(&start), "row {row}: {failure}");
        for part in parts {
            assert!(failure.message.contains(part), "row {row}: {part:?} is not in {failure}");
        }
        assert_eq!(failure.message.contains(ADVICE), !trusted, "row {row}: {failure}");
        assert_eq!(server.connections(), 1, "row {row}: §9 certificate errors are not tried again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_the_same_name_is_another_one() {
    let (folder, old, new) = (tempfile::tempdir().unwrap(), Authority::new("ours"), Authority::new("ours"));
    let server = TlsServer::start(&new.server(), &[&TLS13], &small()).await;
    let error = trusting(folder.path(), &old.pem()).get(&request(server.url("/x"))).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("SSL_CERT_FILE") && server.connections() == 1, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_breaks_off_is_tried_again() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/x", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let error = trusting(folder.path(), &authority.pem()).get(&request(url)).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("giving up after 4 attempt(s): "), "{error}");
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authorities_https_is_refused_and_http_goes_on() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ours"));
    let server = TlsServer::start(&authority.server(), &[&TLS13], &small()).await;
    let missing = Roots::from_file(&folder.path().join("missing.pem"));
    for (row, roots, part) in
        [("none given", Roots::default(), "none was looked for"), ("a file that is not there", missing, "missing.pem")]
    {
        let cache = cache(&folder.path().join("cache"), |settings| settings.roots = roots);
        let error = cache.get(&request(server.url("/x"))).await.map(drop).unwrap_err().to_string();
        assert!(error.contains("no certificate authority is trusted (") && error.contains(part), "row {row}: {error}");
        assert!(error.contains("SSL_CERT_FILE"), "row {row}: {error}");
        assert_eq!(server.connections(), 0, "row {row}: nobody is asked");
        let plain = Server::start(|_, _| Reply::ok(&small())).await;
        cache.get(&request(plain.url("/x"))).await.unwrap();
    }
}
