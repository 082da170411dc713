//! Health, readiness and metrics over HTTP, each set on a port of its own. The answers are pure functions of path and query.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::{Filter, Reply as _, path::FullPath, reply::Response};

use crate::metrics::Metrics;

/// What an HTTP request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, kind: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// `/healthz` and `/readyz`, each with one check, `ping`, that holds as long as the process answers. Whether this instance leads
/// or has work is not said here. `?verbose` lists the checks, `?exclude=<check>` leaves one out, `/healthz/ping` is one alone.
pub fn health(path: &str, query: &str) -> Answer {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (endpoint, check) = match path.strip_prefix('/').unwrap_or_default().split_once('/') {
        Some((endpoint, check)) => (endpoint, Some(check)),
        None => (path.trim_start_matches('/'), None),
    };
    if !["healthz", "readyz"].contains(&endpoint) || check.is_some_and(|check| check != "ping") {
        return Answer::text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    let words = || query.split('&');
    if check.is_some() || !words().any(|word| word == "verbose" || word.starts_with("verbose=")) {
        return Answer::text(StatusCode::OK, "ok");
    }
    let excluded = words().any(|word| word == "exclude=ping");
    let ping = if excluded { "[+]ping excluded: ok" } else { "[+]ping ok" };
    Answer::text(StatusCode::OK, format!("{ping}\n{endpoint} check passed\n"))
}

/// `/metrics` for Prometheus.
pub fn metrics(metrics: &Metrics, path: &str) -> Answer {
    match (path, metrics.text()) {
        ("/metrics", Ok(body)) => {
            Answer { status: StatusCode::OK, kind: "application/openmetrics-text; version=1.0.0; charset=utf-8", body }
        }
        ("/metrics", Err(error)) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        _ => Answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// Serves [`health`] until `stop`.
pub async fn serve_health(listener: TcpListener, stop: CancellationToken) {
    serve(listener, health, stop).await;
}

/// Serves [`metrics`] until `stop`.
pub async fn serve_metrics(listener: TcpListener, figures: Arc<Metrics>, stop: CancellationToken) {
    serve(listener, move |path: &str, _: &str| metrics(&figures, path), stop).await;
}

async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str, &str) -> Answer + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let filter = warp::method().and(warp::path::full()).and(query).map(
        move |method: Method, path: FullPath, query: String| -> Response {
            if method != Method::GET && method != Method::HEAD {
                return StatusCode::METHOD_NOT_ALLOWED.into_response();
            }
            let Answer { status, kind, body } = answer(path.as_str(), &query);
            let mut response = warp::reply::with_status(body, status).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        },
    );
    warp::serve(filter).incoming(listener).graceful(async move { stop.cancelled().await }).run().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes() {
        // (path, query, status, body)
        let rows = [
            ("/healthz", "", 200, "ok"),
            ("/healthz/", "", 200, "ok"),
            ("/readyz", "", 200, "ok"),
            ("/healthz/ping", "", 200, "ok"),
            ("/readyz/ping", "", 200, "ok"),
            ("/healthz", "verbose", 200, "[+]ping ok\nhealthz check passed\n"),
            ("/readyz", "verbose=1", 200, "[+]ping ok\nreadyz check passed\n"),
            ("/readyz", "exclude=ping&verbose", 200, "[+]ping excluded: ok\nreadyz check passed\n"),
            ("/healthz", "exclude=ping", 200, "ok"),
            ("/healthz/pong", "", 404, "404 page not found\n"),
            ("/livez", "", 404, "404 page not found\n"),
            ("/", "", 404, "404 page not found\n"),
            ("/metrics", "", 404, "404 page not found\n"),
        ];
        for (path, query, status, body) in rows {
            let answer = health(path, query);
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, body), "row {path}?{query}");
        }
    }

    #[tokio::test]
    async fn both_ports_answer_over_http_until_stopped() {
        let stop = CancellationToken::new();
        let [health, figures] =
            [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
        let [health_at, figures_at] = [health.local_addr().unwrap(), figures.local_addr().unwrap()];
        let servers = [
            tokio::spawn(serve_health(health, stop.clone())),
            tokio::spawn(serve_metrics(figures, Metrics::new(7), stop.clone())),
        ];
        assert!(get(health_at, "/readyz?verbose").await.ends_with("readyz check passed\n"));
        let scrape = get(figures_at, "/metrics").await;
        assert!(scrape.starts_with("HTTP/1.1 200"), "{scrape}");
        assert!(
            scrape.contains("controller_runtime_max_concurrent_reconciles{controller=\"artifactgenerator\"} 7"),
            "{scrape}"
        );
        assert!(get(figures_at, "/healthz").await.starts_with("HTTP/1.1 404"));
        stop.cancel();
        for server in servers {
            server.await.unwrap();
        }
    }

    async fn get(at: std::net::SocketAddr, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut connection = tokio::net::TcpStream::connect(at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }
}
