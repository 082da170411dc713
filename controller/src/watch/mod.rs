//! What is known of the cluster, and what asks for a reconcile.

pub mod cache;
pub mod feed;
pub mod generators;
pub mod outputs;
pub mod sources;
mod stored;
mod triggers;

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use kube::{Api, Client};
use tokio::sync::watch;

pub use generators::Generators;
pub use outputs::{Effect, Outputs};
pub use stored::follow_server;
pub use triggers::{Trigger, Triggers};

use self::{
    feed::{FeedState, FeedWatch},
    sources::Sources,
};
use crate::api::{
    ObjectKey,
    artifact_generator::ArtifactGenerator,
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
}

/// How far the watches of the two kinds are that nothing works without.
struct Feeds {
    generators: FeedWatch,
    outputs: FeedWatch,
    sources: Vec<FeedWatch>,
}

/// The watches themselves: futures that never end, to be spawned.
pub type Watches = Vec<BoxFuture<'static, ()>>;

/// Prepares the caches and the watches that fill them. News that matters goes to `triggers`.
pub fn watch_cluster(client: &Client, triggers: &Triggers) -> (Arc<Cluster>, Watches) {
    let (generators_state, generators) = watch::channel(FeedState::Starting);
    let (outputs_state, outputs) = watch::channel(FeedState::Starting);
    let kinds = SourceKind::ALL.into_iter().filter(|kind| *kind != SourceKind::ExternalArtifact);
    let (states, sources): (Vec<_>, Vec<_>) = kinds
        .clone()
        .map(|kind| (kind, watch::channel(FeedState::Starting)))
        .map(|(kind, (state, feed))| ((kind, state), (kind, feed)))
        .unzip();
    let cluster = Arc::new(Cluster {
        generators: Generators::default(),
        outputs: Outputs::default(),
        feeds: Feeds { generators, outputs, sources: sources.iter().map(|(_, feed)| feed.clone()).collect() },
        sources: sources.into_iter().map(|(kind, feed)| (kind, Sources::new(kind, feed))).collect(),
    });
    let mut watches: Watches = vec![
        watch_generators(client, &cluster, triggers, generators_state),
        watch_outputs(client, &cluster, triggers, outputs_state),
    ];
    watches.extend(states.into_iter().map(|(kind, state)| watch_sources(client, &cluster, triggers, kind, state)));
    (cluster, watches)
}

fn watch_generators(
    client: &Client,
    cluster: &Arc<Cluster>,
    triggers: &Triggers,
    state: watch::Sender<FeedState>,
) -> BoxFuture<'static, ()> {
    let (cluster, triggers) = (cluster.clone(), triggers.clone());
    let take = move |event| triggers.generators(cluster.generators.take(event));
    feed::follow(
        Api::<ArtifactGenerator>::all(client.clone()),
        plural::<ArtifactGenerator>(&()),
        generators::strip,
        state,
        take,
    )
    .boxed()
}

fn watch_outputs(
    client: &Client,
    cluster: &Arc<Cluster>,
    triggers: &Triggers,
    state: watch::Sender<FeedState>,
) -> BoxFuture<'static, ()> {
    let (cluster, triggers) = (cluster.clone(), triggers.clone());
    let take = move |event| triggers.effects(&cluster, cluster.outputs.take(event));
    feed::follow(
        Api::<ExternalArtifact>::all(client.clone()),
        plural::<ExternalArtifact>(&()),
        ExternalArtifact::condense,
        state,
        take,
    )
    .boxed()
}

fn watch_sources(
    client: &Client,
    cluster: &Arc<Cluster>,
    triggers: &Triggers,
    kind: SourceKind,
    state: watch::Sender<FeedState>,
) -> BoxFuture<'static, ()> {
    let (cluster, triggers) = (cluster.clone(), triggers.clone());
    let take = move |event| {
        if let Some(sources) = cluster.sources_of(kind) {
            for source in sources.take(event) {
                triggers.generators(cluster.generators.users(&source));
            }
        }
    };
    feed::follow(Api::<Source>::all_with(client.clone(), &kind), plural::<Source>(&kind), sources::strip, state, take)
        .boxed()
}

/// `<plural>.<group>`, as CustomResourceDefinitions are named.
fn plural<K: kube::Resource>(kind: &K::DynamicType) -> String {
    format!("{}.{}", K::plural(kind), K::group(kind))
}

impl Cluster {
    /// A source of any kind. The error says why its kind can not be read.
    pub fn source(&self, key: &SourceKey) -> Result<Option<Arc<Source>>, String> {
        let name = ObjectKey::new(&key.namespace, &key.name);
        match self.sources_of(key.kind) {
            Some(sources) => sources.get(&name),
            None => Ok(self.outputs.source(&name)),
        }
    }

    /// Waits until generators and outputs are known, and of each kind of source at least whether it can be.
    pub async fn ready(&self) {
        feed::following(&mut self.feeds.generators.clone()).await;
        feed::following(&mut self.feeds.outputs.clone()).await;
        for source in &self.feeds.sources {
            feed::settled(&mut source.clone()).await;
        }
    }

    fn sources_of(&self, kind: SourceKind) -> Option<&Sources> {
        self.sources.iter().find(|(known, _)| *known == kind).map(|(_, sources)| sources)
    }
}
