//! Every reason of the contract is reached over the wire, except those that need a full disk (see `full.rs`) or a bug.

use std::collections::HashSet;

use rustix::process::Signal;
use tonic::Status;
use weir_proto::{
    Failure, Reason,
    v1::{
        ArtifactRef, BuildHeader, Caller, Collectable, GarbageCollectRequest, RemoveRequest, SetServingRequest,
        Settings, Source, VerifyRequest, WatchRequest, build_result::Outcome,
    },
};

use crate::{
    builds::{artifact, build, build_new, header},
    process::{Place, Server, caller},
    sources::{Sources, tarball},
};

fn failure(status: &Status) -> Failure {
    let failure = Failure::from_status(status).unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(status.code(), failure.reason.code());
    assert!(!failure.message.is_empty() && !failure.message.contains('\n'), "one line: {failure:?}");
    failure
}

/// The error of a whole `Build`.
async fn refused(server: &Server, header: BuildHeader) -> Failure {
    failure(&build(server, header, vec![artifact(0, "web", "a")]).await.unwrap_err())
}

/// The error of the only artifact of a `Build`.
async fn artifact_error(server: &Server, source: &Source, from: &str) -> Reason {
    let (_, results) =
        build(server, header(std::slice::from_ref(source)), vec![artifact(0, "web", from)]).await.unwrap();
    let Some(Outcome::Error(error)) = &results[&0].outcome else { panic!("{results:?}") };
    let reason = Reason::from_name(&error.reason).unwrap();
    assert_eq!(error.code, i32::from(reason.code()));
    reason
}

fn quick() -> Option<Settings> {
    Some(Settings { http_retry: Some(0), ..Settings::default() })
}

#[tokio::test]
async fn sources_that_can_not_be_had() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&["--source-max-size=64Ki", "--source-cache-size=100Ki", "--http-retry=0"]).await;
    let good = sources.tarball("/good.tgz", &[("a", "1")]);
    let large = sources.tarball("/large.tgz", &[("a", &"x".repeat(80 << 10))]);
    let hostile = sources.add("/hostile.tgz", b"not a tarball".to_vec());
    let with = |change: fn(&mut Source)| {
        let mut source = good.clone();
        change(&mut source);
        source
    };
    let absent = Source { url: sources.url("/absent"), ..good.clone() };
    let forbidden = Source { url: sources.url("/forbidden"), ..good.clone() };
    let wrong = with(|source| source.digest = format!("sha256:{}", "0".repeat(64)));
    let rows = [
        ("404", absent, Reason::SourceNotFound),
        ("403", forbidden, Reason::SourceUnavailable),
        ("other bytes", wrong, Reason::SourceDigestMismatch),
        ("no digest", with(|source| source.digest.clear()), Reason::SourceDigestMismatch),
        ("unknown digest", with(|source| source.digest = "md5:00".into()), Reason::SourceDigestMismatch),
        ("not a tarball", hostile, Reason::SourceRefused),
        ("over the limit", large, Reason::SourceTooLarge),
        ("not a URL", with(|source| source.url = "ftp://x/y".into()), Reason::InvalidRequest),
    ];
    for (row, source, reason) in rows {
        assert_eq!(refused(&server, header(&[source])).await.reason, reason, "row {row}");
    }
    // Two sources that do not fit into the cache together, both in use.
    let half = |path: &str, letter: &str| sources.tarball(path, &[("a", &letter.repeat(60 << 10))]);
    let (one, two) = (half("/one.tgz", "1"), Source { alias: "other".into(), ..half("/two.tgz", "2") });
    assert_eq!(refused(&server, header(&[one, two])).await.reason, Reason::CacheBusy);
    build_new(&server, &good, artifact(0, "web", "a")).await;
}

#[tokio::test]
async fn requests_that_make_no_sense_name_their_field() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/good.tgz", &[("a", "1")]);
    let mut storage = server.storage();
    let verify = |path: &str, digest: &str| VerifyRequest { path: path.into(), digest: digest.into() };
    let collect = |artifacts| GarbageCollectRequest { caller: caller(), artifacts, ..GarbageCollectRequest::default() };
    let database = ArtifactRef { kind: "ExternalArtifact".into(), namespace: "apps".into(), name: "db".into() };
    let elsewhere = Collectable { artifact: Some(database), current_path: "externalartifact/apps/web/0.tar.gz".into() };
    let with = |change: fn(&mut BuildHeader)| {
        let mut header = header(std::slice::from_ref(&source));
        change(&mut header);
        header
    };
    let good = "externalartifact/apps/web/0.tar.gz";
    let statuses = [
        ("path", storage.verify(verify("../x", "")).await.unwrap_err()),
        ("digest", storage.verify(verify(good, "")).await.unwrap_err()),
        ("caller", storage.remove(RemoveRequest { caller: None, path: good.into() }).await.unwrap_err()),
        ("artifacts", storage.garbage_collect(collect(vec![Collectable::default(); 1001])).await.unwrap_err()),
        ("artifacts[0].current_path", storage.garbage_collect(collect(vec![elsewhere])).await.unwrap_err()),
        ("artifacts[0].artifact", storage.garbage_collect(collect(vec![Collectable::default()])).await.unwrap_err()),
    ];
    let headers = [
        (
            "header.caller.owner",
            with(|header| header.caller = Some(Caller { owner: "x".into(), epoch: 0, ..Caller::default() })),
        ),
        (
            "header.caller.lease",
            with(|header| {
                header.caller = Some(Caller { owner: "c/1".into(), epoch: 0, lease: "A".into(), ..Caller::default() })
            }),
        ),
        ("header.kind", with(|header| header.kind = "a/b".into())),
        ("header.namespace", with(|header| header.namespace = "..".into())),
        ("header.sources[1].alias", with(|header| header.sources.extend(header.sources.clone()))),
    ];
    for (field, status) in statuses {
        let failure = failure(&status);
        assert_eq!((failure.reason, failure.field.as_deref()), (Reason::InvalidRequest, Some(field)), "{failure:?}");
    }
    for (field, header) in headers {
        let failure = refused(&server, header).await;
        assert_eq!((failure.reason, failure.field.as_deref()), (Reason::InvalidRequest, Some(field)), "{failure:?}");
    }
    let unknown =
        with(|header| header.settings = Some(Settings { digest_algorithm: "md5".into(), ..Settings::default() }));
    assert_eq!(refused(&server, unknown).await.reason, Reason::UnknownDigestAlgorithm);
    let twice = vec![artifact(1, "one", "a"), artifact(1, "two", "a")];
    let status = build(&server, header(std::slice::from_ref(&source)), twice).await.unwrap_err();
    assert_eq!(failure(&status).field.as_deref(), Some("artifact.index"));
}

#[tokio::test]
async fn everything_else() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let flag = format!("--storage-addr={}", taken.local_addr().unwrap());
    let server = place.start(&[&flag]).await;
    let source = sources.add("/good.tgz", tarball(&[("a", "1")]));
    let mut reached = HashSet::new();

    reached.insert(artifact_error(&server, &source, "nope").await);
    let remove = RemoveRequest { caller: caller(), path: "externalartifact/apps/web/0.tar.gz".into() };
    reached.insert(failure(&server.storage().remove(remove).await.unwrap_err()).reason);
    let on = SetServingRequest { caller: caller(), on: true };
    reached.insert(failure(&server.storage().set_serving(on).await.unwrap_err()).reason);
    // A file where the folders of artifacts should be.
    std::fs::write(place.volume().join("externalartifact"), "").unwrap();
    reached.insert(artifact_error(&server, &source, "a").await);
    let mut events = server.storage().watch(WatchRequest::default()).await.unwrap().into_inner();
    events.message().await.unwrap().unwrap();
    let slow = sources.tarball("/slow/1.tgz", &[("a", "2")]);
    let header = BuildHeader { settings: quick(), ..header(&[slow]) };
    let waiting = build(&server, header, vec![]);
    let end = async {
        while sources.requests() < 2 {
            tokio::task::yield_now().await;
        }
        server.signal(Signal::TERM);
    };
    let (ended, ()) = tokio::join!(waiting, end);
    assert_eq!(failure(&ended.unwrap_err()).reason, Reason::ShuttingDown, "builds end");
    reached.insert(failure(&events.message().await.unwrap_err()).reason);
    let expected =
        [Reason::BuildFailed, Reason::NotFound, Reason::PortUnavailable, Reason::StorageFailed, Reason::ShuttingDown];
    assert_eq!(reached, HashSet::from(expected));
    assert_eq!(server.ended().await, Some(0));
}
