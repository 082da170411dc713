//! Health, readiness and metrics, each on a port of its own.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use tokio_util::sync::CancellationToken;
use warp::{Filter, Reply, filters::BoxedFilter, reply::Response};

use crate::metrics::Metrics;

/// `/healthz` is always well. `/readyz` is, until the server ends: it listens only when all of it is up. Whether artifacts are served
/// is `GET /` on their own port.
pub fn health(stop: CancellationToken) -> BoxedFilter<(Response,)> {
    answer(move |path| match path {
        "/healthz" => Some((StatusCode::OK, "ok".to_owned())),
        "/readyz" if stop.is_cancelled() => Some((StatusCode::SERVICE_UNAVAILABLE, "the server is ending".to_owned())),
        "/readyz" => Some((StatusCode::OK, "ok".to_owned())),
        _ => None,
    })
}

/// `/metrics` for Prometheus.
pub fn metrics(metrics: Arc<Metrics>) -> BoxedFilter<(Response,)> {
    let filter = answer(move |path| match path {
        "/metrics" => metrics.text().ok().map(|text| (StatusCode::OK, text)),
        _ => None,
    });
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    filter
        .map(move |mut response: Response| {
            if response.status() == StatusCode::OK {
                response.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
            }
            response
        })
        .boxed()
}

fn answer(
    find: impl Fn(&str) -> Option<(StatusCode, String)> + Clone + Send + Sync + 'static,
) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::path::full())
        .map(move |method: Method, path: warp::path::FullPath| {
            let (status, text) = match find(path.as_str()) {
                _ if method != Method::GET && method != Method::HEAD => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
                Some(found) => found,
                None => (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
            };
            warp::reply::with_status(text, status).into_response()
        })
        .boxed()
}
