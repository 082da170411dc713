//! Runs the `go` command, for a cold cache only.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::parts::Recipe;

/// What a module has that wants gRPC stubs of Weir's contract.
const PLAN: &str = "buf.gen.yaml";

/// The file by which a module asks for gRPC stubs, if it does: they are generated before each build and committed nowhere.
pub(super) fn plan(folder: &Path) -> Option<PathBuf> {
    Some(folder.join(PLAN)).filter(|plan| plan.is_file())
}

/// Builds the program of `recipe` from the module in `folder` into `target`.
pub(super) fn build(folder: &Path, recipe: &Recipe, target: &Path) -> Result<()> {
    if plan(folder).is_some() {
        run(folder, ["generate", "-mod=readonly", "./..."].map(OsStr::new))?;
    }
    let link = format!("-ldflags={}", recipe.link);
    let target = target.as_os_str();
    let args = ["build", "-mod=readonly", "-buildvcs=false", &link, "-o"].map(OsStr::new);
    run(folder, args.into_iter().chain([target, OsStr::new(recipe.package)])).map(drop)
}

/// The folder of the resource definitions that the Go module `module` ships.
pub(super) fn definitions(folder: &Path, module: &str) -> Result<PathBuf> {
    let args = ["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module];
    let found = run(folder, args.map(OsStr::new))?;
    let found = Path::new(found.trim()).join("config/crd/bases");
    ensure!(found.is_dir(), "{} holds no resource definitions", found.display());
    Ok(found)
}

fn run<'a>(folder: &Path, args: impl IntoIterator<Item = &'a OsStr>) -> Result<String> {
    let mut command = Command::new("go");
    command.args(args).current_dir(folder).env("GOWORK", "off");
    let output = command.output().context(
        "cannot run `go`: the real parts of the end-to-end tests are built with Go 1.26 or newer \
         (https://go.dev/dl), once",
    )?;
    ensure!(
        output.status.success(),
        "`{command:?}` in {} failed ({}):\n{}",
        folder.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
