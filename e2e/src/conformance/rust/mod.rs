//! The runner in Rust: by the generated stubs, or by the client of `weir-proto` wherever that has a method for a call.

mod client;
mod connect;
mod steps;
mod stubs;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::case;
use super::setup::{Outcome, Setup};
use steps::Run;

/// What calls are made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The stubs that are generated from the contract.
    Stubs,
    /// The client of `weir-proto`; the stubs where it has no method.
    Client,
}

/// What becomes of every case, and the methods of the client that were called.
///
/// # Errors
/// When the cases can not be read, or a peer not be connected to.
pub async fn run(setup: Setup, way: Way) -> Result<(Vec<Outcome>, BTreeSet<&'static str>)> {
    let run = Run::new(Arc::new(setup), way)?;
    let mut outcomes = Vec::new();
    for case in case::load()?.into_values().flatten() {
        if !run.setup.is_for(case.transport) {
            continue;
        }
        let why = run.case(&case).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
        outcomes.push(Outcome { case: case.name, ok: why.is_empty(), why });
    }
    Ok((outcomes, run.used()))
}

/// Every RPC of the contract.
///
/// # Errors
/// When the contract's descriptor can not be read.
pub fn methods() -> Result<Vec<MethodDescriptor>> {
    let pool = DescriptorPool::decode(weir_proto::DESCRIPTOR).context("the descriptor of the contract")?;
    Ok(pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect())
}
