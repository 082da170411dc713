//! Puts the parts together: the only file that names a trait of ours with its implementation.

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use kube::Client;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};
use weir_proto::v1;

use crate::{
    args::{Config, Listen},
    events, health,
    metrics::Metrics,
    reconcile::{Context, Expansions, Settings, WRITES_AT_ONCE},
    requests::counted,
    schedule::{Limits, run_reconciles},
    server::{AddressError, Policy, Server},
    watch::{Cluster, Scope, Triggers, follow_server, watch_cluster},
};

/// How long running reconciles may take to end, and then events to be written. A run may be cut off anywhere, the next one goes
/// on; the server wants eight of the ten seconds that the pod has, and the kubelet ends it last.
const DRAIN: Duration = Duration::from_secs(1);
const FLUSH: Duration = Duration::from_secs(1);

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
    /// `--artifact-server`.
    #[error("--artifact-server: {0}")]
    Address(#[from] AddressError),
}

/// Reconciles until `shutdown` is ready, then lets running reconciles end. Returns after two seconds at the latest.
pub async fn run(config: Config, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), RunError> {
    config.pending.iter().for_each(|pending| warn!("{pending}"));
    say_gates(&config);
    let metrics = Metrics::new(config.concurrent);
    let stop = CancellationToken::new();
    let _ends = stop.clone().drop_guard();
    let client = client(&metrics).await?;
    let server = Server::new(&config.artifact_server, policy(&config))?;
    let (triggers, requests) = Triggers::new();
    let scope =
        Scope { client: client.clone(), namespace: config.namespace.clone(), selector: config.selector.clone() };
    let (cluster, watches) = watch_cluster(&scope, &triggers);
    let seen = cluster.clone();
    metrics.look_at_generators(move || seen.generators.conditions());
    listen(&config, (&metrics, &cluster), &stop).await?;
    let (recorder, writer) = events::recorder(client.clone(), &config.host, metrics.events());
    let writer = AbortOnDropHandle::new(tokio::spawn(writer.run()));
    let following = follow_server(server.clone(), scope, cluster.clone(), triggers.clone()).boxed();
    let tasks = watches.into_iter().chain([following]);
    let tasks: Vec<_> = tasks.map(|task| AbortOnDropHandle::new(tokio::spawn(task))).collect();
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
    info!("starting manager");
    let shutdown = shutdown.shared();
    let runs = run_reconciles(context.clone(), requests, limits(&config), shutdown.clone());
    tokio::select! {
        () = runs => {}
        () = shutdown.then(|()| tokio::time::sleep(DRAIN)) => info!("ending: some reconciles did not finish in time"),
    }
    // With the last recorder gone, the writer ends after the last event.
    drop((tasks, context));
    tokio::time::timeout(FLUSH, writer).await.ok();
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
    counted(config, metrics).map_err(|error| cluster(&error))
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
        grace: config.timeout,
        ..Policy::default()
    }
}

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
