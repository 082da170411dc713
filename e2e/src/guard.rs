//! The guard: ends a child when the process that wanted it is gone.
//!
//! A child must not outlive its test, not even one ended by SIGKILL. So each
//! child is started through a second copy of the running program, the guard,
//! which holds the read end of a pipe as its standard input. When the owner
//! dies, the kernel closes the pipe and the guard ends the child: SIGTERM,
//! then SIGKILL after [`GRACE`]. Unlike a parent-death signal this needs no
//! unsafe code and does not fire when the owner's *thread* ends.
//!
//! The owner's orders are lines on that pipe (`term`, `kill`); the guard's
//! reports are lines on its standard output (`pid N`, `exit STATUS`). Only the
//! guard signals the child, and only before it has reaped it, so a signal can
//! never reach a stranger that got the same process id.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::sync::mpsc;

/// First argument that turns a program into a guard.
pub(crate) const MARKER: &str = "--weir-e2e-guard";

/// How long a child whose owner is gone has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// What the owner may ask for.
#[derive(Clone, Copy, Debug)]
enum Order {
    Terminate,
    Kill,
}

/// Acts as the guard if the command line asks for it.
///
/// Call it first in the `main` of every program that starts processes, and
/// return the code if there is one: the program runs itself as its guard.
#[must_use]
pub fn intercept() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()?.to_str() != Some(MARKER) {
        return None;
    }
    Some(match guard(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("error {error:#}"));
            ExitCode::FAILURE
        }
    })
}

fn guard(mut args: impl Iterator<Item = OsString>) -> Result<()> {
    let log = args.next().map(PathBuf::from).context("no log file given")?;
    let program = args.next().context("no program given")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let out = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open the log {}", log.display()))?;
        let mut child = tokio::process::Command::new(&program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        report(&format!("pid {}", child.id().unwrap_or_default()));
        let status = watch(&mut child, orders()).await?;
        report(&format!("exit {status}"));
        Ok(())
    })
}

/// Follows the child and the orders until the child has ended.
async fn watch(child: &mut Child, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<ExitStatus> {
    loop {
        let order = tokio::select! {
            status = child.wait() => return Ok(status?),
            order = orders.recv() => order,
        };
        match order {
            Some(Order::Kill) => child.start_kill()?,
            Some(Order::Terminate) => terminate(child),
            None => {
                terminate(child);
                if let Ok(status) = tokio::time::timeout(GRACE, child.wait()).await {
                    return Ok(status?);
                }
                child.start_kill()?;
                return Ok(child.wait().await?);
            }
        }
    }
}

/// Sends SIGTERM, unless the child has been reaped.
fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // The only way to fail is that it has ended in this moment.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// The owner's orders. The channel closes when the owner is gone.
fn orders() -> mpsc::UnboundedReceiver<Order> {
    let (sender, receiver) = mpsc::unbounded_channel();
    // A thread, because reading a pipe blocks; it ends with the process.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let order = match line.as_deref() {
                Ok("kill") => Order::Kill,
                Ok("term") => Order::Terminate,
                _ => break,
            };
            if sender.send(order).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Tells the owner. It may be gone: then nobody needs to know.
fn report(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
