//! The service `ArtifactStorage`: look, check, remove, collect, follow.

use std::sync::Arc;

use futures::{StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};
use weir_proto::{
    ArtifactDir, ArtifactPath, Failure,
    v1::{self, artifact_storage_server::ArtifactStorage},
};

use super::{
    call::{Answers, Server, blocking, lock_all},
    convert, watch,
};
use crate::storage::{Filter, Retention, Store};

/// Most artifacts in one `GarbageCollect`.
const MAX_COLLECTABLE: usize = 1000;

/// How many requests of a stream, or artifacts of a list, are worked on at once.
const CHUNK: usize = 128;

/// What callers may rely on beyond the first version of the contract.
const FEATURES: [&str; 5] = ["build", "caller-lease", "find-directories", "list-by-owner", "watch"];

/// The service.
pub struct StorageService(pub Arc<Server>);

#[tonic::async_trait]
impl ArtifactStorage for StorageService {
    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let path = convert::path("path", &request.into_inner().path)?;
        let store = Arc::clone(&self.0.store);
        let found = blocking(move || store.stat(&path)).await?;
        let file = found.map(|listed| convert::stored_file(listed, &self.0.defaults));
        Ok(Response::new(v1::StatResponse { exists: file.is_some(), file }))
    }

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyResponse>, Status> {
        let store = Arc::clone(&self.0.store);
        let request = request.into_inner();
        Ok(Response::new(blocking(move || verify(&store, request)).await?))
    }

    type VerifyManyStream = Answers<v1::VerifyResponse>;

    async fn verify_many(
        &self,
        request: Request<Streaming<v1::VerifyRequest>>,
    ) -> Result<Response<Self::VerifyManyStream>, Status> {
        let store = Arc::clone(&self.0.store);
        let answers = request.into_inner().ready_chunks(CHUNK).then(move |chunk| {
            let store = Arc::clone(&store);
            async move {
                let work = move || Ok::<_, Failure>(chunk.into_iter().map(|item| verify_item(&store, item)).collect());
                blocking(work).await.unwrap_or_else(|failure| vec![Err(failure.into())])
            }
        });
        Ok(Response::new(self.0.until_stop(answers.flat_map(stream::iter))))
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Result<Response<v1::RemoveResponse>, Status> {
        let v1::RemoveRequest { caller, path } = request.into_inner();
        let path = convert::path("path", &path)?;
        let caller = self.0.admit(caller).await?;
        let guard = self.0.store.lock(path.dir()).await;
        let store = Arc::clone(&self.0.store);
        blocking(move || (store.remove(&caller, &path), drop(guard)).0).await?;
        Ok(Response::new(v1::RemoveResponse {}))
    }

    async fn remove_all(
        &self,
        request: Request<v1::RemoveAllRequest>,
    ) -> Result<Response<v1::RemoveAllResponse>, Status> {
        let v1::RemoveAllRequest { caller, artifact, take_over } = request.into_inner();
        let dir = convert::dir("artifact", artifact)?;
        let caller = self.0.admit(caller).await?;
        let guard = self.0.store.lock(&dir).await;
        let store = Arc::clone(&self.0.store);
        let removed = blocking(move || (store.remove_all(&caller, &dir, take_over), drop(guard)).0).await?;
        Ok(Response::new(v1::RemoveAllResponse { removed: texts(removed) }))
    }

    async fn garbage_collect(
        &self,
        request: Request<v1::GarbageCollectRequest>,
    ) -> Result<Response<v1::GarbageCollectResponse>, Status> {
        let v1::GarbageCollectRequest { caller, artifacts, ttl, records, grace } = request.into_inner();
        let retention = self.retention(ttl, records, grace)?;
        let artifacts = collectables(artifacts)?;
        let caller = self.0.admit(caller).await?;
        let mut removed = Vec::new();
        for chunk in artifacts.chunks(CHUNK) {
            let guards = lock_all(&self.0.store, chunk.iter().map(|(dir, _)| dir.clone()).collect()).await;
            let (store, caller, chunk) = (Arc::clone(&self.0.store), caller.clone(), chunk.to_vec());
            let collect = move || {
                let one = |(dir, current): &Collectable| store.collect(&caller, dir, current.as_ref(), &retention);
                let all = chunk.iter().map(one).collect::<Result<Vec<_>, _>>();
                drop(guards);
                all
            };
            removed.extend(blocking(collect).await?.into_iter().flatten());
        }
        self.0.metrics.collected(removed.len());
        Ok(Response::new(v1::GarbageCollectResponse { removed: texts(removed) }))
    }

    type ListStream = Answers<v1::ListResponse>;

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let v1::ListRequest { controller, kind, namespace, name, owner } = request.into_inner();
        convert::optional_owner("owner", &owner)?;
        let filter = Filter { controller, kind: kind.to_lowercase(), namespace, name, owner };
        let store = Arc::clone(&self.0.store);
        let files = blocking(move || Ok::<_, Failure>(store.list(&filter))).await?;
        let (defaults, found) = (self.0.defaults.clone(), files.into_iter());
        let answers =
            found.map(move |listed| Ok(v1::ListResponse { file: Some(convert::stored_file(listed, &defaults)) }));
        Ok(Response::new(self.0.until_stop(stream::iter(answers))))
    }

    type WatchStream = Answers<v1::WatchResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let events = watch::events(&self.0.store, request.into_inner().controller);
        Ok(Response::new(self.0.until_stop(events)))
    }

    async fn get_info(&self, _: Request<v1::GetInfoRequest>) -> Result<Response<v1::GetInfoResponse>, Status> {
        let defaults = &self.0.defaults;
        Ok(Response::new(v1::GetInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.0.store.instance().to_owned(),
            digest_algorithm: defaults.algorithm.to_string(),
            retention_ttl: Some(convert::to_duration(defaults.retention_ttl)),
            retention_records: defaults.retention_records,
            advertised_address: defaults.advertised_address.clone(),
            serving: self.0.serving.is_open(),
            features: FEATURES.map(str::to_owned).to_vec(),
        }))
    }

    async fn set_serving(
        &self,
        request: Request<v1::SetServingRequest>,
    ) -> Result<Response<v1::SetServingResponse>, Status> {
        let v1::SetServingRequest { caller, on } = request.into_inner();
        let caller = self.0.admit(caller).await?;
        let serving = self.0.serving.set(caller, on).await?;
        Ok(Response::new(v1::SetServingResponse { serving }))
    }
}

impl StorageService {
    /// Completes the caller's retention with the server's.
    fn retention(
        &self,
        ttl: Option<prost_types::Duration>,
        records: u32,
        grace: Option<prost_types::Duration>,
    ) -> Result<Retention, Failure> {
        let records = if records == 0 { self.0.defaults.retention_records } else { records };
        Ok(Retention {
            ttl: convert::duration("ttl", ttl)?.unwrap_or(self.0.defaults.retention_ttl),
            records: usize::try_from(records).unwrap_or(usize::MAX),
            grace: convert::duration("grace", grace)?.unwrap_or(Retention::GRACE),
            limit: Retention::LIMIT,
        })
    }
}

/// An artifact, and the file of it that is published.
type Collectable = (ArtifactDir, Option<ArtifactPath>);

fn collectables(artifacts: Vec<v1::Collectable>) -> Result<Vec<Collectable>, Failure> {
    if artifacts.len() > MAX_COLLECTABLE {
        let message =
            format!("{} artifacts in one call, {MAX_COLLECTABLE} are allowed: split the call", artifacts.len());
        return Err(convert::invalid("artifacts", message));
    }
    let read = |(at, v1::Collectable { artifact, current_path }): (usize, v1::Collectable)| {
        let dir = convert::dir(&format!("artifacts[{at}].artifact"), artifact)?;
        if current_path.is_empty() {
            return Ok((dir, None));
        }
        let field = format!("artifacts[{at}].current_path");
        let current = convert::path(&field, &current_path)?;
        if *current.dir() != dir {
            return Err(convert::invalid(field, format!("{current} is not a file of {dir}")));
        }
        Ok((dir, Some(current)))
    };
    artifacts.into_iter().enumerate().map(read).collect()
}

fn verify_item(store: &Store, item: Result<v1::VerifyRequest, Status>) -> Result<v1::VerifyResponse, Status> {
    Ok(verify(store, item?)?)
}

fn verify(store: &Store, request: v1::VerifyRequest) -> Result<v1::VerifyResponse, Failure> {
    let path = convert::path("path", &request.path)?;
    let digest = convert::digest("digest", &request.digest)?;
    let verdict = store.verify(&path, &digest)?;
    let (verdict, message) = convert::verdict(verdict, &path, &digest);
    Ok(v1::VerifyResponse { path: request.path, verdict: verdict.into(), message })
}

fn texts(paths: Vec<ArtifactPath>) -> Vec<String> {
    let mut paths = paths;
    paths.sort();
    paths.iter().map(ToString::to_string).collect()
}
