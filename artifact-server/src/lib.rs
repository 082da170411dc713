//! `weir-artifact-server`: owns the volume. It fetches sources, composes trees, writes archives, stores, collects and serves
//! them. It knows bytes and no Kubernetes.

pub mod archive;
pub mod args;
pub mod build;
pub mod error;
pub mod grpc;
pub mod hash;
pub mod http;
pub mod live;
pub mod log;
pub mod metrics;
pub mod policy;
mod quote;
pub mod run;
pub mod serving;
pub mod source;
pub mod storage;
pub mod threads;
pub mod tree;
