//! `weir-artifact-server`: owns the volume. It fetches sources, composes trees, writes archives, stores, collects and serves
//! them. It knows bytes and no Kubernetes.

pub mod archive;
pub mod args;
pub mod hash;
pub mod log;
pub mod source;
pub mod storage;
pub mod tree;
