//! Puts the parts together: the only file that names a trait of ours with its implementation.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use kube::Client;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};
use weir_proto::v1;

use crate::{
    args::{Config, Listen},
    election::Election,
    events::{self, ClientError, Recorder},
    health,
    metrics::Metrics,
    reconcile::{Context, Expansions, Settings, WRITES_AT_ONCE},
    requests,
    schedule::{Limits, run_reconciles},
    server::{AddressError, Policy, Server},
    standby::stand_by,
    watch::{Cluster, Scope, Trigger, Triggers, check_all, follow_server, watch_cluster},
};

/// How long running reconciles may take to end, and then events to be written and the Lease to be given back. A run may be cut off anywhere, the next one goes
/// on; the server wants eight of the ten seconds that the pod has, and the kubelet ends it last.
const DRAIN: Duration = Duration::from_secs(1);
const FLUSH: Duration = Duration::from_secs(1);
/// How long a new leader waits for the artifact server before it begins.
const ANNOUNCE: Duration = Duration::from_secs(2);

/// Why the controller can not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No kubeconfig and no service account, or a broken one.
    #[error("no access to a cluster: {0}; set KUBECONFIG, or run in a pod with a service account")]
    Cluster(String),
    /// A port that can not be opened.
    #[error("--{flag}={address}: {cause}; free the port, or name another one (0 switches it off)")]
    Port {
        /// The flag that names it.
        flag: &'static str,
        /// The address.
        address: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// `--events-addr`.
    #[error("--events-addr: {0}")]
    Events(#[from] ClientError),
    /// `--artifact-server`.
    #[error("--artifact-server: {0}")]
    Address(#[from] AddressError),
    /// Not in a pod, and no namespace given: the Lease would be nowhere.
    #[error(
        "--enable-leader-election: unable to find leader election namespace: this is no pod with a service account; set \
         RUNTIME_NAMESPACE to the namespace of the Lease"
    )]
    LeaseNamespace,
    /// This instance led, and could not renew the Lease in time or saw that another one has it.
    #[error("leader election lost")]
    Deposed,
}

/// Reconciles until `shutdown` is ready, then lets running reconciles end. With leader election it first waits until it leads, and ends
/// at once when it does no more. Returns after two seconds at the latest.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), RunError> {
    say_gates(&config);
    let metrics = Metrics::new(config.concurrent);
    let stop = CancellationToken::new();
    let _ends = stop.clone().drop_guard();
    let client = client(&metrics).await?;
    let server = Server::new(&config.artifact_server, &config.certificates, policy(&config))?;
    let (triggers, mut requests) = Triggers::new();
    let scope =
        Scope { client: client.clone(), namespace: config.namespace.clone(), selector: config.selector.clone() };
    let (cluster, watches) = watch_cluster(&scope, &triggers);
    let seen = cluster.clone();
    metrics.look_at_generators(move || seen.generators.conditions());
    listen(&config, (&metrics, &cluster), &stop).await?;
    // Said before anything runs beside this, so that it comes before all that they have to say.
    info!(logger = "setup", "starting manager");
    let election = election(&config, &client, &metrics)?;
    let (recorder, writer) = record(&config, &client, &metrics)?;
    let writer = spawned(writer);
    let mut tasks: Vec<_> = watches.into_iter().map(spawned).collect();
    let shutdown = shutdown.shared();
    let leading = tokio::select! {
        server = lead(election.as_ref(), &server, &mut requests) => Some(server?),
        () = shutdown.clone() => None,
    };
    let Some(server) = leading else {
        end(election).await;
        return Ok(());
    };
    tasks.push(spawned(follow_server(server.clone(), scope, cluster.clone(), triggers.clone()).boxed()));
    // What was asked for while another instance led was not kept.
    tasks.extend(election.is_some().then(|| spawned(check_all(cluster.clone(), triggers.clone()).boxed())));
    let context = Arc::new(Context {
        client,
        server,
        cluster,
        triggers,
        events: recorder,
        metrics,
        settings: settings(&config),
        writes: Semaphore::new(WRITES_AT_ONCE),
        expansions: Expansions::default(),
    });
    let runs = run_reconciles(context.clone(), requests, limits(&config), shutdown.clone());
    tokio::select! {
        () = runs => {}
        () = shutdown.then(|()| tokio::time::sleep(DRAIN)) => info!("ending: some reconciles did not finish in time"),
        () = lost(election.as_ref()) => return Err(RunError::Deposed),
    }
    // With the last recorder gone, the writer ends after the last event.
    drop((tasks, context));
    // Nothing is reconciled any more, so somebody else may.
    let (written, ()) = tokio::join!(tokio::time::timeout(FLUSH, writer), end(election));
    if written.is_err() {
        info!("ending: some events were not written or sent in time");
    }
    Ok(())
}

/// Names each gate that was given, and what one that is on does.
fn say_gates(config: &Config) {
    let Some(direct) = config.direct_source_fetch else { return };
    info!(logger = "setup", DirectSourceFetch = direct, "loading feature gate");
    if direct {
        let effect = "sources will be fetched directly from the API server bypassing the cache";
        info!(logger = "setup", "DirectSourceFetch feature gate is enabled, {effect}");
    }
}

fn spawned(task: BoxFuture<'static, ()>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Begins to wait for the Lease, if there is to be one. It is in the namespace of the pod.
fn election(config: &Config, client: &Client, metrics: &Metrics) -> Result<Option<Election>, RunError> {
    let Some(settings) = &config.election else { return Ok(None) };
    let pod = kube::Config::incluster().map(|pod| pod.default_namespace).unwrap_or_default();
    let namespace = [&pod, &config.own_namespace].into_iter().find(|namespace| !namespace.is_empty());
    let namespace = namespace.ok_or(RunError::LeaseNamespace)?;
    Ok(Some(Election::begin(client.clone(), namespace, &config.host, settings, metrics)))
}

/// Waits until this instance leads, and has told the server so. Returns the server for calls of this leader.
async fn lead(
    election: Option<&Election>,
    server: &Server,
    requests: &mut mpsc::UnboundedReceiver<Trigger>,
) -> Result<Server, RunError> {
    let Some(election) = election else { return Ok(server.clone()) };
    let epoch = tokio::select! {
        epoch = election.won() => epoch.ok_or(RunError::Deposed)?,
        never = stand_by(server.clone(), election.lease(), election.standing()) => match never {},
        never = discard(requests) => match never {},
    };
    let server = server.under(election.lease(), epoch);
    // First of all: from now on a former leader can not change what this one builds on. A server that is away is told later, as
    // soon as it is followed, and by each call.
    match tokio::time::timeout(ANNOUNCE, server.set_serving(true)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => warn!(error = error.to_string(), "cannot tell the artifact server who leads, trying again"),
        Err(_) => warn!(address = server.address(), "the artifact server takes long to answer"),
    }
    Ok(server)
}

/// Takes requests until it is dropped: who leads asks for everything anyway.
async fn discard(requests: &mut mpsc::UnboundedReceiver<Trigger>) -> Infallible {
    while requests.recv().await.is_some() {}
    std::future::pending().await
}

async fn lost(election: Option<&Election>) {
    match election {
        Some(election) => election.lost().await,
        None => std::future::pending().await,
    }
}

/// Gives the Lease back.
async fn end(election: Option<Election>) {
    if let Some(election) = election {
        tokio::time::timeout(FLUSH, election.end()).await.ok();
    }
}

/// What says events, and what brings them to the cluster and to the notification receiver. The latter ends when the last recorder is
/// gone and nothing waits.
fn record(
    config: &Config,
    client: &Client,
    metrics: &Arc<Metrics>,
) -> Result<(Recorder, BoxFuture<'static, ()>), RunError> {
    let (recorder, writer) = events::recorder(client.clone(), &config.host, metrics.events());
    let Some(url) = &config.events else { return Ok((recorder, writer.run().boxed())) };
    let (notifier, deliveries) = events::notifier(url.clone(), metrics.notifications())?;
    let both = async move { _ = tokio::join!(writer.run(), deliveries.run()) };
    Ok((recorder.notifying(notifier), both.boxed()))
}

/// Opens the ports for operators that are not switched off.
async fn listen(
    config: &Config,
    (metrics, cluster): (&Arc<Metrics>, &Arc<Cluster>),
    stop: &CancellationToken,
) -> Result<(), RunError> {
    if let Some(address) = &config.health {
        let listener = address.bind().await.map_err(|cause| port("health-addr", address, cause))?;
        let cluster = cluster.clone();
        tokio::spawn(health::serve_health(listener, move || cluster.checks(), stop.clone()));
    }
    if let Some(address) = &config.metrics {
        let listener = address.bind().await.map_err(|cause| port("metrics-addr", address, cause))?;
        tokio::spawn(health::serve_metrics(listener, metrics.clone(), stop.clone()));
    }
    Ok(())
}

fn port(flag: &'static str, address: &Listen, cause: std::io::Error) -> RunError {
    RunError::Port { flag, address: address.to_string(), cause }
}

/// A client for the cluster that KUBECONFIG, the service account of the pod, or `~/.kube/config` names. Nothing is sent yet.
async fn client(metrics: &Arc<Metrics>) -> Result<Client, RunError> {
    let cluster = |error: &dyn std::error::Error| RunError::Cluster(error.to_string());
    let config = kube::Config::infer().await.map_err(|error| cluster(&error))?;
    requests::client(config, metrics).map_err(|error| cluster(&error))
}

fn policy(config: &Config) -> Policy {
    let storage = &config.storage;
    Policy {
        settings: v1::Settings {
            advertised_address: storage.advertised_address.clone(),
            digest_algorithm: storage.algorithm.to_string(),
            http_retry: Some(storage.http_retry),
            source_host: storage.source_host.clone(),
        },
        retention_ttl: storage.retention_ttl,
        retention_records: storage.retention_records,
        grace: config.timeout.unwrap_or(UNLIMITED),
        ..Policy::default()
    }
}

/// How long a run is thought to take that has no limit.
const UNLIMITED: Duration = Duration::from_secs(3600);

fn settings(config: &Config) -> Settings {
    Settings {
        timeout: config.timeout,
        dependency: config.dependency,
        jitter: config.jitter,
        no_cross_namespace: config.no_cross_namespace,
        origin: config.origin,
        is_shard: !config.selector.is_empty(),
        direct_source_fetch: config.direct_source_fetch.unwrap_or_default(),
    }
}

fn limits(config: &Config) -> Limits {
    Limits { concurrent: u16::try_from(config.concurrent).unwrap_or(u16::MAX), backoff: config.backoff }
}
