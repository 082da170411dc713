//! One request through `git http-backend`, by the CGI rules (RFC 3875).

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use http::{HeaderMap, Method, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use warp::hyper::body::Bytes;

/// What CGI needs of an HTTP request.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Runs the backend. A failure becomes a 500 with its text.
pub(super) async fn answer(root: PathBuf, request: Request) -> Response<Bytes> {
    run(&root, &request).await.and_then(|output| parse(&output)).unwrap_or_else(|error| {
        let mut response = Response::new(Bytes::from(format!("{error:#}\n")));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

async fn run(root: &Path, request: &Request) -> Result<Vec<u8>> {
    let header =
        |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        // A user is what allows pushes.
        .env("REMOTE_USER", "e2e")
        .env("REQUEST_METHOD", request.method.as_str())
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run `git http-backend`")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    let body = request.body.clone();
    // Both directions at once: neither pipe may fill up.
    let feed = async move {
        // A backend that refuses the request does not read it.
        let _ = stdin.write_all(&body).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), feed);
    let output = output?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git http-backend: {}: {errors}", output.status);
    Ok(output.stdout)
}

/// Header lines, an empty line, the body. `Status:` sets the status.
fn parse(output: &[u8]) -> Result<Response<Bytes>> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").context("git http-backend wrote no header")?;
    let mut response = Response::new(Bytes::copy_from_slice(&output[end + 4..]));
    for line in std::str::from_utf8(&output[..end])?.lines() {
        let (name, value) = line.split_once(':').with_context(|| format!("bad header line {line:?}"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            *response.status_mut() = code.parse()?;
        } else {
            let name: http::HeaderName = name.parse()?;
            response.headers_mut().append(name, value.parse()?);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_and_headers_are_taken_over() {
        let output = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nno\r\n\r\nthing";
        let response = parse(output).unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "text/plain");
        assert_eq!(response.body().as_ref(), b"no\r\n\r\nthing");
    }

    #[test]
    fn without_a_status_line_it_is_200() {
        assert_eq!(parse(b"Content-Type: a/b\r\n\r\n").unwrap().status(), 200);
    }

    #[test]
    fn no_header_is_an_error() {
        assert!(parse(b"oops").is_err());
    }
}
