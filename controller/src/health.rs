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

/// Something that readiness depends on, or that is told with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Names it in answers, in `?exclude=` and after `/readyz/`.
    pub name: String,
    /// How it is.
    pub state: CheckState,
}

/// How a check is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckState {
    /// As it should be.
    Well,
    /// Something is wrong that readiness does not depend on.
    Troubled(String),
    /// Not ready, and why.
    Failed(String),
}

impl Check {
    fn ping() -> Self {
        Self { name: "ping".to_owned(), state: CheckState::Well }
    }

    fn has_failed(&self) -> bool {
        matches!(self.state, CheckState::Failed(_))
    }

    fn line(&self, excluded: bool) -> String {
        let name = &self.name;
        match &self.state {
            _ if excluded => format!("[+]{name} excluded: ok\n"),
            CheckState::Well => format!("[+]{name} ok\n"),
            CheckState::Troubled(trouble) => format!("[+]{name} ok, though {trouble}\n"),
            CheckState::Failed(trouble) => format!("[-]{name} failed: {trouble}\n"),
        }
    }
}

/// `/healthz`, with one check, `ping`, that holds as long as the process answers: nothing that can be waited for is a reason to be
/// restarted. `/readyz` has `checks` besides. Whether this instance leads or has work is not said here. `?verbose` lists the checks,
/// as does a failure; `?exclude=<check>` leaves one out, `/readyz/<check>` is one alone.
pub fn health(path: &str, query: &str, checks: &[Check]) -> Answer {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (endpoint, alone) = match path.strip_prefix('/').unwrap_or_default().split_once('/') {
        Some((endpoint, check)) => (endpoint, Some(check)),
        None => (path.trim_start_matches('/'), None),
    };
    let further: &[Check] = match endpoint {
        "healthz" => &[],
        "readyz" => checks,
        _ => return not_found(),
    };
    let ping = Check::ping();
    let asked: Vec<&Check> =
        std::iter::once(&ping).chain(further).filter(|check| alone.is_none_or(|name| check.name == name)).collect();
    if asked.is_empty() {
        return not_found();
    }
    let words = || query.split('&');
    let is_excluded = |check: &Check| words().any(|word| word.strip_prefix("exclude=") == Some(&check.name));
    let is_verbose = alone.is_none() && words().any(|word| word == "verbose" || word.starts_with("verbose="));
    let has_failed = asked.iter().any(|check| check.has_failed() && !is_excluded(check));
    if !has_failed && !is_verbose {
        return Answer::text(StatusCode::OK, "ok");
    }
    let (status, end) =
        if has_failed { (StatusCode::SERVICE_UNAVAILABLE, "failed") } else { (StatusCode::OK, "passed") };
    let lines: String = asked.iter().map(|check| check.line(is_excluded(check))).collect();
    Answer::text(status, format!("{lines}{endpoint} check {end}\n"))
}

fn not_found() -> Answer {
    Answer::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// `/metrics` for Prometheus.
pub fn metrics(metrics: &Metrics, path: &str) -> Answer {
    match (path, metrics.text()) {
        ("/metrics", Ok(body)) => {
            Answer { status: StatusCode::OK, kind: "application/openmetrics-text; version=1.0.0; charset=utf-8", body }
        }
        ("/metrics", Err(error)) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        _ => not_found(),
    }
}

/// Serves [`health`] until `stop`. `checks` is asked for each answer.
pub async fn serve_health(
    listener: TcpListener,
    checks: impl Fn() -> Vec<Check> + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) {
    serve(listener, move |path: &str, query: &str| health(path, query, &checks()), stop).await;
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

    /// One that is well, one that is not, and one that does not matter.
    fn checks(second: CheckState) -> Vec<Check> {
        let states = [CheckState::Well, second, CheckState::Troubled("it is away".into())];
        let check = |(name, state): (&str, _)| Check { name: name.into(), state };
        ["a.x", "b.x", "c.x"].into_iter().zip(states).map(check).collect()
    }

    #[test]
    fn probes() {
        let all = "[+]ping ok\n[+]a.x ok\n[+]b.x ok\n[+]c.x ok, though it is away\nreadyz check passed\n";
        // (path, query, status, body)
        let rows = [
            ("/healthz", "", 200, "ok"),
            ("/healthz/", "", 200, "ok"),
            ("/readyz", "", 200, "ok"),
            ("/healthz/ping", "", 200, "ok"),
            ("/readyz/ping", "", 200, "ok"),
            ("/readyz/a.x", "verbose", 200, "ok"),
            ("/readyz/c.x", "", 200, "ok"),
            ("/healthz", "verbose", 200, "[+]ping ok\nhealthz check passed\n"),
            ("/readyz", "verbose=1", 200, all),
            ("/healthz", "exclude=ping&verbose", 200, "[+]ping excluded: ok\nhealthz check passed\n"),
            ("/healthz", "exclude=ping", 200, "ok"),
            ("/healthz/pong", "", 404, "404 page not found\n"),
            ("/healthz/a.x", "", 404, "404 page not found\n"),
            ("/livez", "", 404, "404 page not found\n"),
            ("/", "", 404, "404 page not found\n"),
            ("/metrics", "", 404, "404 page not found\n"),
        ];
        for (path, query, status, body) in rows {
            let answer = health(path, query, &checks(CheckState::Well));
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, body), "row {path}?{query}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_ends_nothing() {
        let failed =
            "[+]ping ok\n[+]a.x ok\n[-]b.x failed: install it\n[+]c.x ok, though it is away\nreadyz check failed\n";
        // (path, query, status, body)
        let rows = [
            ("/readyz", "", 503, failed),
            ("/readyz", "verbose", 503, failed),
            ("/readyz/b.x", "", 503, "[-]b.x failed: install it\nreadyz check failed\n"),
            ("/readyz/a.x", "", 200, "ok"),
            ("/readyz", "exclude=b.x", 200, "ok"),
            ("/healthz", "", 200, "ok"),
            ("/healthz", "verbose", 200, "[+]ping ok\nhealthz check passed\n"),
        ];
        for (path, query, status, body) in rows {
            let answer = health(path, query, &checks(CheckState::Failed("install it".into())));
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
            tokio::spawn(serve_health(health, Vec::new, stop.clone())),
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
