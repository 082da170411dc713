//! `weir-controller`: see `--help`.

use std::{io::Write, process::ExitCode};

use weir_controller::{
    args::{self, CommandLine, Config, Surroundings},
    log, run,
};
use weir_proto::process::until_signalled;

/// What a second signal leaves undone.
const UNFINISHED: &str = "a second signal ended it before all reconciles had finished";

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
            let result = runtime.block_on(until_signalled(|shutdown| run::run(config, shutdown), UNFINISHED));
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
