//! The flags as typed: names, defaults and syntax of source-watcher, so that arguments written for it keep their meaning. A
//! repeated flag counts the last time; a boolean may stand alone or as `--flag=true`.

use clap::{ArgAction, Args, Parser};
use weir_proto::GoDuration;

/// Composes artifacts from Flux sources and publishes them as ExternalArtifacts. The bytes are with weir-artifact-server.
#[derive(Debug, Parser)]
#[command(name = "weir-controller", version, args_override_self = true, term_width = 120)]
pub struct Flags {
    #[command(flatten)]
    pub(super) work: Work,
    #[command(flatten)]
    pub(super) storage: Storage,
    #[command(flatten)]
    pub(super) admin: Admin,
    #[command(flatten)]
    pub(super) scope: Scope,
    #[command(flatten)]
    pub(super) leader: Leader,
    #[command(flatten)]
    pub(super) unused: Unused,
    /// Words without a flag are ignored, as source-watcher does.
    #[arg(hide = true)]
    pub(super) rest: Vec<String>,
}

/// How generators are worked on.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reconciliation")]
pub(super) struct Work {
    /// Generators that are reconciled at the same time
    #[arg(long, default_value = "10", value_name = "COUNT", allow_hyphen_values = true)]
    pub(super) concurrent: i64,
    /// Longest time for one reconcile
    #[arg(long, default_value = "10m0s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) reconciliation_timeout: GoDuration,
    /// Wait for a source that is missing or can not be fetched
    #[arg(long, default_value = "5s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) requeue_dependency: GoDuration,
    /// Wait after the first failure; doubled with each further one
    #[arg(long, default_value = "750ms", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) min_retry_delay: GoDuration,
    /// Longest wait between failures
    #[arg(long, default_value = "15m0s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) max_retry_delay: GoDuration,
    /// Spread of the hourly reconcile in per cent either way, less than 100
    #[arg(long, default_value = "5", value_name = "PERCENT", allow_hyphen_values = true)]
    pub(super) interval_jitter_percentage: u8,
    /// When the origin revision of an artifact moves: with its content, or always with its source
    #[arg(long, default_value = "content", value_name = "content|always", value_parser = ["content", "always"])]
    pub(super) origin_revision: String,
    /// Refuse sources in other namespaces
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set)]
    pub(super) no_cross_namespace_refs: bool,
}

/// The artifact server, and what it is told with each request.
#[derive(Debug, Args)]
#[command(next_help_heading = "Artifacts")]
pub(super) struct Storage {
    /// Where weir-artifact-server listens: unix:///<path>, https://<host>:<port> or http://<address>:<port>
    #[arg(
        long,
        env = "ARTIFACT_SERVER",
        hide_env_values = true,
        default_value = "unix:///run/weir/s/artifact.sock",
        value_name = "ADDRESS",
        allow_hyphen_values = true
    )]
    pub(super) artifact_server: String,
    /// Authorities that vouch for an artifact server behind https://, PEM. It and the next two are read for each connection
    #[arg(
        long,
        env = "ARTIFACT_SERVER_CA",
        hide_env_values = true,
        default_value = "",
        value_name = "FILE",
        allow_hyphen_values = true
    )]
    pub(super) artifact_server_ca: String,
    /// Certificate that is shown to it, PEM
    #[arg(
        long,
        env = "ARTIFACT_SERVER_CERT",
        hide_env_values = true,
        default_value = "",
        value_name = "FILE",
        allow_hyphen_values = true
    )]
    pub(super) artifact_server_cert: String,
    /// The key of that certificate, PEM
    #[arg(
        long,
        env = "ARTIFACT_SERVER_KEY",
        hide_env_values = true,
        default_value = "",
        value_name = "FILE",
        allow_hyphen_values = true
    )]
    pub(super) artifact_server_key: String,
    /// Address that artifact URLs start with; the artifact server's own when empty
    #[arg(
        long,
        env = "STORAGE_ADV_ADDR",
        hide_env_values = true,
        default_value = "",
        value_name = "ADDRESS",
        allow_hyphen_values = true
    )]
    pub(super) storage_adv_addr: String,
    /// Files older than this are collected, the published ones excepted
    #[arg(long, default_value = "1m0s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) artifact_retention_ttl: GoDuration,
    /// How many files of each artifact to keep
    #[arg(long, default_value = "2", value_name = "COUNT", allow_hyphen_values = true)]
    pub(super) artifact_retention_records: i64,
    /// sha256, sha384, sha512, blake3 or sha1
    #[arg(long, default_value = "sha256", value_name = "ALGORITHM", allow_hyphen_values = true)]
    pub(super) artifact_digest_algo: String,
    /// How often a failed download of a source is tried again
    #[arg(long, default_value = "9", value_name = "COUNT", allow_hyphen_values = true)]
    pub(super) http_retry: i64,
}

/// What operators look at.
#[derive(Debug, Args)]
#[command(next_help_heading = "Operation")]
pub(super) struct Admin {
    /// Address of the Prometheus metrics; 0 switches them off
    #[arg(long, default_value = ":8080", value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(super) metrics_addr: String,
    /// Address of /healthz and /readyz; empty or 0 switches them off
    #[arg(long, default_value = ":9440", value_name = "ADDRESS", allow_hyphen_values = true)]
    pub(super) health_addr: String,
    /// trace, debug, info or error
    #[arg(long, default_value = "info", value_name = "LEVEL", allow_hyphen_values = true)]
    pub(super) log_level: String,
    /// json or console
    #[arg(long, default_value = "json", value_name = "ENCODING", allow_hyphen_values = true)]
    pub(super) log_encoding: String,
}

/// Which objects are looked at.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scope")]
pub(super) struct Scope {
    /// false: only the namespace in the environment variable RUNTIME_NAMESPACE
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true",
        value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set)]
    pub(super) watch_all_namespaces: bool,
    /// Only generators with these labels, e.g. sharding.fluxcd.io/key=shard1
    #[arg(long, default_value = "", value_name = "SELECTOR", allow_hyphen_values = true)]
    pub(super) watch_label_selector: String,
    /// URL that events are posted to, e.g. of notification-controller; none when empty
    #[arg(long, default_value = "", value_name = "URL", allow_hyphen_values = true)]
    pub(super) events_addr: String,
    /// Known gate: DirectSourceFetch, which reads sources from the API server in each reconcile
    #[arg(long, value_name = "NAME=BOOL,...", action = ArgAction::Append, value_parser = gates, allow_hyphen_values = true)]
    pub(super) feature_gates: Vec<Gates>,
}

/// Leader election.
#[derive(Debug, Args)]
#[command(next_help_heading = "Leader election")]
pub(super) struct Leader {
    /// Work only while holding the Lease source-watcher-leader-election, which source-watcher holds too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set)]
    pub(super) enable_leader_election: bool,
    /// Give the Lease back at the end, so that others need not wait for it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true",
        value_name = "BOOL", value_parser = go_bool, action = ArgAction::Set)]
    pub(super) leader_election_release_on_cancel: bool,
    /// How long others wait before they take a Lease that is not renewed
    #[arg(long, default_value = "35s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) leader_election_lease_duration: GoDuration,
    /// How long the holder tries to renew it before it ends
    #[arg(long, default_value = "30s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) leader_election_renew_deadline: GoDuration,
    /// Accepted: two seconds are between two tries, as with source-watcher
    #[arg(long, default_value = "5s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) leader_election_retry_period: GoDuration,
}

/// Accepted, so that arguments written for source-watcher work; they mean nothing here.
#[derive(Debug, Args)]
#[command(next_help_heading = "Accepted without effect")]
pub(super) struct Unused {
    /// Belongs to the artifact server
    #[arg(
        long,
        env = "STORAGE_PATH",
        hide_env_values = true,
        default_value = "/data",
        value_name = "FOLDER",
        allow_hyphen_values = true
    )]
    pub(super) storage_path: String,
    /// Belongs to the artifact server
    #[arg(
        long,
        env = "STORAGE_ADDRESS",
        hide_env_values = true,
        default_value = ":9090",
        value_name = "ADDRESS",
        allow_hyphen_values = true
    )]
    pub(super) storage_addr: String,
    /// Requests to kube-apiserver are not limited
    #[arg(long, default_value = "50", value_name = "NUMBER", allow_hyphen_values = true)]
    pub(super) kube_api_qps: f32,
    /// Requests to kube-apiserver are not limited
    #[arg(long, default_value = "300", value_name = "COUNT", allow_hyphen_values = true)]
    pub(super) kube_api_burst: i64,
    /// No ConfigMaps and Secrets are watched
    #[arg(
        long,
        default_value = "reconcile.fluxcd.io/watch=Enabled",
        value_name = "SELECTOR",
        allow_hyphen_values = true
    )]
    pub(super) watch_configs_label_selector: String,
}

/// A boolean in any of Go's spellings.
pub(super) fn go_bool(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("use true or false"),
    }
}

/// The gates of one `--feature-gates`, in order.
#[derive(Clone, Debug)]
pub(super) struct Gates(pub(super) Vec<(String, bool)>);

/// `A=true,B=false`, with spaces around names and values.
fn gates(list: &str) -> Result<Gates, String> {
    let pairs = list.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?}: use NAME=true or NAME=false"))?;
        let value = go_bool(value.trim()).map_err(|hint| format!("{pair:?}: {hint}"))?;
        Ok((name.trim().to_owned(), value))
    });
    pairs.collect::<Result<_, _>>().map(Gates)
}
