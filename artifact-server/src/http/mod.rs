//! Everything that is served over HTTP: artifacts on one port, health and metrics on others.

pub mod admin;
mod conditions;
mod connections;
mod files;
mod hashing;
mod progress;

pub use connections::{Draining, Limits, accept, listen, log_open};
pub use files::{Files, Patience};

use http::{HeaderValue, StatusCode, header};
use warp::{Filter, Rejection, Reply, path::FullPath, reply::Response};

/// The path of a GET or HEAD. The method is looked at first: a CONNECT has no path, which [`warp::path::full`] does not expect.
fn reads() -> impl Filter<Extract = (FullPath,), Error = Rejection> + Clone {
    warp::get().or(warp::head()).unify().and(warp::path::full())
}

/// The answer to all other methods.
fn refusal() -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are allowed\n");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn text(status: StatusCode, text: &'static str) -> Response {
    warp::reply::with_status(text, status).into_response()
}
