//! One reconcile of one generator: validate, observe, drift, expand, build, publish, prune, report. The decisions are in
//! [`crate::plan`]; here they are carried out.

mod accounts;
mod build;
mod dependencies;
mod expand;
mod finalize;
mod observe;
mod progress;
mod prune;
mod publish;
mod restore;
mod rivals;
mod status;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use kube::{Api, Client, runtime::controller::Action};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore};
use tracing::info;
use weir_proto::{Owner, v1::StoredFile};

use crate::{
    api::{
        FIELD_MANAGER, FINALIZER, ObjectKey,
        artifact_generator::{ArtifactGenerator, InventoryEntry},
        external_artifact::ExternalArtifact,
    },
    error::ReconcileError,
    events::{Contents, Recorder},
    metrics::Metrics,
    plan::{
        commit::{Commit, commit},
        output::Origin,
        validate::validate,
    },
    server::Server,
    watch::{Cluster, Triggers, account::Account},
};
pub use expand::Expansions;

/// How many writes of ExternalArtifacts the process has on their way at most. More only queue up in the API server.
pub const WRITES_AT_ONCE: usize = 12;

/// What every run shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The artifact server.
    pub server: Server,
    /// What is known of the cluster.
    pub cluster: Arc<Cluster>,
    /// Who asks for a reconcile.
    pub triggers: Triggers,
    /// Where events go.
    pub events: Recorder,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the flags say.
    pub settings: Settings,
    /// Bounds the writes of all runs together: [`WRITES_AT_ONCE`].
    pub writes: Semaphore,
    /// What path patterns came to.
    pub expansions: Expansions,
}

/// The flags that a run needs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Longest time for one run, if it has one.
    pub timeout: Option<Duration>,
    /// Wait for a source that is not there or cannot be fetched. None at all: until something changes.
    pub dependency: Duration,
    /// Jitter of the interval, in per cent either way.
    pub jitter: u8,
    /// Refuse sources of other namespaces.
    pub no_cross_namespace: bool,
    /// Whether the origin revision moves with the content or with the source.
    pub origin: Origin,
    /// Only a part of the generators is this process's, so that one it does not know may exist.
    pub is_shard: bool,
    /// Read sources from the API server, also those that no watch would tell of.
    pub direct_source_fetch: bool,
}

/// How a run ended well.
enum Ending {
    /// Everything is as it should be.
    UpToDate,
    /// Drift was found and mended.
    Published(Published),
}

/// What a run published.
struct Published {
    /// How many artifacts the generator has.
    artifacts: usize,
    /// One entry for each artifact, in their order, and orphans that are still to be deleted.
    inventory: Vec<InventoryEntry>,
    /// Digest of the sources that it was made from.
    sources_digest: String,
    /// Those of them whose file is another than before.
    changed: Vec<InventoryEntry>,
    /// Why an orphan is still there.
    unpruned: Option<ReconcileError>,
}

/// A run on its way.
struct Run<'a> {
    context: &'a Context,
    key: ObjectKey,
    uid: String,
    owner: Owner,
    /// The generator as it was when the run began: its spec is the one that is carried out.
    generator: Arc<ArtifactGenerator>,
    /// Nobody has reported on this generator yet.
    is_first: bool,
    /// Whether all its files are accounted for.
    account: Arc<Account>,
    /// When the run began, they were.
    was_settled: bool,
    /// What the artifact server has of it, once asked for.
    files: OnceCell<Vec<StoredFile>>,
    /// All generators of the namespace by UID, once asked for.
    rivals: OnceCell<HashMap<String, ObjectKey>>,
    /// What the artifact server has stored for this run: survives a run that is cut short.
    stored: Mutex<Vec<InventoryEntry>>,
    /// What each artifact that was composed holds, by name.
    contents: Mutex<HashMap<String, Contents>>,
    /// The commit that it is about, once that is known.
    commit: OnceLock<Commit>,
    /// Held while outputs are marked: a result is published before or after, never meanwhile.
    marking: tokio::sync::Mutex<()>,
    /// Drift was found: what is reported at the end follows [`conditions::Situation::Working`], said or not.
    ///
    /// [`conditions::Situation::Working`]: crate::plan::conditions::Situation::Working
    has_worked: AtomicBool,
}

/// Brings one generator to the state that its spec asks for. The error says how the run failed; it is reported already.
pub async fn reconcile(context: &Context, key: &ObjectKey) -> Result<Action, ReconcileError> {
    let generators = &context.cluster.generators;
    let Some(generator) = generators.get(key) else { return Ok(Action::await_change()) };
    let uid = generator.metadata.uid.as_deref().unwrap_or_default();
    let Some(account) = generators.account(uid) else { return Ok(Action::await_change()) };
    if generator.metadata.deletion_timestamp.is_some() {
        return finalize::finalize(&Run::new(context, generator, account, false)?).await;
    }
    tokio::select! {
        biased;
        () = account.closed() => {
            info!("the generator is gone, or another controller's by its labels: the run ends");
            Ok(Action::await_change())
        }
        ended = reconcile_living(context, generator, account.clone()) => ended,
    }
}

async fn reconcile_living(
    context: &Context,
    generator: Arc<ArtifactGenerator>,
    account: Arc<Account>,
) -> Result<Action, ReconcileError> {
    let is_first = has_no_past(&generator);
    let generator =
        if has_finalizer(&generator) { generator } else { finalize::add_finalizer(context, &generator).await? };
    let run = Run::new(context, generator, account, is_first)?;
    run.account.open();
    if run.account.begin() {
        context.cluster.outputs.forget(&output_keys(&run.generator, &run.outputs()));
    }
    if run.generator.is_paused() {
        // No other run follows by itself.
        let (reported, marked) = tokio::join!(run.report_paused(), run.mark_lost());
        return marked.and(reported);
    }
    let result = match context.settings.timeout {
        Some(limit) => {
            let ended = tokio::time::timeout(limit, run.phases()).await;
            ended.unwrap_or(Err(ReconcileError::Timeout(limit)))
        }
        None => run.phases().await,
    };
    let unmarked = if may_mark(&result) { run.mark_lost().await.err() } else { None };
    let reported = run.report(result).await.map_err(|failure| failure.unsaid(unmarked));
    if reported.is_ok() {
        run.account.settle(run.generator.metadata.generation);
        run.spend_confirmation().await;
    }
    reported
}

fn has_finalizer(generator: &ArtifactGenerator) -> bool {
    generator.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Nothing can have been stored yet for a generator without our finalizer, unless somebody took that away.
fn has_no_past(generator: &ArtifactGenerator) -> bool {
    !has_finalizer(generator) && generator.inventory().is_empty()
}

/// The names under which a generator publishes, or has published: those in its inventory and those of its objects. A name in its spec
/// may be another's.
fn output_keys(generator: &ArtifactGenerator, found: &[Arc<ExternalArtifact>]) -> BTreeSet<ObjectKey> {
    let named = generator.inventory().iter().map(InventoryEntry::key);
    named.chain(found.iter().map(|object| ObjectKey::of(&**object))).collect()
}

/// Whether a run leaves outputs that may have lost their files, and may say so: who leads no more writes nothing.
fn may_mark(result: &Result<Ending, ReconcileError>) -> bool {
    result.as_ref().is_err_and(|failure| !failure.is_deposed())
}

impl<'a> Run<'a> {
    fn new(
        context: &'a Context,
        generator: Arc<ArtifactGenerator>,
        account: Arc<Account>,
        is_first: bool,
    ) -> Result<Self, ReconcileError> {
        let uid = generator.metadata.uid.clone().unwrap_or_default();
        let owner = Owner::new(FIELD_MANAGER, &uid).map_err(|error| ReconcileError::Status(error.to_string()))?;
        let key = ObjectKey::of(&*generator);
        let was_settled = is_first || account.is_settled();
        Ok(Self {
            context,
            key,
            uid,
            owner,
            generator,
            is_first,
            account,
            was_settled,
            files: OnceCell::new(),
            rivals: OnceCell::new(),
            stored: Mutex::default(),
            contents: Mutex::default(),
            commit: OnceLock::new(),
            marking: tokio::sync::Mutex::default(),
            has_worked: AtomicBool::default(),
        })
    }

    /// The table of contents.
    async fn phases(&self) -> Result<Ending, ReconcileError> {
        let settings = &self.context.settings;
        validate(&self.generator.spec, &self.key.namespace, settings.no_cross_namespace)?;
        self.await_dependencies().await?;
        let observed = self.observe().await?;
        _ = commit(&self.generator.spec, &observed).map(|commit| self.commit.set(commit));
        let Some(drift) = self.detect(&observed).await? else {
            self.remove_strays().await?;
            info!("No drift detected, {} artifact(s) up to date", self.generator.inventory().len());
            return Ok(Ending::UpToDate);
        };
        info!(reason = drift.reason(), "Reconciliation in progress");
        let entries = self.working(self.mend(drift, &observed)).await?;
        let (inventory, unpruned) = self.prune(&entries).await;
        Ok(Ending::Published(Published {
            artifacts: entries.len(),
            inventory,
            sources_digest: observed.digest,
            changed: self.changed(&entries),
            unpruned,
        }))
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &self.key.namespace)
    }

    fn output_key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(&self.key.namespace, name)
    }

    /// The ExternalArtifacts that carry this generator's label.
    fn outputs(&self) -> Vec<Arc<ExternalArtifact>> {
        self.context.cluster.outputs.of_generator(&self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::artifact_generator::{ArtifactGeneratorStatus, OutputArtifact};

    fn generator(inventory: &[&str]) -> ArtifactGenerator {
        let entry = |name: &&str| InventoryEntry {
            name: (*name).to_owned(),
            namespace: "n".into(),
            ..InventoryEntry::default()
        };
        let inventory = inventory.iter().map(entry).collect();
        let status = Some(ArtifactGeneratorStatus { inventory, ..ArtifactGeneratorStatus::default() });
        ArtifactGenerator { status, ..ArtifactGenerator::default() }
    }

    #[test]
    fn a_name_that_is_only_asked_for_is_not_its_own() {
        let mut generator = generator(&["listed"]);
        generator.metadata.namespace = Some("n".into());
        generator.spec.artifacts = vec![OutputArtifact { name: "wanted".into(), ..OutputArtifact::default() }];
        let mut found = ExternalArtifact::default();
        (found.metadata.namespace, found.metadata.name) = (Some("n".into()), Some("found".into()));
        let keys = output_keys(&generator, &[found.into()]);
        assert_eq!(keys, ["found", "listed"].map(|name| ObjectKey::new("n", name)).into());
    }

    #[test]
    fn a_finalizer_that_is_gone_makes_nothing_new() {
        let rows: [(&str, &[&str], &[&str], bool); 4] = [
            ("new", &[], &[], true),
            ("new, with a finalizer of others", &["example.com/x"], &[], true),
            ("nothing stored yet", &[FINALIZER], &[], false),
            ("somebody removed it", &["example.com/x"], &["a"], false),
        ];
        for (row, finalizers, inventory, expected) in rows {
            let mut generator = generator(inventory);
            generator.metadata.finalizers = Some(finalizers.iter().map(|name| (*name).to_owned()).collect());
            assert_eq!(has_no_past(&generator), expected, "row {row}");
        }
    }

    #[test]
    fn lost_files_are_told_of_by_who_leads() {
        assert!(!may_mark(&Ok(Ending::UpToDate)), "all files were good");
        assert!(may_mark(&Err(ReconcileError::Fetch("404".into()))));
        assert!(!may_mark(&Err(ReconcileError::Deposed("a newer leader has written".into()))));
    }
}
