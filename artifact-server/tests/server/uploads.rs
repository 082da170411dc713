//! `Write`, `Read` and what is left of uploads that end badly.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use futures::{StreamExt as _, stream};
use rustix::process::Signal;
use tokio::{io::AsyncReadExt, sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, transport::Endpoint};
use weir_artifact_server::hash::Hasher;
use weir_proto::{
    Algorithm, Failure, Reason,
    v1::{
        ArchiveHeader, ArchiveRequest, ArtifactRef, Caller, ReadRequest, ReadStart, RemoveRequest, StatRequest,
        WriteHeader, WriteRequest, WriteResponse, archive_request, artifact_storage_client::ArtifactStorageClient,
        read_response, write_request::Message,
    },
};

use crate::{
    builds::written,
    downloads::hurry,
    process::{DEADLINE, Place, Server, caller, get},
    sources::noise,
};

pub(crate) fn reference(name: &str) -> Option<ArtifactRef> {
    Some(ArtifactRef { kind: "ExternalArtifact".into(), namespace: "apps".into(), name: name.into() })
}

pub(crate) fn header(file: &str) -> WriteHeader {
    WriteHeader { caller: caller(), artifact: reference("web"), file: file.into(), ..WriteHeader::default() }
}

pub(crate) fn other() -> Option<Caller> {
    Some(Caller { owner: "other/2".into(), ..Caller::default() })
}

pub(crate) fn message(message: Message) -> WriteRequest {
    WriteRequest { message: Some(message) }
}

pub(crate) async fn write(server: &Server, header: WriteHeader, bytes: &[u8]) -> Result<WriteResponse, Status> {
    let chunks = bytes.chunks(100_000).map(|chunk| message(Message::Chunk(chunk.to_vec())));
    let messages: Vec<_> = std::iter::once(message(Message::Header(header))).chain(chunks).collect();
    server.storage().write(stream::iter(messages)).await.map(tonic::Response::into_inner)
}

pub(crate) async fn read(server: &Server, request: ReadRequest) -> Result<(ReadStart, Vec<u8>), Status> {
    let mut answers = server.storage().read(request).await?.into_inner();
    let (mut start, mut bytes) = (None, Vec::new());
    while let Some(answer) = answers.message().await? {
        match answer.message.unwrap() {
            read_response::Message::Start(first) => assert!(start.replace(first).is_none(), "once"),
            read_response::Message::Chunk(chunk) => bytes.extend(chunk),
        }
    }
    Ok((start.unwrap(), bytes))
}

pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> Failure {
    let status = result.unwrap_err();
    let failure = Failure::from_status(&status).unwrap_or_else(|| panic!("{status:?}"));
    assert_eq!(status.code(), failure.reason.code());
    assert!(!failure.message.is_empty() && !failure.message.contains('\n'), "one line: {failure:?}");
    failure
}

pub(crate) fn digest(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().unwrap().to_string()
}

/// Waits until something about the volume holds.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_file_has_the_name_digests_mode_and_revision_that_were_asked_for() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let address = server.serving().await;
    let bytes = noise(300_000).into_bytes();
    let asked = WriteHeader {
        mode: Some(0o644),
        revision: "v1@sha1:abc".into(),
        expected_digest: digest(Algorithm::Blake3, &bytes),
        digest_algorithms: Algorithm::ALL.map(|algorithm| algorithm.to_string()).to_vec(),
        ..header("values.yaml")
    };
    let answer = write(&server, asked.clone(), &bytes).await.unwrap();
    let artifact = answer.artifact.unwrap();
    assert!(!answer.unchanged);
    assert_eq!(artifact.path, "externalartifact/apps/web/values.yaml");
    assert_eq!(artifact.url, format!("http://artifacts.test/{}", artifact.path));
    assert_eq!((artifact.revision.as_str(), artifact.size), ("v1@sha1:abc", 300_000));
    assert_eq!(artifact.digest, digest(Algorithm::Sha256, &bytes));
    assert_eq!(answer.digests, Algorithm::ALL.map(|algorithm| digest(algorithm, &bytes)));

    let response = get(format!("http://{address}/{}", artifact.path)).await.unwrap();
    let headers = response.headers().clone();
    assert_eq!(headers["etag"], format!("\"{}\"", artifact.digest));
    assert_eq!(
        (&headers["content-type"], &headers["x-content-type-options"]),
        (&"application/octet-stream".parse().unwrap(), &"nosniff".parse().unwrap())
    );
    assert_eq!(response.bytes().await.unwrap(), bytes);
    let (start, got) =
        read(&server, ReadRequest { path: artifact.path.clone(), ..ReadRequest::default() }).await.unwrap();
    assert_eq!((start.digest, start.size, start.length), (artifact.digest.clone(), 300_000, 300_000));
    assert!(got == bytes);

    let on_volume = std::fs::metadata(place.volume().join(&artifact.path)).unwrap();
    assert_eq!(on_volume.permissions().mode() & 0o7777, 0o644);
    let stat = StatRequest { path: artifact.path.clone() };
    let file = server.storage().stat(stat.clone()).await.unwrap().into_inner().file.unwrap();
    assert_eq!((file.mode, file.owner.as_str()), (0o644, "source-watcher/1"));
    assert_eq!(file.artifact.as_ref(), Some(&artifact));

    // Also after a restart.
    server.stop().await;
    let server = place.start(&[]).await;
    let file = server.storage().stat(stat).await.unwrap().into_inner().file.unwrap();
    assert_eq!((file.mode, file.artifact), (0o644, Some(artifact.clone())));
    let again = write(&server, asked, &bytes).await.unwrap();
    assert_eq!((again.unchanged, again.artifact), (true, Some(artifact)), "a retry changes nothing");
    assert_eq!(server.figure("weir_grpc_uploads_total{call=\"write\",outcome=\"unchanged\"}").await, 1.0);
    assert_eq!(server.figure("weir_grpc_uploaded_bytes_total").await, 300_000.0);
}

#[tokio::test]
async fn other_bytes_take_the_place_whole_and_for_the_owner_alone() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let address = server.serving().await;
    let one = write(&server, header("a.yaml"), b"one").await.unwrap().artifact.unwrap();
    let refused = refusal(write(&server, WriteHeader { caller: other(), ..header("a.yaml") }, b"two").await);
    assert_eq!(refused.reason, Reason::OwnedByAnother);
    let two = write(&server, header("a.yaml"), b"two!").await.unwrap();
    let two = (two.unchanged, two.artifact.unwrap());
    assert_eq!((two.0, &two.1.url), (false, &one.url));
    assert_ne!(two.1.digest, one.digest);
    let response = get(format!("http://{address}/{}", one.path)).await.unwrap();
    assert_eq!(response.headers()["etag"], format!("\"{}\"", two.1.digest));
    assert_eq!(response.text().await.unwrap(), "two!");
    assert_eq!(place.files(), ["externalartifact/apps/web/.a.yaml.record", "externalartifact/apps/web/a.yaml"]);
    // The same bytes with other permissions are another file.
    let third = write(&server, WriteHeader { mode: Some(0o640), ..header("a.yaml") }, b"two!").await.unwrap();
    assert!(!third.unchanged);
    let taken = WriteHeader { caller: other(), take_over: true, ..header("b.yaml") };
    write(&server, taken, b"three").await.unwrap();
    let remove = RemoveRequest { caller: caller(), path: one.path };
    assert_eq!(refusal(server.storage().remove(remove).await).reason, Reason::OwnedByAnother, "all is the other's");
}

#[tokio::test]
async fn a_download_that_runs_keeps_the_bytes_that_are_replaced() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let old = noise(20 << 20).into_bytes();
    let written = write(&server, header("big"), &old).await.unwrap().artifact.unwrap();
    let address = server.serving().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut download = socket.connect(address).await.unwrap();
    let request = format!("GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", written.path);
    tokio::io::AsyncWriteExt::write_all(&mut download, request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    download.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let mut reading = server.storage().read(ReadRequest { path: written.path.clone(), ..ReadRequest::default() }).await;
    let reading = reading.as_mut().unwrap().get_mut();
    reading.message().await.unwrap().unwrap();

    write(&server, header("big"), b"new").await.unwrap();
    hurry(&download);
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).await.unwrap();
    let head = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(rest[head..] == old, "{} bytes", rest.len() - head);
    let mut bytes = Vec::new();
    while let Some(answer) = reading.message().await.unwrap() {
        let Some(read_response::Message::Chunk(chunk)) = answer.message else { panic!("{answer:?}") };
        bytes.extend(chunk);
    }
    assert!(bytes == old, "{} bytes", bytes.len());
    assert_eq!(get(format!("http://{address}/{}", written.path)).await.unwrap().text().await.unwrap(), "new");
}

/// A `Write` that has sent its header and one chunk, and goes on when told.
fn begun(
    server: &Server,
    header: WriteHeader,
) -> (mpsc::Sender<WriteRequest>, tokio::task::JoinHandle<Result<WriteResponse, Status>>) {
    let (sender, receiver) = mpsc::channel(4);
    sender.try_send(message(Message::Header(header))).unwrap();
    sender.try_send(message(Message::Chunk(vec![7; 1 << 20]))).unwrap();
    let mut storage = server.storage();
    let call = async move { storage.write(ReceiverStream::new(receiver)).await.map(tonic::Response::into_inner) };
    (sender, tokio::spawn(call))
}

pub(crate) fn temporary(place: &Place) -> usize {
    place.files().iter().filter(|file| file.contains("/.tmp-")).count()
}

#[tokio::test]
async fn an_upload_that_ends_early_leaves_nothing() {
    let place = Place::new();
    let server = place.start(&["--artifact-max-size=2Mi"]).await;
    // A client that dies, and its connection with it.
    let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let endpoint = Endpoint::try_from(format!("unix://{}", place.socket().display())).unwrap();
    dying.spawn(async move {
        let mut client = ArtifactStorageClient::new(endpoint.connect().await.unwrap());
        let start = [Message::Header(header("a")), Message::Chunk(vec![7; 1 << 20])].map(message);
        client.write(stream::iter(start).chain(stream::pending())).await
    });
    eventually("it is on its way", || temporary(&place) == 1).await;
    dying.shutdown_background();
    eventually("nothing is left", || place.files().is_empty()).await;

    // A stream without end.
    let (sender, call) = begun(&server, header("a"));
    while sender.send(message(Message::Chunk(vec![7; 1 << 20]))).await.is_ok() {}
    let refused = refusal(call.await.unwrap());
    assert_eq!(refused.reason, Reason::TooLarge);
    assert!(refused.message.contains("--artifact-max-size"), "{}", refused.message);
    eventually("nothing is left", || place.files().is_empty()).await;

    // A deadline, and a header in the middle.
    let (sender, receiver) = mpsc::channel(4);
    sender.try_send(message(Message::Header(header("a")))).unwrap();
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.set_timeout(Duration::from_millis(300));
    let status = server.storage().write(request).await.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    let (sender, call) = begun(&server, header("a"));
    sender.send(message(Message::Header(header("a")))).await.unwrap();
    assert_eq!(refusal(call.await.unwrap()).reason, Reason::InvalidRequest);
    eventually("nothing is left", || place.files().is_empty()).await;

    // Nobody is kept out by any of them.
    write(&server, header("a"), b"whole").await.unwrap();
}

/// A call that is ended as nothing came for two seconds.
async fn silent(call: impl Future<Output = Result<(), Status>>) {
    let status = tokio::time::timeout(DEADLINE, call).await.expect("it is ended").unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    let said = "nothing came for 2s, and nothing is stored: send it again, or raise --grpc-upload-silence";
    assert_eq!(status.message(), said);
}

/// A client that hangs with its connection open, or whose machine is gone, must not keep a file forever.
#[tokio::test]
async fn an_upload_that_falls_silent_is_ended_and_leaves_nothing() {
    let place = Place::new();
    // Longer than a busy machine lets a client wait that is not silent at all.
    let server = place.start(&["--grpc-upload-silence=2s"]).await;
    let (_sender, one) = begun(&server, header("a"));
    let one = async { one.await.unwrap().map(drop) };
    let header = ArchiveHeader { caller: caller(), artifact: reference("web"), ..ArchiveHeader::default() };
    let parts = [archive_request::Message::Header(header), archive_request::Message::Chunk(vec![0; 512])];
    let parts = parts.map(|message| ArchiveRequest { message: Some(message) });
    let mut storage = server.storage();
    let archive = async { storage.archive(stream::iter(parts).chain(stream::pending())).await.map(drop) };
    // Nor one that never says what it is.
    let mut storage = server.storage();
    let nothing = async { storage.write(stream::pending()).await.map(drop) };
    // Nor one that goes on to send nothing.
    let (sender, other) = begun(&server, self::header("b"));
    let other = async { other.await.unwrap().map(drop) };
    let sending = async {
        while sender.send(message(Message::Chunk(Vec::new()))).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let on_their_way = eventually("they are on their way", || temporary(&place) == 2);
    tokio::join!(on_their_way, sending, silent(one), silent(archive), silent(nothing), silent(other));
    eventually("nothing is left", || place.files().is_empty()).await;
    assert_eq!(server.figure("weir_grpc_uploads_total{call=\"write\",outcome=\"failed\"}").await, 3.0);
    write(&server, self::header("a"), b"whole").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_killed_during_uploads_leaves_nothing() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let kept = write(&server, header("kept"), b"kept").await.unwrap().artifact.unwrap();
    let uploads: Vec<_> = (0..8).map(|number| begun(&server, header(&format!("a{number}")))).collect();
    eventually("all are on their way", || temporary(&place) == 8).await;
    server.signal(Signal::KILL);
    server.ended().await;
    for (_sender, call) in uploads {
        call.await.unwrap().unwrap_err();
    }
    let half: Vec<String> = place.files().into_iter().filter(|file| file.contains("/.tmp-")).collect();
    assert_eq!(half.len(), 8, "nobody was left to remove them");
    let server = place.start(&[]).await;
    let files = place.files();
    assert!(!half.iter().any(|half| files.contains(half)), "{files:#?}");
    let whole = ["externalartifact/apps/web/.kept.record", "externalartifact/apps/web/kept"];
    assert_eq!(place.lasting(), whole);
    eventually("the record is renewed, and nothing else is there", || place.files() == whole).await;
    let (_, bytes) = read(&server, ReadRequest { path: kept.path, ..ReadRequest::default() }).await.unwrap();
    assert_eq!(bytes, b"kept");
}

#[tokio::test]
async fn a_server_that_ends_ends_uploads() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let (_sender, call) = begun(&server, header("a"));
    // What is in the middle of a write when the process ends would be swept by the next one.
    eventually("what came is written", || written(&place) == 1 << 20).await;
    server.signal(Signal::TERM);
    assert_eq!(refusal(call.await.unwrap()).reason, Reason::ShuttingDown);
    assert_eq!(server.ended().await, Some(0));
    assert_eq!(place.files(), [""; 0]);
}

#[tokio::test]
async fn parts_are_read_and_what_is_not_there_is_said() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let bytes = noise(600_000).into_bytes();
    let path = write(&server, header("a"), &bytes).await.unwrap().artifact.unwrap().path;
    let request = |offset, length| ReadRequest { path: path.clone(), offset, length };
    for (offset, length, expected) in
        [(0, 0, 0..600_000), (10, 300_000, 10..300_010), (599_999, 9, 599_999..600_000), (600_000, 0, 600_000..600_000)]
    {
        let (start, got) = read(&server, request(offset, length)).await.unwrap();
        assert_eq!((start.offset, start.length, start.size), (offset, expected.len() as u64, 600_000));
        assert!(got == bytes[expected], "{offset} {length}");
    }
    let beyond = refusal(read(&server, request(600_001, 0)).await);
    assert_eq!((beyond.reason, beyond.field.as_deref()), (Reason::InvalidRequest, Some("offset")));
    let absent = ReadRequest { path: "externalartifact/apps/web/b".into(), ..ReadRequest::default() };
    assert_eq!(refusal(read(&server, absent).await).reason, Reason::NotFound);
    std::fs::write(place.volume().join(&path), "other bytes").unwrap();
    assert_eq!(refusal(read(&server, request(0, 0)).await).reason, Reason::NotFound, "wrong bytes are never read");
    assert_eq!(server.figure("weir_grpc_read_bytes_total").await, 900_001.0);
}

#[tokio::test]
async fn a_file_that_is_changed_while_it_is_read_breaks_off() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let bytes = noise(40 << 20).into_bytes();
    let path = write(&server, header("a"), &bytes).await.unwrap().artifact.unwrap().path;
    let mut answers =
        server.storage().read(ReadRequest { path: path.clone(), ..ReadRequest::default() }).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(place.volume().join(&path)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 39 << 20).unwrap();
    let status = loop {
        match answers.message().await {
            Ok(answer) => assert!(answer.is_some(), "it can not end well"),
            Err(status) => break status,
        }
    };
    assert_eq!(refusal(Err::<(), _>(status)).reason, Reason::FileChanged);
}
