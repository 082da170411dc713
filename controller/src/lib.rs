//! `weir-controller`: watches ArtifactGenerators and Flux sources, plans, and publishes ExternalArtifacts. It knows Kubernetes
//! and no bytes: it opens no file and serves no artifact.

pub mod api;
pub mod args;
pub mod election;
pub mod error;
pub mod events;
pub mod health;
pub mod log;
pub mod metrics;
pub mod plan;
pub mod reconcile;
pub mod requests;
pub mod run;
pub mod schedule;
pub mod server;
pub mod standby;
pub mod sweep;
pub mod watch;
