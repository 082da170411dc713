//! One suite of cases for clients in every language, side by side on one server, over each transport.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use tokio::process::Command;
use tokio::time::Instant;
use weir_e2e::conformance::case::{self, Transport};
use weir_e2e::conformance::rust::{self, Way};
use weir_e2e::conformance::setup::Outcome;
use weir_e2e::conformance::stand::Stand;
use weir_e2e::conformance::{judge, program};
use weir_e2e::progress::say;
use weir_e2e::scene::Scene;
use weir_e2e::tools::{Part, Python};

/// The methods of the client of `weir-proto` that calls of the cases can go through.
const METHODS: [&str; 7] = ["build", "info", "lock", "read", "stat", "verify", "write"];

pub(crate) async fn over_a_unix_socket(scene: Scene) -> Result<()> {
    run(&scene, Transport::Unix).await
}

pub(crate) async fn over_mutual_tls(scene: Scene) -> Result<()> {
    run(&scene, Transport::Mtls).await
}

async fn run(scene: &Scene, transport: Transport) -> Result<()> {
    let (stand, programs) = start(scene, transport, &["rust", "client", "go", "python"]).await?;
    let began = Instant::now();
    let (stubs, client, [go, python]) = tokio::join!(by_stubs(&stand), by_client(&stand), programs.run(&stand));
    judge(transport, began, [("rust", stubs), ("the Rust client", client), ("go", go), ("python", python)])?;
    stand.stop().await
}

async fn by_client(stand: &Stand) -> Result<Vec<Outcome>> {
    let (outcomes, used) = rust::run(stand.setup("client")?.0, Way::Client).await?;
    let used: Vec<_> = used.into_iter().collect();
    ensure!(used == METHODS, "of the client, the cases need only {used:?}");
    Ok(outcomes)
}

async fn by_stubs(stand: &Stand) -> Result<Vec<Outcome>> {
    Ok(rust::run(stand.setup("rust")?.0, Way::Stubs).await?.0)
}

async fn start(scene: &Scene, transport: Transport, runners: &[&str]) -> Result<(Stand, Programs)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/python");
    let programs = Programs {
        go: scene.stage.tools.program(Part::Conformance)?.to_owned(),
        python: Python::ensure(&folder.join("requirements.txt")).await?,
        script: folder.join("runner.py"),
    };
    Ok((Stand::start(&scene.stage.run, &scene.namespace, transport, runners).await?, programs))
}

/// Runners that are programs of their own.
struct Programs {
    go: PathBuf,
    python: Python,
    script: PathBuf,
}

impl Programs {
    /// Both at once.
    async fn run(&self, stand: &Stand) -> [Result<Vec<Outcome>>; 2] {
        let go = program::run(stand, "go", Command::new(&self.go));
        let mut script = Command::new(self.python.interpreter());
        script.arg(&self.script);
        let (go, python) = tokio::join!(go, program::run(stand, "python", script));
        [go, python]
    }
}

/// Fails unless each runner ran every case, and each went well.
fn judge<const N: usize>(transport: Transport, began: Instant, found: [(&str, Result<Vec<Outcome>>); N]) -> Result<()> {
    let cases = case::of(transport)?;
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    say(format!("{} cases by {N} runners over {} in {:?}", names.len(), transport.name(), began.elapsed()));
    let mut wrong = Vec::new();
    for (runner, outcomes) in found {
        let complaints = match outcomes {
            Ok(outcomes) => judge::complaints(&names, &outcomes),
            Err(error) => vec![format!("the runner failed: {error:#}")],
        };
        wrong.extend(complaints.into_iter().map(|complaint| format!("{runner}: {complaint}")));
    }
    if wrong.is_empty() { Ok(()) } else { bail!("over {}:\n{}", transport.name(), wrong.join("\n")) }
}
