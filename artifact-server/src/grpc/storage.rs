//! The service `ArtifactStorage`: name, store, read, look, check, lock, remove, collect, follow.

use std::sync::Arc;

use futures::{StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};
use weir_proto::{
    ArtifactDir, ArtifactPath, Failure,
    v1::{self, artifact_storage_server::ArtifactStorage},
};

use super::{
    access::Access,
    alias,
    call::{Answers, Server, blocking},
    collect, convert, deadline, files, lock, names, upload, watch,
};
use crate::{
    build::Builder,
    metrics::Call,
    policy::{Deed, Place},
    storage::{Caller, Filter, Listed, Store},
};

/// How many requests of a stream, or artifacts of a list, are worked on at once.
pub(super) const CHUNK: usize = 128;

/// What callers may rely on beyond the first version of the contract.
const FEATURES: [&str; 14] = [
    "archive",
    "build",
    "caller-lease",
    "collect-limit",
    "find-directories",
    "list-by-owner",
    "lock",
    "mkdir-all",
    "names",
    "read",
    "remove-all-but-current",
    "symlink",
    "watch",
    "write",
];

/// The service.
pub struct StorageService {
    /// What all services share.
    pub server: Arc<Server>,
    /// Archives what is sent.
    pub builder: Arc<Builder>,
}

#[tonic::async_trait]
impl ArtifactStorage for StorageService {
    async fn new_artifact(
        &self,
        request: Request<v1::NewArtifactRequest>,
    ) -> Result<Response<v1::NewArtifactResponse>, Status> {
        Ok(Response::new(names::new_artifact(request.into_inner(), &self.server.defaults)?))
    }

    async fn resolve_path(
        &self,
        request: Request<v1::ResolvePathRequest>,
    ) -> Result<Response<v1::ResolvePathResponse>, Status> {
        self.server.access(&request).may(Deed::Ask)?;
        let (store, defaults) = (Arc::clone(&self.server.store), self.server.defaults.clone());
        let request = request.into_inner();
        let resolve = move || names::resolve_path(request, &defaults, &**store.storage());
        Ok(Response::new(blocking(resolve).await?))
    }

    async fn mkdir_all(&self, request: Request<v1::MkdirAllRequest>) -> Result<Response<v1::MkdirAllResponse>, Status> {
        let access = self.server.access(&request);
        let v1::MkdirAllRequest { caller, artifact, take_over } = request.into_inner();
        let dir = convert::dir("artifact", artifact)?;
        let caller = self.server.admit(&access, caller, &[(&dir).into()]).await?;
        self.server.store.may_store(&caller, &dir, take_over).map_err(|error| convert::claimed(error.into()))?;
        Ok(Response::new(v1::MkdirAllResponse { dir: dir.to_string() }))
    }

    async fn write(
        &self,
        request: Request<Streaming<v1::WriteRequest>>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let timeout = deadline::timeout(request.metadata());
        let access = self.server.access(&request);
        let work = upload::write(&self.server, &access, request.into_inner());
        let result = self.server.within(timeout, work).await;
        self.server.metrics.upload(Call::write, result.as_ref().ok().map(|response| response.unchanged));
        result.map(Response::new)
    }

    async fn archive(
        &self,
        request: Request<Streaming<v1::ArchiveRequest>>,
    ) -> Result<Response<v1::ArchiveResponse>, Status> {
        let timeout = deadline::timeout(request.metadata());
        let access = self.server.access(&request);
        let work = upload::archive(&self.server, &access, &self.builder, request.into_inner());
        let result = self.server.within(timeout, work).await;
        self.server.metrics.upload(Call::archive, result.as_ref().ok().map(|response| response.unchanged));
        result.map(Response::new)
    }

    type ReadStream = Answers<v1::ReadResponse>;

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        Ok(Response::new(files::read(&self.server, request).await?))
    }

    type LockStream = Answers<v1::LockResponse>;

    async fn lock(&self, request: Request<Streaming<v1::LockRequest>>) -> Result<Response<Self::LockStream>, Status> {
        Ok(Response::new(lock::lock(&self.server, request)))
    }

    async fn symlink(&self, request: Request<v1::SymlinkRequest>) -> Result<Response<v1::SymlinkResponse>, Status> {
        let timeout = deadline::timeout(request.metadata());
        let access = self.server.access(&request);
        let work = alias::symlink(&self.server, &access, request.into_inner());
        self.server.within(timeout, work).await.map(Response::new)
    }

    async fn remove_all_but_current(
        &self,
        request: Request<v1::RemoveAllButCurrentRequest>,
    ) -> Result<Response<v1::RemoveAllButCurrentResponse>, Status> {
        let timeout = deadline::timeout(request.metadata());
        let access = self.server.access(&request);
        let v1::RemoveAllButCurrentRequest { caller, artifact, current_path } = request.into_inner();
        let dir = convert::dir("artifact", artifact)?;
        let current = file_of("current_path", &current_path, &dir)?;
        let place = dir.clone();
        let remove = move |store: &Store, caller: &Caller| store.remove_all_but(caller, &place, &current);
        let removed = self.server.within(timeout, self.server.change(&access, caller, &dir, remove)).await?;
        Ok(Response::new(v1::RemoveAllButCurrentResponse { removed: texts(removed) }))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatResponse>, Status> {
        let access = self.server.access(&request);
        let path = convert::path("path", &request.into_inner().path)?;
        access.see(path.dir())?;
        let store = Arc::clone(&self.server.store);
        let found = blocking(move || store.stat(&path)).await?;
        let file = found.map(|listed| convert::stored_file(listed, &self.server.defaults));
        Ok(Response::new(v1::StatResponse { exists: file.is_some(), file }))
    }

    async fn verify(&self, request: Request<v1::VerifyRequest>) -> Result<Response<v1::VerifyResponse>, Status> {
        let (store, access) = (Arc::clone(&self.server.store), self.server.access(&request));
        let request = request.into_inner();
        Ok(Response::new(blocking(move || verify(&store, &access, request)).await?))
    }

    type VerifyManyStream = Answers<v1::VerifyResponse>;

    async fn verify_many(
        &self,
        request: Request<Streaming<v1::VerifyRequest>>,
    ) -> Result<Response<Self::VerifyManyStream>, Status> {
        let (store, access) = (Arc::clone(&self.server.store), self.server.access(&request));
        let answers = request.into_inner().ready_chunks(CHUNK).then(move |chunk| {
            let (store, access) = (Arc::clone(&store), access.clone());
            async move {
                let check = move |item| verify_item(&store, &access, item);
                let work = move || Ok::<_, Failure>(chunk.into_iter().map(check).collect());
                blocking(work).await.unwrap_or_else(|failure| vec![Err(failure.into())])
            }
        });
        Ok(Response::new(self.server.until_stop(answers.flat_map(stream::iter))))
    }

    async fn remove(&self, request: Request<v1::RemoveRequest>) -> Result<Response<v1::RemoveResponse>, Status> {
        let timeout = deadline::timeout(request.metadata());
        let access = self.server.access(&request);
        let v1::RemoveRequest { caller, path } = request.into_inner();
        let path = convert::path("path", &path)?;
        let dir = path.dir().clone();
        let remove = move |store: &Store, caller: &Caller| store.remove(caller, &path);
        self.server.within(timeout, self.server.change(&access, caller, &dir, remove)).await?;
        Ok(Response::new(v1::RemoveResponse {}))
    }

    async fn remove_all(
        &self,
        request: Request<v1::RemoveAllRequest>,
    ) -> Result<Response<v1::RemoveAllResponse>, Status> {
        let timeout = deadline::timeout(request.metadata());
        let access = self.server.access(&request);
        let v1::RemoveAllRequest { caller, artifact, take_over } = request.into_inner();
        let dir = convert::dir("artifact", artifact)?;
        let place = dir.clone();
        let remove = move |store: &Store, caller: &Caller| store.remove_all(caller, &place, take_over);
        let removed = self.server.within(timeout, self.server.change(&access, caller, &dir, remove)).await?;
        Ok(Response::new(v1::RemoveAllResponse { removed: texts(removed) }))
    }

    async fn garbage_collect(
        &self,
        request: Request<v1::GarbageCollectRequest>,
    ) -> Result<Response<v1::GarbageCollectResponse>, Status> {
        let timeout = deadline::timeout(request.metadata());
        let access = self.server.access(&request);
        let work = collect::collect(&self.server, &access, request.into_inner());
        self.server.within(timeout, work).await.map(Response::new)
    }

    type ListStream = Answers<v1::ListResponse>;

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let access = self.server.access(&request);
        let v1::ListRequest { controller, kind, namespace, name, owner } = request.into_inner();
        convert::optional_owner("owner", &owner)?;
        let filter = Filter { controller, kind: kind.to_lowercase(), namespace, name, owner };
        let place = Place { kind: &filter.kind, namespace: &filter.namespace };
        let named = !filter.kind.is_empty() && !filter.namespace.is_empty();
        access.may(if named { Deed::See(place) } else { Deed::Ask })?;
        let store = Arc::clone(&self.server.store);
        let mut files = blocking(move || Ok::<_, Failure>(store.list(&filter))).await?;
        files.retain(|Listed { path, .. }| access.allows(Deed::See(path.dir().into())));
        let (defaults, found) = (self.server.defaults.clone(), files.into_iter());
        let answers =
            found.map(move |listed| Ok(v1::ListResponse { file: Some(convert::stored_file(listed, &defaults)) }));
        Ok(Response::new(self.server.until_stop(stream::iter(answers))))
    }

    type WatchStream = Answers<v1::WatchResponse>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let access = self.server.access(&request);
        access.may(Deed::Ask)?;
        let events = watch::events(&self.server.store, access, request.into_inner().controller);
        Ok(Response::new(self.server.until_stop(events)))
    }

    async fn get_info(&self, _: Request<v1::GetInfoRequest>) -> Result<Response<v1::GetInfoResponse>, Status> {
        let defaults = &self.server.defaults;
        Ok(Response::new(v1::GetInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.server.store.instance().to_owned(),
            digest_algorithm: defaults.algorithm.to_string(),
            retention_ttl: Some(convert::to_duration(defaults.retention_ttl)),
            retention_records: defaults.retention_records,
            advertised_address: defaults.advertised_address.clone(),
            serving: self.server.serving.is_open(),
            features: FEATURES.map(str::to_owned).to_vec(),
        }))
    }

    async fn set_serving(
        &self,
        request: Request<v1::SetServingRequest>,
    ) -> Result<Response<v1::SetServingResponse>, Status> {
        let access = self.server.access(&request);
        let v1::SetServingRequest { caller, on } = request.into_inner();
        let caller = self.server.admit(&access, caller, &[]).await?;
        let serving = self.server.serving.set(caller, on).await?;
        Ok(Response::new(v1::SetServingResponse { serving }))
    }
}

/// Reads the path of a file of an artifact.
pub(super) fn file_of(field: &str, path: &str, dir: &ArtifactDir) -> Result<ArtifactPath, Failure> {
    let path = convert::path(field, path)?;
    if path.dir() == dir { Ok(path) } else { Err(convert::invalid(field, format!("{path} is not a file of {dir}"))) }
}

fn verify_item(
    store: &Store,
    access: &Access,
    item: Result<v1::VerifyRequest, Status>,
) -> Result<v1::VerifyResponse, Status> {
    Ok(verify(store, access, item?)?)
}

fn verify(store: &Store, access: &Access, request: v1::VerifyRequest) -> Result<v1::VerifyResponse, Failure> {
    let path = convert::path("path", &request.path)?;
    access.see(path.dir())?;
    let digest = convert::digest("digest", &request.digest)?;
    let verdict = store.verify(&path, &digest)?;
    let (verdict, message) = convert::verdict(verdict, &path, &digest);
    Ok(v1::VerifyResponse { path: request.path, verdict: verdict.into(), message })
}

/// Paths in order, as texts.
pub(super) fn texts(paths: Vec<ArtifactPath>) -> Vec<String> {
    let mut paths = paths;
    paths.sort();
    paths.iter().map(ToString::to_string).collect()
}
