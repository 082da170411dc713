//! The example controllers below `examples/`, each against a real artifact server and with a real consumer.

mod go;
mod python;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use weir_e2e::manifest;
use weir_e2e::scene::Scene;

pub(crate) use go::{configmaps_in_go, configmaps_in_go_share};
pub(crate) use python::{
    python_publishes_a_chart_that_is_released, python_publishes_a_directory_as_long_as_it_is_wanted,
    python_says_that_the_api_is_away, python_stays_below_the_url, python_stores_again_what_the_server_lost,
};

/// What the manifests call the namespace.
const NAMESPACE: &str = "namespace: manifests\n";

/// Applies a manifest, which the API server accepts as a whole, in the namespace of the scene.
async fn apply(scene: &Scene, file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    ensure!(text.contains(NAMESPACE), "{} names another namespace", file.display());
    let objects = manifest::parse(&text.replace(NAMESPACE, &format!("namespace: {}\n", scene.namespace)))?;
    manifest::apply_all(&scene.client(), &scene.namespace, &objects).await
}
