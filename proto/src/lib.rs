//! The contract between Weir's artifact server and any controller: the package `weir.artifact.v1`, its validated
//! words ([`Digest`], [`ArtifactPath`], [`Owner`], [`LeaseName`], [`captures`], and [`GoDuration`] for the flags of both
//! programs) and its errors ([`Failure`]).
//!
//! The messages are generated from `proto/weir/artifact/v1/*.proto` and committed; `tests/generated.rs` fails when
//! they are stale. Nothing here does I/O, but for three features: `client`, for controllers in Rust, `tls`, which is a
//! part of it, and `process`, which is for Weir's own programs.

pub mod captures;
#[cfg(feature = "client")]
pub mod client;
mod digest;
mod duration;
mod failure;
mod lease;
mod owner;
mod path;
#[cfg(feature = "process")]
pub mod process;
mod quote;
#[cfg(feature = "tls")]
pub mod tls;
mod trouble;
mod url;

pub use digest::{Algorithm, Digest, DigestError};
pub use duration::{DurationError, GoDuration};
pub use failure::{Failure, Reason};
pub use lease::{LeaseName, LeaseNameError};
pub use owner::{Owner, OwnerError};
pub use path::{ArtifactDir, ArtifactPath, PathError};
pub use quote::quoted;
pub use trouble::Trouble;
pub use url::set_hostname;

/// Generated messages, clients and services of `weir.artifact.v1`.
#[expect(
    clippy::too_many_lines,
    clippy::large_enum_variant,
    clippy::allow_attributes_without_reason,
    reason = "generated code; an answer is nearly always the large variant"
)]
pub mod v1 {
    include!("gen/weir.artifact.v1.rs");
}

/// The encoded `FileDescriptorSet` of the contract, for gRPC reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!("gen/descriptor.bin");

/// Largest gRPC message either side sends or accepts, in bytes. Big data always streams.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
