//! Everything that is served over HTTP: artifacts on one port, health and metrics on others.

pub mod admin;
mod conditions;
mod connections;
mod files;
mod progress;

pub use connections::{Draining, Limits, accept, listen, log_open};
pub use files::Files;
