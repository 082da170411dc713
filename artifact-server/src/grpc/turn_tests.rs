//! Calls that wait for their artifact while their caller loses its lease.

use std::{fmt::Debug, pin::pin, sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use warp::Filter as _;
use weir_proto::{
    Algorithm, ArtifactDir, ArtifactPath, Failure, Reason,
    v1::{self, artifact_storage_server::ArtifactStorage as _},
};

use super::{Guard, Server, StorageService, convert::Defaults};
use crate::{
    args::ServeMode,
    build::{self, Builder},
    metrics::Metrics,
    serving::Serving,
    source::{CacheSettings, SourceCache},
    storage::{Caller, Memory, Put, Store},
};

fn at(epoch: u64) -> Caller {
    Caller { owner: "source-watcher/1".parse().unwrap(), lease: None, tenant: None, epoch }
}

fn dir() -> ArtifactDir {
    ArtifactDir::new("ExternalArtifact", "apps", "front").unwrap()
}

fn server() -> Arc<Server> {
    let store = Store::open(Arc::new(Memory::new()), Algorithm::Sha256).unwrap();
    let files = warp::any().map(warp::reply::Response::default).boxed();
    let address = "127.0.0.1:0".parse().unwrap();
    let serving = Serving::new(store.clone(), ServeMode::WhenLed, address, files, CancellationToken::new());
    let defaults = Defaults {
        advertised_address: "a".into(),
        algorithm: Algorithm::Sha256,
        retention_ttl: Duration::ZERO,
        retention_records: 0,
    };
    let (serving, metrics, stop) = (Arc::new(serving), Metrics::new(Vec::new), CancellationToken::new());
    let (guard, silence) = (Arc::new(Guard::default()), std::time::Duration::from_secs(60));
    Arc::new(Server {
        store,
        serving,
        defaults,
        max_bytes: 1 << 20,
        silence,
        uploads: Arc::new(tokio::sync::Semaphore::new(1)),
        guard,
        metrics,
        stop,
    })
}

#[tokio::test]
async fn uploads_wait_for_each_other_and_nobody_else_for_them() {
    let server = server();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let mut first = Box::pin(server.uploading(move || Ok::<_, Failure>(held.recv().is_ok())));
    assert!((&mut first).now_or_never().is_none());
    // Its thread works on, and is still an upload's.
    drop(first);
    let mut second = Box::pin(server.uploading(|| Ok::<_, Failure>("second")));
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(super::call::blocking(|| Ok::<_, Failure>("another")).await.unwrap(), "another");
    assert!((&mut second).now_or_never().is_none());
    release.send(()).unwrap();
    assert_eq!(second.await.unwrap(), "second");
}

fn service(server: &Arc<Server>, folder: &std::path::Path) -> StorageService {
    let sources = SourceCache::new(CacheSettings::new(folder, 1 << 20)).unwrap();
    let settings = build::Settings { width: 1, max_bytes: 1 << 20 };
    let builder = Arc::new(Builder::new(server.store.clone(), sources, settings));
    StorageService { server: Arc::clone(server), builder }
}

/// Starts a call while somebody else has the artifact, lets a newer leader in, and gives the artifact free.
async fn overtaken<T: Debug>(
    server: &Server,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<(), Failure> {
    let mut call = pin!(call);
    let guard = server.store.lock(&dir()).await;
    assert!((&mut call).now_or_never().is_none(), "it waits");
    server.store.epochs().admit(&at(2)).unwrap();
    drop(guard);
    call.await.map(drop).map_err(|status| Failure::from_status(&status).unwrap())
}

#[tokio::test]
async fn a_former_leader_fails_when_its_turn_comes() {
    let caller = || Some(v1::Caller { owner: "source-watcher/1".into(), epoch: 1, ..v1::Caller::default() });
    let artifact =
        || Some(v1::ArtifactRef { kind: "ExternalArtifact".into(), namespace: "apps".into(), name: "front".into() });
    let folder = tempfile::tempdir().unwrap();
    for call in ["Remove", "RemoveAll", "GarbageCollect"] {
        let server = server();
        let put =
            Put { dir: dir(), caller: at(1), algorithm: Algorithm::Sha256, content_digest: None, take_over: false };
        let (path, _): (ArtifactPath, _) = server.store.put(&put, &mut |out| out.write_all(b"bytes")).unwrap();
        let service = service(&server, folder.path());
        let outcome = match call {
            "Remove" => {
                let request = v1::RemoveRequest { caller: caller(), path: path.to_string() };
                overtaken(&server, service.remove(Request::new(request))).await
            }
            "RemoveAll" => {
                let request = v1::RemoveAllRequest { caller: caller(), artifact: artifact(), take_over: true };
                overtaken(&server, service.remove_all(Request::new(request))).await
            }
            _ => {
                let zero = Some(prost_types::Duration::default());
                let artifacts = vec![v1::Collectable { artifact: artifact(), current_path: String::new() }];
                let request = v1::GarbageCollectRequest {
                    caller: caller(),
                    artifacts,
                    ttl: zero,
                    grace: zero,
                    ..v1::GarbageCollectRequest::default()
                };
                overtaken(&server, service.garbage_collect(Request::new(request))).await
            }
        };
        assert_eq!(outcome.unwrap_err().reason, Reason::StaleEpoch, "{call}");
        assert!(server.store.file(&path).is_some(), "{call}: it is still there");
    }
}
