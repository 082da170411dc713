//! Says how a run ended: conditions, inventory, events, and when to come back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    api::{Patch, PatchParams},
    runtime::controller::Action,
};
use rand::Rng as _;
use serde::Serialize;
use tracing::{error, info};

use super::{Ending, Published, Run};
use crate::{
    api::{
        FIELD_MANAGER,
        artifact_generator::{ArtifactGenerator, InventoryEntry},
    },
    error::{Next, ReconcileError},
    events::Notice,
    plan::{
        conditions::{self, Situation},
        inventory,
        requeue::{Calm, next_look},
    },
    watch::{feed::innermost, generators::strip},
};

/// How often a status is written again after somebody else got in between.
const TRIES: u32 = 5;
/// Mean wait between two tries.
const TRY_WAIT: Duration = Duration::from_millis(100);

/// What a write is to change. `None` leaves a field as it is.
#[derive(Default)]
struct Change<'a> {
    situation: Option<Situation<'a>>,
    inventory: Option<&'a [InventoryEntry]>,
    sources_digest: Option<&'a str>,
    /// The run answers a request: its token is recorded.
    handled: bool,
}

/// What the conditions went through before, whether or not it was written.
#[derive(Clone, Copy, Default)]
struct History {
    /// Nobody had reported on the generator.
    is_first: bool,
    /// The run found something to do.
    has_worked: bool,
}

/// Body of a JSON merge patch; only what differs is in it.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusPatch<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    conditions: Option<Vec<Condition>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inventory: Option<&'a [InventoryEntry]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_sources_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_handled_reconcile_at: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    metadata: Version<'a>,
    status: &'a StatusPatch<'a>,
}

/// With the version, a patch made from an old state is refused instead of undoing what others wrote.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    resource_version: &'a str,
}

impl Run<'_> {
    /// Says that the generator is being worked on.
    pub(super) async fn report_progress(&self) -> Result<(), ReconcileError> {
        let change = Change { situation: Some(Situation::Working), ..Change::default() };
        self.write_status(&change).await.map_err(|error| ReconcileError::Status(innermost(&error)))
    }

    /// A paused generator keeps its conditions; a new one is told that it is paused.
    pub(super) async fn report_paused(&self) -> Result<Action, ReconcileError> {
        info!("Reconciliation is disabled");
        self.context.events.record(&self.generator, &Notice::paused());
        let situation = self.is_first.then_some(Situation::FirstPassPaused);
        let change = Change { situation, handled: true, ..Change::default() };
        self.write_status(&change).await.map_err(|error| ReconcileError::Status(innermost(&error)))?;
        Ok(self.after(Calm::Paused))
    }

    /// Writes down how the run ended. A failure is returned as it came, for its retry. Who leads no more writes nothing: it could
    /// undo what the new leader says.
    pub(super) async fn report(&self, result: Result<Ending, ReconcileError>) -> Result<Action, ReconcileError> {
        match result {
            Err(failure) if failure.is_deposed() => Err(failure),
            Ok(Ending::Published(Published { unpruned: Some(failure), .. })) if failure.is_deposed() => Err(failure),
            Ok(Ending::UpToDate) => self.report_up_to_date().await,
            Ok(Ending::Published(published)) => self.report_published(&published).await,
            Err(failure) => Err(self.report_failure(failure).await),
        }
    }

    async fn report_up_to_date(&self) -> Result<Action, ReconcileError> {
        let count = self.generator.inventory().len();
        self.context.events.record(&self.generator, &Notice::no_drift(count));
        let change = Change { handled: true, ..Change::default() };
        self.write_status(&change).await.map_err(|error| ReconcileError::Status(innermost(&error)))?;
        Ok(self.after(Calm::UpToDate))
    }

    async fn report_published(&self, published: &Published) -> Result<Action, ReconcileError> {
        let artifacts = published.artifacts;
        let unpruned = published.unpruned.as_ref();
        let trouble = unpruned.map(|error| (error.reason().unwrap_or("ReconciliationFailed"), error.to_string()));
        let situation = match &trouble {
            Some((reason, message)) => Situation::Failed { reason, message },
            None => Situation::Succeeded { artifacts },
        };
        let change = Change {
            situation: Some(situation),
            inventory: Some(&published.inventory),
            sources_digest: unpruned.is_none().then_some(&published.sources_digest),
            handled: true,
        };
        let (written, ()) = tokio::join!(self.write_status(&change), self.collect(&published.inventory));
        written.map_err(|error| ReconcileError::Status(innermost(&error)))?;
        let outcome = match &trouble {
            Some((reason, message)) => Notice::failed(reason, message).about(self.commit.get()),
            None => Notice::succeeded(artifacts),
        };
        self.announce(&published.changed, Some(outcome));
        match published.unpruned.clone() {
            Some(error) => Err(error),
            None => Ok(self.after(Calm::Published)),
        }
    }

    /// When to come back.
    fn after(&self, ended: Calm) -> Action {
        let sample = rand::rng().random_range(0.0..1.0);
        next_look(ended, self.context.settings.jitter, sample).map_or_else(Action::await_change, Action::requeue)
    }

    /// Of what is published now, what nobody was told of.
    pub(super) fn changed(&self, published: &[InventoryEntry]) -> Vec<InventoryEntry> {
        inventory::changed(self.generator.inventory(), published, |key| self.account.owes(key))
    }

    /// Tells of what was published, and of how the run ended.
    fn announce(&self, changed: &[InventoryEntry], outcome: Option<Notice>) {
        let events = &self.context.events;
        for entry in changed {
            let key = self.output_key(&entry.name);
            let object = self.context.cluster.outputs.get(&key);
            let revision = object.as_ref().and_then(|object| object.artifact()).map_or("", |found| &found.revision);
            let contents = self.contents.lock().remove(&entry.name);
            let notice = Notice::published(&key.namespace, &key.name, revision).holding(contents.as_ref());
            info!("{}", notice.message);
            events.record(&self.generator, &notice);
            let ignored = contents.and_then(|contents| Notice::ignored(&key.namespace, &key.name, &contents));
            ignored.into_iter().for_each(|notice| events.record(&self.generator, &notice));
            self.account.announced(&key);
        }
        if let Some(notice) = outcome {
            info!("{}", notice.message);
            events.record(&self.generator, &notice);
        }
        if let Some(notice) = Notice::changed(changed) {
            events.record(&self.generator, &notice.about(self.commit.get()));
        }
    }

    /// What this run stored goes into the inventory although it failed, so that nothing is forgotten. Old versions of what it
    /// published are collected: one artifact that fails for weeks must not let those of all others pile up. And it is announced now,
    /// as a later run will find it in the inventory. A failure that could not be written down is one to try again.
    async fn report_failure(&self, failure: ReconcileError) -> ReconcileError {
        let stored = self.stored.lock().clone();
        let inventory = inventory::after_failure(self.generator.inventory(), &stored);
        let text = failure.to_string();
        let message = text.as_str();
        let situation = failure.reason().map(|reason| match failure.next() {
            Next::Stall => Situation::Stalled { reason, message },
            Next::Dependency if failure.is_wait() => Situation::Waiting { reason, message },
            Next::Backoff | Next::Dependency => Situation::Failed { reason, message },
        });
        let change = Change { situation, inventory: Some(&inventory), handled: true, ..Change::default() };
        let published = self.published(&stored);
        let (written, ()) = tokio::join!(self.write_status(&change), self.collect(&published));
        let mut changed = self.changed(&published);
        let unwritten = written.err().map(|error| ReconcileError::Status(innermost(&error)));
        match &unwritten {
            None => self.account.owe(self.changed(&stored).iter().map(InventoryEntry::key)),
            Some(error) => {
                error!(%error, failure = text, "cannot write down how the run failed");
                // The inventory is the old one: the next run sees what is new.
                changed.clear();
            }
        }
        let outcome = failure.reason().map(|reason| {
            let notice = if failure.is_wait() { Notice::waits } else { Notice::failed };
            notice(reason, message).about(self.commit.get())
        });
        self.announce(&changed, outcome);
        failure.unsaid(unwritten)
    }

    /// Writes what differs, from the newest state that is known; nothing when nothing differs. When somebody else got in
    /// between, reads the object again and starts over.
    async fn write_status(&self, change: &Change<'_>) -> Result<(), kube::Error> {
        let api = self.api::<ArtifactGenerator>();
        let known = self.context.cluster.generators.get(&self.key);
        let mut latest = known.filter(|known| self.is_same(known)).unwrap_or_else(|| self.generator.clone());
        for attempt in 1.. {
            let patch = self.patch(&latest, change, Timestamp::now());
            if patch == StatusPatch::default() {
                return Ok(());
            }
            let metadata =
                Version { resource_version: latest.metadata.resource_version.as_deref().unwrap_or_default() };
            let body = Patch::Merge(Body { metadata, status: &patch });
            match api.patch_status(&self.key.name, &PatchParams::apply(FIELD_MANAGER), &body).await {
                Ok(mut written) => {
                    strip(&mut written);
                    self.context.triggers.generators(self.context.cluster.generators.wrote(Arc::new(written)));
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 && attempt < TRIES => {}
                Err(error) => return Err(error),
            }
            let wait = TRY_WAIT.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::time::sleep(wait).await;
            match api.get_opt(&self.key.name).await? {
                Some(object) if self.is_same(&object) => latest = Arc::new(object),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn is_same(&self, object: &ArtifactGenerator) -> bool {
        object.metadata.uid.as_deref() == Some(&self.uid)
    }

    fn patch<'c>(&'c self, latest: &ArtifactGenerator, change: &Change<'c>, now: Timestamp) -> StatusPatch<'c> {
        let generation = self.generator.metadata.generation.unwrap_or_default();
        let history = History { is_first: self.is_first, has_worked: self.has_worked.load(Ordering::Relaxed) };
        patch(latest, change, (generation, history), self.generator.requested_at(), now)
    }
}

/// What has to be written to bring `latest` to what `change` asks for.
fn patch<'c>(
    latest: &ArtifactGenerator,
    change: &Change<'c>,
    (generation, history): (i64, History),
    requested_at: Option<&'c str>,
    now: Timestamp,
) -> StatusPatch<'c> {
    let empty = Default::default();
    let status = latest.status.as_ref().unwrap_or(&empty);
    let mut conditions = status.conditions.clone();
    if let Some(situation) = change.situation {
        let is_new = history.is_first && conditions.is_empty() && situation != Situation::FirstPassPaused;
        if is_new || history.has_worked {
            conditions = conditions::next(&conditions, Situation::Working, generation, now);
        }
        conditions = conditions::next(&conditions, situation, generation, now);
    }
    StatusPatch {
        conditions: (conditions != status.conditions).then_some(conditions),
        inventory: change.inventory.filter(|inventory| *inventory != status.inventory),
        observed_sources_digest: change.sources_digest.filter(|digest| *digest != status.observed_sources_digest),
        last_handled_reconcile_at: requested_at.filter(|at| change.handled && *at != status.last_handled_reconcile_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::artifact_generator::ArtifactGeneratorStatus;

    const FIRST: History = History { is_first: true, has_worked: false };

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn types(patch: &StatusPatch<'_>) -> Vec<String> {
        let shown = |condition: &Condition| format!("{}={} {}", condition.type_, condition.status, condition.reason);
        patch.conditions.iter().flatten().map(shown).collect()
    }

    #[test]
    fn only_what_differs_is_written() {
        let mut generator = ArtifactGenerator::default();
        let entry = InventoryEntry { name: "a".into(), ..InventoryEntry::default() };
        let inventory = [entry];
        let done = Change {
            situation: Some(Situation::Succeeded { artifacts: 1 }),
            inventory: Some(&inventory),
            sources_digest: Some("sha256:1"),
            handled: true,
        };
        let first = patch(&generator, &done, (3, FIRST), Some("now"), now());
        assert_eq!(types(&first), ["Ready=True Succeeded"]);
        generator.status = Some(ArtifactGeneratorStatus {
            conditions: first.conditions.unwrap(),
            inventory: first.inventory.unwrap().to_vec(),
            observed_sources_digest: first.observed_sources_digest.unwrap().to_owned(),
            last_handled_reconcile_at: first.last_handled_reconcile_at.unwrap().to_owned(),
        });
        assert_eq!(patch(&generator, &done, (3, History::default()), Some("now"), now()), StatusPatch::default());
        let empty = Change { inventory: Some(&[]), ..Change::default() };
        let emptied = patch(&generator, &empty, (3, History::default()), None, now());
        assert_eq!(serde_json::to_string(&emptied).unwrap(), r#"{"inventory":[]}"#, "an empty inventory is said");
        let paused = Change { handled: true, ..Change::default() };
        let asked = patch(&generator, &paused, (3, History::default()), Some("later"), now());
        assert_eq!(serde_json::to_string(&asked).unwrap(), r#"{"lastHandledReconcileAt":"later"}"#, "§3");
    }

    #[test]
    fn an_end_looks_the_same_whether_or_not_the_beginning_was_written() {
        let ready = conditions::next(&[], Situation::Succeeded { artifacts: 2 }, 1, Timestamp::UNIX_EPOCH);
        let said = conditions::next(&ready, Situation::Working, 1, now());
        let worked = History { is_first: false, has_worked: true };
        let failed = Situation::Failed { reason: "BuildFailed", message: "m" };
        for end in [Situation::Succeeded { artifacts: 2 }, failed] {
            let change = Change { situation: Some(end), ..Change::default() };
            let ends = [ready.clone(), said.clone()].map(|conditions| {
                let status = ArtifactGeneratorStatus { conditions, ..ArtifactGeneratorStatus::default() };
                let generator = ArtifactGenerator { status: Some(status), ..ArtifactGenerator::default() };
                patch(&generator, &change, (1, worked), None, now()).conditions.unwrap()
            });
            assert_eq!(ends[0], ends[1]);
        }
    }

    #[test]
    fn a_first_pass_that_fails_says_that_it_goes_on() {
        let generator = ArtifactGenerator::default();
        let failed = Situation::Failed { reason: "SourceFetchFailed", message: "m" };
        let change = Change { situation: Some(failed), ..Change::default() };
        let first = patch(&generator, &change, (1, FIRST), None, now());
        assert_eq!(
            types(&first),
            ["Reconciling=True ProgressingWithRetry", "Ready=False SourceFetchFailed"],
            "§5.4, §11"
        );
        let paused = Change { situation: Some(Situation::FirstPassPaused), ..Change::default() };
        let first = patch(&generator, &paused, (1, FIRST), None, now());
        assert_eq!(types(&first), ["Ready=True ReconciliationDisabled"], "§5.4");
    }
}
