//! One of Weir's programs: started, ended and started again, with the same arguments.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Process, Program};
use crate::run_dir::RunDir;

/// How long a start may take. It bounds a broken run.
const START: Duration = Duration::from_secs(60);

/// A program that keeps its arguments, and so its ports and files, over restarts.
#[derive(Debug)]
pub struct Part {
    run: Arc<RunDir>,
    program: Program,
    /// Answers as soon as the program is up.
    probe: String,
    process: Option<Process>,
}

impl Part {
    /// Starts it and waits until `probe` answers.
    pub(super) async fn start(run: &Arc<RunDir>, program: Program, probe: String) -> Result<Self> {
        let mut part = Self { run: Arc::clone(run), program, probe, process: None };
        part.restart().await?;
        Ok(part)
    }

    /// Starts it again, after [`kill`](Self::kill) or [`stop`](Self::stop). Waits until it answers.
    ///
    /// # Errors
    /// When it does not start; says how it ended.
    pub async fn restart(&mut self) -> Result<()> {
        let process = self.program.start(&self.run).await?;
        let what = format!("{} answers {}", process.name(), self.probe);
        process
            .until(&what, START, || async {
                crate::fetch::get(&self.probe).await?.error_for_status()?;
                Ok(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL. Returns when it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> Result<()> {
        self.take()?.kill().await.map(drop)
    }

    /// SIGTERM. Returns its exit status as text when it is gone.
    ///
    /// # Errors
    /// When it does not run, or does not end.
    pub async fn stop(&mut self) -> Result<String> {
        self.take()?.terminate().await
    }

    fn take(&mut self) -> Result<Process> {
        self.process.take().context("it does not run")
    }

    /// The running process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("it does not run")
    }
}

/// What can be done with the process of a program can be done with the program: its field `part` is it.
macro_rules! is_a_part {
    ($program:ty) => {
        impl std::ops::Deref for $program {
            type Target = $crate::weir::Part;

            fn deref(&self) -> &Self::Target {
                &self.part
            }
        }

        impl std::ops::DerefMut for $program {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.part
            }
        }
    };
}
pub(super) use is_a_part;
