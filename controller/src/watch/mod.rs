//! What is known of the cluster, and what asks for a reconcile.

pub mod cache;
pub mod feed;
