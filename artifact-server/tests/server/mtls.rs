//! `https://`: who may connect, and certificates that are renewed under open streams.

use std::time::Duration;

use tonic::{Status, transport::Channel};
use weir_proto::v1::{
    EventType, GetInfoRequest, GetInfoResponse, WatchRequest, artifact_storage_client::ArtifactStorageClient,
};

use crate::{
    builds::{artifact, build_new},
    pki::{Authority, Files, Pair, connect},
    process::{DEADLINE, Place, Server},
    sources::Sources,
};

/// The first call of a new connection.
async fn info(server: &Server, trusts: &Authority, shows: Option<&Pair>) -> Result<GetInfoResponse, Status> {
    let channel = connect(server.grpc(), trusts, shows).await;
    let channel = channel.map_err(|error| Status::unavailable(format!("{error:?}")))?;
    ask(channel).await
}

async fn ask(channel: Channel) -> Result<GetInfoResponse, Status> {
    ArtifactStorageClient::new(channel).get_info(GetInfoRequest {}).await.map(tonic::Response::into_inner)
}

/// Tries until the server does as expected: it reads its files a moment after they were written.
async fn eventually(what: &str, server: &Server, trusts: &Authority, shows: &Pair, good: bool) {
    let until = async {
        while info(server, trusts, Some(shows)).await.is_ok() != good {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Less than the time between two looks: an event tells of a change.
    assert!(tokio::time::timeout(Duration::from_secs(9), until).await.is_ok(), "{what}");
}

#[tokio::test]
async fn only_clients_with_a_good_certificate_get_in() {
    let (place, ours, foreign) = (Place::new(), Authority::new("ours"), Authority::new("foreign"));
    let files = Files::new(place.path(), &ours.server(), &ours);
    let server = place.start_secured(&files.flags()).await;
    let before = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let after = |params: &mut rcgen::CertificateParams| params.not_before = rcgen::date_time_ymd(2999, 1, 1);
    let rows = [
        ("the right one", Some(ours.client(&["a.test"])), &ours, true, ""),
        ("without names", Some(ours.client(&[])), &ours, true, ""),
        ("none", None, &ours, false, "peer sent no certificates"),
        ("another authority's", Some(foreign.client(&["a.test"])), &ours, false, "UnknownIssuer"),
        ("expired", Some(ours.sign(&["a.test"], before)), &ours, false, "certificate expired"),
        ("not yet good", Some(ours.sign(&["a.test"], after)), &ours, false, "not valid yet"),
        (
            "a server's",
            Some(ours.sign(&["a.test"], |params| {
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            })),
            &ours,
            false,
            "extended key usage",
        ),
        (
            "a client that does not trust the server",
            Some(ours.client(&["a.test"])),
            &foreign,
            false,
            "received fatal alert",
        ),
    ];
    for (row, shows, trusts, good, text) in rows {
        let answer = info(&server, trusts, shows.as_ref()).await;
        assert_eq!(answer.is_ok(), good, "row {row}: {answer:?}");
        // A client may see no more than that it was hung up on; the server says why.
        let why = |line: &str| (good || line.contains("refused a client") && line.contains(text)).then_some(());
        server.lines.wait(row, why);
    }
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.grpc())).unwrap();
    let plain = plain.connect().await;
    let answer = match plain {
        Ok(channel) => ask(channel).await.map(drop),
        Err(error) => Err(Status::unavailable(error.to_string())),
    };
    assert!(answer.is_err(), "plain text");
    server.stop().await;
}

#[tokio::test]
async fn certificates_are_renewed_under_open_streams() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(place.path(), &old.server(), &old);
    let (before, after) = (old.client(&["a.test"]), new.client(&["a.test"]));
    let mut server = place.start_secured(&files.flags()).await;
    server.use_channel(connect(server.grpc(), &old, Some(&before)).await.unwrap());
    let watch = WatchRequest { controller: String::new() };
    let mut events = server.storage().watch(watch).await.unwrap().into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().r#type(), EventType::Started);

    let pair = new.server();
    files.write("tls.crt", &pair.certificate);
    files.write("tls.key", &pair.key);
    files.write("ca.crt", &new.pem());
    eventually("the new client gets in", &server, &new, &after, true).await;
    assert!(info(&server, &new, Some(&before)).await.is_err(), "the old client's next connection is refused");

    // The old connection goes on: a call on it, and the stream that tells of it.
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let stored = build_new(&server, &source, artifact(0, "web", "a")).await;
    let event = tokio::time::timeout(DEADLINE, events.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((event.r#type(), &event.path), (EventType::Stored, &stored.path));
    server.stop().await;
}

#[tokio::test]
async fn half_of_a_pair_changes_nothing() {
    let (place, ours) = (Place::new(), Authority::new("ours"));
    let (one, two, client) = (ours.server(), ours.server(), ours.client(&["a.test"]));
    let files = Files::new(place.path(), &one, &ours);
    let server = place.start_secured(&files.flags()).await;
    let stays = "the last good one stays";
    let kept = async |times| {
        server.lines.wait_times(stays, times).await;
        assert!(info(&server, &ours, Some(&client)).await.is_ok());
        let log = server.lines.text();
        assert_eq!(log.matches(stays).count(), times, "one line for each: {log}");
    };
    files.write("tls.crt", &two.certificate);
    kept(1).await;
    assert!(server.lines.text().contains("give both of one pair"));
    files.write("tls.key", "-----BEGIN PRIVATE KEY-----\nMIG");
    kept(2).await;
    files.write("ca.crt", "");
    kept(3).await;
    let foreign = Authority::new("foreign");
    files.write("ca.crt", &foreign.pem());
    files.write("tls.key", &two.key);
    eventually("the whole set is taken", &server, &ours, &foreign.client(&["a.test"]), true).await;
    assert!(info(&server, &ours, Some(&client)).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn starts_that_fail_name_flag_and_file() {
    let (place, ours) = (Place::new(), Authority::new("ours"));
    let (one, two) = (ours.server(), ours.server());
    let rows = [
        ("no certificate", "tls.crt", None, "--grpc-tls-cert"),
        ("no key", "tls.key", None, "--grpc-tls-key"),
        ("no authority", "ca.crt", None, "--grpc-client-ca"),
        ("an empty certificate", "tls.crt", Some(""), "there is no certificate in it"),
        ("an empty authority", "ca.crt", Some(""), "there is no certificate in it"),
        ("no PEM for a key", "tls.key", Some("x"), "no private key in PEM"),
        ("the key of another", "tls.key", Some(two.key.as_str()), "give both of one pair"),
    ];
    for (row, name, text, part) in rows {
        let files = Files::new(place.path(), &one, &ours);
        match text {
            Some(text) => files.write(name, text),
            None => std::fs::remove_file(files.0.join(name)).unwrap(),
        }
        let flags = files.flags();
        let (code, said) = place.run(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let errors: Vec<&str> = said.lines().filter(|line| line.contains("\"level\":\"error\"")).collect();
        assert_eq!((code, errors.len()), (Some(1), 1), "row {row}: {said}");
        let path = files.0.join(name).display().to_string();
        assert!(errors[0].contains(part) && errors[0].contains(&path), "row {row}: {said}");
    }
    let (code, said) = place.run(&["--grpc-addr=https://127.0.0.1:0"]);
    assert!(code == Some(2) && said.contains("--grpc-tls-cert, --grpc-tls-key and --grpc-client-ca"), "{said}");
}
