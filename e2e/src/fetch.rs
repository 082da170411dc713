//! Requests over plain HTTP to what runs on loopback.

use anyhow::{Context as _, Result};
use reqwest::{Client, IntoUrl, Response};
use weir_artifact_server::source::Roots;

/// A client. The certificate authorities of this machine, which may have none, are of no interest to it.
pub fn client() -> Result<Client> {
    let tls = Roots::default().client_config()?;
    Client::builder().tls_backend_preconfigured(tls).build().context("no HTTP client")
}

/// One request of a client of its own.
pub async fn get(url: impl IntoUrl) -> Result<Response> {
    Ok(client()?.get(url).send().await?)
}
