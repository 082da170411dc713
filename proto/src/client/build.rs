//! `Build`.

use futures::{StreamExt as _, stream};
use tonic::Streaming;

use super::{Client, Error};
use crate::{
    Failure, Reason,
    v1::{
        Artifact, BuildArtifact, BuildHeader, BuildRequest, BuildResponse, BuildResult, SourceSummary,
        build_request::Message, build_response, build_result::Outcome,
    },
};

/// A build whose sources are at hand. Dropping it cancels what is not done yet.
#[derive(Debug)]
pub struct Build {
    client: Client,
    sources: Vec<SourceSummary>,
    answers: Streaming<BuildResponse>,
    waiting: usize,
}

impl Client {
    /// Composes and stores artifacts from sources. Returns when all sources are there; results follow from [`Build::next`]. Until then it is
    /// tried again after connection errors: files are named by their digest, so that making them twice makes them once.
    ///
    /// ```no_run
    /// # use weir_proto::{client::{Client, outcome}, v1::{BuildArtifact, BuildHeader}};
    /// # async fn build(client: Client, header: BuildHeader, artifacts: Vec<BuildArtifact>) -> Result<(), weir_proto::client::Error> {
    /// let mut build = client.build(header, artifacts).await?;
    /// while let Some(result) = build.next().await? {
    ///     match outcome(result) {
    ///         Ok(artifact) => println!("{} is published under {}", artifact.revision, artifact.url),
    ///         Err(failure) => println!("{}: {failure}", failure.reason.name()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn build(&self, mut header: BuildHeader, artifacts: Vec<BuildArtifact>) -> Result<Build, Error> {
        header.caller.get_or_insert_with(|| self.caller.clone());
        header.settings = header.settings.or_else(|| self.settings.clone());
        self.again(|| self.start(header.clone(), artifacts.clone())).await
    }

    async fn start(&self, header: BuildHeader, artifacts: Vec<BuildArtifact>) -> Result<Build, Error> {
        let waiting = artifacts.len();
        let messages = stream::iter([Message::Header(header)]).chain(stream::iter(artifacts).map(Message::Artifact));
        let requests = messages.map(|message| BuildRequest { message: Some(message) });
        let mut answers = self.answer(self.builder().build(self.timed(requests)).await)?;
        let first = answers.message().await.map_err(|status| self.error(&status))?;
        match first.and_then(|answer| answer.message) {
            Some(build_response::Message::Sources(ready)) => {
                Ok(Build { client: self.clone(), sources: ready.sources, answers, waiting })
            }
            _ => Err(self.cut("before its sources were named")),
        }
    }
}

impl Build {
    /// What the sources hold, in the order of the header.
    pub fn sources(&self) -> &[SourceSummary] {
        &self.sources
    }

    /// The next artifact that is done, in the order in which they are; `None` when all are. After an error of the connection, call
    /// [`Client::build`] again: what is stored already is not made again.
    pub async fn next(&mut self) -> Result<Option<BuildResult>, Error> {
        let answer = self.answers.message().await.map_err(|status| self.client.error(&status))?;
        match answer.and_then(|answer| answer.message) {
            Some(build_response::Message::Result(result)) => {
                self.waiting = self.waiting.saturating_sub(1);
                Ok(Some(result))
            }
            None if self.waiting == 0 => Ok(None),
            _ => Err(self.client.cut(&format!("with {} results to come", self.waiting))),
        }
    }
}

/// The artifact of a result, new or unchanged, or why there is none.
///
/// ```
/// use weir_proto::{Reason, client::outcome, v1::{BuildError, BuildResult, build_result::Outcome}};
///
/// let error = BuildError { reason: "BUILD_FAILED".into(), message: "source 'apps/db' does not exist".into(), ..BuildError::default() };
/// let result = BuildResult { outcome: Some(Outcome::Error(error)), ..BuildResult::default() };
/// assert_eq!(outcome(result).unwrap_err().reason, Reason::BuildFailed);
/// ```
pub fn outcome(result: BuildResult) -> Result<Artifact, Failure> {
    match result.outcome {
        Some(Outcome::Built(artifact) | Outcome::Unchanged(artifact)) => Ok(artifact),
        Some(Outcome::Error(error)) => {
            Err(Failure::new(Reason::from_name(&error.reason).unwrap_or(Reason::Internal), error.message))
        }
        None => {
            let text = format!("result {} is of a newer server; use a newer client", result.index);
            Err(Failure::new(Reason::Internal, text))
        }
    }
}
