//! A client for controllers that are written in Rust (feature `client`).
//!
//! [`Client::connect`] takes the endpoint, and [`Client::connect_with`] one with mutual TLS; nothing is sent before the first call. [`Client::acting_as`] says in whose name calls are made.
//! What is safe to send twice is sent again while the server is away: questions, reads, builds, and uploads whose digest is known.
//! Everything that this client has no method for is at [`Client::storage`] and [`Client::builder`].
//!
//! ```no_run
//! use weir_proto::{Owner, client::{Client, Error}, v1::{ArchiveHeader, ArtifactRef}};
//!
//! # async fn publish() -> Result<(), Box<dyn std::error::Error>> {
//! let owner = Owner::new("docs-controller", "7d2f0c1e")?;
//! let client = Client::connect("unix:///run/weir/s/artifact.sock")?.acting_as(&owner);
//! let artifact = ArtifactRef { kind: "ExternalArtifact".into(), namespace: "apps".into(), name: "docs".into() };
//! let header = ArchiveHeader { artifact: Some(artifact), ..ArchiveHeader::default() };
//! match client.archive_dir(header, "site").await {
//!     Ok(answer) => println!("{:?} is what status.artifact wants", answer.artifact),
//!     Err(Error::Failure(failure)) => println!("refused, {}: {failure}", failure.reason.name()),
//!     Err(error) => println!("{error}"),
//! }
//! # Ok(())
//! # }
//! ```

mod ask;
mod build;
mod directory;
mod download;
mod endpoint;
mod error;
mod lock;
mod position;
mod retry;
mod upload;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tonic::{Request, Response, Status, transport::Channel};

pub use build::{Build, outcome};
pub use download::Download;
pub use error::Error;
pub use lock::LockGuard;
pub use position::Why;
pub use retry::Retries;
pub use watch::Notice;

use crate::{
    Owner,
    tls::Certificates,
    v1::{
        Caller, Settings, artifact_builder_client::ArtifactBuilderClient,
        artifact_storage_client::ArtifactStorageClient,
    },
};

/// How long a call may take unless [`Client::with_timeout`] says otherwise. Uploads and builds are bounded by the server, and fit.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A handle on an artifact server. Clones share one connection, which is made when first needed and again whenever it breaks.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Arc<str>,
    channel: Channel,
    caller: Caller,
    settings: Option<Settings>,
    timeout: Duration,
    retries: Retries,
}

impl Client {
    /// Prepares the connection to `unix:///path` or `http://host:port`; for `https` see [`connect_with`](Self::connect_with). Must run inside
    /// a tokio runtime.
    ///
    /// ```
    /// use weir_proto::client::Client;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// assert!(Client::connect("unix:///run/weir/s/artifact.sock").is_ok());
    /// let error = Client::connect("/run/weir/artifact.sock").unwrap_err();
    /// assert!(error.to_string().contains("use unix:///path/to.sock, http://host:port or"));
    /// # }
    /// ```
    pub fn connect(endpoint: &str) -> Result<Self, Error> {
        Ok(Self::of(endpoint, endpoint::channel(endpoint, None)?))
    }

    /// Prepares the connection to `https://host:port`, where both sides show a certificate. Files are read for each connection, so a renewed
    /// certificate is shown from the next one on; files that can not be used are an error now, and later a reason to try again.
    ///
    /// ```
    /// use weir_proto::{client::{Client, Error}, tls::Certificates};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let secret = std::path::Path::new("/run/secrets/weir");
    /// let files = ["ca.crt", "tls.crt", "tls.key"].map(|file| secret.join(file));
    /// let certificates = Certificates::files(&files[0], &files[1], &files[2]);
    /// match Client::connect_with("https://artifacts.flux-system:9443", &certificates) {
    ///     Ok(client) => println!("{} will be called", client.endpoint()),
    ///     Err(Error::Certificates { problem, .. }) => {
    ///         assert!(problem.to_string().starts_with("the CA bundle /run/secrets/weir/ca.crt: "), "{problem}");
    ///     }
    ///     Err(error) => panic!("{error}"),
    /// }
    /// # }
    /// ```
    ///
    /// [`Certificates::pem`] takes the bytes, for who has them elsewhere, and
    /// [`with_server_name`](crate::tls::Certificates::with_server_name) another name than the host's, e.g. for a forwarded port:
    ///
    /// ```
    /// # use weir_proto::{client::{Client, Error}, tls::Certificates};
    /// # fn connect(ca: &str, certificate: &str, key: &str) -> Result<Client, Error> {
    /// let certificates = Certificates::pem(ca, certificate, key).with_server_name("artifacts.flux-system");
    /// Client::connect_with("https://127.0.0.1:9443", &certificates)
    /// # }
    /// ```
    ///
    /// [`Certificates::pem`]: crate::tls::Certificates::pem
    pub fn connect_with(endpoint: &str, certificates: &Certificates) -> Result<Self, Error> {
        Ok(Self::of(endpoint, endpoint::channel(endpoint, Some(certificates))?))
    }

    fn of(endpoint: &str, channel: Channel) -> Self {
        let (caller, settings) = (Caller::default(), None);
        Self { endpoint: endpoint.into(), channel, caller, settings, timeout: TIMEOUT, retries: Retries::default() }
    }

    /// For calls in the name of an owner, without leader election. Headers and requests that name a caller of their own keep it.
    pub fn acting_as(self, owner: &Owner) -> Self {
        self.with_caller(Caller { owner: owner.to_string(), ..Caller::default() })
    }

    /// For calls in the name of a caller, with its Lease and epoch.
    pub fn with_caller(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// For calls with these settings, e.g. another advertised address, where a header has none.
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = Some(settings);
        self
    }

    /// For calls that may take this long, each try of them; 5 minutes without it. Locks and watches have no such end.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For calls that are tried again at other times; see [`Retries`].
    pub fn with_retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// The endpoint, as given.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The generated client for everything that there is no method for here. It retries nothing.
    pub fn storage(&self) -> ArtifactStorageClient<Channel> {
        endpoint::storage(&self.channel)
    }

    /// The generated client of builds. It retries nothing.
    pub fn builder(&self) -> ArtifactBuilderClient<Channel> {
        endpoint::builder(&self.channel)
    }

    fn timed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Error> {
        answer.map(Response::into_inner).map_err(|status| self.error(&status))
    }

    fn error(&self, status: &Status) -> Error {
        Error::from_status(&self.endpoint, status)
    }

    /// A stream that ended well, but too early.
    fn cut(&self, when: &str) -> Error {
        let cause = format!("the answer ended {when}");
        Error::Unreachable { endpoint: self.endpoint.to_string(), cause }
    }

    fn unreadable(path: PathBuf, cause: impl std::fmt::Display) -> Error {
        Error::Directory { path, cause: cause.to_string() }
    }
}
