//! Configuration in two steps: [`Flags`] are what a person typed, [`Config`] is the same with everything checked. Nothing after
//! start-up reads flags or the environment.

use std::{ffi::OsString, fmt, time::Duration};

use clap::{CommandFactory as _, Parser as _};
use reqwest::Url;
use weir_proto::{Algorithm, GoDuration};

mod flags;
#[cfg(test)]
mod golden;
mod leader;
mod listen;
mod selector;
#[cfg(test)]
mod tests;

pub use flags::Flags;
use flags::Gates;
pub use listen::Listen;

use crate::{
    log::{Encoding, Level},
    plan::{election, output::Origin, requeue::Backoff},
    server::Certificates,
};

/// Everything the controller needs to know, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Generators that are reconciled at the same time, at least 1.
    pub concurrent: usize,
    /// Longest time for one reconcile, if it has one.
    pub timeout: Option<Duration>,
    /// Wait for a source that is missing or can not be fetched. None at all: until something changes.
    pub dependency: Duration,
    /// Waits after failures.
    pub backoff: Backoff,
    /// Jitter of the hourly reconcile in per cent, less than 100.
    pub jitter: u8,
    /// When the origin revision of an artifact moves.
    pub origin: Origin,
    /// Refuse sources in other namespaces.
    pub no_cross_namespace: bool,
    /// Only this namespace is watched; `None`: all.
    pub namespace: Option<String>,
    /// Only generators with labels that match this selector; empty: all.
    pub selector: String,
    /// What was said of the gate `DirectSourceFetch`; `None`: nothing, which is off.
    pub direct_source_fetch: Option<bool>,
    /// `RUNTIME_NAMESPACE`, may be empty: where the Lease is, for who runs outside of a pod.
    pub own_namespace: String,
    /// How to elect a leader; `None`: this is the only instance.
    pub election: Option<election::Settings>,
    /// Endpoint of the artifact server.
    pub artifact_server: String,
    /// For `https://`; else they may be empty.
    pub certificates: Certificates,
    /// What the artifact server is told with each request.
    pub storage: Storage,
    /// Prometheus metrics; `None` is off.
    pub metrics: Option<Listen>,
    /// Health checks; `None` is off.
    pub health: Option<Listen>,
    /// Least level to log.
    pub log_level: Level,
    /// How to log.
    pub log_encoding: Encoding,
    /// Where events are posted to, `http` or `https`; `None`: nowhere.
    pub events: Option<Url>,
    /// Name of this machine or pod, for events.
    pub host: String,
}

/// Settings of the artifact server that belong to this controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// What artifact URLs start with; empty: the server's own.
    pub advertised_address: String,
    /// Files older than this are collected.
    pub retention_ttl: Duration,
    /// How many files of an artifact to keep.
    pub retention_records: u32,
    /// Names artifact digests.
    pub algorithm: Algorithm,
    /// How often a failed download is tried again.
    pub http_retry: u32,
    /// Put in place of the host of every source URL; empty: none.
    pub source_host: String,
}

/// What of the environment matters, read once.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `RUNTIME_NAMESPACE`: the namespace of the pod.
    pub namespace: String,
    /// `SOURCE_CONTROLLER_LOCALHOST`: host of every source download, for development outside the cluster.
    pub source_host: String,
    /// `HOSTNAME`: the name of the pod.
    pub host: String,
}

impl Surroundings {
    /// Reads the environment.
    pub fn read() -> Self {
        let value = |name: &str| std::env::var(name).unwrap_or_default();
        Self {
            namespace: value("RUNTIME_NAMESPACE"),
            source_host: value("SOURCE_CONTROLLER_LOCALHOST"),
            host: value("HOSTNAME"),
        }
    }
}

/// What start-up should do after reading the command line.
#[derive(Debug)]
pub enum CommandLine {
    /// Work.
    Run(Box<Config>),
    /// Print this and end well: `--help`, `--version`.
    Print(String),
    /// The flags can not be read: print this and end with code 2.
    Usage(String),
    /// A flag can be read but not used: print this one line and end with code 1.
    Refuse(String),
}

/// Reads a command line, the program's name first.
pub fn read<I, T>(arguments: I, surroundings: &Surroundings) -> CommandLine
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    match Flags::try_parse_from(arguments) {
        Ok(flags) => match Config::new(flags, surroundings) {
            Ok(config) => CommandLine::Run(Box::new(config)),
            Err(error) => CommandLine::Refuse(error.to_string()),
        },
        Err(error) if error.use_stderr() => CommandLine::Usage(with_usage(&error.to_string())),
        Err(help) => CommandLine::Print(help.to_string()),
    }
}

/// The library says how to call the program for some mistakes only.
fn with_usage(text: &str) -> String {
    let usage = Flags::command().render_usage();
    if text.contains("Usage:") { text.to_owned() } else { format!("{text}\n{usage}\n") }
}

/// A flag that can not be used: which one, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: {message}")]
pub struct FlagError {
    flag: &'static str,
    message: String,
}

/// Names the flag in an error of its value.
fn at<E: fmt::Display>(flag: &'static str) -> impl FnOnce(E) -> FlagError {
    move |error| FlagError { flag, message: error.to_string() }
}

impl Config {
    /// Checks what was typed. Pure.
    pub fn new(flags: Flags, surroundings: &Surroundings) -> Result<Self, FlagError> {
        // Taken apart by name: a flag that nobody handles does not compile.
        let Flags { work, storage, admin, scope, leader, unused: _, rest: _ } = flags;
        let flags::Work { reconciliation_timeout, requeue_dependency, min_retry_delay, max_retry_delay, .. } = work;
        if work.interval_jitter_percentage >= 100 {
            let message = "the interval jitter percentage must be a non-negative value and less than 100";
            return Err(at("interval-jitter-percentage")(message));
        }
        let flags::Scope { watch_all_namespaces, watch_label_selector, events_addr, feature_gates } = scope;
        selector::check(&watch_label_selector).map_err(at("watch-label-selector"))?;
        let flags::Admin { metrics_addr, health_addr, log_level, log_encoding } = admin;
        Ok(Self {
            concurrent: usize::try_from(work.concurrent).unwrap_or(1).max(1),
            // As controller-runtime understands it: without time there is no limit.
            timeout: Some(duration("reconciliation-timeout", reconciliation_timeout)?).filter(|time| !time.is_zero()),
            dependency: duration("requeue-dependency", requeue_dependency)?,
            backoff: Backoff {
                min: duration("min-retry-delay", min_retry_delay)?,
                max: duration("max-retry-delay", max_retry_delay)?,
            },
            jitter: work.interval_jitter_percentage,
            origin: if work.origin_revision == "always" { Origin::Always } else { Origin::WithContent },
            no_cross_namespace: work.no_cross_namespace_refs,
            namespace: namespace(watch_all_namespaces, surroundings)?,
            selector: watch_label_selector.trim().to_owned(),
            direct_source_fetch: direct_source_fetch(&feature_gates)?,
            own_namespace: surroundings.namespace.clone(),
            election: leader.checked(&watch_label_selector)?,
            artifact_server: storage.artifact_server.clone(),
            certificates: storage.certificates()?,
            storage: storage.checked(surroundings)?,
            metrics: Listen::optional(&metrics_addr).map_err(at("metrics-addr"))?,
            health: Listen::optional(&health_addr).map_err(at("health-addr"))?,
            log_level: Level::named(&log_level),
            log_encoding: Encoding::named(&log_encoding),
            events: receiver(&events_addr).map_err(at("events-addr"))?,
            host: surroundings.host.clone(),
        })
    }
}

impl flags::Storage {
    fn certificates(&self) -> Result<Certificates, FlagError> {
        let certificates = Certificates {
            authorities: self.artifact_server_ca.clone().into(),
            certificate: self.artifact_server_cert.clone().into(),
            key: self.artifact_server_key.clone().into(),
        };
        if self.artifact_server.starts_with("https://") && !certificates.are_complete() {
            let message = "https:// needs --artifact-server-ca, --artifact-server-cert and --artifact-server-key: files of PEM with the \
                           authority of the server, and with certificate and key of this client";
            return Err(at("artifact-server")(message));
        }
        Ok(certificates)
    }

    fn checked(self, surroundings: &Surroundings) -> Result<Storage, FlagError> {
        let Self { artifact_server: _, storage_adv_addr, artifact_retention_ttl, .. } = self;
        if storage_adv_addr.contains(char::is_whitespace) {
            return Err(at("storage-adv-addr")("must not contain spaces"));
        }
        Ok(Storage {
            advertised_address: storage_adv_addr,
            retention_ttl: duration("artifact-retention-ttl", artifact_retention_ttl)?,
            retention_records: count(self.artifact_retention_records),
            algorithm: Algorithm::of_flag(&self.artifact_digest_algo).map_err(at("artifact-digest-algo"))?,
            http_retry: count(self.http_retry),
            source_host: surroundings.source_host.clone(),
        })
    }
}

/// A count that may be typed with a sign, as in Go: less than nothing is nothing.
fn count(typed: i64) -> u32 {
    u32::try_from(typed.max(0)).unwrap_or(u32::MAX)
}

fn duration(flag: &'static str, value: GoDuration) -> Result<Duration, FlagError> {
    value.to_std().ok_or_else(|| at(flag)("must not be negative"))
}

fn namespace(all: bool, surroundings: &Surroundings) -> Result<Option<String>, FlagError> {
    match surroundings.namespace.as_str() {
        _ if all => Ok(None),
        "" => Err(at("watch-all-namespaces")("false needs the environment variable RUNTIME_NAMESPACE")),
        own => Ok(Some(own.to_owned())),
    }
}

/// The URL that events go to, unless it is empty.
fn receiver(text: &str) -> Result<Option<Url>, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    match url {
        _ if text.is_empty() => Ok(None),
        Some(url) => Ok(Some(url)),
        None => Err(format!("{text:?} is not a URL of http or https; use http://<host>/")),
    }
}

/// What was said of DirectSourceFetch; the last mention counts. Another gate is refused.
fn direct_source_fetch(given: &[Gates]) -> Result<Option<bool>, FlagError> {
    let mut direct = None;
    for (name, value) in given.iter().flat_map(|gates| &gates.0) {
        match name.as_str() {
            "DirectSourceFetch" => direct = Some(*value),
            _ => return Err(at("feature-gates")(format!("feature-gate '{name}' not supported"))),
        }
    }
    Ok(direct)
}
