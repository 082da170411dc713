//! Where kube-apiserver spends its time, from its own profiler.

use std::path::Path;

use anyhow::{Context as _, Result};
use kube::{Client, client::Body};

/// Seconds that are profiled.
const SECONDS: u32 = 3;

/// Profiles from now on and saves the result; without a file nothing happens.
pub(super) async fn save(client: &Client, file: Option<&Path>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let request = http::Request::get(format!("/debug/pprof/profile?seconds={SECONDS}")).body(Body::empty())?;
    let response = client.send(request).await.context("kube-apiserver gives no profile")?;
    anyhow::ensure!(response.status().is_success(), "kube-apiserver gives no profile: {}", response.status());
    let profile = response.into_body().collect_bytes().await?;
    std::fs::write(file, profile).with_context(|| format!("cannot write {}", file.display()))
}
