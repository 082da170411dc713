//! Downloads a source and has it unpacked on the way.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use http::uri::Authority;
use reqwest::{Method, Response, StatusCode, Url, header::RETRY_AFTER, redirect};
use rustls::CertificateError;
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinError, JoinHandle},
    time::Instant,
};
use weir_proto::Digest;

use super::{
    CacheSettings, Limits, Roots, Source, SourceError,
    feed::pipe,
    limits::Rules,
    pace::{Pace, Watched},
    retry::{Failed, Verdict, judge, retry_after},
    shelf::{Key, Shelf},
    unpack::unpack,
};
use crate::hash::Hasher;

/// What to do about a server that nobody trusted vouches for.
const ADVICE: &str = "name a file with the certificate of its authority in SSL_CERT_FILE of the artifact server";

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Downloads with one HTTP client for all sources. Proxies are taken from the environment.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: reqwest::Client,
    roots: Roots,
    pub(super) folder: PathBuf,
    pub(super) limits: Limits,
    pace: Pace,
    /// One for each download that may run. Waiting for one is safe: a download that runs waits for nobody's source.
    turns: Semaphore,
}

/// Where a source is and what it must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) digest: Digest,
    pub(super) retries: u32,
    pub(super) tenant: Option<String>,
}

impl Target {
    /// What it is on the shelf.
    pub(super) fn key(&self) -> Key {
        Key::Source(self.digest.clone(), self.tenant.is_some().then(|| self.url.clone()))
    }
}

impl Fetcher {
    /// Makes the client.
    pub(super) fn new(settings: &CacheSettings) -> Result<Self, SourceError> {
        let failed = |error: &dyn std::fmt::Display| SourceError::Storage(format!("no HTTP client: {error}"));
        let tls = settings.roots.client_config().map_err(|error| failed(&error))?;
        // A redirect could lead a download anywhere in the cluster's network.
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(settings.pace.window)
            .user_agent(concat!("weir-artifact-server/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(&chain(&error)))?;
        let CacheSettings { folder, limits, pace, at_once, roots, .. } = settings.clone();
        Ok(Self { client, roots, folder, limits, pace, turns: Semaphore::new(at_once) })
    }

    /// Tries once to download, verify and unpack a source.
    pub(super) async fn attempt(&self, target: &Target, shelf: &Arc<Shelf>) -> Result<Source, Failed> {
        // Given back between tries, so that a server that is away does not hold up the others.
        let _turn = self.turns.acquire().await;
        let attempt = async {
            let response = self.open(Method::GET, &target.url).await?;
            self.receive(response, &target.digest, shelf).await
        };
        match tokio::time::timeout(self.pace.longest, attempt).await {
            Ok(result) => result,
            Err(_) => Err(slow(format!("it was not finished after {:?}", self.pace.longest))),
        }
    }

    /// Asks whether the source could be downloaded, without its body.
    pub(super) async fn prove(&self, url: &Url) -> Result<(), Failed> {
        let _turn = self.turns.acquire().await;
        match tokio::time::timeout(self.pace.window, self.open(Method::HEAD, url)).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(slow(format!("no answer came in {:?}", self.pace.window))),
        }
    }

    /// Asks for the body, or whether there is one.
    async fn open(&self, method: Method, url: &Url) -> Result<Response, Failed> {
        if let Some(trouble) = self.roots.nobody().filter(|_| url.scheme() == "https") {
            let cause = format!("no certificate authority is trusted ({trouble}): {ADVICE}");
            return Err(Failed::NotAgain { cause });
        }
        let response =
            self.client.request(method, url.clone()).send().await.map_err(|error| transport(&error.without_url()))?;
        let status = response.status();
        match judge(status.as_u16()) {
            Verdict::Take => Ok(response),
            Verdict::Missing => Err(Failed::ForGood(SourceError::NotFound)),
            Verdict::Again { heed } => {
                let header = response.headers().get(RETRY_AFTER).filter(|_| heed);
                let value = header.and_then(|value| value.to_str().ok());
                Err(Failed::ForNow {
                    cause: format!("unexpected HTTP status {}", in_words(status)),
                    retry_after: value.and_then(|value| retry_after(value, jiff::Timestamp::now())),
                })
            }
            Verdict::GiveUp => {
                let note = if status.is_redirection() { "; redirects are not followed" } else { "" };
                let status = in_words(status);
                Err(Failed::ForGood(SourceError::Unavailable(format!(" from {url} (status: {status}{note})"))))
            }
        }
    }

    /// Hashes the body and feeds it to a thread that unpacks it, so that two processors share the work.
    async fn receive(&self, response: Response, digest: &Digest, shelf: &Arc<Shelf>) -> Result<Source, Failed> {
        self.check_size(response.content_length().unwrap_or_default())?;
        let (sender, feed) = pipe();
        let (folder, limits, charge) = (self.folder.clone(), self.limits, shelf.charge());
        let task = tokio::task::spawn_blocking(move || unpack(feed, &folder, &Rules::source(limits), charge));
        let mut unpacking = Unpacking::Running(sender, task);
        let (mut hash, mut size) = (Hasher::new(digest.algorithm()), 0);
        let mut body = response.bytes_stream();
        let mut watched = Watched::new(self.pace);
        loop {
            let asked = Instant::now();
            let Some(piece) = body.next().await else { break };
            let piece = piece.map_err(|error| transport(&error.without_url()))?;
            if !watched.took(piece.len(), asked.elapsed()) {
                return Err(slow(format!("fewer than {} bytes came in {:?}", self.pace.least, self.pace.window)));
            }
            size += piece.len() as u64;
            self.check_size(size)?;
            hash.update(&piece);
            unpacking.send(piece).await?;
        }
        let unpacked = unpacking.finish().await;
        let computed = hash.finish().map_err(|error| Failed::ForGood(SourceError::Digest(error.to_string())))?;
        if computed != *digest {
            return Err(Failed::ForGood(SourceError::Digest(format!(
                "computed digest doesn't match provided '{digest}' (check whether file size exceeds max download size)"
            ))));
        }
        let mut source = unpacked.map_err(Failed::ForGood)?;
        source.summary.compressed_bytes = size;
        Ok(source)
    }

    fn check_size(&self, size: u64) -> Result<(), Failed> {
        let max = self.limits.compressed_bytes;
        if size <= max {
            return Ok(());
        }
        let text = format!("the download is larger than {max} bytes; raise --source-max-size");
        Err(Failed::ForGood(SourceError::TooLarge(text)))
    }
}

/// The unpacking half of a download.
enum Unpacking {
    /// Still reading.
    Running(mpsc::Sender<Bytes>, JoinHandle<Result<Source, SourceError>>),
    /// Done before the body's end: at the end marker of the tar, or with an error that is kept back. A wrong digest explains
    /// a broken tarball better than its first broken byte.
    Ended(Result<Source, SourceError>),
}

impl Unpacking {
    /// Passes a piece on. Errors that a wrong digest can not explain end the download at once.
    async fn send(&mut self, piece: Bytes) -> Result<(), Failed> {
        let Self::Running(sender, task) = self else {
            return Ok(());
        };
        if sender.send(piece).await.is_ok() {
            return Ok(());
        }
        let result = ended(task.await);
        match result {
            Err(error) if !matches!(error, SourceError::Refused(_)) => Err(Failed::ForGood(error)),
            result => {
                *self = Self::Ended(result);
                Ok(())
            }
        }
    }

    /// The result, once the whole body has been sent.
    async fn finish(self) -> Result<Source, SourceError> {
        match self {
            Self::Running(sender, task) => {
                drop(sender);
                ended(task.await)
            }
            Self::Ended(result) => result,
        }
    }
}

fn ended(joined: Result<Result<Source, SourceError>, JoinError>) -> Result<Source, SourceError> {
    joined.unwrap_or_else(|error| Err(SourceError::Storage(format!("unpacking ended early: {error}"))))
}

/// The server is there, but a download from it would keep others from theirs.
fn slow(what: String) -> Failed {
    Failed::ForNow { cause: format!("the download is too slow: {what}"), retry_after: None }
}

/// A request that got no answer, or only part of one. All of these are tried again but for requests that can not be made, and servers that
/// are not who they should be.
fn transport(error: &reqwest::Error) -> Failed {
    let cause = chain(error);
    if error.is_builder() {
        return Failed::ForGood(SourceError::Unavailable(format!(": {cause}")));
    }
    match certificate(error) {
        Some(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Failed::NotAgain { cause: format!("{cause}: {ADVICE}") }
        }
        Some(_) => Failed::NotAgain { cause },
        None => Failed::ForNow { cause, retry_after: None },
    }
}

/// What is wrong with the server's certificate, if that is what an error is about.
fn certificate<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a CertificateError> {
    if let Some(rustls::Error::InvalidCertificate(found)) = error.downcast_ref() {
        return Some(found);
    }
    // An I/O error does not name what it wraps as its source.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.and_then(|inner| certificate(inner)).or_else(|| error.source().and_then(certificate))
}

/// An error with all its causes. Without the URL, which is named elsewhere.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        let own = error.to_string();
        if !text.contains(&own) {
            let joint = if text.is_empty() { "" } else { ": " };
            text = text + joint + &own;
        }
        next = error.source();
    }
    text
}

/// E.g. `503 Service Unavailable`.
fn in_words(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()).trim_end().to_owned()
}

/// Whether a text can stand in place of the host of a URL.
pub fn is_host(text: &str) -> bool {
    resolve("http://source.invalid/", Some(text)).is_ok()
}

/// Reads the URL of a source and replaces its host if asked to.
pub(super) fn resolve(url: &str, host: Option<&str>) -> Result<Url, SourceError> {
    let invalid = |cause: &str| SourceError::InvalidUrl { url: url.to_owned(), cause: cause.to_owned() };
    let mut resolved = Url::parse(url).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(resolved.scheme(), "http" | "https") {
        return Err(invalid("the scheme must be http or https"));
    }
    let Some(host) = host.filter(|host| !host.is_empty()) else {
        return Ok(resolved);
    };
    let wrong = || invalid(&format!("the source host '{host}' is not a host or host:port"));
    let authority: Authority = host.parse().map_err(|_| wrong())?;
    // The parser takes anything for a port, and then there is none.
    let has_no_port = authority.as_str() == authority.host();
    if authority.as_str().contains('@') || !(has_no_port || authority.port_u16().is_some()) {
        return Err(wrong());
    }
    resolved.set_host(Some(authority.host())).map_err(|_| wrong())?;
    resolved.set_port(authority.port_u16()).map_err(|()| wrong())?;
    Ok(resolved)
}
