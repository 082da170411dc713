//! A Kubernetes client that counts its requests for the metric `rest_client_requests_total`.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Request, Response};
use kube::{Client, Config, client::ClientBuilder};
use tower::{Service, layer::layer_fn};

use crate::metrics::Metrics;

/// A client for the cluster of `config`. Each request counts once, with the answer after all retries; `<error>` stands for none.
pub fn counted(config: Config, metrics: &Arc<Metrics>) -> Result<Client, kube::Error> {
    let host: Arc<str> = config.cluster_url.authority().map_or("", |authority| authority.as_str()).into();
    let metrics = Arc::clone(metrics);
    let layer = layer_fn(move |inner| Counted { inner, metrics: Arc::clone(&metrics), host: Arc::clone(&host) });
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
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
    use tokio::net::TcpListener;
    use warp::Filter as _;

    use super::*;

    #[tokio::test]
    async fn answers_and_failures_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pods = warp::path!("api" / "v1" / "pods").map(|| r#"{"metadata": {}, "items": []}"#);
        let server = tokio::spawn(warp::serve(pods).incoming(listener).run());
        let metrics = Metrics::new(1);
        let client = |at| counted(Config::new(format!("http://{at}").parse().unwrap()), &metrics).unwrap();
        let list = async |client: Client, path: &str| {
            let request = Request::get(path).body(Vec::new()).unwrap();
            client.request_text(request).await
        };
        list(client(address), "/api/v1/pods").await.unwrap();
        list(client(address), "/api/v1/nothing").await.unwrap_err();
        server.abort();
        // Nobody listens on a port that was free a moment ago and never accepts.
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        list(client(closed), "/api/v1/pods").await.unwrap_err();
        let text = metrics.text().unwrap();
        for (code, host) in [("200", address), ("404", address), ("<error>", closed)] {
            let line = format!("rest_client_requests_total{{code=\"{code}\",method=\"GET\",host=\"{host}\"}} 1");
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
