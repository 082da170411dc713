//! The client of `weir-artifact-server`: one connection for the whole process, made when first needed and made again
//! whenever it breaks.

mod error;
#[cfg(test)]
mod tests;
mod tls;

use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};
use weir_proto::{
    MAX_MESSAGE_BYTES, Owner,
    v1::{
        self, ArtifactRef, BuildRequest, BuildResponse, Caller, Collectable, FindDirectoriesRequest,
        FindDirectoriesResponse, GarbageCollectRequest, GetInfoRequest, GetInfoResponse, ListRequest, RemoveAllRequest,
        SetServingRequest, Settings, StoredFile, Verdict, VerifyRequest, WatchRequest, WatchResponse,
        artifact_builder_client::ArtifactBuilderClient, artifact_storage_client::ArtifactStorageClient,
    },
};

pub use error::ServerError;
pub use tls::Certificates;

/// How long a call that reads no source may take. Collections of 1000 artifacts and lists of everything fit well.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection attempt may take. Sockets and loopback answer at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent connection is probed this often, and given up when the probe is not answered in the same time.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The most artifacts that one collection takes.
const COLLECT_AT_ONCE: usize = 1000;

/// What a streaming call answers.
pub type Answers<T> = BoxStream<'static, Result<T, ServerError>>;

/// What this controller was configured with and sends along with its requests.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Advertised address, digest algorithm, retries and host override.
    pub settings: Settings,
    /// How long collected files are kept at least.
    pub retention_ttl: Duration,
    /// How many files of an artifact are kept, the current one included.
    pub retention_records: u32,
    /// How long a run may take: a file that was returned less than this plus the TTL ago is not collected.
    pub grace: Duration,
    /// `<namespace>/<name>` of the Lease; empty without leader election.
    pub lease: String,
    /// The fencing number: transitions of the Lease, 0 without leader election.
    pub epoch: u64,
}

/// A handle on the server. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Server {
    address: String,
    policy: Policy,
    builder: ArtifactBuilderClient<Channel>,
    storage: ArtifactStorageClient<Channel>,
}

/// An endpoint that can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It can not be called.
    #[error(
        "artifact server {address:?} is not valid: {problem}; use unix:///path/to.sock, https://host:port or http://host:port"
    )]
    Invalid {
        /// As configured.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificates can not be used.
    #[error(transparent)]
    Certificates(#[from] weir_proto::tls::CertificatesError),
}

/// What one `Build` call needs besides the artifacts.
#[derive(Clone, Debug)]
pub struct BuildCall {
    /// Who answers for the files.
    pub owner: Owner,
    /// Namespace that the artifacts are published in.
    pub namespace: String,
    /// All sources of the generator.
    pub sources: Vec<v1::Source>,
    /// The server gives up after this, if that is said.
    pub timeout: Option<Duration>,
}

impl Server {
    /// Prepares the connection to `unix:///path`, `http://host:port` or, with certificates, `https://host:port`; nothing is sent yet, but
    /// certificates that can not be used are an error. Must run inside a tokio runtime.
    pub fn new(address: &str, certificates: &Certificates, policy: Policy) -> Result<Self, AddressError> {
        let wrong = |problem: &str| AddressError::Invalid { address: address.to_owned(), problem: problem.to_owned() };
        let secure = address.starts_with("https://");
        if !secure && !address.starts_with("unix:///") && !address.starts_with("http://") {
            return Err(wrong("the scheme is none of unix, https and http"));
        }
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| wrong(&error.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        let channel = if secure {
            weir_proto::tls::connect_lazy(&endpoint, &certificates.by_flags())?
        } else {
            endpoint.connect_lazy()
        };
        let builder = ArtifactBuilderClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let storage = ArtifactStorageClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self { address: address.to_owned(), policy, builder, storage })
    }

    /// The same connection, for calls under another epoch.
    pub fn under(&self, lease: &str, epoch: u64) -> Self {
        let mut server = self.clone();
        (server.policy.lease, server.policy.epoch) = (lease.to_owned(), epoch);
        server
    }

    /// The endpoint, as configured.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The prefix of every artifact URL that this controller publishes; empty when the server's own is used.
    pub fn advertised_address(&self) -> &str {
        &self.policy.settings.advertised_address
    }

    /// Composes and stores artifacts. Results come in the order in which they finish; dropping the stream cancels the call.
    pub async fn build(
        &self,
        call: BuildCall,
        artifacts: impl Stream<Item = v1::BuildArtifact> + Send + 'static,
    ) -> Result<Answers<BuildResponse>, ServerError> {
        let header = v1::BuildHeader {
            caller: Some(self.caller(&call.owner)),
            kind: crate::api::external_artifact::KIND.to_owned(),
            namespace: call.namespace,
            sources: call.sources,
            settings: Some(self.policy.settings.clone()),
        };
        let header = BuildRequest { message: Some(v1::build_request::Message::Header(header)) };
        let artifacts =
            artifacts.map(|artifact| BuildRequest { message: Some(v1::build_request::Message::Artifact(artifact)) });
        let mut request = Request::new(futures::stream::once(async { header }).chain(artifacts));
        call.timeout.into_iter().for_each(|timeout| request.set_timeout(timeout));
        let answers = self.builder.clone().build(request).await.map_err(|status| self.error(&status))?;
        Ok(self.stream(answers.into_inner()))
    }

    /// The directories of a source that match a pattern with captures, in the order of the tree. The source is at hand for a build that
    /// follows.
    pub async fn find_directories(
        &self,
        owner: &Owner,
        source: Option<v1::Source>,
        pattern: &str,
        timeout: Option<Duration>,
    ) -> Result<Vec<FindDirectoriesResponse>, ServerError> {
        let request = FindDirectoriesRequest {
            caller: Some(self.caller(owner)),
            source,
            settings: Some(self.policy.settings.clone()),
            pattern: pattern.to_owned(),
        };
        let answers = self.builder.clone().find_directories(timed(request, timeout)).await;
        let answers = answers.map_err(|status| self.error(&status))?;
        self.stream(answers.into_inner()).try_collect().await
    }

    /// Checks that files are there and intact: one verdict for each `(path, digest)`, in order.
    pub async fn verify(&self, files: Vec<VerifyRequest>) -> Result<Vec<Verdict>, ServerError> {
        let asked = files.len();
        let request = timed(futures::stream::iter(files), CALL_TIMEOUT);
        let answers = self.storage.clone().verify_many(request).await.map_err(|status| self.error(&status))?;
        let verdicts: Vec<Verdict> =
            self.stream(answers.into_inner()).map_ok(|answer| answer.verdict()).try_collect().await?;
        if verdicts.len() == asked {
            Ok(verdicts)
        } else {
            Err(self.error(&Status::internal(format!("{} answers for {asked} questions", verdicts.len()))))
        }
    }

    /// Removes what retention no longer keeps; never a path named here. Returns the removed paths.
    pub async fn collect(&self, owner: &Owner, artifacts: Vec<Collectable>) -> Result<Vec<String>, ServerError> {
        let mut removed = Vec::new();
        let mut rest = artifacts;
        while !rest.is_empty() {
            let next = rest.split_off(rest.len().min(COLLECT_AT_ONCE));
            let request = GarbageCollectRequest {
                caller: Some(self.caller(owner)),
                artifacts: std::mem::replace(&mut rest, next),
                ttl: self.policy.retention_ttl.try_into().ok(),
                records: self.policy.retention_records,
                grace: self.policy.grace.try_into().ok(),
                limit: 0,
            };
            let answer = self.storage.clone().garbage_collect(timed(request, CALL_TIMEOUT)).await;
            removed.append(&mut answer.map_err(|status| self.error(&status))?.into_inner().removed);
        }
        Ok(removed)
    }

    /// Removes all files of one artifact that the owner has. Nothing there is success.
    pub async fn remove_all(&self, owner: &Owner, artifact: ArtifactRef) -> Result<(), ServerError> {
        let request = RemoveAllRequest { caller: Some(self.caller(owner)), artifact: Some(artifact), take_over: false };
        let answer = self.storage.clone().remove_all(timed(request, CALL_TIMEOUT)).await;
        answer.map(drop).map_err(|status| self.error(&status))
    }

    /// The files of this controller, in one namespace or (empty) in all, of one owner or of all.
    pub async fn list(&self, namespace: &str, owner: Option<&Owner>) -> Result<Answers<StoredFile>, ServerError> {
        let request = ListRequest {
            controller: crate::api::FIELD_MANAGER.to_owned(),
            kind: crate::api::external_artifact::KIND.to_lowercase(),
            namespace: namespace.to_owned(),
            owner: owner.map(Owner::to_string).unwrap_or_default(),
            ..ListRequest::default()
        };
        let answer = self.storage.clone().list(timed(request, CALL_TIMEOUT)).await;
        let files = self.stream(answer.map_err(|status| self.error(&status))?.into_inner());
        Ok(files.try_filter_map(|answer| futures::future::ok(answer.file)).boxed())
    }

    /// Follows what happens to the files of this controller, without an end of its own.
    pub async fn watch(&self) -> Result<Answers<WatchResponse>, ServerError> {
        let request = WatchRequest { controller: crate::api::FIELD_MANAGER.to_owned() };
        let answer = self.storage.clone().watch(Request::new(request)).await.map_err(|status| self.error(&status))?;
        Ok(self.stream(answer.into_inner()))
    }

    /// Opens the artifact port, or says that this controller does not want it open. Returns whether it is open now.
    pub async fn set_serving(&self, on: bool) -> Result<bool, ServerError> {
        // Serving belongs to the whole controller, not to one object; any object part will do.
        let owner = format!("{}/controller", crate::api::FIELD_MANAGER);
        let request = SetServingRequest { caller: Some(self.named(owner)), on };
        let answer = self.storage.clone().set_serving(timed(request, CALL_TIMEOUT)).await;
        answer.map(|answer| answer.into_inner().serving).map_err(|status| self.error(&status))
    }

    /// What the server is and how it is configured.
    pub async fn info(&self) -> Result<GetInfoResponse, ServerError> {
        let answer = self.storage.clone().get_info(timed(GetInfoRequest {}, CALL_TIMEOUT)).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    fn caller(&self, owner: &Owner) -> Caller {
        self.named(owner.to_string())
    }

    fn named(&self, owner: String) -> Caller {
        Caller { owner, epoch: self.policy.epoch, lease: self.policy.lease.clone(), ..Caller::default() }
    }

    fn error(&self, status: &Status) -> ServerError {
        ServerError::from_status(&self.address, status)
    }

    fn stream<T: Send + 'static>(&self, answers: Streaming<T>) -> Answers<T> {
        let address = self.address.clone();
        answers.map_err(move |status| ServerError::from_status(&address, &status)).boxed()
    }
}

fn timed<T>(message: T, timeout: impl Into<Option<Duration>>) -> Request<T> {
    let mut request = Request::new(message);
    timeout.into().into_iter().for_each(|timeout| request.set_timeout(timeout));
    request
}
