//! Configuration in two steps: [`Flags`] are what a person typed, [`Config`] is the same with everything checked.
//! Nothing after start-up reads flags or the environment.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use weir_proto::Algorithm;

mod address;
mod flags;
mod quantity;

pub use address::{AddressError, GrpcAddress, ListenAddress, TlsFiles};
pub use flags::Flags;
pub use quantity::{Bytes, QuantityError};
pub use weir_proto::{DurationError, GoDuration};

use crate::{
    log::{Encoding, Level},
    source::HostPattern,
};

/// When the artifact port is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeMode {
    /// While a controller that leads wants it (`SetServing`). Remembered on the volume.
    WhenLed,
    /// From start to end.
    Always,
}

/// Everything the server needs to know, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Root of the volume.
    pub storage_path: PathBuf,
    /// Where artifacts are served over HTTP.
    pub storage_address: ListenAddress,
    /// What artifact URLs start with.
    pub advertised_address: String,
    /// Files older than this are collected.
    pub retention_ttl: Duration,
    /// How many files of an artifact to keep.
    pub retention_records: u32,
    /// Names artifact digests.
    pub algorithm: Algorithm,
    /// Where the gRPC services listen.
    pub grpc: GrpcAddress,
    /// Who may do what; `None`: whoever connects may do everything.
    pub grpc_policy: Option<PathBuf>,
    /// How long an upload may bring nothing, more than 0.
    pub upload_silence: Duration,
    /// Most bytes of one artifact: of its files together before they are compressed, or of a file that is written as it is.
    pub artifact_max_bytes: u64,
    /// When the artifact port is open.
    pub serve: ServeMode,
    /// Fetched sources.
    pub sources: Sources,
    /// Prometheus metrics; `None` is off.
    pub metrics: Option<ListenAddress>,
    /// Health checks; `None` is off.
    pub health: Option<ListenAddress>,
    /// Least level to log.
    pub log_level: Level,
    /// How to log.
    pub log_encoding: Encoding,
}

/// What bounds sources and where they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Folder of the cache. It is wiped at start and must not lie within the volume.
    pub folder: PathBuf,
    /// Budget of the cache, bytes on disk and in memory.
    pub cache_bytes: u64,
    /// Most bytes one source may unpack to.
    pub max_bytes: u64,
    /// Most files and directories in one source.
    pub max_entries: u64,
    /// Deepest path in one source, in components.
    pub max_depth: usize,
    /// Hosts that sources may come from; empty: any.
    pub hosts: Vec<HostPattern>,
    /// How often a failed download is tried again.
    pub http_retry: u32,
}

/// What of the environment matters, read once.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Name of this machine, for a server that listens on 0.0.0.0.
    pub hostname: Option<String>,
    /// Folder for temporary files.
    pub temporary: PathBuf,
}

impl Surroundings {
    /// Reads the environment.
    pub fn read() -> Self {
        let named = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
        Self { hostname: named.or_else(kernel), temporary: std::env::temp_dir() }
    }
}

/// A flag that can not be used: which one, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: {message}")]
pub struct FlagError {
    flag: &'static str,
    message: String,
}

/// Names the flag in an error of its value.
fn at<E: std::fmt::Display>(flag: &'static str) -> impl FnOnce(E) -> FlagError {
    move |error| FlagError { flag, message: error.to_string() }
}

impl Config {
    /// Checks what was typed. Pure.
    pub fn new(flags: Flags, surroundings: &Surroundings) -> Result<Self, FlagError> {
        let Flags { storage_path, storage_addr, storage_adv_addr, storage_retention, grpc, serve, sources, admin, log } =
            flags;
        let storage_path = PathBuf::from(or_default(storage_path, "/data"));
        let storage_address: ListenAddress = or_default(storage_addr, ":9090").parse().map_err(|_| FlagError {
            flag: "storage-addr",
            message: "invalid storage address: use host:port, :port or [ipv6]:port".to_owned(),
        })?;
        let advertised = address::advertised(&storage_adv_addr, &storage_address, surroundings.hostname.as_deref())
            .map_err(at("storage-adv-addr"))?;
        if advertised.contains(char::is_whitespace) {
            return Err(at("storage-adv-addr")("must not contain spaces"));
        }
        let upload_silence = grpc.silence()?;
        let (grpc, grpc_policy) = grpc.checked()?;
        let ttl = storage_retention.artifact_retention_ttl.to_std();
        Ok(Self {
            advertised_address: advertised,
            retention_ttl: ttl.ok_or("must not be negative").map_err(at("artifact-retention-ttl"))?,
            retention_records: storage_retention.artifact_retention_records,
            artifact_max_bytes: storage_retention.artifact_max_size.0,
            algorithm: Algorithm::of_flag(&storage_retention.artifact_digest_algo)
                .map_err(at("artifact-digest-algo"))?,
            grpc,
            grpc_policy,
            upload_silence,
            serve,
            sources: sources.checked(&storage_path, &surroundings.temporary)?,
            metrics: optional_address(&admin.metrics_addr).map_err(at("metrics-addr"))?,
            health: optional_address(&admin.health_addr).map_err(at("health-addr"))?,
            log_level: log.log_level,
            log_encoding: log.log_encoding,
            storage_path,
            storage_address,
        })
    }
}

/// An empty environment variable counts as unset.
fn or_default(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

/// Empty or `0` switches a port off.
fn optional_address(text: &str) -> Result<Option<ListenAddress>, AddressError> {
    match text {
        "" | "0" => Ok(None),
        text => text.parse().map(Some),
    }
}

/// What start-up should do after reading the command line.
#[derive(Debug)]
pub enum CommandLine {
    /// Serve.
    Run(Box<Config>),
    /// Print this and end well: `--help`, `--version`.
    Print(String),
    /// Print this one line and end with code 2.
    Refuse(String),
}

/// Reads a command line, the program's name first.
pub fn read<I, T>(arguments: I, surroundings: &Surroundings) -> CommandLine
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return CommandLine::Refuse(one_line(&error.to_string())),
        Err(help) => return CommandLine::Print(help.to_string()),
    };
    match Config::new(flags, surroundings) {
        Ok(config) => CommandLine::Run(Box::new(config)),
        Err(error) => CommandLine::Refuse(format!("error: {error}")),
    }
}

/// clap explains over several lines; keep the error and its tips, drop the usage.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let kept: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    format!("{}; --help lists all flags", kept.join("; "))
}

#[cfg(test)]
mod tests;
