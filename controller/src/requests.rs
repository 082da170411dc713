//! The Kubernetes client: its calls end in time, and are counted for the metric `rest_client_requests_total`.

mod deadline;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use kube::{Client, Config, client::ClientBuilder};
use tower::{Service, layer::layer_fn};

use crate::metrics::Metrics;
use deadline::Deadlines;

/// A client for the cluster of `config`, whose calls end at their [`Deadlines`]. Each request counts once, with the answer after all
/// retries; `<error>` stands for none.
pub fn client(config: Config, metrics: &Arc<Metrics>) -> Result<Client, kube::Error> {
    client_with(config, metrics, Deadlines::default())
}

fn client_with(config: Config, metrics: &Arc<Metrics>, deadlines: Deadlines) -> Result<Client, kube::Error> {
    let host: Arc<str> = config.cluster_url.authority().map_or("", |authority| authority.as_str()).into();
    let metrics = Arc::clone(metrics);
    let layer = layer_fn(move |inner| Counted { inner, metrics: Arc::clone(&metrics), host: Arc::clone(&host) });
    Ok(ClientBuilder::try_from(config)?.with_layer(&deadlines).with_layer(&layer).build())
}

struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
    host: Arc<str>,
}

impl<S, A, B> Service<Request<A>> for Counted<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let method = request.method().clone();
        let (metrics, host) = (Arc::clone(&self.metrics), Arc::clone(&self.host));
        let count = move |result: &Result<S::Response, S::Error>| match result {
            Ok(response) => metrics.request(response.status().as_str(), method.as_str(), &host),
            Err(_) => metrics.request("<error>", method.as_str(), &host),
        };
        self.inner.call(request).inspect(count).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use tokio::{
        net::{TcpListener, TcpSocket},
        time::timeout,
    };
    use warp::Filter as _;

    use super::*;

    #[tokio::test]
    async fn answers_and_failures_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pods = warp::path!("api" / "v1" / "pods").map(|| r#"{"metadata": {}, "items": []}"#);
        tokio::spawn(warp::serve(pods).incoming(listener).run());
        // Bound, so that nobody else gets the port, and refused, as nobody listens.
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let closed = (closed.local_addr().unwrap(), closed);
        // The kernel accepts, and nobody answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = (silent.local_addr().unwrap(), silent);

        let metrics = Metrics::new(1);
        let list = async |at: SocketAddr, path: &str, answer: Duration| {
            let config = Config::new(format!("http://{at}").parse().unwrap());
            let client = client_with(config, &metrics, Deadlines { answer, ..Deadlines::default() }).unwrap();
            let request = Request::get(path).body(Vec::new()).unwrap();
            timeout(PATIENCE, client.request_text(request)).await.expect("it waits for ever")
        };
        list(address, "/api/v1/pods", PATIENCE).await.unwrap();
        list(address, "/api/v1/nothing", PATIENCE).await.unwrap_err();
        list(closed.0, "/api/v1/pods", PATIENCE).await.unwrap_err();
        list(silent.0, "/api/v1/pods", Duration::from_millis(200)).await.unwrap_err();
        let text = metrics.text().unwrap();
        for (code, host) in [("200", address), ("404", address), ("<error>", closed.0), ("<error>", silent.0)] {
            let line = format!("rest_client_requests_total{{code=\"{code}\",method=\"GET\",host=\"{host}\"}} 1");
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    /// Bounds a broken run.
    const PATIENCE: Duration = Duration::from_secs(120);
}
