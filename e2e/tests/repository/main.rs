//! Facts about the repository itself: manifests, documents and layering. Nothing is started here.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that stops is a test that fails")]

mod conformance;
mod cookbook;
mod examples;
mod features;
mod flags;
mod layering;
mod manifests;
mod network;
mod paths;
mod reasons;

use std::path::{Path, PathBuf};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}
