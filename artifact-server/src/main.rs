//! `weir-artifact-server`: see `--help`.

use std::{io::Write, process::ExitCode};

use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_artifact_server::{
    args::{self, CommandLine, Config, Surroundings},
    log, run,
};

/// Threads for work that blocks. Few, so that memory stays flat; work on artifacts takes only a part of them.
const BLOCKING_THREADS: usize = 24;

fn main() -> ExitCode {
    match args::read(std::env::args_os(), &Surroundings::read()) {
        CommandLine::Run(config) => serve(*config),
        CommandLine::Print(text) => {
            // A closed pipe is the reader's business.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        CommandLine::Refuse(line) => {
            let _ = writeln!(std::io::stderr(), "{line}");
            ExitCode::from(2)
        }
    }
}

fn serve(config: Config) -> ExitCode {
    log::start(config.log_level, config.log_encoding);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(until_signalled(config));
            // Whatever still blocks has nothing to say any more.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(format!("can not start threads: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the artifact server ends");
            ExitCode::FAILURE
        }
    }
}

/// The first signal drains, the second ends at once.
async fn until_signalled(config: Config) -> Result<(), String> {
    let listen = |kind| signal(kind).map_err(|error| format!("can not listen for signals: {error}"));
    let (mut term, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (first, again) = tokio::sync::oneshot::channel();
    let signals = async move {
        either(&mut term, &mut interrupt).await;
        let _ = first.send(());
        either(&mut term, &mut interrupt).await;
    };
    let first = async move {
        let _ = again.await;
    };
    tokio::select! {
        result = run::run(config, first) => result.map_err(|error| error.to_string()),
        () = signals => Err("a second signal ended it before all downloads had finished".to_owned()),
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
