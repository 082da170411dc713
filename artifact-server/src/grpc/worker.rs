//! What `Build` does on threads that may block: one artifact after the other, each answered as soon as it is made.

use std::sync::Arc;

use weir_proto::{
    Failure,
    v1::{self, build_response, build_result},
};

use super::{
    builder::{Call, Read, of_artifact, of_header},
    convert,
    order::Header,
};
use crate::{
    build::{Job, Made, Order},
    metrics::Outcome,
    source::Fetched,
    storage::Caller,
};

/// Works on a batch, on a thread that may block.
pub(super) struct Worker {
    /// Whom it answers.
    pub(super) call: Call,
    /// What the artifacts of the call share.
    pub(super) header: Arc<Header>,
    /// The same, for the builder.
    pub(super) job: Arc<Job>,
}

impl Worker {
    /// Makes one artifact, and answers with what became of it.
    pub(super) fn work(&self, order: Read) {
        let cancelled = || self.call.over.is_cancelled() || self.call.answers.is_closed();
        if cancelled() {
            return;
        }
        let (index, result) = match order {
            Ok(order) => (order.index, self.make(&order, &cancelled)),
            Err((index, failure)) => (index, Err(failure)),
        };
        self.call.server.metrics.artifact(match &result {
            Ok(made) if made.unchanged => Outcome::unchanged,
            Ok(_) => Outcome::built,
            Err(_) => Outcome::failed,
        });
        let message = Some(build_response::Message::Result(self.result(index, result)));
        let _ = self.call.answers.blocking_send(Ok(v1::BuildResponse { message }));
    }

    fn make(&self, order: &Order, cancelled: &dyn Fn() -> bool) -> Result<Made, Failure> {
        let made = self.call.builder.make(&self.job, order, cancelled);
        made.map_err(|failure| match failure.field.as_deref() {
            Some(field) if field.starts_with("caller.") => of_header(failure),
            _ => of_artifact(convert::claimed(failure)),
        })
    }

    fn result(&self, index: u32, result: Result<Made, Failure>) -> v1::BuildResult {
        let Made { path, record, unchanged, content_digest, files, ignored, ignored_examples } = match result {
            Ok(made) => made,
            Err(Failure { reason, message, field }) => {
                let (code, reason, field) = (reason.code().into(), reason.name().to_owned(), field.unwrap_or_default());
                let outcome = Some(build_result::Outcome::Error(v1::BuildError { code, reason, message, field }));
                return v1::BuildResult { index, outcome, ..v1::BuildResult::default() };
            }
        };
        let artifact = convert::artifact(&path, &record, &self.header.settings.advertised_address);
        let outcome =
            if unchanged { build_result::Outcome::Unchanged(artifact) } else { build_result::Outcome::Built(artifact) };
        v1::BuildResult {
            index,
            outcome: Some(outcome),
            content_digest,
            files,
            ignored_files: ignored,
            ignored_examples,
        }
    }
}

/// What the builder needs to know of a call.
pub(super) fn job(caller: &Caller, header: &Header, fetched: &[Fetched]) -> Job {
    let aliases = header.sources.iter().map(|(alias, _)| alias.clone());
    Job {
        caller: caller.clone(),
        algorithm: header.settings.algorithm,
        sources: aliases.zip(fetched).map(|(alias, fetched)| (alias, Arc::clone(&fetched.source.tree))).collect(),
        pins: fetched.iter().map(|fetched| Arc::clone(&fetched.source)).collect(),
    }
}
