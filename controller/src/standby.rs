//! What an instance does that does not lead: it sees to it that its own artifact server does not serve in the place of the leader's.

use std::{convert::Infallible, time::Duration};

use tokio::sync::watch;
use tracing::{info, warn};
use weir_proto::Reason;

use crate::{
    plan::election::Standing,
    server::{Server, ServerError},
};

/// Wait between two attempts to reach the server.
const RETRY: Duration = Duration::from_millis(500);

/// Closes the artifact port for this controller, once for each holder of the Lease that is seen. Goes on until it is dropped.
///
/// A server that the leader uses too has heard a higher epoch and refuses, as it should. So does one that was opened by the holder
/// whose Lease runs out at the moment: downloads go on until somebody else leads.
pub async fn stand_by(server: Server, lease: &str, mut standing: watch::Receiver<Standing>) -> Infallible {
    let (mut settled, mut said) = (None, String::new());
    loop {
        let now = standing.borrow_and_update().clone();
        let wait = match now {
            Standing::Behind { epoch: Some(epoch), holder } if settled != Some(epoch) => {
                let trouble = close(&server.under(lease, epoch), &holder).await.err();
                if let Some(error) = &trouble {
                    let text = error.to_string();
                    if text != said {
                        warn!(error = text, "cannot close the artifact port, trying again");
                        said = text;
                    }
                } else {
                    settled = Some(epoch);
                }
                trouble.map_or(Duration::MAX, |_| RETRY)
            }
            _ => Duration::MAX,
        };
        // With an election that has ended there is nothing to hear any more; whoever waits for it knows.
        let changed = async {
            if standing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::time::timeout(wait, changed).await.ok();
    }
}

async fn close(server: &Server, holder: &str) -> Result<(), ServerError> {
    match server.set_serving(false).await {
        Ok(_) => info!(holder, address = server.address(), "does not lead: asked for no artifact port"),
        Err(error) if error.failure().is_some_and(|failure| failure.reason == Reason::StaleEpoch) => {
            info!(holder, address = server.address(), "does not lead: left the artifact port to who opened it last");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
