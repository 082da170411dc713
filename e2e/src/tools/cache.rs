//! The user's cache of built parts.
//!
//! `$XDG_CACHE_HOME/weir/tools/<hash>/` (or below `~/.cache`) holds, for one Go
//! module, `bin/<part>`, `crds/<part>/*.yaml` and `lock`. A part is complete or
//! absent: it is built under another name and renamed into place. The lock is
//! advisory, held while building, and gone with the process that held it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::go;
use super::parts::{Part, Recipe};
use crate::progress::say;

/// How folders are named that a build is under way in.
pub(super) const STAGING: &str = "building-";

/// A part in the cache.
pub(super) struct Built {
    pub(super) program: PathBuf,
    pub(super) definitions: Option<PathBuf>,
}

/// Finds a part in the cache, or builds it there.
pub(super) fn ensure(part: Part) -> Result<Built> {
    let (recipe, module) = (part.recipe(), part.module());
    let shelf = root()?.join(key(&module, &contract())?);
    if let Some(built) = find(&shelf, &recipe) {
        return Ok(built);
    }
    fs::create_dir_all(shelf.join("bin"))
        .and_then(|()| fs::create_dir_all(shelf.join("crds")))
        .with_context(|| format!("cannot create the cache {}", shelf.display()))?;
    let _lock = lock(&shelf.join("lock"), recipe.name)?;
    // Another process may have built it while this one waited.
    if let Some(built) = find(&shelf, &recipe) {
        return Ok(built);
    }
    sweep(&shelf)?;
    build(&shelf, &recipe, &module).with_context(|| format!("cannot build {}", recipe.name))?;
    find(&shelf, &recipe).with_context(|| format!("{} was built but is not there", recipe.name))
}

fn find(shelf: &Path, recipe: &Recipe) -> Option<Built> {
    let program = shelf.join("bin").join(recipe.name);
    let definitions = recipe.definitions.map(|_| shelf.join("crds").join(recipe.name));
    let complete = program.is_file() && definitions.as_ref().is_none_or(|folder| folder.is_dir());
    complete.then_some(Built { program, definitions })
}

fn build(shelf: &Path, recipe: &Recipe, module: &Path) -> Result<()> {
    let start = Instant::now();
    say(format!("building {}: about {} on two cores, once ...", recipe.name, recipe.minutes));
    let staging = tempfile::Builder::new().prefix(STAGING).tempdir_in(shelf)?;
    let program = staging.path().join("program");
    go::build(module, recipe, &program)?;
    if let Some(source) = recipe.definitions {
        let folder = staging.path().join("crds");
        copy_definitions(&go::definitions(module, source)?, &folder)?;
        let target = shelf.join("crds").join(recipe.name);
        if !target.is_dir() {
            publish(&folder, &target)?;
        }
    }
    File::open(&program)?.sync_all()?;
    publish(&program, &shelf.join("bin").join(recipe.name))?;
    say(format!("built {} in {} s", recipe.name, start.elapsed().as_secs()));
    Ok(())
}

/// Removes what builds that were killed left behind. The lock must be held.
pub(super) fn sweep(shelf: &Path) -> Result<()> {
    for entry in fs::read_dir(shelf)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(STAGING.as_bytes()) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn copy_definitions(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Not a plain copy: files of the Go module cache are read-only.
        fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a cache of tools is no storage: what is lost is built again")]
pub(super) fn publish(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot publish {}", to.display()))
}

/// Takes the lock of a shelf, saying so if it must wait.
pub(super) fn lock(path: &Path, name: &str) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    if file.try_lock().is_err() {
        say(format!("another process builds tools; waiting for it before {name} ..."));
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// Where all shelves are.
pub(super) fn root() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: the built tools need a place to stay")?;
    Ok(cache.join("weir/tools"))
}

/// Names a module's shelf: a hash of all files that decide what is built. The contract does where the module wants stubs of it.
fn key(module: &Path, contract: &Path) -> Result<String> {
    let mut files = files(module, &["go", "mod", "sum"])?;
    if let Some(plan) = go::plan(module) {
        files.push(plan);
        files.extend(self::files(contract, &["proto"])?);
    }
    let mut hash = Sha256::new();
    for file in files {
        add(&mut hash, &file)?;
    }
    for part in Part::ALL.iter().filter(|part| part.module() == module) {
        hash.update(part.recipe().link);
    }
    Ok(hex::encode(&hash.finalize()[..8]))
}

/// The folder of the contract, which stubs are made of.
fn contract() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/weir/artifact/v1")
}

/// The files of a folder whose names end in one of these, in order.
fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|kind| endings.iter().any(|ending| kind == *ending)))
        .collect();
    files.sort();
    Ok(files)
}

/// Adds a file to a hash: its name, and its bytes with their length, so that no two lists of files look the same.
pub(super) fn add(hash: &mut Sha256, file: &Path) -> Result<()> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_what_is_built() {
        let (module, contract) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |name: &str, text: &str| fs::write(module.path().join(name), text).unwrap();
        let key = || key(module.path(), contract.path()).unwrap();
        write("go.mod", "module x");
        let first = key();
        write("README.md", "not built");
        assert_eq!(key(), first, "a file that Go does not read");
        write("go.sum", "a sum");
        let second = key();
        assert_ne!(second, first, "a new sum");
        write("main.go", "package main");
        assert_ne!(key(), second, "a new program");
    }

    #[test]
    fn the_key_of_a_module_with_stubs_follows_the_contract() {
        let (module, contract) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |folder: &tempfile::TempDir, name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
        };
        let key = || key(module.path(), contract.path()).unwrap();
        write(&module, "go.mod", "module x");
        let bare = key();
        write(&contract, "a.proto", "one");
        assert_eq!(key(), bare, "it wants no stubs");
        write(&module, "buf.gen.yaml", "version: v2");
        let planned = key();
        assert_ne!(planned, bare, "it wants stubs");
        write(&module, "buf.gen.yaml", "version: v3");
        let other = key();
        assert_ne!(other, planned, "it wants other stubs");
        write(&contract, "a.proto", "two");
        assert_ne!(key(), other, "another contract");
    }

    #[test]
    fn the_contract_lies_where_its_key_is_looked_for() {
        assert!(!files(&contract(), &["proto"]).unwrap().is_empty());
    }

    #[test]
    fn leftovers_of_a_killed_build_are_swept() {
        let shelf = tempfile::tempdir().unwrap();
        for name in ["building-x", "bin"] {
            fs::create_dir_all(shelf.path().join(name).join("inside")).unwrap();
        }
        sweep(shelf.path()).unwrap();
        assert!(!shelf.path().join("building-x").exists());
        assert!(shelf.path().join("bin/inside").exists());
    }

    #[test]
    fn half_a_part_is_no_part() {
        let shelf = tempfile::tempdir().unwrap();
        fs::create_dir_all(shelf.path().join("bin")).unwrap();
        fs::write(shelf.path().join("bin/source-controller"), "").unwrap();
        let recipe = Part::SourceController.recipe();
        assert!(find(shelf.path(), &recipe).is_none(), "its resource definitions are missing");
        fs::create_dir_all(shelf.path().join("crds/source-controller")).unwrap();
        assert!(find(shelf.path(), &recipe).is_some());
    }
}
