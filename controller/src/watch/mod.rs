//! What is known of the cluster, and what asks for a reconcile.

pub mod account;
pub mod cache;
pub mod feed;
pub mod generators;
pub mod outputs;
mod readiness;
pub mod sources;
mod stored;
mod triggers;

use std::{fmt, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use kube::{Api, Client, Resource, core::NamespaceResourceScope, runtime::watcher::Event};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use generators::Generators;
pub use outputs::{Effect, Outputs};
pub use stored::{check_all, follow_server};
pub use triggers::{Trigger, Triggers};

use self::{
    feed::{FeedState, FeedWatch},
    sources::Sources,
};
use crate::api::{
    ObjectKey,
    external_artifact::ExternalArtifact,
    source::{Source, SourceKey, SourceKind},
};

/// The caches of everything that reconciling reads.
pub struct Cluster {
    /// ArtifactGenerators.
    pub generators: Generators,
    /// ExternalArtifacts, as outputs and as sources.
    pub outputs: Outputs,
    sources: Vec<(SourceKind, Sources)>,
    feeds: Feeds,
    namespace: Option<String>,
}

/// How far the watches of the two kinds are that nothing works without.
struct Feeds {
    generators: FeedWatch,
    outputs: FeedWatch,
    sources: Vec<FeedWatch>,
}

/// The watches themselves: futures that never end, to be spawned.
pub type Watches = Vec<BoxFuture<'static, ()>>;

/// Where to look: with a namespace only there.
#[derive(Clone)]
pub struct Scope {
    /// The client.
    pub client: Client,
    /// `None`: the whole cluster.
    pub namespace: Option<String>,
    /// Only generators whose labels match are this process's; empty: all. Sources and outputs are looked at whatever their labels:
    /// a shard uses sources that others share, and must not publish under a name that another shard has.
    pub selector: String,
}

impl Scope {
    /// The objects of a kind within the scope.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// The sources of a kind within the scope.
    fn sources(&self, kind: SourceKind) -> Api<Source> {
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        }
    }
}

/// Prepares the caches and the watches that fill them. News that matters goes to `triggers`.
pub fn watch_cluster(scope: &Scope, triggers: &Triggers) -> (Arc<Cluster>, Watches) {
    let (generators_state, generators) = watch::channel(FeedState::Starting);
    let (outputs_state, outputs) = watch::channel(FeedState::Starting);
    let kinds = SourceKind::ALL.into_iter().filter(|kind| *kind != SourceKind::ExternalArtifact);
    let (states, sources): (Vec<_>, Vec<_>) = kinds
        .map(|kind| {
            let (state, feed) = watch::channel(FeedState::Starting);
            ((kind, state), (kind, feed))
        })
        .unzip();
    let cluster = Arc::new(Cluster {
        generators: Generators::default(),
        outputs: Outputs::default(),
        namespace: scope.namespace.clone(),
        feeds: Feeds { generators, outputs, sources: sources.iter().map(|(_, feed)| feed.clone()).collect() },
        sources: sources.into_iter().map(|(kind, feed)| (kind, Sources::new(kind, feed))).collect(),
    });
    let mut watches = vec![
        watch_generators(scope, &cluster, triggers, generators_state),
        watch_outputs(scope, &cluster, triggers, outputs_state),
    ];
    watches.extend(states.into_iter().map(|(kind, state)| watch_sources(scope, &cluster, triggers, kind, state)));
    (cluster, watches)
}

type State = watch::Sender<FeedState>;

fn watch_generators(
    scope: &Scope,
    cluster: &Arc<Cluster>,
    triggers: &Triggers,
    state: State,
) -> BoxFuture<'static, ()> {
    let (cluster, triggers) = (cluster.clone(), triggers.clone());
    let take = move |event| {
        let is_farewell = matches!(event, Event::Delete(_) | Event::InitDone);
        triggers.generators(cluster.generators.take(event));
        if is_farewell {
            triggers.effects(&cluster, cluster.outputs.generator_gone());
        }
    };
    follow((scope.api(), &scope.selector), &(), generators::strip, state, take)
}

fn watch_outputs(scope: &Scope, cluster: &Arc<Cluster>, triggers: &Triggers, state: State) -> BoxFuture<'static, ()> {
    let (cluster, triggers) = (cluster.clone(), triggers.clone());
    let is_ours = |cluster: &Cluster, uid: &str| cluster.generators.with_uid(uid).is_some();
    let take = move |event| {
        let effects = cluster.outputs.take(event, |uid| is_ours(&cluster, uid));
        triggers.effects(&cluster, effects);
    };
    follow((scope.api(), ""), &(), ExternalArtifact::condense, state, take)
}

fn watch_sources(
    scope: &Scope,
    cluster: &Arc<Cluster>,
    triggers: &Triggers,
    kind: SourceKind,
    state: State,
) -> BoxFuture<'static, ()> {
    let (cluster, triggers) = (cluster.clone(), triggers.clone());
    let take = move |event| {
        let Some(sources) = cluster.sources_of(kind) else { return };
        for source in sources.take(event) {
            triggers.generators(cluster.generators.users(&source));
        }
    };
    follow((scope.sources(kind), ""), &kind, sources::strip, state, take)
}

fn follow<K>(
    (api, selector): (Api<K>, &str),
    kind: &K::DynamicType,
    strip: fn(&mut K),
    state: State,
    take: impl FnMut(Event<K>) + Send + 'static,
) -> BoxFuture<'static, ()>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
{
    feed::follow(api, selector.to_owned(), plural::<K>(kind), strip, state, take).boxed()
}

/// The name of a kind's CustomResourceDefinition.
fn plural<K: Resource>(kind: &K::DynamicType) -> String {
    format!("{}.{}", K::plural(kind), K::group(kind))
}

impl Cluster {
    /// A source of any kind. The error says why it can not be read.
    pub fn source(&self, key: &SourceKey) -> Result<Option<Arc<Source>>, String> {
        if let Some(own) = self.namespace.as_ref().filter(|own| **own != key.namespace) {
            return Err(format!(
                "namespace {:?} is not watched: --watch-all-namespaces=false limits this controller to {own:?}; the feature gate \
                 DirectSourceFetch reads sources of other namespaces",
                key.namespace
            ));
        }
        let name = ObjectKey::new(&key.namespace, &key.name);
        match self.sources_of(key.kind) {
            Some(sources) => sources.get(&name),
            None => Ok(self.outputs.source(&name)),
        }
    }

    /// Waits until generators and outputs were listed once, and of each kind of source it is known at least whether it can be.
    pub async fn ready(&self) {
        feed::listed(&mut self.feeds.generators.clone()).await;
        feed::listed(&mut self.feeds.outputs.clone()).await;
        for source in &self.feeds.sources {
            feed::settled(&mut source.clone()).await;
        }
    }

    fn sources_of(&self, kind: SourceKind) -> Option<&Sources> {
        self.sources.iter().find(|(known, _)| *known == kind).map(|(_, sources)| sources)
    }
}
