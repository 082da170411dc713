//! The tables in docs/operating.md have every flag and every metric, with the defaults of the programs.

use std::{collections::BTreeMap, fs, path::Path};

use clap::{Command, CommandFactory};
use serde_json::Value;

use crate::{layering, manifests, root};

const ADVERTISED: &str = "source-watcher.flux-system.svc.cluster.local.";

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
fn every_flag_is_documented_with_its_default() {
    let programs = [weir_artifact_server::args::Flags::command(), weir_controller::args::Flags::command()];
    for program in programs {
        assert_eq!(documented(program.get_name()), real(&program), "{}", program.get_name());
    }
}

/// The command line of a container, as the kubelet would expand it.
fn command_line(container: &Value) -> Vec<String> {
    let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    let expanded = arguments.map(|argument| argument.replace("$(RUNTIME_NAMESPACE)", "flux-system"));
    std::iter::once(container["name"].as_str().unwrap().to_owned()).chain(expanded).collect()
}

/// What `deploy/base` starts the server with is understood, and says what the rest of the manifest relies on.
#[test]
fn the_server_takes_its_arguments_from_the_manifest() {
    use weir_artifact_server::args::{CommandLine, GrpcAddress, Surroundings, read};
    let surroundings = Surroundings { hostname: None, temporary: "/tmp".into() };
    let line = command_line(&manifests::pod()["initContainers"][0]);
    let CommandLine::Run(config) = read(line, &surroundings) else { panic!("refused") };
    assert_eq!(config.storage_path, Path::new("/data"));
    assert_eq!(config.storage_address.port, 9090);
    assert_eq!(config.advertised_address, ADVERTISED);
    assert_eq!(config.grpc, GrpcAddress::Unix("/run/weir/s/artifact.sock".into()));
    assert_eq!(config.metrics.map(|address| address.port), Some(8081));
    assert_eq!(config.health.map(|address| address.port), Some(9441));
    assert!(config.sources.folder.starts_with("/tmp"), "the cache lies in the volume `tmp`");
    assert_eq!(config.sources.cache_bytes, 1 << 30, "half of that volume's limit");
}

/// The same for the controller, also with what Flux's installers add: a URL for events in front, a second address and a
/// selector behind.
#[test]
fn the_controller_takes_its_arguments_from_the_manifest() {
    use weir_controller::args::{CommandLine, Surroundings, read};
    let surroundings = Surroundings { namespace: "flux-system".to_owned(), ..Surroundings::default() };
    let line = command_line(&manifests::pod()["containers"][0]);
    let CommandLine::Run(config) = read(line.clone(), &surroundings) else { panic!("refused") };
    assert_eq!(config.namespace, None, "all namespaces are watched");
    assert_eq!(config.artifact_server, "unix:///run/weir/s/artifact.sock");
    assert_eq!(config.storage.advertised_address, ADVERTISED);
    let mut patched = line;
    patched.insert(1, "--events-addr=http://notification-controller.flux-system.svc.cluster.local./".to_owned());
    patched.push("--storage-adv-addr=source-watcher-shard1.$(RUNTIME_NAMESPACE).svc.cluster.local.".to_owned());
    patched.push("--watch-label-selector=sharding.fluxcd.io/key=shard1".to_owned());
    let CommandLine::Run(config) = read(patched, &surroundings) else { panic!("refused") };
    assert!(config.storage.advertised_address.starts_with("source-watcher-shard1."), "the last one wins");
    assert_eq!(config.selector, "sharding.fluxcd.io/key=shard1");
}

/// What a scrape of the controller has, by the names that Prometheus will know.
#[test]
fn every_metric_of_the_controller_is_documented() {
    let (document, scrape) = (operating(), weir_controller::metrics::Metrics::new(1).text().unwrap());
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names: Vec<_> =
        types.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() }).collect();
    assert!(names.len() >= 10, "only {names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !document.contains(&format!("`{name}"))).collect();
    assert!(missing.is_empty(), "docs/operating.md lacks {missing:?}");
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
    let prefixes =
        ["weir_", "process_", "controller_runtime_", "workqueue_", "rest_client_", "leader_election_", "gotk_"];
    let is_crate = literal.starts_with("weir_artifact_server") || literal.starts_with("weir_controller");
    let plain = literal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
    plain && !is_crate && prefixes.iter().any(|prefix| literal.len() > prefix.len() && literal.starts_with(prefix))
}
