//! Artifacts over HTTP: GET and HEAD of one file, with conditions and ranges. No listing, no other paths.
//!
//! A path is looked up in the store, never on the file system. So what is not an artifact's name is 404, whatever it tries to be.

use std::{io, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::{sync::Semaphore, time::timeout};
use warp::{Filter, Reply, filters::BoxedFilter, path::FullPath, reply::Response};
use weir_proto::ArtifactPath;

use super::{
    conditions::{self, Answer, Facts},
    hashing::Hashing,
    not_found, text,
};
use crate::{
    metrics::Metrics,
    storage::{Looked, Opened, StorageError, Store},
    threads::Threads,
};

/// Files up to this size are read at once, larger ones in pieces of this size.
const PIECE: u64 = 256 * 1024;

/// How long clients wait, and how many at a time.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a client waits while a file is hashed that somebody touched. Then it gets a 503.
    pub verifying: Duration,
    /// How many files are opened at once, a moment each.
    pub openings: usize,
    /// How many touched files are hashed at once.
    pub hashings: usize,
}

impl Patience {
    /// Ten seconds; the shares of threads as given.
    pub fn new(threads: Threads) -> Self {
        Self { verifying: Duration::from_secs(10), openings: threads.openings, hashings: threads.hashings }
    }
}

/// The artifacts of a store.
#[derive(Clone)]
pub struct Files {
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    patience: Patience,
    openings: Arc<Semaphore>,
    hashing: Arc<Hashing>,
}

/// How often a file is looked at anew after it could not be read, before that is the answer.
const ATTEMPTS: usize = 3;

/// A file that may be sent, its first piece read already.
struct Ready {
    path: ArtifactPath,
    opened: Opened,
    answer: Answer,
    first: Option<Bytes>,
}

impl Files {
    /// Serves what the store has.
    pub fn new(store: Arc<Store>, metrics: Arc<Metrics>, patience: Patience) -> Self {
        let openings = Arc::new(Semaphore::new(patience.openings));
        let hashing = Arc::new(Hashing::new(Arc::clone(&store), patience.hashings));
        Self { store, metrics, patience, openings, hashing }
    }

    /// As a filter that answers every request.
    pub fn filter(self) -> BoxedFilter<(Response,)> {
        let (files, others) = (self.clone(), self);
        let read = super::reads().and(warp::method()).and(warp::header::headers_cloned());
        let read = read.then(move |path: FullPath, method: Method, headers: HeaderMap| {
            let files = files.clone();
            async move {
                let response = files.answer(path.as_str(), method == Method::HEAD, headers).await;
                files.counted(response)
            }
        });
        read.or(warp::any().map(move || others.counted(super::refusal()))).unify().boxed()
    }

    fn counted(&self, response: Response) -> Response {
        self.metrics.request(response.status());
        response
    }

    async fn answer(&self, path: &str, head: bool, headers: HeaderMap) -> Response {
        // Being asked at all means that the port is open: this is the readiness probe of Flux's own manifests.
        if path == "/" {
            return text(StatusCode::OK, "artifacts are served here\n");
        }
        let Some(path) = path.strip_prefix('/').and_then(|path| path.parse::<ArtifactPath>().ok()) else {
            return not_found();
        };
        // An alias may be pointed elsewhere while this goes on: the answer is about one file.
        let path = self.store.target(&path);
        match timeout(self.patience.verifying, self.open(&path, head, headers)).await {
            Ok(Ok(Some(ready))) => self.send(ready, head),
            Ok(Ok(None)) => not_found(),
            Ok(Err(error)) => {
                tracing::error!(%path, %error, "an artifact can not be read");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the file can not be read\n")
            }
            Err(_) => {
                let mut response = text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the file is being verified, or the server has more to do than it can: ask again\n",
                );
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
                response
            }
        }
    }

    /// Opens a file, once it is known that its bytes are good. One that somebody touched is hashed first; files that nobody touched do not
    /// wait for that.
    async fn open(
        &self,
        path: &ArtifactPath,
        head: bool,
        headers: HeaderMap,
    ) -> Result<Option<Ready>, Arc<StorageError>> {
        let mut unreadable = 0;
        loop {
            match self.open_untouched(path.clone(), head, headers.clone()).await? {
                Looked::Missing => return Ok(None),
                Looked::Good(Ok(ready)) => return Ok(Some(ready)),
                Looked::Good(Err(error)) if unreadable == ATTEMPTS => {
                    return Err(Arc::new(StorageError::io("read", path, error)));
                }
                // It was cut, changed or damaged since it was looked at. What it is now is the answer.
                Looked::Good(Err(_)) => {
                    unreadable += 1;
                    self.store.doubt(path);
                }
                Looked::Touched => {}
            }
            if !self.hashing.hash(path).await? {
                return Ok(None);
            }
        }
    }

    /// Opens a file and reads its first piece in one go, unless somebody touched it.
    async fn open_untouched(
        &self,
        path: ArtifactPath,
        head: bool,
        headers: HeaderMap,
    ) -> Result<Looked<io::Result<Ready>>, StorageError> {
        let Ok(permit) = Arc::clone(&self.openings).acquire_owned().await else { return Ok(Looked::Missing) };
        let store = Arc::clone(&self.store);
        let open = move || {
            let _permit = permit;
            let opened = match store.open_untouched(&path)? {
                Looked::Good(opened) => opened,
                Looked::Missing => return Ok(Looked::Missing),
                Looked::Touched => return Ok(Looked::Touched),
            };
            let answer = conditions::weigh(&headers, head, &facts(&opened));
            let first = match &answer {
                Answer::Whole if !head && opened.size > 0 => Some(opened.piece(0..opened.size, PIECE)),
                Answer::Part(range) => Some(opened.piece(range.clone(), PIECE)),
                _ => None,
            };
            Ok(Looked::Good(first.transpose().map(|first| Ready { path, opened, answer, first })))
        };
        tokio::task::spawn_blocking(open)
            .await
            .unwrap_or_else(|error| Err(StorageError::io("read", "an artifact", io::Error::other(error))))
    }

    fn send(&self, ready: Ready, head: bool) -> Response {
        let Ready { path, opened, answer, first } = ready;
        let (facts, kind) = (facts(&opened), content_type(&path));
        let range = match &answer {
            Answer::Part(range) => range.clone(),
            _ => 0..opened.size,
        };
        let mut response = match (&answer, first) {
            (Answer::Whole | Answer::Part(_), Some(first)) => {
                self.metrics.served(range.end - range.start);
                self.body(path, opened, range.clone(), first)
            }
            _ => Response::default(),
        };
        *response.status_mut() = answer.status();
        describe(response.headers_mut(), &answer, &facts, &range, head);
        if let Some(value) = response.headers_mut().get_mut(header::CONTENT_TYPE) {
            *value = HeaderValue::from_static(kind);
        }
        // A file that a caller named can be anything.
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    /// The bytes of a range, the first piece at hand. A file that is touched while it is sent breaks off, and is hashed before it is sent
    /// again.
    fn body(&self, path: ArtifactPath, opened: Opened, range: Range<u64>, first: Bytes) -> Response {
        let next = range.start + first.len() as u64;
        if next >= range.end {
            return Response::new(first.into());
        }
        let store = Arc::clone(&self.store);
        let rest = stream::try_unfold(next, move |at| {
            let (store, path, opened, end) = (Arc::clone(&store), path.clone(), opened.clone(), range.end);
            async move {
                if at >= end {
                    return Ok(None);
                }
                let read = tokio::task::spawn_blocking(move || opened.piece(at..end, PIECE)).await;
                let bytes = read.map_err(io::Error::other)?.inspect_err(|error| {
                    tracing::warn!(%path, %error, "a download breaks off");
                    store.doubt(&path);
                })?;
                let next = at + bytes.len() as u64;
                Ok(Some((bytes, next)))
            }
        });
        warp::reply::stream(whole(first, rest)).into_response()
    }
}

fn facts(opened: &Opened) -> Facts {
    let Opened { digest, size, stored_at, .. } = opened;
    Facts { etag: format!("\"{digest}\""), modified: conditions::whole_seconds(*stored_at), size: *size }
}

/// What a file is called to consumers. Nothing here is a page for browsers, whatever its name.
fn content_type(path: &ArtifactPath) -> &'static str {
    let is_gzip = path.file().ends_with(".gz") || path.file().ends_with(".tgz");
    if is_gzip { "application/gzip" } else { "application/octet-stream" }
}

/// The headers that go with an answer.
fn describe(headers: &mut HeaderMap, answer: &Answer, facts: &Facts, range: &Range<u64>, head: bool) {
    let mut put = |name, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    if *answer == Answer::RangeNotSatisfiable {
        return put(header::CONTENT_RANGE, format!("bytes */{}", facts.size));
    }
    put(header::ETAG, facts.etag.clone());
    put(header::LAST_MODIFIED, httpdate::fmt_http_date(facts.modified));
    put(header::ACCEPT_RANGES, "bytes".to_owned());
    if matches!(answer, Answer::Part(_)) {
        put(header::CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, facts.size));
    }
    if matches!(answer, Answer::Whole | Answer::Part(_)) {
        put(header::CONTENT_TYPE, "application/octet-stream".to_owned());
        // Known before the body is: an answer that breaks off is seen as broken.
        let length = if head { facts.size } else { range.end - range.start };
        put(header::CONTENT_LENGTH, length.to_string());
    }
}

fn whole(
    first: Bytes,
    rest: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    use futures::StreamExt;
    stream::iter([Ok(first)]).chain(rest)
}

#[cfg(test)]
mod tests;
