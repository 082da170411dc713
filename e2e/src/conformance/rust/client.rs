//! RPCs through the client of `weir-proto`, where it has a method that does just what a step says.

use futures::stream::{self, StreamExt as _};
use prost::Message;
use tokio::sync::oneshot;
use tonic::Status;
use weir_proto::client::{Client, Error, Retries};
use weir_proto::tls::Certificates;
use weir_proto::v1::{self, build_request, build_response, read_response, write_request};
use weir_proto::{Failure, Reason};

use super::stubs::Answers;
use crate::conformance::case::Step;
use crate::conformance::setup::Peer;

/// The method that was called, and what it answered.
type Called = (&'static str, Result<Answers, Status>);

/// Makes a call, if the client has a method for it. `end` is when the client's side of a stream that is held ends.
pub(super) async fn call(
    peer: &Peer,
    name: &str,
    step: &Step,
    messages: &[(usize, Vec<u8>)],
    end: oneshot::Receiver<()>,
) -> Result<Called, oneshot::Receiver<()>> {
    let Some(client) = connect(peer) else { return Err(end) };
    // An error is an answer here, also one that may go away.
    let client = client.with_retries(Retries { times: 0, ..Retries::default() });
    let [(1, first), rest @ ..] = messages else { return Err(end) };
    let once = rest.iter().all(|(times, _)| *times == 1);
    if !once || step.hold || step.deadline_ms.is_some() || (step.open.is_some() && name != "Lock") {
        return Err(end);
    }
    match name {
        "GetInfo" => Ok(("info", client.info().await.map(|info| one(&info)).map_err(status))),
        "Stat" => Ok(("stat", stat(&client, first).await.map_err(status))),
        "Verify" => Ok(("verify", verify(&client, messages).await.map_err(status))),
        // The client gives all verdicts or an error, not some before the error.
        "VerifyMany" if step.error.is_none() => Ok(("verify", verify(&client, messages).await.map_err(status))),
        "Read" => Ok(("read", read(&client, first).await.map_err(status))),
        "Write" => match upload(first, rest) {
            Some((header, bytes)) => {
                Ok(("write", client.write(header, bytes).await.map(|answer| one(&answer)).map_err(status)))
            }
            None => Err(end),
        },
        "Build" => match order(first, rest) {
            Some((header, artifacts)) => Ok(("build", build(&client, header, artifacts).await.map_err(status))),
            None => Err(end),
        },
        "Lock" => match lock_request(first).filter(|_| rest.is_empty() && step.open.is_some()) {
            Some((caller, artifact)) => Ok(("lock", lock(client.with_caller(caller), artifact, end).await)),
            None => Err(end),
        },
        _ => Err(end),
    }
}

/// A client without a certificate is none of those that this library makes.
fn connect(peer: &Peer) -> Option<Client> {
    let Some(authority) = &peer.authority else { return Client::connect(&peer.endpoint).ok() };
    let certificates = Certificates::files(authority, peer.certificate.as_ref()?, peer.key.as_ref()?);
    Client::connect_with(&peer.endpoint, &certificates).ok()
}

fn decode<T: Message + Default>(bytes: &[u8]) -> T {
    T::decode(bytes).unwrap_or_default()
}

fn one(message: &impl Message) -> Answers {
    stream::iter([Ok(message.encode_to_vec())]).boxed()
}

fn all<T: Message>(messages: impl IntoIterator<Item = T>) -> Answers {
    let encoded: Vec<_> = messages.into_iter().map(|message| Ok(message.encode_to_vec())).collect();
    stream::iter(encoded).boxed()
}

fn status(error: Error) -> Status {
    match error {
        Error::Failure(failure) => failure.into(),
        Error::Unexpected { code, message, .. } => Status::new(code, message),
        Error::Late { cause, .. } => Status::deadline_exceeded(cause),
        // To users of the client a server that ends is one that can not be reached; what it said is still there.
        Error::Unreachable { cause, .. } if cause.starts_with("the server is ending") => {
            Failure::new(Reason::ShuttingDown, cause).into()
        }
        other => Status::unavailable(other.to_string()),
    }
}

async fn stat(client: &Client, request: &[u8]) -> Result<Answers, Error> {
    let file = client.stat(&decode::<v1::StatRequest>(request).path).await?;
    Ok(one(&v1::StatResponse { exists: file.is_some(), file }))
}

async fn verify(client: &Client, requests: &[(usize, Vec<u8>)]) -> Result<Answers, Error> {
    let requests = requests.iter().map(|(_, bytes)| decode(bytes)).collect();
    Ok(all(client.verify(requests).await?))
}

async fn read(client: &Client, request: &[u8]) -> Result<Answers, Error> {
    let mut download = client.read(decode(request)).await?;
    let message = |message| v1::ReadResponse { message: Some(message) };
    let mut answers = vec![message(read_response::Message::Start(download.start().clone()))];
    while let Some(chunk) = download.chunk().await? {
        answers.push(message(read_response::Message::Chunk(chunk)));
    }
    Ok(all(answers))
}

/// A header with a caller of its own, and bytes; whatever else is sent, no user of the client can send.
fn upload(first: &[u8], rest: &[(usize, Vec<u8>)]) -> Option<(v1::WriteHeader, Vec<u8>)> {
    use write_request::Message;
    let Some(Message::Header(header)) = decode::<v1::WriteRequest>(first).message else { return None };
    let chunk = |(_, bytes): &(usize, Vec<u8>)| match decode::<v1::WriteRequest>(bytes).message {
        Some(Message::Chunk(chunk)) => Some(chunk),
        _ => None,
    };
    let chunks = rest.iter().map(chunk).collect::<Option<Vec<_>>>()?;
    header.caller.is_some().then(|| (header, chunks.concat()))
}

fn order(first: &[u8], rest: &[(usize, Vec<u8>)]) -> Option<(v1::BuildHeader, Vec<v1::BuildArtifact>)> {
    use build_request::Message;
    let Some(Message::Header(header)) = decode::<v1::BuildRequest>(first).message else { return None };
    let artifact = |(_, bytes): &(usize, Vec<u8>)| match decode::<v1::BuildRequest>(bytes).message {
        Some(Message::Artifact(artifact)) => Some(artifact),
        _ => None,
    };
    let artifacts = rest.iter().map(artifact).collect::<Option<Vec<_>>>()?;
    header.caller.is_some().then_some((header, artifacts))
}

async fn build(client: &Client, header: v1::BuildHeader, artifacts: Vec<v1::BuildArtifact>) -> Result<Answers, Error> {
    use build_response::Message;
    let mut build = client.build(header, artifacts).await?;
    let sources = build.sources().to_vec();
    let message = |message| v1::BuildResponse { message: Some(message) }.encode_to_vec();
    let mut answers = vec![Ok(message(Message::Sources(v1::SourcesReady { sources })))];
    loop {
        match build.next().await {
            Ok(Some(result)) => answers.push(Ok(message(Message::Result(result)))),
            Ok(None) => break,
            Err(error) => {
                answers.push(Err(status(error)));
                break;
            }
        }
    }
    Ok(stream::iter(answers).boxed())
}

fn lock_request(request: &[u8]) -> Option<(v1::Caller, v1::ArtifactRef)> {
    let v1::LockRequest { caller, artifact, take_over } = decode(request);
    let caller = caller.filter(|caller| caller.lock.is_empty() && !take_over)?;
    Some((caller, artifact?))
}

/// The guard lives until the step that closes the stream.
async fn lock(client: Client, artifact: v1::ArtifactRef, end: oneshot::Receiver<()>) -> Result<Answers, Status> {
    let mut guard = client.lock(artifact).await.map_err(status)?;
    let token = v1::LockResponse { token: guard.token().to_owned() }.encode_to_vec();
    let held = stream::once(async move {
        tokio::select! {
            _ = end => None,
            lost = guard.lost() => Some(Err(status(lost))),
        }
    });
    Ok(stream::iter([Ok(token)]).chain(held.filter_map(std::future::ready)).boxed())
}
