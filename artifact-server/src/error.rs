//! Why the server can not start. Each is one line that says what to do.

use weir_proto::Failure;

use crate::{args::ListenAddress, grpc::ListenerError, source::SourceError, storage::StorageError};

/// Why the server can not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The volume.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The source cache.
    #[error("{0}; choose a writable folder with --source-cache-path")]
    Sources(#[from] SourceError),
    /// The gRPC socket.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// The policy file.
    #[error("{0}")]
    Policy(String),
    /// The artifact port.
    #[error("{0}")]
    Serving(Failure),
    /// A port for operators.
    #[error("can not listen on {address}: {cause}; free the port, or choose another --{flag}")]
    Port {
        /// What was asked for.
        address: ListenAddress,
        /// Which flag says so.
        flag: &'static str,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The watch on the volume.
    #[error("can not watch the volume: {0}")]
    Watch(std::io::Error),
    /// gRPC itself.
    #[error("gRPC failed: {0}")]
    Grpc(Box<dyn std::error::Error + Send + Sync>),
}
