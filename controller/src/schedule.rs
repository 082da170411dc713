//! Runs reconciles: as many at a time as allowed, never two of one generator, each later than before while it fails.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use kube::{
    core::{ObjectMeta, PartialObjectMeta},
    runtime::{
        Config, applier,
        controller::Action,
        reflector::{self, ObjectRef, store::Writer},
        watcher::Event,
    },
};
use parking_lot::Mutex;
use tokio::{sync::mpsc, task::JoinError};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument as _, error, error_span};

use crate::{
    api::{
        ObjectKey,
        artifact_generator::{ArtifactGenerator, GROUP, KIND},
    },
    error::{Next, ReconcileError},
    metrics::{Metrics, Outcome, Queue},
    plan::requeue::Backoff,
    reconcile::{Context, reconcile},
    watch::Trigger,
};

/// The scheduler's view of a generator: its name. The object itself is read from the caches when its turn has come.
type Name = PartialObjectMeta<ArtifactGenerator>;

/// How fast reconciles may be run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Reconciles at a time.
    pub concurrent: u16,
    /// Waits after failures.
    pub backoff: Backoff,
}

/// Runs a reconcile for each request until `stop`, then waits for those that run. Dropping the future ends them at once.
pub async fn run_reconciles(
    context: Arc<Context>,
    requests: mpsc::UnboundedReceiver<Trigger>,
    limits: Limits,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.shared();
    tokio::select! {
        () = context.cluster.ready() => {}
        () = stop.clone() => return,
    }
    let (names, mut writer) = reflector::store::<Name>();
    writer.apply_watcher_event(&Event::Init);
    writer.apply_watcher_event(&Event::InitDone);
    let figures = context.metrics.queue().clone();
    let failures = Arc::new(Failures { counts: Mutex::default(), backoff: limits.backoff, queue: figures });
    let (known, memory) = (context.clone(), failures.clone());
    let queue = UnboundedReceiverStream::new(requests).take_until(stop).map(move |Trigger(key)| {
        let exists = known.cluster.generators.get(&key).is_some();
        note(&mut writer, &key, exists);
        if exists {
            known.metrics.queue().asked(&key);
        } else {
            // However it went: without its finalizer, it was no run of ours that saw it off.
            memory.gone(&key);
            known.expansions.forget(&key);
        }
        Ok::<_, Infallible>(ObjectRef::<Name>::new(&key.name).within(&key.namespace))
    });
    let settings = Config::default().concurrency(limits.concurrent);
    let counted = failures.clone();
    let run = move |name: Arc<Name>, context: Arc<Context>| run(ObjectKey::of(&*name), context, failures.clone());
    let policy = move |name: Arc<Name>, error: &ReconcileError, context: Arc<Context>| {
        let key = ObjectKey::of(&*name);
        if context.cluster.generators.get(&key).is_none() {
            return Action::await_change();
        }
        counted.after(&key, error, context.settings.dependency)
    };
    applier(run, policy, context, names, queue, settings).for_each(|_| futures::future::ready(())).await;
}

/// Tells the scheduler which names exist: it runs no others.
fn note(writer: &mut Writer<Name>, key: &ObjectKey, exists: bool) {
    let metadata =
        ObjectMeta { namespace: Some(key.namespace.clone()), name: Some(key.name.clone()), ..ObjectMeta::default() };
    let name = Name { types: None, metadata, _phantom: std::marker::PhantomData };
    writer.apply_watcher_event(&if exists { Event::Apply(name) } else { Event::Delete(name) });
}

/// How one reconcile ended.
type Ended = Result<Action, ReconcileError>;

fn run(key: ObjectKey, context: Arc<Context>, failures: Arc<Failures>) -> BoxFuture<'static, Ended> {
    let (name, metrics) = (key.clone(), context.metrics.clone());
    attempt(key, metrics, failures, async move { reconcile(&context, &name).await })
}

/// One turn of a generator, in a task of its own. A panic is an error like others, and ends nothing else.
fn attempt(
    key: ObjectKey,
    metrics: Arc<Metrics>,
    failures: Arc<Failures>,
    work: impl Future<Output = Ended> + Send + 'static,
) -> BoxFuture<'static, Ended> {
    let span = error_span!(
        "reconcile",
        controller = KIND.to_lowercase(),
        controllerGroup = GROUP,
        controllerKind = KIND,
        ArtifactGenerator.name = key.name,
        ArtifactGenerator.namespace = key.namespace,
        namespace = key.namespace,
        name = key.name,
        reconcileID = %uuid::Uuid::new_v4(),
    );
    async move {
        let _turn = metrics.queue().started(&key);
        let (running, begun) = (metrics.running(), tokio::time::Instant::now());
        let ended = AbortOnDropHandle::new(tokio::spawn(work.in_current_span())).await;
        let result = ended.unwrap_or_else(|error| Err(ReconcileError::Panic(last_words(error))));
        match &result {
            Ok(_) => failures.forget(&key),
            Err(error) => error!(%error, "Reconciler error"),
        }
        running.finish(outcome(&result));
        metrics.took(&key, begun.elapsed());
        result
    }
    .instrument(span)
    .boxed()
}

/// What a task that did not end by itself said.
fn last_words(error: JoinError) -> String {
    let payload = match error.try_into_panic() {
        Ok(payload) => payload,
        Err(error) => return error.to_string(),
    };
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it left no text".to_owned())
}

fn outcome(result: &Ended) -> Outcome<'_> {
    match result {
        Ok(action) if *action == Action::await_change() => Outcome::Done,
        Ok(_) => Outcome::RequeueAfter,
        Err(error) => Outcome::Failed(error),
    }
}

/// How often each generator has failed in a row.
struct Failures {
    counts: Mutex<HashMap<ObjectKey, u32>>,
    backoff: Backoff,
    queue: Queue,
}

impl Failures {
    fn forget(&self, key: &ObjectKey) {
        self.counts.lock().remove(key);
    }

    /// The generator is gone, and one that gets its name begins anew.
    fn gone(&self, key: &ObjectKey) {
        self.forget(key);
        self.queue.forget(key);
    }

    /// When to try again. What waits for something else, or for a new spec, starts from the beginning afterwards.
    fn after(&self, key: &ObjectKey, error: &ReconcileError, dependency: Duration) -> Action {
        match error.next() {
            Next::Stall => {
                self.forget(key);
                Action::await_change()
            }
            // As in controller-runtime, where a wait of no time is none: whatever changes wakes it.
            Next::Dependency if dependency.is_zero() => {
                self.forget(key);
                Action::await_change()
            }
            Next::Dependency => {
                self.forget(key);
                self.queue.again(key, dependency, false);
                Action::requeue(dependency)
            }
            Next::Backoff => {
                let mut counts = self.counts.lock();
                let count = counts.entry(key.clone()).or_default();
                *count = count.saturating_add(1);
                let delay = self.backoff.delay(*count);
                self.queue.again(key, delay, true);
                Action::requeue(delay)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure_like_others() {
        let metrics = Metrics::new(1);
        let second = Duration::from_secs(1);
        let backoff = Backoff { min: second, max: second * 4 };
        let failures = Arc::new(Failures { counts: Mutex::default(), backoff, queue: metrics.queue().clone() });
        let key = ObjectKey::new("ns", "g");
        let attempt = |fails: Option<&'static str>| {
            attempt(key.clone(), metrics.clone(), failures.clone(), async move {
                match fails {
                    Some("text") => panic!("boom {}", 1 + 1),
                    Some(word) => std::panic::panic_any(word.len()),
                    None => Ok(Action::requeue(second)),
                }
            })
        };
        let after = |error: &ReconcileError| failures.after(&key, error, second);
        let error = attempt(Some("text")).await.unwrap_err();
        assert_eq!(error.to_string(), "panic: boom 2 [recovered]", "§13");
        assert_eq!(after(&error), Action::requeue(second), "§13 tried again");
        let error = attempt(Some("no text")).await.unwrap_err();
        assert_eq!(error.to_string(), "panic: it left no text [recovered]");
        assert_eq!(after(&error), Action::requeue(second * 2), "§13 later each time");
        let text = metrics.text().unwrap();
        for line in [
            "controller_runtime_reconcile_panics_total{controller=\"artifactgenerator\"} 2",
            "controller_runtime_reconcile_total{controller=\"artifactgenerator\",result=\"error\"} 2",
            "controller_runtime_active_workers{controller=\"artifactgenerator\"} 0",
            "workqueue_longest_running_processor_seconds{name=\"artifactgenerator\",controller=\"artifactgenerator\"} 0.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert_eq!(attempt(None).await, Ok(Action::requeue(second)), "the next run works");
        assert_eq!(after(&error), Action::requeue(second), "and ends the row of failures");
    }

    #[test]
    fn only_failures_in_a_row_wait_longer() {
        let second = Duration::from_secs(1);
        let backoff = Backoff { min: second, max: second * 4 };
        let failures = Failures { counts: Mutex::default(), backoff, queue: Queue::default() };
        let key = ObjectKey::new("ns", "g");
        let dependency = second * 5;
        let after = |error: &ReconcileError| failures.after(&key, error, dependency);
        let build = ReconcileError::Build { name: "a".into(), why: "b".into() };
        let fetch = ReconcileError::Fetch("404".into());
        let stalled = ReconcileError::Invalid(crate::plan::validate::Invalid::DuplicateAlias("a".into()));
        assert_eq!(after(&build), Action::requeue(second), "§13");
        assert_eq!(after(&build), Action::requeue(second * 2), "§13");
        assert_eq!(after(&build), Action::requeue(second * 4), "§13");
        assert_eq!(after(&build), Action::requeue(second * 4), "§13 the longest");
        failures.gone(&key);
        assert!(failures.counts.lock().is_empty(), "nothing is left of one that is gone");
        assert_eq!(after(&build), Action::requeue(second), "another one of that name begins anew");
        assert_eq!(after(&fetch), Action::requeue(dependency), "§13 a fixed wait");
        assert_eq!(after(&build), Action::requeue(second), "§13 the fixed wait resets the backoff");
        assert_eq!(after(&stalled), Action::await_change(), "§13 terminal");
        let none = failures.after(&key, &fetch, Duration::ZERO);
        assert_eq!(none, Action::await_change(), "without a wait it is woken by a change only");
    }
}
