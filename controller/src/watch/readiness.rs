//! What `/readyz` says of the watches: which kinds can not be read, and whether anything can be reconciled.

use super::{Cluster, feed::FeedState, plural};
use crate::{
    api::{artifact_generator::ArtifactGenerator, external_artifact::ExternalArtifact, source::Source},
    health::{Check, CheckState},
};

/// Said until a watch has heard anything.
const STARTING: &str = "it has not been read yet";

impl Cluster {
    /// One check for each kind that is watched. None of them fails exactly when [`Cluster::ready`] is through: a kind that nothing
    /// works without must have been listed once, and of a kind of source it must be known whether it can be.
    pub fn checks(&self) -> Vec<Check> {
        let needed = [
            (plural::<ArtifactGenerator>(&()), &self.feeds.generators),
            (plural::<ExternalArtifact>(&()), &self.feeds.outputs),
        ];
        let needed = needed.into_iter().map(|(name, feed)| Check { name, state: of_needed(&feed.borrow()) });
        let sources = self.sources.iter().zip(&self.feeds.sources);
        let sources =
            sources.map(|((kind, _), feed)| Check { name: plural::<Source>(kind), state: of_source(&feed.borrow()) });
        needed.chain(sources).collect()
    }
}

fn of_needed(state: &FeedState) -> CheckState {
    match state {
        FeedState::Starting => CheckState::Failed(STARTING.to_owned()),
        FeedState::Waiting { trouble, listed: false } => CheckState::Failed(trouble.clone()),
        // What was known stays known, and outputs are kept in repair with it.
        FeedState::Waiting { trouble, listed: true } => CheckState::Troubled(trouble.clone()),
        FeedState::Following => CheckState::Well,
    }
}

/// Generators that do not use the kind do without it.
fn of_source(state: &FeedState) -> CheckState {
    match state {
        FeedState::Waiting { trouble, .. } => CheckState::Troubled(trouble.clone()),
        other => of_needed(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_reconciling_can_begin() {
        let missing = "install its CustomResourceDefinition";
        let waiting = |listed| FeedState::Waiting { trouble: missing.to_owned(), listed };
        let failed = |why: &str| CheckState::Failed(why.to_owned());
        let troubled = CheckState::Troubled(missing.to_owned());
        // (row, state of the watch, of a kind that is needed, of a kind of source)
        let rows = [
            ("at the start", FeedState::Starting, failed(STARTING), failed(STARTING)),
            ("faults 60: missing", waiting(false), failed(missing), troubled.clone()),
            ("faults 55: lost again", waiting(true), troubled.clone(), troubled),
            ("all is well", FeedState::Following, CheckState::Well, CheckState::Well),
        ];
        for (row, state, needed, source) in rows {
            assert_eq!((of_needed(&state), of_source(&state)), (needed, source), "row {row}");
        }
    }
}
