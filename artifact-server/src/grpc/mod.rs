//! The contract over gRPC: requests are checked here, and carried out by the store and the builder.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport};
use tonic_health::pb::health_server::HealthServer;
use tower::util::MapRequestLayer;
use weir_proto::{
    DESCRIPTOR, MAX_MESSAGE_BYTES,
    v1::{artifact_builder_server::ArtifactBuilderServer, artifact_storage_server::ArtifactStorageServer},
};

mod access;
mod alias;
mod builder;
mod call;
mod collect;
mod connection;
pub mod convert;
mod deadline;
mod files;
mod health;
mod listener;
mod lock;
mod names;
mod order;
mod storage;
mod tls;
#[cfg(test)]
mod turn_tests;
mod upload;
mod watch;
mod whole;
mod worker;

pub use access::{Guard, Peer};
pub use builder::BuilderService;
pub use call::Server;
pub(crate) use call::{blocking, ordered, shutting_down};
pub use listener::{Listener, ListenerError, SocketFile};
pub use storage::StorageService;

/// Calls that one connection may have open. A controller has one for each generator it works on, and a few watches.
const MAX_STREAMS: u32 = 1024;

/// How often a silent client is asked whether it is still there, and how long it may take to answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// All services: storage, builder, health, and reflection in both versions.
pub fn services(storage: StorageService, builder: BuilderService) -> Result<Routes, tonic_reflection::server::Error> {
    let health = HealthServer::new(health::HealthService(storage.server.stop.clone()));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let storage = ArtifactStorageServer::new(storage).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let builder = ArtifactBuilderServer::new(builder).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let routes = Routes::new(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(storage)
        .add_service(builder);
    Ok(routes)
}

/// Serves until `close`; then new connections are refused and open calls end on their own.
pub async fn serve(services: Routes, listener: Listener, close: CancellationToken) -> Result<(), transport::Error> {
    let closed = close.cancelled_owned();
    let (connections, file) = listener.connections();
    let gone = async move {
        closed.await;
        drop(file);
    };
    transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .http2_max_pending_accept_reset_streams(Some(64))
        .tcp_nodelay(true)
        .layer(MapRequestLayer::new(whole::or_error))
        .add_routes(services)
        .serve_with_incoming_shutdown(connections, gone)
        .await
}
