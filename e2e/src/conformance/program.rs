//! Runners that are programs of their own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;
use tokio::time::timeout;

use super::judge;
use super::setup::Outcome;
use super::stand::Stand;

/// Bounds a broken run; all cases take seconds.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs a program to its end, with the file of its setup as last argument: what it says of the cases.
///
/// # Errors
/// When it can not be started, does not end, ends with an error, or prints something else.
pub async fn run(stand: &Stand, name: &str, mut command: Command) -> Result<Vec<Outcome>> {
    let (_, file) = stand.setup(name)?;
    command.arg(file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = timeout(DEADLINE, command.output()).await.context("it does not end")?;
    let ended = ended.with_context(|| format!("cannot run {:?}", command.as_std().get_program()))?;
    let (printed, errors) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    ensure!(ended.status.success(), "it ended with {}: {errors}", ended.status);
    judge::read(&printed).map_err(anyhow::Error::msg)
}
