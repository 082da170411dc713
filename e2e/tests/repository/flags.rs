//! The tables in docs/operating.md have every flag and every metric, with the defaults of the programs.

use std::{collections::BTreeMap, fs, path::Path};

use clap::{Command, CommandFactory};
use weir_artifact_server::args::{CommandLine, GrpcAddress, Surroundings};

use crate::{layering, root};

fn operating() -> String {
    fs::read_to_string(root().join("docs/operating.md")).unwrap()
}

/// The rows of the table below a heading: flag and default, without backticks.
fn documented(program: &str) -> BTreeMap<String, String> {
    let text = operating();
    let section = text.split(&format!("\n### {program}\n")).nth(1).expect("a section of that name");
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `--"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>());
    cells.map(|cells| (cells[1].trim_start_matches("--").to_owned(), cells[2].clone())).collect()
}

/// The flags of a program and their defaults.
fn real(command: &Command) -> BTreeMap<String, String> {
    let flags = command.get_arguments().filter_map(|argument| Some((argument.get_long()?, argument)));
    let flags = flags.filter(|(name, argument)| !argument.is_hide_set() && *name != "help" && *name != "version");
    let default = |argument: &clap::Arg| {
        let values: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        values.join(",")
    };
    flags.map(|(name, argument)| (name.to_owned(), default(argument))).collect()
}

#[test]
fn every_flag_of_the_server_is_documented_with_its_default() {
    let command = weir_artifact_server::args::Flags::command();
    assert_eq!(documented("weir-artifact-server"), real(&command));
}

/// What `deploy/base` starts the server with is understood, and says what the rest of the manifest relies on.
#[test]
fn the_server_takes_its_arguments_from_the_manifest() {
    let pod = crate::manifests::pod();
    let args = pod["initContainers"][0]["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    let line = std::iter::once("weir-artifact-server".to_owned())
        .chain(args.map(|argument| argument.replace("$(RUNTIME_NAMESPACE)", "flux-system")));
    let surroundings = Surroundings { hostname: None, temporary: "/tmp".into() };
    let CommandLine::Run(config) = weir_artifact_server::args::read(line, &surroundings) else { panic!("refused") };
    assert_eq!(config.storage_path, Path::new("/data"));
    assert_eq!(config.storage_address.port, 9090);
    assert_eq!(config.advertised_address, "source-watcher.flux-system.svc.cluster.local.");
    assert_eq!(config.grpc, GrpcAddress::Unix("/run/weir/s/artifact.sock".into()));
    assert_eq!(config.metrics.map(|address| address.port), Some(8081));
    assert_eq!(config.health.map(|address| address.port), Some(9441));
    assert!(config.sources.folder.starts_with("/tmp"), "the cache lies in the volume `tmp`");
    assert_eq!(config.sources.cache_bytes, 1 << 30, "half of that volume's limit");
}

/// Every word in the sources that looks like a metric's name.
#[test]
fn every_metric_is_documented() {
    let text = operating();
    let mut missing = Vec::new();
    let mut found = 0;
    for file in layering::sources(&["artifact-server/src", "controller/src"]) {
        for (number, line) in layering::code(&fs::read_to_string(&file).unwrap()) {
            let literals = line.split('"').skip(1).step_by(2);
            for name in literals.filter(|literal| is_metric(literal)) {
                found += 1;
                if !text.contains(name) {
                    missing.push(format!("{}:{number} {name}", file.display()));
                }
            }
        }
    }
    assert!(found > 10, "only {found} metrics found");
    assert!(missing.is_empty(), "docs/operating.md lacks\n{}", missing.join("\n"));
}

fn is_metric(literal: &str) -> bool {
    let prefixes = ["weir_", "process_", "controller_runtime_", "workqueue_", "rest_client_", "leader_election_"];
    let is_crate = literal.starts_with("weir_artifact_server") || literal.starts_with("weir_controller");
    let plain = literal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
    plain && !is_crate && prefixes.iter().any(|prefix| literal.len() > prefix.len() && literal.starts_with(prefix))
}
