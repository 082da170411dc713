//! The Rust client of `weir-proto` over mutual TLS.

use std::{path::PathBuf, pin::pin, time::Duration};

use futures::StreamExt as _;
use weir_proto::{
    Owner, Reason,
    client::{Client, Error, Notice, Retries, Why},
    tls::Certificates,
    v1::{ReadRequest, WriteHeader},
};

use crate::{
    pki::{Authority, Files, Pair},
    process::{DEADLINE, Place, Server},
    uploads::reference,
};

const ONCE: Retries = Retries { times: 0, first: Duration::ZERO, longest: Duration::ZERO };

/// The files of a client: whom it trusts, and what it shows.
struct Mine(PathBuf);

impl Mine {
    fn new(place: &Place, trusts: &Authority, shows: &Pair) -> Self {
        let mine = Self(place.path().join("client"));
        std::fs::create_dir_all(&mine.0).unwrap();
        mine.write(&trusts.pem(), shows);
        mine
    }

    fn write(&self, trusts: &str, shows: &Pair) {
        for (name, text) in [("ca.crt", trusts), ("tls.crt", &shows.certificate), ("tls.key", &shows.key)] {
            std::fs::write(self.0.join(name), text).unwrap();
        }
    }

    fn certificates(&self) -> Certificates {
        let [authorities, certificate, key] = ["ca.crt", "tls.crt", "tls.key"].map(|name| self.0.join(name));
        Certificates::files(authorities, certificate, key)
    }
}

fn endpoint(server: &Server) -> String {
    format!("https://{}", server.grpc())
}

fn connect(server: &Server, certificates: &Certificates) -> Client {
    let client = Client::connect_with(&endpoint(server), certificates).unwrap();
    client.acting_as(&Owner::new("docs", "1").unwrap()).with_retries(ONCE)
}

fn header(file: &str) -> WriteHeader {
    WriteHeader { artifact: reference("web"), file: file.into(), ..WriteHeader::default() }
}

/// Why nobody can be called.
async fn unreachable(client: Client) -> String {
    let error = tokio::time::timeout(DEADLINE, client.info()).await.expect("it has an end").unwrap_err();
    let Error::Unreachable { cause, .. } = error else { panic!("{error:?}") };
    cause
}

#[tokio::test]
async fn does_over_tls_what_it_does_at_a_socket() {
    let (place, ours) = (Place::new(), Authority::new("ours"));
    let server = place.start_secured(&Files::new(place.path(), &ours.server(), &ours).flags()).await;
    let pair = ours.client(&["a.test"]);
    let files = Mine::new(&place, &ours, &pair).certificates();
    let bytes = Certificates::pem(ours.pem(), &pair.certificate, &pair.key);
    for (number, certificates) in [files, bytes].iter().enumerate() {
        let client = connect(&server, certificates);
        let mut notices = pin!(client.watch("docs"));
        let first = tokio::time::timeout(DEADLINE, notices.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(first, Notice::VerifyAll(Why::Started));
        let guard = client.lock(reference("web").unwrap()).await.unwrap();
        let text = format!("number {number}");
        let stored = guard.client().write(header("a"), text.clone()).await.unwrap().artifact.unwrap();
        let request = ReadRequest { path: stored.path.clone(), ..ReadRequest::default() };
        assert_eq!(client.read(request).await.unwrap().bytes().await.unwrap(), text.as_bytes());
        let heard = tokio::time::timeout(DEADLINE, notices.next()).await.unwrap().unwrap().unwrap();
        assert!(matches!(&heard, Notice::File { path, .. } if *path == stored.path), "{heard:?}");
    }
    assert!(!format!("{:?}", Certificates::pem("", "", &pair.key)).contains("PRIVATE"), "no key in a log");
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let (place, ours, foreign) = (Place::new(), Authority::new("ours"), Authority::new("foreign"));
    let server = place.start_secured(&Files::new(place.path(), &ours.server(), &ours).flags()).await;
    let good = ours.client(&["a.test"]);
    let over = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let expired = ours.sign(&["a.test"], over);
    let shown =
        "it does not take the client certificate, which must be in date and of an authority in its --grpc-client-ca";
    let trusted = "must show a certificate for \"127.0.0.1\" of an authority in the CA bundle";
    let rows = [
        ("another authority's server", &foreign, &good, ["UnknownIssuer", trusted]),
        ("another authority's client", &ours, &foreign.client(&["a.test"]), ["received fatal alert", shown]),
        ("an expired client", &ours, &expired, ["received fatal alert", shown]),
    ];
    for (row, trusts, shows, parts) in rows {
        let cause =
            unreachable(connect(&server, &Certificates::pem(trusts.pem(), &shows.certificate, &shows.key))).await;
        assert!(parts.iter().all(|part| cause.contains(part)), "row {row}: {cause}");
    }
    let mine = Mine::new(&place, &ours, &good);
    connect(&server, &mine.certificates()).info().await.unwrap();

    // Without a certificate nothing is tried; the file at fault is named.
    let error = Client::connect(&endpoint(&server)).unwrap_err();
    assert!(error.to_string().contains("it needs certificates: give them to Client::connect_with"), "{error}");
    let rows = [
        ("ca.crt", Some(""), "the CA bundle", "there is no certificate in it"),
        ("tls.crt", Some(""), "the client certificate", "there is no certificate in it"),
        ("tls.crt", None, "the client certificate", "No such file"),
        ("tls.key", Some("x"), "the client key", "no items found"),
        ("tls.key", Some(expired.key.as_str()), "the client key", "give both of one pair"),
    ];
    for (name, text, called, problem) in rows {
        mine.write(&ours.pem(), &good);
        let file = mine.0.join(name);
        match text {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let error = Client::connect_with(&endpoint(&server), &mine.certificates()).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, Error::Certificates { .. }) && !error.is_transient(), "{error:?}");
        let named = format!("certificates for {}: {called} {}: ", endpoint(&server), file.display());
        assert!(said.starts_with(&named) && said.contains(problem) && !said.contains('\n'), "{name}: {said}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_policy_is_told_as_what_it_is() {
    let (place, ours) = (Place::new(), Authority::new("ours"));
    let files = Files::new(place.path(), &ours.server(), &ours);
    files.write("policy.yaml", "rules:\n  - {identities: [{dns: a.test}], kinds: ['*'], namespaces: [apps]}\n");
    let mut flags = files.flags();
    flags.push(format!("--grpc-policy={}", files.0.join("policy.yaml").display()));
    let server = place.start_secured(&flags).await;
    let client = |name| {
        let pair = ours.client(&[name]);
        connect(&server, &Certificates::pem(ours.pem(), &pair.certificate, &pair.key))
    };
    client("a.test").write(header("a"), "1").await.unwrap();
    let error = client("b.test").write(header("a"), "2").await.unwrap_err();
    let failure = error.failure().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!((failure.reason, failure.reason.code()), (Reason::NotAllowed, tonic::Code::PermissionDenied));
    assert!(failure.message.contains("a certificate of dns b.test may not") && !error.is_transient(), "{failure}");
    server.stop().await;
}

#[tokio::test]
async fn another_name_than_the_host_can_be_asked_for() {
    let (place, ours) = (Place::new(), Authority::new("ours"));
    let named = ours.sign(&["artifacts.test"], |_| {});
    let server = place.start_secured(&Files::new(place.path(), &named, &ours).flags()).await;
    let pair = ours.client(&["a.test"]);
    let certificates = Certificates::pem(ours.pem(), &pair.certificate, &pair.key);
    let cause = unreachable(connect(&server, &certificates)).await;
    assert!(cause.contains("for \"127.0.0.1\""), "{cause}");
    let cause = unreachable(connect(&server, &certificates.clone().with_server_name("other.test"))).await;
    assert!(cause.contains("for \"other.test\""), "{cause}");
    connect(&server, &certificates.clone().with_server_name("artifacts.test")).info().await.unwrap();
    let error = Client::connect_with("https://127.0.0.1:1", &certificates.with_server_name("not valid")).unwrap_err();
    assert!(error.to_string().contains("the server name \"not valid\" is not valid"), "{error}");
    server.stop().await;
}

/// The server comes back with certificates of another authority, and the files of the client are renewed while it waits.
#[tokio::test]
async fn renewed_certificates_are_shown_from_the_next_connection_on() {
    let (place, old, new) = (Place::new(), Authority::new("old"), Authority::new("new"));
    let files = Files::new(place.path(), &old.server(), &old);
    let server = place.start_secured(&files.flags()).await;
    let mine = Mine::new(&place, &old, &old.client(&["a.test"]));
    let client = connect(&server, &mine.certificates());
    client.info().await.unwrap();
    let mut flags = files.flags();
    flags.push(format!("--grpc-addr=https://{}", server.grpc()));
    server.stop().await;

    let pair = new.server();
    for (name, text) in [("tls.crt", &pair.certificate), ("tls.key", &pair.key), ("ca.crt", &new.pem())] {
        files.write(name, text);
    }
    let server = place.start_secured(&flags).await;
    let cause = unreachable(client.clone()).await;
    assert!(cause.contains("invalid peer certificate"), "{cause}");
    let after = new.client(&["a.test"]);
    mine.write(&new.pem(), &after);
    client.info().await.unwrap();

    // Half of a pair is a reason to try again, not an end.
    server.stop().await;
    let _server = place.start_secured(&flags).await;
    let other = new.client(&["a.test"]);
    mine.write(&new.pem(), &Pair { certificate: other.certificate.clone(), key: after.key });
    let cause = unreachable(client.clone()).await;
    assert!(cause.contains("the client key") && cause.contains("give both of one pair"), "{cause}");
    let waiting = Retries { times: 600, first: Duration::from_millis(20), longest: Duration::from_millis(100) };
    let patient = client.with_retries(waiting);
    let call = tokio::spawn(async move { patient.info().await });
    mine.write(&new.pem(), &other);
    tokio::time::timeout(DEADLINE, call).await.expect("it is whole now").unwrap().unwrap();
}
