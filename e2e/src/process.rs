//! A real process on loopback, started through the [guard](crate::guard).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::watch;

use crate::eventually::eventually;
use crate::guard::MARKER;
use crate::run_dir::{RunDir, tail};

/// How long a process may take to end after an order. Generous: it bounds a
/// broken run.
const END: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
}

impl Program {
    /// A program at `path`; `name` names its log.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into(), args: Vec::new(), env: Vec::new() }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable, beside those of this process.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Starts it. Its output is appended to the log of its name in `run`.
    ///
    /// # Errors
    /// When the program or its guard cannot be started.
    pub async fn start(&self, run: &RunDir) -> Result<Process> {
        let log = run.log(&self.name);
        // The image of this very process, also after a rebuild replaced its file.
        let mut guard = tokio::process::Command::new("/proc/self/exe")
            .arg(MARKER)
            .arg(&log)
            .arg(&self.path)
            .args(&self.args)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            // Ctrl-C reaches this process, which ends its children in order.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start the guard of {}", self.name))?;
        let orders = guard.stdin.take().context("the guard has no standard input")?;
        let out = guard.stdout.take().context("the guard has no standard output")?;
        let mut reports = BufReader::new(out).lines();
        let pid = match reports.next_line().await?.as_deref().and_then(|line| line.split_once(' ')) {
            Some(("pid", pid)) => pid.parse().context("the guard reported no process id")?,
            Some(("error", error)) => bail!("{}: {error}", self.name),
            _ => bail!("{}: this program does not call guard::intercept first in main", self.name),
        };
        let (sender, ended) = watch::channel(None);
        tokio::spawn(follow(guard, reports, sender));
        Ok(Process { name: self.name.clone(), pid, log, orders, ended })
    }
}

/// Waits for the guard's last report.
async fn follow(mut guard: Child, mut reports: Lines<BufReader<ChildStdout>>, sender: watch::Sender<Option<String>>) {
    let mut status = "unknown (the guard is gone)".to_owned();
    while let Ok(Some(line)) = reports.next_line().await {
        if let Some(text) = line.strip_prefix("exit ") {
            text.clone_into(&mut status);
        }
    }
    let _ = guard.wait().await;
    sender.send_replace(Some(status));
}

/// A running (or ended) process. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    orders: ChildStdin,
    ended: watch::Receiver<Option<String>>,
}

impl Process {
    /// The name its log has.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id of the program itself, not of its guard: for `/proc`.
    /// Signals go through [`kill`](Self::kill) and [`terminate`](Self::terminate),
    /// which cannot hit a stranger with a reused id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    #[must_use]
    pub fn exit(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// An error that says how it ended, if it has.
    ///
    /// # Errors
    /// When it is not running any more.
    pub fn ensure_running(&self) -> Result<()> {
        match self.exit() {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}", self.name),
        }
    }

    /// Waits until `probe` succeeds, as [`eventually`] does, but gives up at once
    /// when the process ends.
    ///
    /// # Errors
    /// When it ends or the deadline passes: how, and the end of its log.
    pub async fn until<T, F>(&self, what: &str, deadline: Duration, probe: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut ended = self.ended.clone();
        let found = tokio::select! {
            found = eventually(what, deadline, probe) => found,
            _ = ended.wait_for(Option::is_some) => {
                Err(anyhow!("{what}: {} has ended: {}", self.name, self.exit().unwrap_or_default()))
            }
        };
        found.map_err(|error| anyhow!("{error:#}\nend of its log:\n{}", tail(&self.log, 15)))
    }

    /// SIGKILL, then waits until it is gone. Returns its exit status as text.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn kill(&mut self) -> Result<String> {
        self.order("kill\n").await
    }

    /// SIGTERM, then waits until it is gone. Returns its exit status as text.
    ///
    /// # Errors
    /// When it does not end within a minute.
    pub async fn terminate(&mut self) -> Result<String> {
        self.order("term\n").await
    }

    async fn order(&mut self, order: &str) -> Result<String> {
        // A closed pipe means that the guard is gone, and so is the child.
        let _ = self.orders.write_all(order.as_bytes()).await;
        self.wait(END).await
    }

    /// Waits until it has ended by itself. Returns its exit status as text.
    ///
    /// # Errors
    /// When it has not ended after `deadline`.
    pub async fn wait(&mut self, deadline: Duration) -> Result<String> {
        let ended = tokio::time::timeout(deadline, self.ended.wait_for(Option::is_some)).await;
        match ended {
            Ok(status) => Ok(status.ok().and_then(|status| status.clone()).unwrap_or_default()),
            Err(_) => bail!("{} still runs after {deadline:?}", self.name),
        }
    }
}
