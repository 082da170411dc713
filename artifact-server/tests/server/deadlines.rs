//! The caller's deadline as the server keeps it. The client of these tests sends the header, and has no clock of its own that could answer first.

use futures::StreamExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tonic::{Code, Request, Status, body::Body, metadata::MetadataValue};
use weir_proto::v1::{
    LockRequest, WriteRequest, artifact_storage_client::ArtifactStorageClient, write_request::Message::Header,
};

use crate::{
    process::{DEADLINE, Place, Server, caller},
    uploads::{header, reference},
};

/// A request that stays open, and that its server is to end after 300 ms.
fn open<T: Send + 'static>(message: T) -> Request<impl futures::Stream<Item = T> + Send + 'static> {
    let mut request = Request::new(futures::stream::iter([message]).chain(futures::stream::pending()));
    request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("300m"));
    request
}

fn lock() -> Request<impl futures::Stream<Item = LockRequest> + Send + 'static> {
    open(LockRequest { caller: caller(), artifact: reference("web"), take_over: false })
}

async fn holds(server: &Server) -> tonic::Streaming<weir_proto::v1::LockResponse> {
    let mut request = lock();
    request.metadata_mut().remove("grpc-timeout");
    let mut held = server.storage().lock(request).await.unwrap().into_inner();
    assert!(!held.message().await.unwrap().unwrap().token.is_empty());
    held
}

#[tokio::test]
async fn the_server_itself_ends_calls_in_time() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let _held = holds(&server).await;
    let stream = TokioIo::new(UnixStream::connect(place.socket()).await.unwrap());
    let (sender, connection) = http2::handshake::<_, _, Body>(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let service = tower::service_fn(move |request| sender.clone().send_request(request));
    let client = ArtifactStorageClient::with_origin(service, "http://localhost".parse().unwrap());
    let waiting = async {
        let mut answers = client.clone().lock(lock()).await?.into_inner();
        answers.message().await.map(drop)
    };
    let silent = WriteRequest { message: Some(Header(header("a"))) };
    let writing = async { client.clone().write(open(silent)).await.map(drop) };
    let ended = |what, answer: Result<Result<(), Status>, _>| {
        let status = answer.unwrap_or_else(|_| panic!("{what} has no end")).unwrap_err();
        let said = (status.code(), status.message());
        assert_eq!(said, (Code::DeadlineExceeded, "the caller's deadline is over"), "{what}");
    };
    ended("a Lock that waits", tokio::time::timeout(DEADLINE, waiting).await);
    ended("a Write that brings nothing", tokio::time::timeout(DEADLINE, writing).await);
    server.stop().await;
}
