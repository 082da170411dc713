//! `GarbageCollect`: what may go of many artifacts, some after the others.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::Status;
use weir_proto::{ArtifactDir, ArtifactPath, Failure, v1};

use super::{
    access::Access,
    call::{self, Server, blocking},
    convert::{self, Defaults},
    storage::{CHUNK, file_of, texts},
};
use crate::{
    policy::Place,
    storage::{Retention, StorageError},
};

/// Most artifacts in one `GarbageCollect`.
const MAX_COLLECTABLE: usize = 1000;

/// Collects some artifacts after the others. Once this is dropped, nothing more is removed.
pub(super) async fn collect(
    server: &Arc<Server>,
    access: &Access,
    request: v1::GarbageCollectRequest,
) -> Result<v1::GarbageCollectResponse, Status> {
    let v1::GarbageCollectRequest { caller, artifacts, ttl, records, grace, limit } = request;
    let retention = retention(&server.defaults, ttl, records, grace, limit)?;
    let artifacts = collectables(artifacts)?;
    let token = call::token(caller.as_ref());
    let places: Vec<Place<'_>> = artifacts.iter().map(|(dir, _)| dir.into()).collect();
    let caller = server.admit(access, caller, &places).await?;
    let over = CancellationToken::new();
    let _end = over.clone().drop_guard();
    let mut removed = Vec::new();
    for chunk in artifacts.chunks(CHUNK) {
        let dirs = chunk.iter().map(|(dir, _)| dir.clone()).collect();
        let guards = call::enter(&server.store, dirs, token.as_deref()).await?;
        let (server, caller, chunk) = (Arc::clone(server), caller.clone(), chunk.to_vec());
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

/// Completes the caller's retention with the server's.
fn retention(
    defaults: &Defaults,
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
    let records = if records == 0 { defaults.retention_records } else { records };
    Ok(Retention {
        ttl: convert::duration("ttl", ttl)?.unwrap_or(defaults.retention_ttl),
        records: usize::try_from(records).unwrap_or(usize::MAX),
        grace: convert::duration("grace", grace)?.unwrap_or(Retention::GRACE),
        limit,
    })
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
