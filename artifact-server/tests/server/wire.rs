//! Health, reflection and the bounds of messages.

use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb;
use weir_proto::v1::{GetInfoRequest, StatRequest};

use crate::process::{Place, get};

#[tokio::test]
async fn health_is_on() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let mut health = HealthClient::new(server.channel());
    for service in ["", "weir.artifact.v1.ArtifactStorage", "weir.artifact.v1.ArtifactBuilder"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let status = health.check(HealthCheckRequest { service: "nonsense".into() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    for (port, path, status) in
        [("health", "/healthz", 200), ("health", "/readyz", 200), ("health", "/x", 404), ("metrics", "/metrics", 200)]
    {
        let address = server.port(port);
        assert_eq!(get(format!("http://{address}{path}")).await.unwrap().status(), status, "{port}{path}");
    }
    assert!(server.figure("process_resident_memory_bytes").await > 1e6);
}

#[tokio::test]
async fn reflection_is_on_in_both_versions() {
    let place = Place::new();
    let server = place.start(&[]).await;
    macro_rules! services {
        ($version:ident) => {{
            use pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let message_request = Some(MessageRequest::ListServices(String::new()));
            let request = ServerReflectionRequest { host: String::new(), message_request };
            let mut client = ServerReflectionClient::new(server.channel());
            let requests = Request::new(futures::stream::iter([request]));
            let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
            match answers.message().await.unwrap().unwrap().message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            }
        }};
    }
    for services in [services!(v1), services!(v1alpha)] {
        for expected in
            ["weir.artifact.v1.ArtifactStorage", "weir.artifact.v1.ArtifactBuilder", "grpc.health.v1.Health"]
        {
            assert!(services.iter().any(|service| service == expected), "{expected} is not in {services:?}");
        }
    }
}

#[tokio::test]
async fn messages_are_bounded() {
    let place = Place::new();
    let server = place.start(&[]).await;
    let status = server.storage().stat(StatRequest { path: "x".repeat(5 << 20) }).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    let info = server.storage().get_info(GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.digest_algorithm.as_str(), info.retention_records), ("sha256", 2));
    assert_eq!(info.advertised_address, "artifacts.test");
    assert!(info.features.iter().any(|feature| feature == "build") && !info.instance.is_empty());
}
