//! Sources over real HTTP on loopback: what is tried again, what is refused, what is shared, kept and dropped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may panic too")]

mod answers;
mod authority;
mod bounds;
mod keeping;
mod proxy;
mod server;
mod setup;
mod sharing;
mod tls;
mod tls_server;
