//! One call to the artifact server composes everything; results are published while others are still being made.

use std::collections::HashMap;

use futures::{StreamExt as _, stream, stream::FuturesUnordered};
use tracing::debug;
use weir_proto::v1::{self, BuildArtifact, BuildResult, build_response::Message, build_result::Outcome};

use super::{Contents, Context, Run};
use crate::{
    api::{
        ObjectKey,
        artifact_generator::{InventoryEntry, OutputArtifact},
    },
    error::{Next, ReconcileError},
    plan::{inventory, observe::Observed, wanted::Wanted},
    server::BuildCall,
};

/// The names that a run keeps for itself until it ends, in whatever way.
pub(super) struct Claims<'a> {
    context: &'a Context,
    uid: &'a str,
    keys: Vec<ObjectKey>,
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        let Context { cluster, triggers, .. } = self.context;
        for key in &self.keys {
            triggers.effects(cluster, cluster.outputs.release(key, self.uid));
        }
    }
}

/// What became of each artifact so far.
pub(super) type Progress = Vec<Option<Result<InventoryEntry, ReconcileError>>>;

impl Run<'_> {
    /// Builds and publishes every artifact. All are attempted; the first failure in their order is the one returned.
    pub(super) async fn build(
        &self,
        wanted: &Wanted,
        observed: &Observed,
    ) -> Result<Vec<InventoryEntry>, ReconcileError> {
        let (_claims, mut progress) = self.claim_all(wanted).await;
        let free: Vec<usize> = (0..progress.len()).filter(|&index| progress[index].is_none()).collect();
        if !free.is_empty() {
            self.build_and_publish(wanted, observed, free, &mut progress).await?;
        }
        built(wanted, progress)
    }

    /// Claims every name. What is left open can be worked on as long as the claims are kept.
    pub(super) async fn claim_all(&self, wanted: &Wanted) -> (Claims<'_>, Progress) {
        let mut claims = Claims { context: self.context, uid: &self.uid, keys: Vec::new() };
        let mut progress = Progress::new();
        for artifact in wanted.artifacts() {
            progress.push(self.claim(artifact, &mut claims).await);
        }
        (claims, progress)
    }

    /// An output of another generator that lives is not taken from it: the two would fight for ever. The name is this run's as
    /// long as `claims` are kept.
    async fn claim(
        &self,
        artifact: &OutputArtifact,
        claims: &mut Claims<'_>,
    ) -> Option<Result<InventoryEntry, ReconcileError>> {
        let this = self.output_key(&artifact.name);
        let other = match self.holder(&this).await {
            Ok(Some(other)) => other,
            Ok(None) => {
                claims.keys.push(this);
                return None;
            }
            Err(error) => return Some(Err(error)),
        };
        let why = format!("ExternalArtifact/{this} belongs to ArtifactGenerator/{other}: rename one of the two");
        Some(Err(ReconcileError::Taken { name: artifact.name.clone(), why }))
    }

    async fn build_and_publish(
        &self,
        wanted: &Wanted,
        observed: &Observed,
        indices: Vec<usize>,
        progress: &mut Progress,
    ) -> Result<(), ReconcileError> {
        let call = BuildCall {
            owner: self.owner.clone(),
            namespace: self.key.namespace.clone(),
            sources: observed.sources.iter().map(|(alias, source)| source_message(alias, source)).collect(),
            timeout: self.context.settings.timeout,
        };
        let requests = stream::iter(self.requests(wanted, indices));
        let answers = self.context.server.build(call, requests).await?;
        let answers = answers.then(|answer| async {
            drop(self.marking.lock().await);
            answer
        });
        let mut answers = std::pin::pin!(answers);
        let mut writes = FuturesUnordered::new();
        let mut end = None;
        while end.is_none() || !writes.is_empty() {
            tokio::select! {
                answer = answers.next(), if end.is_none() => match answer {
                    Some(Ok(answer)) => match answer.message {
                        Some(Message::Result(result)) => {
                            if let Some((index, stored)) = self.settle(wanted, result, progress) {
                                let artifact = self.artifact(wanted.artifact(index), stored, observed);
                                writes.extend(self.publish(wanted, index, artifact, progress));
                            }
                        }
                        Some(Message::Sources(ready)) => self.say_sources(&ready),
                        None => {}
                    },
                    Some(Err(error)) => end = Some(Err(error.into())),
                    None => end = Some(Ok(())),
                },
                Some((index, result)) = writes.next() => progress[index] = Some(result),
            }
        }
        end.unwrap_or(Ok(()))
    }

    /// Notes a result. Returns the stored file, to be published.
    fn settle(&self, wanted: &Wanted, result: BuildResult, progress: &mut Progress) -> Option<(usize, v1::Artifact)> {
        let index = usize::try_from(result.index).ok().filter(|index| *index < progress.len())?;
        let name = &wanted.artifact(index).name;
        match result.outcome? {
            Outcome::Unchanged(artifact) | Outcome::Built(artifact) => {
                let (files, ignored) = (result.files, result.ignored_files);
                debug!(output = name, files, ignored, "composed");
                let contents = Contents { files, ignored, examples: result.ignored_examples };
                self.contents.lock().insert(name.clone(), contents);
                let filename = artifact.path.rsplit('/').next().unwrap_or_default().to_owned();
                let namespace = self.key.namespace.clone();
                let entry = InventoryEntry { name: name.clone(), namespace, digest: artifact.digest.clone(), filename };
                self.stored.lock().push(entry);
                Some((index, artifact))
            }
            Outcome::Error(error) => {
                progress[index] = Some(Err(ReconcileError::of_artifact(name, &error)));
                None
            }
        }
    }

    /// The messages for the artifacts at `indices`, made one by one as the call takes them.
    fn requests(&self, wanted: &Wanted, indices: Vec<usize>) -> impl Iterator<Item = BuildArtifact> + Send + use<> {
        let wanted = wanted.clone();
        let current: HashMap<String, (String, String)> = self
            .generator
            .inventory()
            .iter()
            .map(|entry| (entry.name.clone(), (inventory::path(entry), entry.digest.clone())))
            .collect();
        indices.into_iter().map(move |index| request(wanted.artifact(index), index, &current))
    }

    fn say_sources(&self, ready: &v1::SourcesReady) {
        for source in &ready.sources {
            debug!(
                alias = source.alias,
                downloaded = source.downloaded,
                files = source.files,
                bytes = source.bytes,
                skipped_links = source.skipped_links,
                "source is at hand"
            );
        }
    }
}

/// What became of all, in their order, or the first failure. One that is tried again comes first: a run that stalls is not.
pub(super) fn built(wanted: &Wanted, progress: Progress) -> Result<Vec<InventoryEntry>, ReconcileError> {
    let (mut entries, mut failures) = (Vec::with_capacity(progress.len()), Vec::new());
    for (done, artifact) in progress.into_iter().zip(wanted.artifacts()) {
        match done {
            Some(Ok(entry)) => entries.push(entry),
            Some(Err(failure)) => failures.push(failure),
            None => failures.push(ReconcileError::Server(format!("it gave no result for {}", artifact.name))),
        }
    }
    // The sort is stable.
    failures.sort_by_key(|failure| failure.next() == Next::Stall);
    failures.into_iter().next().map_or(Ok(entries), Err)
}

pub(super) fn source_message(alias: &str, source: &crate::plan::observe::ObservedSource) -> v1::Source {
    v1::Source { alias: alias.to_owned(), url: source.url.clone(), digest: source.digest.clone() }
}

/// Any other generator's claim has been checked already, so what is left on the volume under this name is nobody's.
fn request(artifact: &OutputArtifact, index: usize, current: &HashMap<String, (String, String)>) -> BuildArtifact {
    let (current_path, current_digest) = current.get(&artifact.name).cloned().unwrap_or_default();
    let copy = artifact.copy.iter().map(|operation| v1::CopyOperation {
        from: operation.from.clone(),
        to: operation.to.clone(),
        exclude: operation.exclude.clone(),
        strategy: operation.strategy.clone(),
        optional: operation.optional,
    });
    BuildArtifact {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        name: artifact.name.clone(),
        copy: copy.collect(),
        current_path,
        current_digest,
        take_over: true,
    }
}
