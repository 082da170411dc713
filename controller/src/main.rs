//! `weir-controller`: see `--help`.

use std::{io::Write, process::ExitCode};

use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_controller::{
    args::{self, CommandLine, Config, Surroundings},
    log, run,
};

fn main() -> ExitCode {
    match args::read(std::env::args_os(), &Surroundings::read()) {
        CommandLine::Run(config) => work(*config),
        CommandLine::Print(text) => {
            // A closed pipe is the reader's business.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        CommandLine::Usage(text) => say(&text, 2),
        CommandLine::Refuse(line) => say(&line, 1),
    }
}

fn say(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
    ExitCode::from(code)
}

fn work(config: Config) -> ExitCode {
    log::start(config.log_level, config.log_encoding);
    let result = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let result = runtime.block_on(until_signalled(config));
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(format!("can not start threads: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "problem running manager");
            ExitCode::FAILURE
        }
    }
}

/// The first signal lets reconciles end, the second ends at once.
async fn until_signalled(config: Config) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("can not listen for signals: {error}"));
    let (mut term, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (first, again) = tokio::sync::oneshot::channel();
    let signals = async move {
        either(&mut term, &mut interrupt).await;
        let _ = first.send(());
        either(&mut term, &mut interrupt).await;
    };
    let shutdown = async move {
        let _ = again.await;
    };
    tokio::select! {
        result = run::run(config, shutdown) => result.map_err(|error| error.to_string()),
        () = signals => Err("a second signal ended it before all reconciles had finished".to_owned()),
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
