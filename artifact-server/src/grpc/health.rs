//! `grpc.health.v1`: everything serves from the start until the server is told to end. Then it says so, before anything else ends.

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, server::NamedService};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};
use weir_proto::v1::{artifact_builder_server::ArtifactBuilderServer, artifact_storage_server::ArtifactStorageServer};

use super::{BuilderService, StorageService, call::Answers};

/// The services that can be asked about. The empty name stands for the whole server.
const SERVICES: [&str; 3] =
    ["", ArtifactStorageServer::<StorageService>::NAME, ArtifactBuilderServer::<BuilderService>::NAME];

/// The service. Its token is cancelled when the server is told to end.
pub(super) struct HealthService(pub(super) CancellationToken);

fn answer(stop: &CancellationToken) -> HealthCheckResponse {
    let status = if stop.is_cancelled() { ServingStatus::NotServing } else { ServingStatus::Serving };
    HealthCheckResponse { status: status.into() }
}

fn known(request: &Request<HealthCheckRequest>) -> Result<(), Status> {
    let service = &request.get_ref().service;
    if SERVICES.contains(&service.as_str()) {
        return Ok(());
    }
    Err(Status::not_found(format!("there is no service {service:?} here")))
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        known(&request)?;
        Ok(Response::new(answer(&self.0)))
    }

    type WatchStream = Answers<HealthCheckResponse>;

    /// The state now, and its change, which is the end of the stream: else it would keep the server from ending.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        known(&request)?;
        let (first, stop) = (answer(&self.0), self.0.clone());
        let ending = first.status == i32::from(ServingStatus::NotServing);
        let change = stream::once(async move {
            stop.cancelled().await;
            answer(&stop)
        });
        let answers = stream::iter([first]).chain(change).take(if ending { 1 } else { 2 });
        Ok(Response::new(answers.map(Ok).boxed()))
    }
}
