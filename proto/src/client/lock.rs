//! `Lock`.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::{Client, Error};
use crate::v1::{ArtifactRef, Caller, LockRequest, LockResponse};

/// A lock that is held. Dropping this ends its stream and with it the lock, also when the task that holds it is aborted or panics.
#[derive(Debug)]
pub struct LockGuard {
    client: Client,
    answers: Streaming<LockResponse>,
    // While this is there the stream has no end.
    _requests: mpsc::Sender<LockRequest>,
}

impl Client {
    /// Locks an artifact: until the guard is dropped, only calls through [`LockGuard::client`] change it. Waits for its turn without an end;
    /// put a timeout around it if you want one, as dropping the future gives the place in line back.
    ///
    /// ```no_run
    /// # use weir_proto::{client::{Client, Error}, v1::{ArtifactRef, WriteHeader}};
    /// # async fn both(client: Client, artifact: ArtifactRef) -> Result<(), Error> {
    /// let guard = client.lock(artifact.clone()).await?;
    /// for file in ["a.yaml", "b.yaml"] {
    ///     let header = WriteHeader { artifact: Some(artifact.clone()), file: file.into(), ..WriteHeader::default() };
    ///     guard.client().write(header, "x: 1\n").await?;
    /// }
    /// drop(guard);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lock(&self, artifact: ArtifactRef) -> Result<LockGuard, Error> {
        self.lock_as(artifact, false).await
    }

    /// The same also when files of another owner are there, which [`lock`](Self::lock) refuses with `OWNED_BY_ANOTHER`. It changes nobody's
    /// files: calls that do say `take_over` themselves.
    ///
    /// ```no_run
    /// # use weir_proto::{client::{Client, Error}, v1::{ArtifactRef, WriteHeader}};
    /// # async fn replace(client: Client, artifact: ArtifactRef) -> Result<(), Error> {
    /// let guard = client.lock_taking_over(artifact.clone()).await?;
    /// let header = WriteHeader {
    ///     artifact: Some(artifact),
    ///     file: "a.yaml".into(),
    ///     take_over: true,
    ///     ..WriteHeader::default()
    /// };
    /// guard.client().write(header, "x: 1\n").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lock_taking_over(&self, artifact: ArtifactRef) -> Result<LockGuard, Error> {
        self.lock_as(artifact, true).await
    }

    async fn lock_as(&self, artifact: ArtifactRef, take_over: bool) -> Result<LockGuard, Error> {
        let caller = Caller { lock: String::new(), ..self.caller.clone() };
        let request = LockRequest { caller: Some(caller), artifact: Some(artifact), take_over };
        // A lock whose stream broke before its answer is free again, so asking twice is safe.
        self.again(|| self.hold(request.clone())).await
    }

    async fn hold(&self, request: LockRequest) -> Result<LockGuard, Error> {
        let (requests, receiver) = mpsc::channel(1);
        requests.send(request).await.map_err(|_| self.cut("before it began"))?;
        let request = Request::new(ReceiverStream::new(receiver));
        let mut answers = self.answer(self.storage().lock(request).await)?;
        let answer = answers.message().await.map_err(|status| self.error(&status))?;
        let Some(LockResponse { token }) = answer else { return Err(self.cut("before the lock was granted")) };
        let client = self.clone().with_caller(Caller { lock: token, ..self.caller.clone() });
        Ok(LockGuard { client, answers, _requests: requests })
    }
}

impl LockGuard {
    /// A client whose calls have the token of this lock. A clone of it that outlives the guard gets `LOCK_LOST`.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The token, for [`Caller::lock`] of calls that are made otherwise.
    pub fn token(&self) -> &str {
        &self.client.caller.lock
    }

    /// Waits until the lock is lost while it is held: the server ended, or the connection broke. Calls with its token are refused from then
    /// on, so nothing breaks without this; it is for work outside of the server that the lock stands for.
    pub async fn lost(&mut self) -> Error {
        match self.answers.message().await {
            Err(status) => self.client.error(&status),
            Ok(_) => self.client.cut("while the lock was held"),
        }
    }
}
