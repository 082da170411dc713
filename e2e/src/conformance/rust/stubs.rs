//! Every RPC by its name, through the generated stubs.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Request, Status};
use weir_proto::v1::artifact_builder_client::ArtifactBuilderClient;
use weir_proto::v1::artifact_storage_client::ArtifactStorageClient;

/// Encoded requests.
pub(super) type Requests = BoxStream<'static, Vec<u8>>;

/// Encoded answers.
pub(super) type Answers = BoxStream<'static, Result<Vec<u8>, Status>>;

/// Makes a call. The requests must be messages of its type, and exactly one where it takes no stream.
pub(super) async fn call(
    channel: &Channel,
    name: &str,
    mut requests: Requests,
    timeout: Duration,
) -> Result<Answers, Status> {
    let mut storage = ArtifactStorageClient::new(channel.clone());
    let mut builder = ArtifactBuilderClient::new(channel.clone());
    macro_rules! one {
        ($client:ident.$method:ident) => {{
            let bytes = requests.next().await.unwrap_or_default();
            let answer = $client.$method(timed(decode(&bytes), timeout)).await?;
            Ok(stream::iter([Ok(answer.into_inner().encode_to_vec())]).boxed())
        }};
        ($client:ident.$method:ident, stream) => {{
            let bytes = requests.next().await.unwrap_or_default();
            let answers = $client.$method(timed(decode(&bytes), timeout)).await?;
            Ok(encoded(answers.into_inner()))
        }};
    }
    macro_rules! many {
        ($client:ident.$method:ident) => {{
            let requests = requests.map(|bytes| decode(&bytes));
            let answer = $client.$method(timed(requests, timeout)).await?;
            Ok(stream::iter([Ok(answer.into_inner().encode_to_vec())]).boxed())
        }};
        ($client:ident.$method:ident, stream) => {{
            let requests = requests.map(|bytes| decode(&bytes));
            let answers = $client.$method(timed(requests, timeout)).await?;
            Ok(encoded(answers.into_inner()))
        }};
    }
    match name {
        "NewArtifact" => one!(storage.new_artifact),
        "ResolvePath" => one!(storage.resolve_path),
        "MkdirAll" => one!(storage.mkdir_all),
        "Write" => many!(storage.write),
        "Archive" => many!(storage.archive),
        "Read" => one!(storage.read, stream),
        "Lock" => many!(storage.lock, stream),
        "Symlink" => one!(storage.symlink),
        "RemoveAllButCurrent" => one!(storage.remove_all_but_current),
        "Stat" => one!(storage.stat),
        "Verify" => one!(storage.verify),
        "VerifyMany" => many!(storage.verify_many, stream),
        "Remove" => one!(storage.remove),
        "RemoveAll" => one!(storage.remove_all),
        "GarbageCollect" => one!(storage.garbage_collect),
        "List" => one!(storage.list, stream),
        "Watch" => one!(storage.watch, stream),
        "GetInfo" => one!(storage.get_info),
        "SetServing" => one!(storage.set_serving),
        "Build" => many!(builder.build, stream),
        "FindDirectories" => one!(builder.find_directories, stream),
        other => Err(Status::unimplemented(format!("this runner has no {other}"))),
    }
}

fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// The bytes were encoded by the descriptor of the same contract.
fn decode<T: Message + Default>(bytes: &[u8]) -> T {
    T::decode(bytes).unwrap_or_default()
}

fn encoded<T: Message + 'static>(answers: tonic::Streaming<T>) -> Answers {
    answers.map(|answer| answer.map(|message| message.encode_to_vec())).boxed()
}
