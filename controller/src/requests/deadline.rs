//! Ends calls that the API server does not answer. Where packets vanish without a reset, TCP alone would take a quarter of an hour.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Either, Full};
use kube::client::DynBody;
use tokio::time::timeout;
use tower::{BoxError, Layer, Service};

/// How long calls are waited for, from connecting to the last byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// For an answer, with all tries of the client. A living API server gives one within a minute (its `--request-timeout`), however slow its
    /// admission webhooks are, and it drops what is not waited for: less would let a write that takes long fail for ever.
    pub(super) answer: Duration,
    /// For the start of a watch, which waits for no webhook. Its events may come when they like: it is renewed once a minute
    /// (`controller/src/watch/feed.rs`).
    pub(super) watch: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { answer: Duration::from_secs(65), watch: Duration::from_secs(30) }
    }
}

/// A call that ended at its deadline.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {0:?}, or only that it is too busy")]
struct NoAnswer(Duration);

impl<S> Layer<S> for Deadlines {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, deadlines: *self }
    }
}

/// A service whose calls end in time. Dropping a call closes its connection, so no other one waits on that.
#[derive(Debug)]
pub(super) struct Timed<S> {
    inner: S,
    deadlines: Deadlines,
}

type Answer = Either<Full<Bytes>, Box<DynBody>>;

impl<S, A> Service<Request<A>> for Timed<S>
where
    S: Service<Request<A>, Response = Response<Box<DynBody>>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Answer>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Answer>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let is_watch = is_watch(request.uri());
        let answer = self.inner.call(request);
        if is_watch {
            let started = async { Ok(answer.await?.map(Either::Right)) };
            return within(self.deadlines.watch, started).boxed();
        }
        let whole = async {
            let (head, body) = answer.await?.into_parts();
            let bytes = body.collect().await?.to_bytes();
            Ok(Response::from_parts(head, Either::Left(Full::new(bytes))))
        };
        within(self.deadlines.answer, whole).boxed()
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    timeout(limit, answer).await.unwrap_or_else(|_| Err(NoAnswer(limit).into()))
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|pair| pair == "watch=true")
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{
        Api, Client, Config,
        api::{Patch, PatchParams, WatchParams},
        client::ClientBuilder,
    };
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::mpsc,
        time::Instant,
    };

    use super::*;
    use crate::watch::feed::{self, innermost};

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    /// Which of the two ends a call shows in its message.
    const SHORT: Deadlines = Deadlines { answer: Duration::from_millis(300), watch: Duration::from_millis(200) };
    const SILENT: &str = "the API server did not answer within ";
    /// Bounds a broken run.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// A server that answers each request with `begin`, then with what comes over the channel, and never ends its answers. Tells of each
    /// connection that its client closes.
    async fn server(
        begin: &'static str,
        deadlines: Deadlines,
    ) -> (Api<ConfigMap>, mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
        let (more, mut later) = mpsc::unbounded_channel::<String>();
        let (tell, closed) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                assert!(connection.read(&mut request).await.unwrap() > 0);
                connection.write_all(begin.as_bytes()).await.unwrap();
                loop {
                    tokio::select! {
                        read = connection.read(&mut request) => if read.unwrap_or_default() == 0 { break },
                        Some(text) = later.recv() => {
                            let chunk = format!("{:x}\r\n{text}\r\n", text.len());
                            connection.write_all(chunk.as_bytes()).await.unwrap();
                        }
                    }
                }
                _ = tell.send(());
            }
        });
        let client: Client = ClientBuilder::try_from(config).unwrap().with_layer(&deadlines).build();
        (Api::namespaced(client, "n"), more, closed)
    }

    #[tokio::test]
    async fn who_falls_silent_is_not_waited_for() {
        // (row, what the server still says)
        let rows = [("accepts and says nothing", ""), ("half of an answer", HEAD)];
        for (row, begin) in rows {
            let (api, _more, mut closed) = server(begin, SHORT).await;
            let patch = Patch::Merge(serde_json::json!({}));
            let write = async { api.patch("a", &PatchParams::default(), &patch).await.map(drop) };
            let calls: [(&str, BoxFuture<'_, Result<(), kube::Error>>); 3] = [
                ("a write", write.boxed()),
                ("a read", async { api.get("a").await.map(drop) }.boxed()),
                ("a list", async { api.list(&Default::default()).await.map(drop) }.boxed()),
            ];
            for (call, answer) in calls {
                let error = timeout(PATIENCE, answer).await.expect("it waits for ever").unwrap_err();
                let text = innermost(&error);
                assert_eq!(text, format!("{SILENT}300ms, or only that it is too busy"), "row {row}: {call}");
                timeout(PATIENCE, closed.recv()).await.expect("the next call may get the dead connection").unwrap();
            }
        }
    }

    #[tokio::test]
    async fn who_does_not_begin_a_watch_is_not_waited_for() {
        let (api, ..) = server("", SHORT).await;
        let started = timeout(PATIENCE, api.watch(&WatchParams::default(), "1")).await.expect("it waits for ever");
        let text = innermost(&started.err().expect("nothing was answered"));
        assert_eq!(text, format!("{SILENT}200ms, or only that it is too busy"));
    }

    #[tokio::test]
    async fn a_watch_may_be_silent_for_long() {
        // A beginning is waited for as long as a slow machine takes.
        let (api, more, _closed) = server(HEAD, Deadlines { watch: PATIENCE, ..SHORT }).await;
        let begin = Instant::now();
        let mut events = api.watch(&WatchParams::default(), "1").await.unwrap().boxed();
        let silence = timeout(SHORT.answer * 3, events.try_next()).await;
        assert!(silence.is_err(), "it ended after {:?}: {silence:?}", begin.elapsed());
        let event = r#"{"type": "ADDED", "object": {"metadata": {"name": "late"}}}"#;
        more.send(format!("{event}\n")).unwrap();
        let event = timeout(PATIENCE, events.try_next()).await.expect("it is silent").unwrap();
        assert!(
            matches!(event, Some(kube::core::WatchEvent::Added(object)) if object.metadata.name.as_deref() == Some("late"))
        );
    }

    #[test]
    fn a_living_server_is_waited_for() {
        let Deadlines { answer, watch } = Deadlines::default();
        assert!(answer > Duration::from_secs(60), "the API server may take a minute");
        assert!(
            watch + feed::MAX_WAIT < feed::SILENCE,
            "trouble with a watch is heard before silence says that it stands"
        );
    }
}
