//! The service `ArtifactStorage`: name, store, read, look, check, lock, remove, collect, follow.

use std::sync::Arc;

use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weir_proto::{
    ArtifactDir, ArtifactPath, Failure,
    v1::{self, artifact_storage_server::ArtifactStorage},
};

use super::{
    access::Access,
    call::{self, Answers, Server, blocking},
    convert, deadline, files, lock, names, upload, watch,
};
use crate::{
    build::Builder,
    metrics::Call,
    policy::{Deed, Place},
    storage::{Aliased, Caller, Filter, Listed, Retention, StorageError, Store},
};

/// Most artifacts in one `GarbageCollect`.
const MAX_COLLECTABLE: usize = 1000;

/// How many requests of a stream, or artifacts of a list, are worked on at once.
const CHUNK: usize = 128;

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
        let work = self.symlink_now(&access, request.into_inner());
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
        let work = self.collect(&access, request.into_inner());
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

impl StorageService {
    /// Collects some artifacts after the others. Once this is dropped, nothing more is removed.
    async fn collect(
        &self,
        access: &Access,
        request: v1::GarbageCollectRequest,
    ) -> Result<v1::GarbageCollectResponse, Status> {
        let v1::GarbageCollectRequest { caller, artifacts, ttl, records, grace, limit } = request;
        let retention = self.retention(ttl, records, grace, limit)?;
        let artifacts = collectables(artifacts)?;
        let token = call::token(caller.as_ref());
        let places: Vec<Place<'_>> = artifacts.iter().map(|(dir, _)| dir.into()).collect();
        let caller = self.server.admit(access, caller, &places).await?;
        let over = CancellationToken::new();
        let _end = over.clone().drop_guard();
        let mut removed = Vec::new();
        for chunk in artifacts.chunks(CHUNK) {
            let dirs = chunk.iter().map(|(dir, _)| dir.clone()).collect();
            let guards = call::enter(&self.server.store, dirs, token.as_deref()).await?;
            let (server, caller, chunk) = (Arc::clone(&self.server), caller.clone(), chunk.to_vec());
            let over = over.clone();
            let collect = move || {
                let over = || over.is_cancelled();
                let one = |(dir, current): &Collectable| {
                    let removed = server.store.collect_until(&caller, dir, current.as_ref(), (&retention, &over))?;
                    server.metrics.collected(removed.len());
                    Ok::<_, StorageError>(removed)
                };
                let all = chunk.iter().take_while(|_| !over()).map(one).collect::<Result<Vec<_>, _>>();
                drop(guards);
                all
            };
            removed.extend(blocking(collect).await?.into_iter().flatten());
        }
        Ok(v1::GarbageCollectResponse { removed: texts(removed) })
    }

    async fn symlink_now(&self, access: &Access, request: v1::SymlinkRequest) -> Result<v1::SymlinkResponse, Status> {
        let v1::SymlinkRequest { caller, path, name, settings, take_over } = request;
        let path = convert::path("path", &path)?;
        let settings = convert::settings(settings, &self.server.defaults)?;
        let alias = alias_of(&path, &name)?;
        let (dir, name) = (path.dir().clone(), alias.clone());
        let point = move |store: &Store, caller: &Caller| {
            store.alias(caller, &path, &name, take_over).map_err(|error| convert::claimed(error.into()))
        };
        let Aliased { record, unchanged, .. } = self.server.change(access, caller, &dir, point).await?;
        let artifact = convert::artifact(&alias, &record, &settings.advertised_address);
        Ok(v1::SymlinkResponse { artifact: Some(artifact), unchanged })
    }

    /// Completes the caller's retention with the server's.
    fn retention(
        &self,
        ttl: Option<prost_types::Duration>,
        records: u32,
        grace: Option<prost_types::Duration>,
        limit: u32,
    ) -> Result<Retention, Failure> {
        let limit = match usize::try_from(limit) {
            Ok(0) => Retention::LIMIT,
            Ok(limit) if limit <= Retention::LIMIT => limit,
            _ => {
                let message = format!("limit {limit} is more than {}: call again for the rest", Retention::LIMIT);
                return Err(convert::invalid("limit", message));
            }
        };
        let records = if records == 0 { self.server.defaults.retention_records } else { records };
        Ok(Retention {
            ttl: convert::duration("ttl", ttl)?.unwrap_or(self.server.defaults.retention_ttl),
            records: usize::try_from(records).unwrap_or(usize::MAX),
            grace: convert::duration("grace", grace)?.unwrap_or(Retention::GRACE),
            limit,
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
        let current = file_of(&format!("artifacts[{at}].current_path"), &current_path, &dir)?;
        Ok((dir, Some(current)))
    };
    artifacts.into_iter().enumerate().map(read).collect()
}

/// Reads the path of a file of an artifact.
fn file_of(field: &str, path: &str, dir: &ArtifactDir) -> Result<ArtifactPath, Failure> {
    let path = convert::path(field, path)?;
    if path.dir() == dir { Ok(path) } else { Err(convert::invalid(field, format!("{path} is not a file of {dir}"))) }
}

/// Reads the second name of a file. A name that carries a digest promises bytes, which an alias can not.
fn alias_of(path: &ArtifactPath, name: &str) -> Result<ArtifactPath, Failure> {
    let alias = convert::file("name", path.dir(), name)?;
    if alias == *path {
        return Err(convert::invalid("name", format!("{name} is the name of the file itself")));
    }
    if alias.named_digest().is_some() {
        return Err(convert::invalid("name", format!("{name} is a name for the bytes of that digest alone")));
    }
    Ok(alias)
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

fn texts(paths: Vec<ArtifactPath>) -> Vec<String> {
    let mut paths = paths;
    paths.sort();
    paths.iter().map(ToString::to_string).collect()
}
