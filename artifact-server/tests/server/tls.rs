//! Sources behind https, and what the environment says of authorities.

use rustls::version::{TLS12, TLS13};
use weir_proto::{Failure, Reason, v1::Source};

use crate::{
    authority::Authority,
    builds::{artifact, build, build_new, header},
    process::Place,
    sources::{Sources, tarball},
    tls_server::TlsServer,
};

/// A server of a tarball, and the tarball as a source.
async fn behind_https(authority: &Authority) -> (TlsServer, Source) {
    let body = tarball(&[("a", "1")]);
    let server = TlsServer::start(&authority.server(), &[&TLS12, &TLS13], &body).await;
    let digest = format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body)));
    let source = Source { alias: "repo".into(), url: server.url("/1.tgz"), digest };
    (server, source)
}

#[tokio::test]
async fn an_authority_can_be_named_in_the_environment() {
    let (place, authority) = (Place::new(), Authority::new("ours"));
    let (_tls, source) = behind_https(&authority).await;
    let file = place.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let server = place.start_with(&[], |command| command.env("SSL_CERT_FILE", &file)).await;
    build_new(&server, &source, artifact(0, "web", "a")).await;
}

/// As the image has none, nor a folder where they could be.
#[tokio::test]
async fn a_server_without_authorities_starts_and_says_so_only_when_one_is_needed() {
    let (place, sources, authority) = (Place::new(), Sources::start().await, Authority::new("ours"));
    let (tls, source) = behind_https(&authority).await;
    let none = place.path().join("none");
    let server = place.start_with(&[], |command| command.env("SSL_CERT_FILE", &none).env("SSL_CERT_DIR", &none)).await;
    build_new(&server, &sources.tarball("/1.tgz", &[("a", "2")]), artifact(0, "web", "a")).await;
    assert!(!server.lines.text().contains("certificate"), "{}", server.lines.text());
    let refused = build(&server, header(&[source]), vec![artifact(0, "web", "a")]).await.unwrap_err();
    let failure = Failure::from_status(&refused).unwrap();
    assert_eq!(failure.reason, Reason::SourceUnavailable);
    assert!(failure.message.contains("no certificate authority is trusted"), "{failure}");
    assert!(failure.message.contains(&none.display().to_string()), "{failure}");
    assert_eq!(tls.connections(), 0);
}
