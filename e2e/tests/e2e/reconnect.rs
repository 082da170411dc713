//! One of the three connections breaks and comes back. What happened meanwhile is noticed, and nothing waits for ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    let plane = &scene.stage.control_plane;
    let link = Link::to(plane.admin().address()).await?;
    let access = plane.service_account(NAMESPACE, SERVICE_ACCOUNT).await?.through(link.address);
    let kubeconfig = access.write(&scene.stage.run.folder("kubeconfig")?.join("config"))?;
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
        ensure!(metrics.contains("weir_reconcile_failures_total{cause=\"verify\"} 1"), "{metrics}");
        Ok(())
    })
    .await?;
    weir.server.restart().await?;
    served(&scene, &one).await?;
    scene.ready(Kind::ArtifactGenerator, "gen").await?;
    weir.stop().await
}

/// A TCP connection that can be broken.
pub(crate) struct Link {
    address: SocketAddr,
    is_whole: watch::Sender<bool>,
    refused: Arc<AtomicUsize>,
}

impl Link {
    pub(crate) async fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (is_whole, state) = watch::channel(true);
        let refused = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&refused);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut state = state.clone();
                if *state.borrow() {
                    tokio::spawn(async move {
                        tokio::select! {
                            _ = pipe(client, target) => {}
                            _ = state.wait_for(|whole| !whole) => {}
                        }
                    });
                } else {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { address, is_whole, refused })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks what is open, and refuses what is new.
    pub(crate) fn sever(&self) {
        self.is_whole.send_replace(false);
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

    fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

async fn pipe(mut client: TcpStream, target: SocketAddr) -> Result<()> {
    let mut server = TcpStream::connect(target).await.context("the API server is away")?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
