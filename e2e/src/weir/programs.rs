//! Builds both programs with cargo, in the profile of this crate.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Where the built programs lie.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `weir-artifact-server`.
    pub server: PathBuf,
    /// `weir-controller`.
    pub controller: PathBuf,
}

/// Environment variable with a folder that has both programs, e.g. of a release or of an image.
const FOLDER: &str = "WEIR_PROGRAMS";

static PROGRAMS: OnceCell<Programs> = OnceCell::const_new();

impl Programs {
    /// Builds them, once a process: a debug build if this is one, else release.
    /// Cargo itself says where they are, so any target folder will do. With
    /// [`FOLDER`] set nothing is built: those of that folder are taken.
    ///
    /// # Errors
    /// When the build fails; cargo's messages are on standard error.
    pub async fn get() -> Result<&'static Self> {
        PROGRAMS.get_or_try_init(find_or_build).await
    }
}

async fn find_or_build() -> Result<Programs> {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return build().await };
    let programs = Programs { server: folder.join("weir-artifact-server"), controller: folder.join("weir-controller") };
    for program in [&programs.server, &programs.controller] {
        ensure!(program.is_file(), "{FOLDER}: there is no {}", program.display());
    }
    Ok(programs)
}

async fn build() -> Result<Programs> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        // All three, so that shared dependencies have the features they have now.
        .args(["build", "--bins", "-p", "weir-artifact-server", "-p", "weir-controller", "-p", "weir-e2e"])
        .args(["--quiet", "--message-format=json-render-diagnostics"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    for (name, _) in std::env::vars_os().filter(|(name, _)| describes_a_package(name)) {
        command.env_remove(name);
    }
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.output().await.context("cannot run cargo to build Weir")?;
    ensure!(output.status.success(), "cargo build of Weir failed: {}", output.status);
    let messages = String::from_utf8(output.stdout)?;
    Ok(Programs {
        server: executable(&messages, "weir-artifact-server")?,
        controller: executable(&messages, "weir-controller")?,
    })
}

/// Whether cargo set this variable for a program that it runs, as `cargo test`
/// and `cargo run` do. Build scripts that look at these, as ring's does, would
/// run anew in a cargo that is called from there, and again in the next one
/// that is not: most of the dependencies would be compiled each time.
fn describes_a_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|prefix| name.starts_with(prefix))
}

/// The path of a program in cargo's messages, one JSON object a line.
fn executable(messages: &str, name: &str) -> Result<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo did not say where {name} is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cargo_within_cargo_sees_what_the_outer_one_saw() {
        let rows = [
            ("CARGO_PKG_NAME", true),
            ("CARGO_MANIFEST_DIR", true),
            ("CARGO_MANIFEST_LINKS", true),
            ("CARGO_HOME", false),
            ("CARGO_TARGET_DIR", false),
            ("CARGO_NET_OFFLINE", false),
            ("PATH", false),
        ];
        for (name, expected) in rows {
            assert_eq!(describes_a_package(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn the_library_of_that_name_is_not_the_program() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"weir-x"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"weir-y"},"executable":"/t/weir-y"}
{"reason":"compiler-artifact","target":{"name":"weir-x"},"executable":"/t/weir-x"}
not json"#;
        assert_eq!(executable(messages, "weir-x").unwrap(), Path::new("/t/weir-x"));
        assert!(executable(messages, "weir-z").is_err());
    }
}
