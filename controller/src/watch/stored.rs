//! What the artifact server tells of its files: which of them got lost, and when everything must be checked again.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::task::JoinSet;
use tracing::{error, info, warn};
use weir_proto::{
    ArtifactPath,
    v1::{EventType, WatchResponse},
};

use super::{Cluster, Scope, Triggers};
use crate::{
    api::ObjectKey,
    server::{Server, ServerError},
    sweep,
};

/// Wait between two attempts to reach the server. A socket answers or it does not: there is nobody to spare.
const RETRY: Duration = Duration::from_millis(500);

/// Follows the server for ever. Each time a connection stands, the artifact port is opened, files without a generator are
/// swept, and every generator is checked: also the first time, as generators that ran before it may have to wait long otherwise.
pub async fn follow_server(server: Server, scope: Scope, cluster: Arc<Cluster>, triggers: Triggers) {
    let mut said = String::new();
    loop {
        let trouble = follow_once(&server, &scope, &cluster, &triggers).await.to_string();
        if trouble != said {
            warn!(error = trouble, "lost the artifact server, trying again");
            said = trouble;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Returns when the stream ends, which it does only by trouble.
async fn follow_once(server: &Server, scope: &Scope, cluster: &Arc<Cluster>, triggers: &Triggers) -> ServerError {
    // What is still on its way when the connection breaks is begun anew with the next one.
    let mut tasks = JoinSet::new();
    let mut events = match server.watch().await {
        Ok(events) => events,
        Err(error) => return error,
    };
    loop {
        match events.next().await {
            Some(Ok(event)) => match event.r#type() {
                EventType::Started => {
                    info!(instance = event.instance, address = server.address(), "following the artifact server");
                    if let Err(error) = server.set_serving(true).await {
                        return error;
                    }
                    tasks.spawn(swept(server.clone(), scope.clone(), cluster.clone()));
                    tasks.spawn(check_all(cluster.clone(), triggers.clone()));
                }
                EventType::Gap => _ = tasks.spawn(check_all(cluster.clone(), triggers.clone())),
                EventType::Lost | EventType::Corrupted | EventType::Removed => {
                    triggers.generators(publisher(cluster, &event).into_iter().collect());
                }
                EventType::Stored | EventType::Unspecified => {}
            },
            Some(Err(error)) => return error,
            None => {
                let cause = "it closed the event stream".to_owned();
                return ServerError::Unreachable { address: server.address().to_owned(), cause };
            }
        }
    }
}

async fn swept(server: Server, scope: Scope, cluster: Arc<Cluster>) {
    cluster.ready().await;
    if let Err(trouble) = sweep::sweep(&server, &scope, &cluster).await {
        error!(error = %trouble, "cannot sweep files without a generator, trying again at the next connection");
    }
}

/// Asks for every generator, as soon as they are known.
pub async fn check_all(cluster: Arc<Cluster>, triggers: Triggers) {
    cluster.ready().await;
    triggers.all(&cluster).await;
}

/// The generator that has published this very file. Others that go are old versions, and nobody's business.
fn publisher(cluster: &Cluster, event: &WatchResponse) -> Option<ObjectKey> {
    let path: ArtifactPath = event.path.parse().ok()?;
    let (_, namespace, name) = path.dir().parts();
    let object = cluster.outputs.get(&ObjectKey::new(namespace, name))?;
    let is_current = object.artifact().is_some_and(|artifact| artifact.path == event.path);
    cluster.generators.with_uid(object.generator_uid().filter(|_| is_current)?)
}
