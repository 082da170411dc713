//! `cargo playground [--once]`: see the library's `playground` module.

use std::process::ExitCode;

use clap::Parser;

/// Starts a control plane, Flux and Weir on this machine and shows a commit in
/// git reaching the cluster.
#[derive(Parser)]
struct Args {
    /// End after the story: exit status 0 when every step was proven.
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    if let Some(code) = weir_e2e::guard::intercept() {
        return code;
    }
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            weir_e2e::progress::say(format!("\nThe playground failed: {}", reason(&error)));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(weir_e2e::playground::run(args.once))
}

/// The logs first, so that the reason is the last thing on the screen.
fn reason(error: &anyhow::Error) -> String {
    let mut lines: Vec<_> = error.chain().map(ToString::to_string).collect();
    lines.dedup();
    lines.join("\n")
}
