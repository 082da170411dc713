//! `Lock`: who waits for whom, and what becomes of it when a client or the server dies.

use std::time::Duration;

use futures::FutureExt as _;
use rustix::process::Signal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use weir_proto::{
    Reason,
    v1::{Caller, LockRequest, LockResponse, RemoveAllRequest, RemoveRequest, WriteHeader, build_result::Outcome},
};

use crate::{
    builds::{artifact, build, header as build_header},
    process::{DEADLINE, Place, Server, caller},
    sources::Sources,
    uploads::{eventually, header, other, reference, refusal, write},
};

/// An open stream.
struct Held {
    token: String,
    requests: mpsc::Sender<LockRequest>,
    answers: Streaming<LockResponse>,
}

async fn open(
    server: &Server,
    request: LockRequest,
    timeout: Option<Duration>,
) -> Result<(mpsc::Sender<LockRequest>, Streaming<LockResponse>), Status> {
    let (requests, receiver) = mpsc::channel(2);
    requests.try_send(request).unwrap();
    let mut request = Request::new(ReceiverStream::new(receiver));
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let answers = server.storage().lock(request).await?.into_inner();
    Ok((requests, answers))
}

fn request(name: &str) -> LockRequest {
    LockRequest { caller: caller(), artifact: reference(name), take_over: false }
}

async fn lock(server: &Server, name: &str) -> Held {
    let (requests, mut answers) = open(server, request(name), None).await.unwrap();
    let token = tokio::time::timeout(DEADLINE, answers.message()).await.unwrap().unwrap().unwrap().token;
    Held { token, requests, answers }
}

fn with(held: &Held) -> Option<Caller> {
    Some(Caller { lock: held.token.clone(), ..caller().unwrap() })
}

/// Calls that a lock must keep out.
async fn write_within(server: &Server, caller: Option<Caller>, millis: u64) -> Result<(), Status> {
    let message = |message| weir_proto::v1::WriteRequest { message: Some(message) };
    use weir_proto::v1::write_request::Message::{Chunk, Header};
    let messages = vec![message(Header(WriteHeader { caller, ..header("a") })), message(Chunk(b"1".to_vec()))];
    let mut request = Request::new(futures::stream::iter(messages));
    request.set_timeout(Duration::from_millis(millis));
    server.storage().write(request).await.map(drop)
}

fn is_late(result: Result<(), Status>) -> bool {
    matches!(result.unwrap_err().code(), Code::DeadlineExceeded | Code::Cancelled)
}

#[tokio::test]
async fn only_the_holder_changes_a_locked_artifact() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let held = lock(&server, "web").await;
    assert_eq!(server.figure("weir_storage_locks").await, 1.0);
    assert!(is_late(write_within(&server, caller(), 300).await), "others wait until their deadline");
    // The caller's deadline may be over a moment before the server has cleaned up.
    eventually("nothing is left", || place.files().is_empty()).await;
    write(&server, WriteHeader { caller: with(&held), ..header("a") }, b"1").await.unwrap();
    let elsewhere = WriteHeader { artifact: reference("db"), ..header("a") };
    write(&server, elsewhere, b"1").await.unwrap();

    // A build of others waits, one of the holder does not; also when all workers could be waiting.
    let sources = Sources::start().await;
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let waiting: Vec<_> = (0..40)
        .map(|_| build(&server, build_header(std::slice::from_ref(&source)), vec![artifact(0, "web", "a")]).boxed())
        .collect();
    let mut waiting = futures::future::join_all(waiting).boxed();
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
    let mut ours = build_header(std::slice::from_ref(&source));
    ours.caller = with(&held);
    let holder = build(&server, ours, vec![artifact(0, "web", "a"), artifact(1, "free", "a")]);
    let both = async {
        tokio::select! { result = holder => result, _ = &mut waiting => panic!("they wait") }
    };
    let (_, results) = tokio::time::timeout(DEADLINE, both).await.expect("no deadlock").unwrap();
    assert!(matches!(results[&0].outcome, Some(Outcome::Built(_))), "{results:?}");

    drop(held);
    let results = tokio::time::timeout(DEADLINE, waiting).await.expect("they go on");
    assert!(results.into_iter().all(|result| result.is_ok()));
    write(&server, header("b"), b"1").await.unwrap();
}

#[tokio::test]
async fn a_lock_goes_with_its_stream_to_the_next_in_line() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let mut first = lock(&server, "web").await;
    let (second_requests, mut second) = open(&server, request("web"), None).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), second.message()).await.is_err(), "one at a time");

    // It ends its side: an orderly end of both.
    drop(first.requests);
    assert!(first.answers.message().await.unwrap().is_none());
    let second_token = tokio::time::timeout(DEADLINE, second.message()).await.unwrap().unwrap().unwrap().token;
    let old = Some(Caller { lock: first.token.clone(), ..caller().unwrap() });
    let refused = refusal(write(&server, WriteHeader { caller: old.clone(), ..header("a") }, b"1").await);
    assert_eq!((refused.reason, refused.field.as_deref()), (Reason::LockLost, Some("header.caller.lock")));
    let remove_all = RemoveAllRequest { caller: old, artifact: reference("db"), take_over: false };
    assert_eq!(refusal(server.storage().remove_all(remove_all).await).reason, Reason::LockLost, "wherever it is used");

    // It dies: the stream is dropped as with a broken connection. The third comes only now: of two that wait nobody here knows who was first.
    let (third_requests, mut third) = open(&server, request("web"), None).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), third.message()).await.is_err());
    drop((second, second_requests));
    let third_token = tokio::time::timeout(DEADLINE, third.message()).await.unwrap().unwrap().unwrap().token;
    assert_ne!(second_token, third_token);
    drop((third, third_requests));
    let free = async {
        while server.figure("weir_storage_locks").await > 0.0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, free).await.unwrap();
    write(&server, header("a"), b"1").await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_killed_frees_what_it_locked() {
    let place = Place::new();
    let server = place.start(&[]).await;
    // The death of a process closes its connection. Here it has one of its own.
    let endpoint = tonic::transport::Endpoint::try_from(format!("unix://{}", place.socket().display())).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut client = weir_proto::v1::artifact_storage_client::ArtifactStorageClient::new(channel);
    let (requests, receiver) = mpsc::channel(1);
    requests.try_send(request("web")).unwrap();
    let mut answers = client.lock(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    assert!(is_late(write_within(&server, caller(), 200).await));
    drop((client, answers, requests));
    write(&server, header("a"), b"1").await.unwrap();
}

#[tokio::test]
async fn locks_are_refused_for_a_reason_and_end_in_time() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let refused = |request| {
        let server = &server;
        async move {
            let (_requests, mut answers) = open(server, request, None).await.unwrap();
            refusal(answers.message().await)
        }
    };
    let row = refused(LockRequest { caller: None, ..request("web") }).await;
    assert_eq!((row.reason, row.field.as_deref()), (Reason::InvalidRequest, Some("caller")));
    let row = refused(request("a/..")).await;
    assert_eq!((row.reason, row.field.as_deref()), (Reason::InvalidRequest, Some("artifact.name")));
    let nested = Some(Caller { lock: "x".into(), ..caller().unwrap() });
    let row = refused(LockRequest { caller: nested, ..request("web") }).await;
    assert_eq!((row.reason, row.field.as_deref()), (Reason::InvalidRequest, Some("caller.lock")));
    write(&server, header("a"), b"1").await.unwrap();
    let foreign = LockRequest { caller: other(), ..request("web") };
    assert_eq!(refused(foreign.clone()).await.reason, Reason::OwnedByAnother);
    let (requests, mut answers) = open(&server, LockRequest { take_over: true, ..foreign }, None).await.unwrap();
    assert!(answers.message().await.unwrap().is_some());
    drop((requests, answers));

    // A second message.
    let mut held = lock(&server, "web").await;
    held.requests.send(request("db")).await.unwrap();
    assert_eq!(refusal(held.answers.message().await).reason, Reason::InvalidRequest);
    // Its deadline, granted and waiting.
    for (granted, short) in [(true, Duration::from_secs(2)), (false, Duration::from_millis(300))] {
        let held = if granted { None } else { Some(lock(&server, "web").await) };
        let (_requests, mut answers) = open(&server, request("web"), Some(short)).await.unwrap();
        if granted {
            answers.message().await.unwrap().unwrap();
        }
        let status = answers.message().await.unwrap_err();
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        drop(held);
    }
    let remove = RemoveRequest { caller: caller(), path: "externalartifact/apps/web/a".into() };
    server.storage().remove(remove).await.unwrap();

    // The server ends, and one that was started again knows nothing of it.
    let mut held = lock(&server, "web").await;
    server.signal(Signal::TERM);
    assert_eq!(refusal(held.answers.message().await).reason, Reason::ShuttingDown);
    assert_eq!(server.ended().await, Some(0));
    let server = place.start(&[]).await;
    let late = WriteHeader { caller: Some(Caller { lock: held.token, ..caller().unwrap() }), ..header("a") };
    assert_eq!(refusal(write(&server, late, b"1").await).reason, Reason::LockLost);
}

#[tokio::test]
async fn many_who_lock_and_write_never_meet() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let one = |number: usize| {
        let server = &server;
        async move {
            let held = lock(server, "web").await;
            // Whoever else wrote between the two would change the answer of the second.
            let bytes = number.to_string();
            let ours = || WriteHeader { caller: with(&held), ..header("a") };
            assert!(!write(server, ours(), bytes.as_bytes()).await.unwrap().unchanged, "{number}");
            assert!(write(server, ours(), bytes.as_bytes()).await.unwrap().unchanged, "{number}");
        }
    };
    let all = futures::future::join_all((0..100).map(one));
    tokio::time::timeout(DEADLINE, all).await.expect("all get their turn");
}
