//! Python for programs of the tests: packages and the contract's stubs, in the cache.
//!
//! A folder of the cache holds one virtual environment, made by the script that the example in Python ships for its users. Its name is a hash of
//! the script, the requirements, the contract and the interpreter, so nothing of an older contract is ever imported.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::cache;
use crate::progress::say;

/// Prints what an environment depends on besides its packages: it breaks when either changes below it.
const IDENTITY: &str = "import sys; print(sys.implementation.cache_tag, sys.base_prefix)";

/// A Python interpreter that finds the packages of one `requirements.txt`, and `weir.artifact.v1`.
#[derive(Clone, Debug)]
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// Finds the environment for a file of requirements, or makes it, which takes about a minute and says so. `grpcio-tools` must be among
    /// them. Several processes may call this at once.
    ///
    /// # Errors
    /// When Python or pip is missing, or a package can not be installed: says what to do.
    pub async fn ensure(requirements: &Path) -> Result<Self> {
        let requirements = requirements.to_owned();
        tokio::task::spawn_blocking(move || ensure_blocking(&requirements)).await?
    }

    /// The program to run scripts with. It needs no further variable.
    #[must_use]
    pub fn interpreter(&self) -> &Path {
        &self.interpreter
    }
}

fn ensure_blocking(requirements: &Path) -> Result<Python> {
    let shelf = cache::root()?.join(format!("python-{}", key(requirements)?));
    if let Some(python) = find(&shelf) {
        return Ok(python);
    }
    fs::create_dir_all(&shelf).with_context(|| format!("cannot create the cache {}", shelf.display()))?;
    let _lock = cache::lock(&shelf.join("lock"), "Python's packages")?;
    // Another process may have made it while this one waited.
    if let Some(python) = find(&shelf) {
        return Ok(python);
    }
    cache::sweep(&shelf)?;
    let start = Instant::now();
    say("installing Python's packages and generating stubs: about one minute, once ...");
    let staging = tempfile::Builder::new().prefix(cache::STAGING).tempdir_in(&shelf)?;
    let environment = staging.path().join("environment");
    prepare(&environment, requirements)?;
    cache::publish(&environment, &shelf.join("environment"))?;
    say(format!("installed Python's packages in {} s", start.elapsed().as_secs()));
    find(&shelf).context("Python's packages were installed but are not there")
}

fn find(shelf: &Path) -> Option<Python> {
    let interpreter = shelf.join("environment/bin/python");
    interpreter.is_file().then_some(Python { interpreter })
}

fn prepare(environment: &Path, requirements: &Path) -> Result<()> {
    let mut command = Command::new("sh");
    command.arg(script()).arg(environment).arg(requirements);
    let output = command.output().context("cannot run `sh`")?;
    ensure!(
        output.status.success(),
        "cannot install {} ({}):\n{}{}",
        requirements.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Names the shelf: a hash of all that decides what is in the environment.
fn key(requirements: &Path) -> Result<String> {
    let output = Command::new("python3").args(["-c", IDENTITY]).output();
    let output = output
        .context("cannot run `python3`: programs in Python are among the end-to-end tests; install 3.11 or later")?;
    ensure!(output.status.success(), "python3 does not run: {}", String::from_utf8_lossy(&output.stderr));
    let mut hash = Sha256::new();
    hash.update(output.stdout);
    cache::add(&mut hash, &script())?;
    cache::add(&mut hash, requirements)?;
    let contract = root().join("proto/weir/artifact/v1");
    let files = fs::read_dir(&contract).with_context(|| format!("cannot read the contract {}", contract.display()))?;
    let mut files: Vec<_> = files.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files {
        cache::add(&mut hash, &file)?;
    }
    Ok(hex::encode(&hash.finalize()[..8]))
}

fn script() -> PathBuf {
    root().join("examples/http-directory-python/prepare.sh")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_the_requirements() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("requirements.txt");
        let key_of = |text: &str| {
            fs::write(&file, text).unwrap();
            key(&file).unwrap()
        };
        assert_ne!(key_of("grpcio==1"), key_of("grpcio==2"));
        assert_eq!(key_of("grpcio==1"), key_of("grpcio==1"));
    }

    /// As on a fresh Debian, where Python comes without ensurepip, and without pip.
    #[test]
    fn python_without_pip_says_what_to_install() {
        let folder = tempfile::tempdir().unwrap();
        for module in ["ensurepip.py", "pip.py"] {
            fs::write(folder.path().join(module), "raise ImportError(__name__)").unwrap();
        }
        let target = folder.path().join("environment");
        let output = Command::new("sh").arg(script()).arg(&target).env("PYTHONPATH", folder.path()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && !target.exists(), "{errors}");
        let expected = "prepare.sh: python3 has neither ensurepip nor pip, so no package can be installed: \
                        install python3-venv (Debian, Ubuntu) or python3-pip\n";
        assert_eq!(errors, expected);
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let error = prepare(folder.path(), &script()).unwrap_err().to_string();
        assert!(error.ends_with("exists already: remove it\n"), "{error}");
    }
}
