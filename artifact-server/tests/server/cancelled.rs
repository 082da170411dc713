//! Uploads that their client takes back. A library chooses when a reset goes out and what it says, so HTTP/2 is spoken by hand here.

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{
    Reason, SendStream,
    client::{ResponseFuture, SendRequest},
};
use prost::Message as _;
use tokio::net::UnixStream;
use weir_proto::v1::{WriteHeader, WriteRequest, write_request::Message};

use crate::{
    process::{DEADLINE, Place},
    uploads::{eventually, header, message, reference, temporary, write},
};

/// A connection for many calls.
async fn connect(place: &Place) -> SendRequest<Bytes> {
    let socket = UnixStream::connect(place.socket()).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// A message as it goes over the wire: not compressed, its length, its bytes.
fn framed(message: &WriteRequest) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.encoded_len().try_into().unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

/// A `Write` that has sent all but the end of its stream.
async fn begun(client: &mut SendRequest<Bytes>, header: WriteHeader) -> (SendStream<Bytes>, ResponseFuture) {
    let request = http::Request::post("http://localhost/weir.artifact.v1.ArtifactStorage/Write");
    let request = request.header("content-type", "application/grpc").header("te", "trailers").body(()).unwrap();
    let (answer, mut stream) = client.send_request(request, false).unwrap();
    for part in [Message::Header(header), Message::Chunk(b"half of it".to_vec())] {
        stream.send_data(framed(&message(part)), false).unwrap();
    }
    (stream, answer)
}

/// The reset may say that it was cancelled, or that nothing was wrong: it is no end in any case.
#[tokio::test]
async fn an_upload_that_is_taken_back_is_not_taken_for_a_whole_one() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let mut client = connect(&place).await;
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        let many = 20;
        let before = server.figure("weir_grpc_uploaded_bytes_total").await;
        let mut open = Vec::new();
        for number in 0..many {
            let artifact = reference(&format!("web-{number}"));
            open.push(begun(&mut client, WriteHeader { artifact, ..header("a") }).await);
        }
        // All of them wait for more.
        let came = async {
            while server.figure("weir_grpc_uploaded_bytes_total").await - before < f64::from(many) * 10.0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, came).await.expect("what was sent arrives");
        assert_eq!(temporary(&place), 20);
        for (stream, _) in &mut open {
            stream.send_reset(reason);
        }
        for (_, answer) in open {
            assert!(answer.await.is_err(), "{reason:?}");
        }
        eventually("they are ended", || temporary(&place) == 0).await;
        assert_eq!(place.files(), [""; 0], "{reason:?}");
    }
    write(&server, header("a"), b"whole").await.unwrap();
}
