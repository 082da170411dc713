//! Health, readiness and metrics, each on a port of its own.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use tokio_util::sync::CancellationToken;
use warp::{Filter, Reply, filters::BoxedFilter, path::FullPath, reply::Response};

use crate::metrics::Metrics;

/// `/healthz` is always well. `/readyz` is, until the server is told to end: it listens only when all of it is up, and goes on to listen
/// while downloads finish. Whether artifacts are served is `GET /` on their own port.
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
    let read = super::reads().map(move |path: FullPath| match find(path.as_str()) {
        Some((status, text)) => warp::reply::with_status(text, status).into_response(),
        None => super::not_found(),
    });
    read.or(warp::any().map(super::refusal)).unify().boxed()
}
