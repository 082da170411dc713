//! `cargo conformance unix|mtls COMMAND...`: every conformance case by a runner of your own. See `e2e/conformance/README.md`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Parser;
use weir_e2e::conformance::case::{self, Transport};
use weir_e2e::conformance::stand::Stand;
use weir_e2e::conformance::{judge, program};
use weir_e2e::progress::{say, tell};
use weir_e2e::run_dir::RunDir;

/// Starts artifact servers and sources on this machine, runs a program over every conformance case and says what went wrong.
#[derive(Parser)]
struct Args {
    /// How the program reaches the servers.
    transport: Transport,
    /// The program with its arguments; the file that says what runs where is added at the end.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    if let Some(code) = weir_e2e::guard::intercept() {
        return code;
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<()> {
    let cases = case::of(args.transport)?;
    let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    let stand = Stand::start(&Arc::new(RunDir::new()?), "conformance", args.transport, &["yours"]).await?;
    let mut command = tokio::process::Command::new(&args.command[0]);
    command.args(&args.command[1..]);
    let complaints = judge::complaints(&names, &program::run(&stand, "yours", command).await?);
    stand.stop().await?;
    if !complaints.is_empty() {
        bail!("{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    }
    tell(format!("{} cases over {}, all as they should be", names.len(), args.transport.name()));
    Ok(())
}
