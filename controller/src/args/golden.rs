//! Every flag that source-watcher has, with its default, its variable and its spellings: arguments written for it keep their meaning.

use clap::CommandFactory as _;

use super::{CommandLine, Flags, Surroundings, read};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Takes {
    /// `--x`, `--x=false`.
    Bool,
    /// `--x=v`, `--x v`; two values that are good.
    Value(&'static str, &'static str),
}

use Takes::{Bool, Value};

/// runtime.md §1: name, default as `--help` says it, environment variable, values.
const FLAGS: [(&str, &str, Option<&str>, Takes); 37] = [
    ("concurrent", "10", None, Value("1", "20")),
    ("metrics-addr", ":8080", None, Value("0", "127.0.0.1:9")),
    ("health-addr", ":9440", None, Value("", ":1")),
    ("events-addr", "", None, Value("http://notification-controller.flux-system.svc.cluster.local./", "")),
    ("http-retry", "9", None, Value("-1", "3")),
    ("reconciliation-timeout", "10m0s", None, Value("1h2m3.5s", "0s")),
    ("requeue-dependency", "5s", None, Value("0", "5000000000ns")),
    ("no-cross-namespace-refs", "false", None, Bool),
    ("storage-path", "/data", Some("STORAGE_PATH"), Value("/other", "relative")),
    ("storage-addr", ":9090", Some("STORAGE_ADDRESS"), Value("0.0.0.0:80", ":1")),
    ("storage-adv-addr", "", Some("STORAGE_ADV_ADDR"), Value("source-watcher.flux-system.svc.cluster.local.", "a:1")),
    ("artifact-retention-ttl", "1m0s", None, Value("0s", "90m")),
    ("artifact-retention-records", "2", None, Value("-1", "5")),
    ("artifact-digest-algo", "sha256", None, Value("blake3", "sha512")),
    ("kube-api-qps", "50", None, Value("0.5", "-1")),
    ("kube-api-burst", "300", None, Value("1", "-1")),
    ("feature-gates", "", None, Value("DirectSourceFetch=true", "DirectSourceFetch=F")),
    ("interval-jitter-percentage", "5", None, Value("0", "99")),
    ("enable-leader-election", "false", None, Bool),
    ("leader-election-release-on-cancel", "true", None, Bool),
    ("leader-election-lease-duration", "35s", None, Value("1m10s", "40s")),
    ("leader-election-renew-deadline", "30s", None, Value("31s", "20s")),
    ("leader-election-retry-period", "5s", None, Value("2s", "6s")),
    ("log-encoding", "json", None, Value("console", "nonsense")),
    ("log-level", "info", None, Value("trace", "nonsense")),
    ("min-retry-delay", "750ms", None, Value("1s", "1us")),
    ("max-retry-delay", "15m0s", None, Value("1h", "0")),
    ("watch-all-namespaces", "true", None, Bool),
    ("watch-label-selector", "", None, Value("sharding.fluxcd.io/key=shard1", "!sharding.fluxcd.io/key")),
    ("watch-configs-label-selector", "reconcile.fluxcd.io/watch=Enabled", None, Value("a=b", "")),
    // Weir's own.
    ("artifact-server", "unix:///run/weir/s/artifact.sock", Some("ARTIFACT_SERVER"), Value("http://127.0.0.1:1", "x")),
    ("artifact-server-ca", "", Some("ARTIFACT_SERVER_CA"), Value("/tls/ca.crt", "")),
    ("artifact-server-cert", "", Some("ARTIFACT_SERVER_CERT"), Value("/tls/tls.crt", "")),
    ("artifact-server-key", "", Some("ARTIFACT_SERVER_KEY"), Value("/tls/tls.key", "")),
    ("origin-revision", "content", None, Value("always", "content")),
    ("help", "", None, Bool),
    ("version", "", None, Bool),
];

/// What is reached with these flags, as text that is the same for the same configuration.
fn outcome(arguments: &[String]) -> Result<String, String> {
    let line = std::iter::once("weir-controller".to_owned()).chain(arguments.iter().cloned());
    let surroundings = Surroundings { namespace: "own".into(), ..Surroundings::default() };
    match read(line, &surroundings) {
        CommandLine::Run(config) => Ok(format!("{config:?}")),
        other => Err(format!("{arguments:?}: {other:?}")),
    }
}

fn same(row: &str, spellings: &[&[String]]) {
    let outcomes: Vec<_> = spellings.iter().map(|arguments| outcome(arguments).unwrap()).collect();
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{row}: {spellings:?} give {outcomes:#?}");
}

#[test]
fn every_flag_has_its_default_and_its_variable() {
    let command = Flags::command();
    let mut known: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
    known.extend(["help", "version"]);
    known.sort_unstable();
    known.dedup();
    let mut rows = FLAGS.map(|row| row.0);
    rows.sort_unstable();
    assert_eq!(known, rows, "one row for each flag");
    let help = help();
    for (name, default, variable, takes) in FLAGS.into_iter().filter(|row| !["help", "version"].contains(&row.0)) {
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name)).unwrap();
        assert_eq!(argument.get_env().and_then(|found| found.to_str()), variable, "{name}");
        let text = help.split(&format!("  --{name}")).nth(1).unwrap_or_default();
        let text = text.split("\n      --").next().unwrap_or_default();
        let text = text.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        let quoted = if default.is_empty() { "\"\"" } else { default };
        let is_said = name == "feature-gates" || text.contains(&format!("[default: {quoted}]"));
        assert!(is_said, "--help gives no default {quoted} of --{name}: {text}");
        assert!(variable.is_none_or(|name| text.contains(&format!("[env: {name}]"))), "{name}: {text}");
        assert_eq!(text.starts_with("[=<"), takes == Bool, "{name}: {text}");
        if !default.is_empty() {
            same(name, &[&[], &[format!("--{name}={default}")]]);
        }
    }
}

#[test]
fn every_flag_can_be_spelled_as_pflag_allows() {
    for (name, default, _, takes) in FLAGS.into_iter().filter(|row| !["help", "version"].contains(&row.0)) {
        let with = |value: &str| format!("--{name}={value}");
        match takes {
            Bool => {
                let bare = || format!("--{name}");
                same(name, &[&[bare()], &[with("true")], &[with("1")], &[with("T")], &[with("false"), bare()]]);
                same(name, &[&[with("false")], &[with("0")], &[with("FALSE")], &[with("true"), with("f")]]);
                assert!(outcome(&[with("maybe")]).is_err(), "{name}");
                // Nothing is released yet where nothing is held.
                let matters = name != "leader-election-release-on-cancel";
                assert!(!matters || outcome(&[with("true")]) != outcome(&[with("false")]), "{name} has no effect");
            }
            Value(one, other) => {
                let apart = |value: &str| [format!("--{name}"), value.to_owned()];
                same(name, &[&[with(one)], &apart(one), &[with(other), with(one)]]);
                same(name, &[&[with(other)], &apart(other), &[with(one), with(other)], &[with(default), with(other)]]);
                assert!(outcome(&[format!("--{name}")]).is_err(), "{name} needs a value");
            }
        }
    }
}

fn help() -> String {
    let CommandLine::Print(help) = read(["weir-controller", "--help"], &Surroundings::default()) else {
        panic!("--help prints")
    };
    help
}

/// The arguments that Flux's installers give to a shard.
#[test]
fn the_shard_argument_list() {
    let arguments = [
        "--events-addr=http://notification-controller.flux-system.svc.cluster.local./",
        "--watch-all-namespaces=true",
        "--log-level=info",
        "--log-encoding=json",
        "--enable-leader-election",
        "--storage-path=/data",
        "--storage-adv-addr=source-watcher.$(RUNTIME_NAMESPACE).svc.cluster.local.",
        "--concurrent=5",
        "--requeue-dependency=5s",
        "--watch-label-selector=sharding.fluxcd.io/key=shard1",
        "--storage-adv-addr=source-watcher-shard1.$(RUNTIME_NAMESPACE).svc.cluster.local.",
    ];
    let line = std::iter::once("weir-controller").chain(arguments);
    let CommandLine::Run(config) = read(line, &Surroundings::default()) else { panic!("refused") };
    assert_eq!(config.selector, "sharding.fluxcd.io/key=shard1");
    let advertised = "source-watcher-shard1.$(RUNTIME_NAMESPACE).svc.cluster.local.";
    assert_eq!(config.storage.advertised_address, advertised, "the last one counts");
    assert_eq!((config.concurrent, config.namespace), (5, None));
}
