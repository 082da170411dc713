//! `cargo playground`: a commit in git reaches a cluster through Weir, on real
//! parts, from one command.

mod guide;
mod story;

use std::sync::Arc;

use anyhow::Result;
use tokio::time::Instant;

use crate::progress::tell;
use crate::scene::Scene;
use crate::stage::Stage;
use crate::tools::Part;
use crate::weir::{Programs, Weir};

/// The namespace of the examples.
const NAMESPACE: &str = "shop";

/// Lines of each log that a failure shows.
const TAIL_LINES: usize = 20;

/// What the playground needs, in the order in which it is built.
const PARTS: [Part; 6] = [
    Part::Etcd,
    Part::KubeApiserver,
    Part::SourceController,
    Part::KustomizeController,
    Part::HelmController,
    Part::Grpcurl,
];

/// Starts everything, tells the story and, unless `once`, keeps it running until
/// Ctrl-C. Everything is ended before it returns.
///
/// # Errors
/// When a part does not start, or a step of the story is not proven.
pub async fn run(once: bool) -> Result<()> {
    let start = Instant::now();
    tell("Weir playground: a commit in git reaches a cluster. Everything runs on this machine, on loopback.\n");
    crate::git_server::ensure_git().await?;
    let stage = tokio::select! {
        stage = set() => stage?,
        () = interrupt() => anyhow::bail!("interrupted"),
    };
    let result = tokio::select! {
        result = perform(Arc::clone(&stage), once, start) => result,
        () = interrupt() => Ok(()),
    };
    let result = result.map_err(|error| {
        let tails = stage.run.tails(TAIL_LINES, |log| log.starts_with("weir") || log.ends_with("controller"));
        error.context(format!("the end of the logs\n{tails}"))
    });
    tell("\nEnding everything ...");
    if let Some(stage) = Arc::into_inner(stage) {
        stage.stop().await?;
    }
    result
}

async fn set() -> Result<Arc<Stage>> {
    tell("Weir and the real parts: built once, then kept ...");
    Programs::get().await?;
    let stage = Stage::start(&PARTS).await?;
    tell("  ok  etcd, kube-apiserver, source-controller, kustomize-controller, helm-controller, a git server");
    Ok(Arc::new(stage))
}

async fn perform(stage: Arc<Stage>, once: bool, start: Instant) -> Result<()> {
    let mut weir = Weir::start_for_all(&stage.run, &stage.control_plane, &[]).await?;
    tell("  ok  weir-artifact-server and weir-controller, under the rights of deploy/base/rbac.yaml\n");
    let scene = Scene::in_namespace(stage, NAMESPACE).await?;
    let repository = story::tell_all(&scene, &weir).await?;
    tell(format!("\nAll of it proven in {} s.", start.elapsed().as_secs()));
    if !once {
        guide::print(&scene, &weir, &repository)?;
        interrupt().await;
    }
    weir.stop().await
}

/// Until Ctrl-C.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a signal handler there is nothing to wait for but the end.
        std::future::pending::<()>().await;
    }
}
