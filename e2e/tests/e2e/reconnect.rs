//! One of the three connections breaks, or says nothing any more, and comes back. What happened meanwhile is noticed, and nothing waits
//! for ever.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use weir_e2e::eventually::{PATIENCE, eventually};
use weir_e2e::flux::NAMESPACE;
use weir_e2e::resources::Kind;
use weir_e2e::scene::Scene;
use weir_e2e::weir::{ArtifactServer, Controller, SERVICE_ACCOUNT, Weir};

use crate::reconcile::{generator, two_apps};
use crate::repair::served;

/// As many connections are refused before the link is mended: enough for every watch to have seen trouble.
const REFUSED: usize = 12;

/// The watches of the controller lose the API server for a while; afterwards an emptied volume is noticed as before.
pub(crate) async fn a_lost_api_server_is_no_end_of_repair(scene: Scene) -> Result<()> {
    let (link, kubeconfig) = Link::of_controller(&scene).await?;
    let (run, label) = (&scene.stage.run, scene.namespace.as_str());
    let mut server = ArtifactServer::start(run, label, &[]).await?;
    let mut controller = Controller::start(run, &server, &kubeconfig, label, &["--watch-all-namespaces=false"]).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;

    link.cut().await?;
    link.mend();
    server.kill().await?;
    std::fs::remove_dir_all(server.storage().join("externalartifact"))?;
    server.restart().await?;
    served(&scene, &one).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    controller.stop().await?;
    server.stop().await.map(drop)
}

/// The controller starts first, and its generators may not try again for an hour. The server then comes with an empty volume.
pub(crate) async fn a_server_that_comes_last_is_verified_at_once(scene: Scene) -> Result<()> {
    let mut weir = Weir::start_with(&scene, &[], &["--min-retry-delay=1h", "--max-retry-delay=1h"]).await?;
    two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;
    weir.stop().await?;
    std::fs::remove_dir_all(weir.server.storage().join("externalartifact"))?;
    weir.controller.restart().await?;
    eventually("the generator could not be verified", PATIENCE, || async {
        let metrics = weir_e2e::fetch::get(weir.controller.metrics_url()).await?.text().await?;
        // Not how often: whatever else wakes it makes it try once more.
        ensure!(metrics.contains("weir_reconcile_failures_total{cause=\"verify\"} "), "{metrics}");
        Ok(())
    })
    .await?;
    weir.server.restart().await?;
    served(&scene, &one).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}

/// The API server is still connected, but nothing arrives any more and nobody says so, as where a node is cut off and its packets are
/// dropped. A write of that time is given up with a clear error. What was connected then stays dead; the tries that follow make
/// connections of their own as soon as they can, and need nobody's help.
pub(crate) async fn an_api_server_that_falls_silent_is_not_waited_for(scene: Scene) -> Result<()> {
    let (link, kubeconfig) = Link::of_controller(&scene).await?;
    let (run, label) = (&scene.stage.run, scene.namespace.as_str());
    let mut server = ArtifactServer::start(run, label, &[]).await?;
    let arguments = ["--watch-all-namespaces=false", "--max-retry-delay=1s"];
    let mut controller = Controller::start(run, &server, &kubeconfig, label, &arguments).await?;
    let repository = two_apps(&scene).await?;
    scene.apply(generator()).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    let one = scene.ready(Kind::ExternalArtifact, "one").await?;

    link.hush();
    // The artifact server tells of the loss, which is to be written down.
    std::fs::remove_dir_all(server.storage().join("externalartifact").join(label))?;
    let log = controller.process()?.log().to_owned();
    eventually("a write is given up", ANSWER + PATIENCE, || async {
        ensure!(std::fs::read_to_string(&log)?.contains("the API server did not answer within 65s"), "it waits");
        Ok(())
    })
    .await?;
    link.mend();
    // The next try may come upon a connection that was idle when it died.
    eventually("the artifact is served again", ANSWER + PATIENCE, || async { scene.download(&one).await.map(drop) })
        .await?;
    scene.ready(Kind::ExternalArtifact, "one").await?;
    // The watches were dead, too.
    scene.push("repo", &repository, &[("apps/one/a.yaml", "one: 2\n")]).await?;
    scene
        .wait(Kind::ExternalArtifact, "one", "a new revision", |object| {
            let (is, was) = (&object["status"]["artifact"]["revision"], &one["status"]["artifact"]["revision"]);
            ensure!(is != was, "{is}");
            Ok(())
        })
        .await?;
    controller.stop().await?;
    server.stop().await.map(drop)
}

/// How long the controller waits for an answer of the API server.
const ANSWER: Duration = Duration::from_secs(65);

/// What becomes of TCP connections through a [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Whole,
    /// Ended, and new ones are.
    Severed,
    /// Open, also new ones, but nothing passes. They stay like that.
    Silent,
}

/// TCP connections that can be broken.
pub(crate) struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
    refused: Arc<AtomicUsize>,
}

impl Link {
    /// One to the API server, and the kubeconfig of a controller that goes through it with the rights of an installation.
    pub(crate) async fn of_controller(scene: &Scene) -> Result<(Self, PathBuf)> {
        let plane = &scene.stage.control_plane;
        let link = Self::to(plane.admin().address()).await?;
        let access = plane.service_account(NAMESPACE, SERVICE_ACCOUNT).await?.through(link.address);
        let kubeconfig = access.write(&scene.stage.run.folder("kubeconfig")?.join("config"))?;
        Ok((link, kubeconfig))
    }

    async fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, state) = watch::channel(State::Whole);
        let refused = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&refused);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *state.borrow() == State::Severed {
                    counter.fetch_add(1, Ordering::Relaxed);
                } else {
                    tokio::spawn(pass(client, target, state.clone()));
                }
            }
        });
        Ok(Self { address, state: sender, refused })
    }

    /// Breaks what is open, and refuses what is new.
    pub(crate) fn sever(&self) {
        self.state.send_replace(State::Severed);
    }

    /// Lets nothing pass any more over what is open and what is new, for as long as that lasts.
    fn hush(&self) {
        self.state.send_replace(State::Silent);
    }

    /// As [`sever`](Self::sever); returns when that was felt.
    async fn cut(&self) -> Result<()> {
        self.sever();
        eventually("the controller tries to reach the API server", PATIENCE, || async {
            let refused = self.refused.load(Ordering::Relaxed);
            ensure!(refused >= REFUSED, "{refused} connections were refused");
            Ok(())
        })
        .await
    }

    /// For connections that are new from now on.
    fn mend(&self) {
        self.state.send_replace(State::Whole);
    }
}

/// Passes on what comes until one side ends or the link is no more whole.
async fn pass(mut client: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) -> Result<()> {
    let mut server = TcpStream::connect(target).await.context("the API server is away")?;
    let became = tokio::select! {
        ended = tokio::io::copy_bidirectional(&mut client, &mut server) => return Ok(ended.map(drop)?),
        became = state.wait_for(|state| *state != State::Whole) => became.map(|state| *state),
    };
    if became.is_ok_and(|state| state == State::Silent) {
        // Held, so that neither side hears of an end. The channel ends with the test.
        while state.changed().await.is_ok() {}
    }
    Ok(())
}
