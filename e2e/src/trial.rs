//! Named end-to-end tests on one shared stage, run by libtest-mimic.
//!
//! The stage starts with the first test that runs, so listing tests or a filter
//! that matches none starts nothing, and it is always ended.

use std::future::Future;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use crate::progress::say;
use crate::scene::Scene;
use crate::stage::Stage;
use crate::tools::Part;

/// Lines of each log that a failure shows.
const TAIL_LINES: usize = 25;

type Body = Box<dyn FnOnce(Scene) -> Result<(), Failed> + Send>;

/// Tests that share one stage.
pub struct Suite {
    runtime: Arc<Runtime>,
    stage: Arc<OnceLock<Result<Arc<Stage>, String>>>,
    trials: Vec<Trial>,
}

impl Suite {
    /// An empty suite.
    ///
    /// # Errors
    /// When the runtime cannot start.
    pub fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        Ok(Self { runtime: Arc::new(runtime), stage: Arc::default(), trials: Vec::new() })
    }

    /// Adds a test: an async function from a [`Scene`] in a namespace of its own.
    pub fn add<F>(&mut self, name: &str, test: fn(Scene) -> F)
    where
        F: Future<Output = Result<()>> + 'static,
    {
        let runtime = Arc::clone(&self.runtime);
        let body: Body =
            Box::new(move |scene| runtime.block_on(test(scene)).map_err(|error| Failed::from(format!("{error:#}"))));
        let (runtime, stage) = (Arc::clone(&self.runtime), Arc::clone(&self.stage));
        let label = name.to_owned();
        self.trials.push(Trial::test(name, move || run(&runtime, &stage, &label, body)));
    }

    /// Runs the tests that the command line asks for, ends the stage and says
    /// how it went.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // A test waits for the control plane most of the time, some for a minute or two; so one more than there are cores, who compute.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        arguments.test_threads.get_or_insert(cores + 1);
        let conclusion = libtest_mimic::run(&arguments, self.trials);
        let ended = match Arc::into_inner(self.stage).and_then(OnceLock::into_inner) {
            Some(Ok(stage)) => end(&self.runtime, stage),
            _ => Ok(()),
        };
        match ended {
            Ok(()) => conclusion.exit_code(),
            Err(error) => {
                say(format!("the stage did not end: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }
}

fn run(runtime: &Runtime, stage: &OnceLock<Result<Arc<Stage>, String>>, name: &str, body: Body) -> Result<(), Failed> {
    let stage = stage
        .get_or_init(|| runtime.block_on(Stage::start(&Part::ALL)).map(Arc::new).map_err(|error| format!("{error:#}")));
    let stage = stage.as_ref().map_err(|error| format!("the stage did not start: {error}"))?;
    let short = name.rsplit("::").next().unwrap_or(name);
    let scene =
        runtime.block_on(Scene::new(Arc::clone(stage), short)).map_err(|error| format!("no namespace: {error:#}"))?;
    let namespace = scene.namespace.clone();
    body(scene).map_err(|failed| {
        let tails = stage.run.tails(TAIL_LINES, |log| tells_of(log, &namespace));
        Failed::from(format!("{}\n{tails}", failed.message().unwrap_or_default()))
    })
}

/// Whether a log may explain a failure in a namespace: a process of another test
/// carries that test's namespace, and the control plane is noisy when all is well.
fn tells_of(log: &str, namespace: &str) -> bool {
    match log.split_once('@') {
        Some((_, of)) => of == namespace,
        None => log.ends_with("controller"),
    }
}

fn end(runtime: &Runtime, stage: Arc<Stage>) -> Result<()> {
    let stage = Arc::into_inner(stage)
        .ok_or_else(|| anyhow!("a test still holds it"))
        .context("a test must not leak its scene")?;
    runtime.block_on(stage.stop())
}

#[cfg(test)]
mod tests {
    use super::tells_of;

    #[test]
    fn a_failure_shows_its_own_logs_and_flux() {
        for (log, shown) in [
            ("weir-controller@mine-1", true),
            ("weir-controller@mine-10", false),
            ("weir-artifact-server@other-2", false),
            ("helm-controller", true),
            ("etcd", false),
            ("kube-apiserver", false),
        ] {
            assert_eq!(tells_of(log, "mine-1"), shown, "{log}");
        }
    }
}
