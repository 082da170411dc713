//! `cargo bench-monorepo`: see `weir_e2e::bench`.

use std::process::ExitCode;

use clap::Parser as _;
use weir_e2e::{bench, guard};

fn main() -> anyhow::Result<ExitCode> {
    if let Some(code) = guard::intercept() {
        return Ok(code);
    }
    let options = bench::Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(bench::run(options))?;
    Ok(ExitCode::SUCCESS)
}
