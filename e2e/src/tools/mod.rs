//! The real parts: built once from committed Go modules into the user's cache.
//!
//! A module's folder in the cache is named by a hash of everything that decides
//! its result (`go.mod`, `go.sum`, its own Go files, the build flags, and the
//! contract if it has a `buf.gen.yaml` and so wants gRPC stubs), so a
//! changed version never meets a stale binary. The Go version is left out on
//! purpose: a warm start then runs no Go at all, and need not even have it.
//!
//! `KUBEBUILDER_ASSETS`, if set, wins for etcd and kube-apiserver.

mod cache;
mod go;
mod parts;
mod python;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub use parts::Part;
pub use python::Python;

/// Names a folder with ready-made `etcd` and `kube-apiserver`.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Where the parts lie that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    programs: BTreeMap<Part, PathBuf>,
    definitions: Vec<PathBuf>,
}

impl Tools {
    /// Finds the parts, building those that the cache lacks.
    ///
    /// Cold, all parts take about ten minutes on two cores and say so on
    /// standard error. Several processes may call this at once.
    ///
    /// # Errors
    /// When a part cannot be built: names the part, the command and its output.
    pub async fn ensure(parts: &[Part]) -> Result<Self> {
        let parts = parts.to_vec();
        tokio::task::spawn_blocking(move || Self::ensure_blocking(&parts)).await?
    }

    fn ensure_blocking(parts: &[Part]) -> Result<Self> {
        let mut tools = Self::default();
        let assets = std::env::var_os(ASSETS).filter(|value| !value.is_empty()).map(PathBuf::from);
        for &part in parts {
            let program = match &assets {
                Some(folder) if part.is_kubebuilder_asset() => from_assets(folder, part)?,
                _ => {
                    let built = cache::ensure(part)?;
                    tools.definitions.extend(built.definitions);
                    built.program
                }
            };
            tools.programs.insert(part, program);
        }
        Ok(tools)
    }

    /// The program of a part that was asked for.
    ///
    /// # Errors
    /// When it was not among the parts given to [`Tools::ensure`].
    pub fn program(&self, part: Part) -> Result<&Path> {
        self.programs
            .get(&part)
            .map(PathBuf::as_path)
            .with_context(|| format!("{} was not asked for: add it to Tools::ensure", part.name()))
    }

    /// Folders with the resource definitions (CRDs) of the parts asked for.
    #[must_use]
    pub fn definitions(&self) -> &[PathBuf] {
        &self.definitions
    }
}

fn from_assets(folder: &Path, part: Part) -> Result<PathBuf> {
    let program = folder.join(part.name());
    ensure!(
        program.is_file(),
        "{ASSETS} is set, but {} does not exist: correct the variable, or unset it to build {}",
        program.display(),
        part.name()
    );
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_without_the_program_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = from_assets(folder.path(), Part::Etcd).unwrap_err().to_string();
        assert!(error.starts_with("KUBEBUILDER_ASSETS is set, but "), "{error}");
        assert!(error.ends_with("/etcd does not exist: correct the variable, or unset it to build etcd"), "{error}");
    }
}
