//! `weir-artifact-server`: see `--help`.

use std::{io::Write, process::ExitCode};

use weir_artifact_server::{
    args::{self, CommandLine, Config, Surroundings},
    log, run,
    threads::Threads,
};
use weir_proto::process::until_signalled;

/// What a second signal leaves undone.
const UNFINISHED: &str = "a second signal ended it before all downloads had finished";

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
    let threads = Threads::here();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(threads.blocking()).build();
    let result = match runtime {
        Ok(runtime) => {
            let run = |shutdown| run::run(config, threads, shutdown);
            let result = runtime.block_on(until_signalled(run, UNFINISHED));
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
