//! What all calls share: work that blocks, fencing, and the end of the server.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use weir_proto::{ArtifactDir, Failure, Reason, v1};

use super::{
    access::{Access, Guard},
    convert::Defaults,
    deadline,
};
use crate::{
    metrics::Metrics,
    policy::{Deed, Place},
    serving::Serving,
    storage::{Caller, DirGuard, Store},
};

/// How much earlier than the caller its deadline is over here.
const MOMENT: Duration = Duration::from_millis(10);

/// What the services work on.
pub struct Server {
    /// Everything stored.
    pub store: Arc<Store>,
    /// The artifact port.
    pub serving: Arc<Serving>,
    /// What the flags say.
    pub defaults: Defaults,
    /// Most bytes of a file that is written, and of the files of an archive together.
    pub max_bytes: u64,
    /// How long an upload may bring nothing.
    pub silence: Duration,
    /// The threads of uploads: with as many as the pool has, two hundred of them would keep downloads waiting.
    pub uploads: Arc<Semaphore>,
    /// Who may do what.
    pub guard: Arc<Guard>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Cancelled when the server is told to end. Calls go on for a moment, but nothing new is begun.
    pub stop: CancellationToken,
}

impl Server {
    /// What the client behind a request may do.
    pub(super) fn access<T>(&self, request: &tonic::Request<T>) -> Access {
        Access::of(&self.guard, request)
    }

    /// Reads who calls, and refuses one whose epoch is over, or who may not change what lies at `places`; without a place, one who may
    /// not call on behalf of its controller.
    pub(super) async fn admit(
        &self,
        access: &Access,
        caller: Option<v1::Caller>,
        places: &[Place<'_>],
    ) -> Result<Caller, Failure> {
        self.admit_caller(access, access.caller(caller)?, places).await
    }

    /// Refuses everybody when the server ends, who is not allowed to, and a caller whose epoch is over, before it waits for anything. What
    /// it changes in the end, the store lets it change.
    pub(super) async fn admit_caller(
        &self,
        access: &Access,
        caller: Caller,
        places: &[Place<'_>],
    ) -> Result<Caller, Failure> {
        if self.stop.is_cancelled() {
            return Err(shutting_down());
        }
        let controller = caller.owner.controller();
        if places.is_empty() {
            access.may(Deed::Act(controller))?;
        }
        places.iter().try_for_each(|&place| access.may(Deed::Change(place, controller)))?;
        if self.store.epochs().is_current(&caller) {
            return Ok(caller);
        }
        let store = Arc::clone(&self.store);
        blocking(move || store.epochs().admit(&caller).map(|()| caller)).await
    }

    /// Lets a caller change one artifact: admits it, waits for the artifact's turn, and keeps the turn until the work is done.
    pub(super) async fn change<T, E, F>(
        &self,
        access: &Access,
        caller: Option<v1::Caller>,
        dir: &ArtifactDir,
        work: F,
    ) -> Result<T, Status>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
        F: FnOnce(&Store, &Caller) -> Result<T, E> + Send + 'static,
    {
        let token = token(caller.as_ref());
        let caller = self.admit(access, caller, &[dir.into()]).await?;
        let guards = enter(&self.store, vec![dir.clone()], token.as_deref()).await?;
        let store = Arc::clone(&self.store);
        Ok(blocking(move || (work(&store, &caller), drop(guards)).0).await?)
    }

    /// Does the work of an upload that blocks, when one of the threads for that is free.
    pub(super) async fn uploading<T, E, F>(&self, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
        F: FnOnce() -> Result<T, E> + Send + 'static,
    {
        let permit = Arc::clone(&self.uploads).acquire_owned().await.map_err(|_| shutting_down())?;
        // Until the work is done, also when nobody waits for it any more.
        blocking(move || (work(), drop(permit)).0).await
    }

    /// Ends a call with `SHUTTING_DOWN` when the server ends, and with `DEADLINE_EXCEEDED` when the caller's deadline is over. What is not done by
    /// then is dropped.
    pub(super) async fn within<T>(
        &self,
        timeout: Option<Duration>,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        // A moment before the gRPC library, which would say that the call was cancelled.
        let timeout = timeout.map(|timeout| timeout.saturating_sub(MOMENT));
        if timeout == Some(Duration::ZERO) {
            return Err(deadline::passed());
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(shutting_down().into()),
            status = deadline::over(timeout) => Err(status),
            result = work => result,
        }
    }

    /// Ends a stream with `SHUTTING_DOWN` when the server ends.
    pub(super) fn until_stop<T: Send + 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Answers<T> {
        let stop = self.stop.clone();
        let last = stream::once(async move { stop.is_cancelled().then(|| Err(shutting_down().into())) });
        let last = last.filter_map(std::future::ready);
        stream.take_until(self.stop.clone().cancelled_owned()).chain(last).boxed()
    }
}

/// A stream of answers.
pub(super) type Answers<T> = stream::BoxStream<'static, Result<T, Status>>;

/// The error that ends calls when the server ends.
pub(crate) fn shutting_down() -> Failure {
    Failure::new(Reason::ShuttingDown, "the server is ending, try again")
}

/// Does work that blocks on a thread that may.
pub(crate) async fn blocking<T, E, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => {
            tracing::error!(%error, "a call failed, this is a bug");
            Err(Failure::new(Reason::Internal, "the server has a bug, see its log"))
        }
    }
}

/// Artifacts in the order in which turns are taken, each once, so that two calls never wait for each other.
pub(crate) fn ordered(mut dirs: Vec<ArtifactDir>) -> Vec<ArtifactDir> {
    dirs.sort();
    dirs.dedup();
    dirs
}

/// Takes the turns of several artifacts, once none of them is locked by another. `token` is that of a lock of the caller's own.
pub(super) async fn enter(
    store: &Store,
    dirs: Vec<ArtifactDir>,
    token: Option<&str>,
) -> Result<Vec<DirGuard>, Failure> {
    let dirs = ordered(dirs);
    loop {
        store.unlocked(&dirs, token).await?;
        if let Some(guards) = store.enter(&dirs, token).await? {
            return Ok(guards);
        }
    }
}

/// The token of the caller's lock, if it names one.
pub(super) fn token(caller: Option<&v1::Caller>) -> Option<String> {
    caller.map(|caller| caller.lock.clone()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_panics_is_a_bug_of_the_server() {
        let failure = blocking(|| -> Result<(), Failure> { panic!("a bug") }).await.unwrap_err();
        assert_eq!((failure.reason, failure.message.as_str()), (Reason::Internal, "the server has a bug, see its log"));
    }
}
