//! The flags as typed. The first six are those of Flux's artifact SDK, with its environment variables and defaults.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, ValueEnum};
use sha2::{Digest, Sha256};

use super::{Bytes, FlagError, GoDuration, GrpcAddress, ServeMode, Sources, TlsFiles, at, or_default};
use crate::log::{Encoding, Level};

/// Default of `--grpc-addr`.
pub(super) const GRPC_ADDRESS: &str = "unix:///run/weir/s/artifact.sock";

/// Stores, builds and serves artifacts for Flux; controllers drive it over gRPC.
#[derive(Debug, Parser)]
#[command(name = "weir-artifact-server", version, args_override_self = true)]
pub struct Flags {
    /// Directory where artifacts are stored. It must exist
    #[arg(long, env = "STORAGE_PATH", default_value = "/data")]
    pub(super) storage_path: String,
    /// Address that artifacts are served on
    #[arg(long, env = "STORAGE_ADDRESS", default_value = ":9090")]
    pub(super) storage_addr: String,
    /// Address that artifact URLs start with; made from --storage-addr when empty
    #[arg(long, env = "STORAGE_ADV_ADDR", default_value = "")]
    pub(super) storage_adv_addr: String,
    #[command(flatten)]
    pub(super) storage_retention: Retention,
    #[command(flatten)]
    pub(super) grpc: Grpc,
    /// When the artifact port is open: when a leading controller asks (SetServing), or always
    #[arg(long, default_value = "when-led")]
    pub(super) serve: ServeMode,
    #[command(flatten)]
    pub(super) sources: SourceFlags,
    #[command(flatten)]
    pub(super) admin: Admin,
    #[command(flatten)]
    pub(super) log: Log,
}

#[derive(Debug, Args)]
pub(super) struct Retention {
    /// Collect artifacts older than this, the published ones excepted
    #[arg(long, default_value = "1m0s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) artifact_retention_ttl: GoDuration,
    /// How many files of each artifact to keep
    #[arg(long, default_value = "2", value_name = "COUNT")]
    pub(super) artifact_retention_records: u32,
    /// sha256, sha384, sha512, blake3 or sha1
    #[arg(long, default_value = "sha256", value_name = "ALGORITHM")]
    pub(super) artifact_digest_algo: String,
    /// Most bytes of one artifact: of its files together before they are compressed, or of a file that is written as it is
    #[arg(long, alias = "max-artifact-size", default_value = "1Gi", value_name = "BYTES")]
    pub(super) artifact_max_size: Bytes,
}

#[derive(Debug, Args)]
pub(super) struct Grpc {
    /// Where controllers connect: unix:///<path>, https://<address>:<port>, or http://<address>:<port> on loopback
    #[arg(long, env = "GRPC_ADDR", default_value = GRPC_ADDRESS)]
    pub(super) grpc_addr: String,
    /// Allow plain TCP beyond loopback. Whoever reaches the port can change every artifact
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub(super) insecure_grpc: bool,
    /// The server's certificate for https://, PEM. It and the next two are read again when they change
    #[arg(long, env = "GRPC_TLS_CERT", default_value = "", value_name = "FILE")]
    pub(super) grpc_tls_cert: String,
    /// The key of that certificate, PEM
    #[arg(long, env = "GRPC_TLS_KEY", default_value = "", value_name = "FILE")]
    pub(super) grpc_tls_key: String,
    /// Authorities whose certificates clients must have, PEM
    #[arg(long, env = "GRPC_CLIENT_CA", default_value = "", value_name = "FILE")]
    pub(super) grpc_client_ca: String,
    /// Who may do what, YAML or JSON, read again when it changes; without it, whoever connects may do everything
    #[arg(long, env = "GRPC_POLICY", default_value = "", value_name = "FILE")]
    pub(super) grpc_policy: String,
    /// How long an upload or the stream of a build may bring nothing; then it is ended
    #[arg(long, default_value = "1m0s", value_name = "DURATION", allow_hyphen_values = true)]
    pub(super) grpc_upload_silence: GoDuration,
}

#[derive(Debug, Args)]
pub(super) struct SourceFlags {
    /// Budget of the source cache
    #[arg(long, default_value = "1Gi", value_name = "BYTES")]
    source_cache_size: Bytes,
    /// Where the folder of the source cache is made; the temporary folder when empty
    #[arg(long, default_value = "", value_name = "FOLDER")]
    source_cache_path: String,
    /// Most bytes that one source may unpack to
    #[arg(long, default_value = "1Gi", value_name = "BYTES")]
    source_max_size: Bytes,
    /// Most files and directories in one source
    #[arg(long, default_value = "500000", value_name = "COUNT")]
    source_max_entries: u64,
    /// Deepest path in one source
    #[arg(long, default_value = "256", value_name = "COUNT")]
    source_max_depth: usize,
    /// Hosts that sources may come from, joined by commas: host, host:port, *.domain; any when empty
    #[arg(long, default_value = "", value_name = "HOSTS")]
    source_hosts: String,
    /// How often a failed download is tried again
    #[arg(long, default_value = "9", value_name = "COUNT")]
    http_retry: u32,
}

#[derive(Debug, Args)]
pub(super) struct Admin {
    /// Address of the Prometheus metrics; 0 switches them off
    #[arg(long, default_value = ":8081", value_name = "ADDRESS")]
    pub(super) metrics_addr: String,
    /// Address of /healthz and /readyz; 0 switches them off
    #[arg(long, default_value = ":9441", value_name = "ADDRESS")]
    pub(super) health_addr: String,
}

#[derive(Debug, Args)]
pub(super) struct Log {
    /// trace, debug, info or error
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    pub(super) log_level: Level,
    /// json or console
    #[arg(long, default_value = "json", value_name = "ENCODING")]
    pub(super) log_encoding: Encoding,
}

impl ValueEnum for ServeMode {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::WhenLed, Self::Always]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Self::WhenLed => "when-led",
            Self::Always => "always",
        }))
    }
}

impl Grpc {
    /// How long an upload may bring nothing.
    pub(super) fn silence(&self) -> Result<Duration, FlagError> {
        let silence = self.grpc_upload_silence.to_std().filter(|silence| !silence.is_zero());
        silence.ok_or("must be more than 0").map_err(at("grpc-upload-silence"))
    }

    /// Checks that the flags fit each other: whatever has no effect would be a hole that nobody sees.
    pub(super) fn checked(self) -> Result<(GrpcAddress, Option<PathBuf>), FlagError> {
        let Self { grpc_addr, insecure_grpc, grpc_tls_cert, grpc_tls_key, grpc_client_ca, grpc_policy, .. } = self;
        let named = [&grpc_tls_cert, &grpc_tls_key, &grpc_client_ca].map(|file| !file.is_empty());
        let files = TlsFiles {
            certificate: grpc_tls_cert.into(),
            key: grpc_tls_key.into(),
            client_authorities: grpc_client_ca.into(),
        };
        let files = named.iter().all(|&named| named).then_some(files);
        let address = GrpcAddress::parse(&or_default(grpc_addr, GRPC_ADDRESS), insecure_grpc, files);
        let address = address.map_err(at("grpc-addr"))?;
        if !matches!(address, GrpcAddress::Tls(..)) && named.contains(&true) {
            let message = "--grpc-tls-cert, --grpc-tls-key and --grpc-client-ca have no effect without https://";
            return Err(at("grpc-addr")(message));
        }
        let policy = (!grpc_policy.is_empty()).then(|| PathBuf::from(grpc_policy));
        if matches!(address, GrpcAddress::Tcp(_)) && policy.is_some() {
            return Err(at("grpc-policy")(
                "clients over http:// have no identity; use unix:// or https:// with --grpc-addr",
            ));
        }
        Ok((address, policy))
    }
}

impl SourceFlags {
    /// Checks that the cache, which is wiped at start, is not part of the volume nor the volume part of it.
    pub(super) fn checked(self, storage: &Path, temporary: &Path) -> Result<Sources, FlagError> {
        let parent = match self.source_cache_path.as_str() {
            "" => temporary.to_owned(),
            path => PathBuf::from(path),
        };
        // A folder of its own, as it is wiped; one for each volume, so that servers side by side leave each other's alone.
        let name = Sha256::digest(storage.as_os_str().as_encoded_bytes());
        let folder = parent.join(format!("weir-sources-{}", hex::encode(&name[..4])));
        if folder.starts_with(storage) || storage.starts_with(&folder) {
            let message =
                format!("{} and --storage-path {} must not contain each other", folder.display(), storage.display());
            return Err(at("source-cache-path")(message));
        }
        if self.source_cache_size.0 == 0 {
            return Err(at("source-cache-size")("must be more than 0: sources are unpacked there, e.g. 1Gi"));
        }
        let hosts = self.source_hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::parse);
        Ok(Sources {
            hosts: hosts.collect::<Result<_, _>>().map_err(at::<String>("source-hosts"))?,
            folder,
            cache_bytes: self.source_cache_size.0,
            max_bytes: self.source_max_size.0,
            max_entries: self.source_max_entries,
            max_depth: self.source_max_depth,
            http_retry: self.http_retry,
        })
    }
}
