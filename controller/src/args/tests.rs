use super::*;

fn surroundings() -> Surroundings {
    Surroundings { namespace: "flux-system".into(), source_host: String::new(), host: "pod-1".into() }
}

fn parse(arguments: &str) -> CommandLine {
    read(["weir-controller"].into_iter().chain(arguments.split_whitespace()), &surroundings())
}

fn config(arguments: &str) -> Config {
    match parse(arguments) {
        CommandLine::Run(config) => *config,
        other => panic!("{arguments}: {other:?}"),
    }
}

#[test]
fn defaults() {
    let wanted = Config {
        concurrent: 10,
        timeout: Some(Duration::from_secs(600)),
        dependency: Duration::from_secs(5),
        backoff: Backoff { min: Duration::from_millis(750), max: Duration::from_secs(900) },
        jitter: 5,
        origin: Origin::WithContent,
        no_cross_namespace: false,
        namespace: None,
        selector: String::new(),
        direct_source_fetch: None,
        own_namespace: "flux-system".into(),
        election: None,
        artifact_server: "unix:///run/weir/s/artifact.sock".into(),
        certificates: Certificates::default(),
        storage: Storage {
            advertised_address: String::new(),
            retention_ttl: Duration::from_secs(60),
            retention_records: 2,
            algorithm: Algorithm::Sha256,
            http_retry: 9,
            source_host: String::new(),
        },
        metrics: Listen::optional(":8080").unwrap(),
        health: Listen::optional(":9440").unwrap(),
        log_level: Level::Info,
        log_encoding: Encoding::Json,
        events: None,
        host: "pod-1".into(),
    };
    assert_eq!(config(""), wanted);
}

#[test]
fn the_arguments_of_an_installation() {
    let shard = config(
        "--events-addr=http://notification-controller.flux-system.svc.cluster.local./ --watch-all-namespaces \
         --log-level=info --log-encoding=json --enable-leader-election --storage-path=/data \
         --storage-adv-addr=source-watcher.flux-system.svc.cluster.local. \
         --watch-label-selector=sharding.fluxcd.io/key=shard1 \
         --storage-adv-addr=source-watcher-shard1.flux-system.svc.cluster.local.",
    );
    let advertised = &shard.storage.advertised_address;
    assert_eq!(advertised, "source-watcher-shard1.flux-system.svc.cluster.local.", "the last one counts");
    let election = shard.election.unwrap();
    assert_eq!(election.lease, "source-watcher-leader-election-73fdc1be", "a shard has a Lease of its own");
    assert!(election.release);
    let events = shard.events.as_ref().map(Url::as_str);
    assert_eq!(events, Some("http://notification-controller.flux-system.svc.cluster.local./"), "as given");
    assert_eq!(shard.selector, "sharding.fluxcd.io/key=shard1");
}

#[test]
fn spellings() {
    type Check = fn(&Config) -> bool;
    let rows: &[(&str, Check)] = &[
        ("--no-cross-namespace-refs", |c| c.no_cross_namespace),
        ("--no-cross-namespace-refs=true", |c| c.no_cross_namespace),
        ("--no-cross-namespace-refs=T", |c| c.no_cross_namespace),
        ("--no-cross-namespace-refs=0", |c| !c.no_cross_namespace),
        ("--no-cross-namespace-refs --no-cross-namespace-refs=false", |c| !c.no_cross_namespace),
        ("--no-cross-namespace-refs false", |c| c.no_cross_namespace),
        ("--watch-all-namespaces=false", |c| c.namespace.as_deref() == Some("flux-system")),
        ("--origin-revision=always", |c| c.origin == Origin::Always),
        ("--origin-revision=always --origin-revision content", |c| c.origin == Origin::WithContent),
        ("--concurrent 4", |c| c.concurrent == 4),
        ("--concurrent=4 --concurrent=5", |c| c.concurrent == 5),
        ("--concurrent=0", |c| c.concurrent == 1),
        ("--concurrent=-3", |c| c.concurrent == 1),
        ("--http-retry=-1 --artifact-retention-records=-2", |c| {
            (c.storage.http_retry, c.storage.retention_records) == (0, 0)
        }),
        ("--http-retry=9999999999", |c| c.storage.http_retry == u32::MAX),
        ("--requeue-dependency=1m30.5s", |c| c.dependency == Duration::from_millis(90_500)),
        ("--reconciliation-timeout=1ns", |c| c.timeout == Some(Duration::from_nanos(1))),
        ("--reconciliation-timeout=0s", |c| c.timeout.is_none()),
        ("--reconciliation-timeout=0 --requeue-dependency=0", |c| (c.timeout, c.dependency) == (None, Duration::ZERO)),
        ("--metrics-addr=0 --health-addr=", |c| c.metrics.is_none() && c.health.is_none()),
        ("--metrics-addr=[::1]:0", |c| c.metrics.as_ref().is_some_and(|listen| listen.to_string() == "[::1]:0")),
        ("--log-level=nonsense --log-encoding=nonsense", |c| {
            (c.log_level, c.log_encoding) == (Level::Info, Encoding::Json)
        }),
        ("--artifact-digest-algo=blake3", |c| c.storage.algorithm == Algorithm::Blake3),
        ("--feature-gates=DirectSourceFetch=true,DirectSourceFetch=false", |c| c.direct_source_fetch == Some(false)),
        ("--feature-gates=DirectSourceFetch=0 --feature-gates DirectSourceFetch=T", |c| {
            c.direct_source_fetch == Some(true)
        }),
        ("--feature-gates=,", |c| c.direct_source_fetch.is_none()),
        ("--watch-label-selector=a=b --watch-label-selector=!a", |c| c.selector == "!a"),
        ("--kube-api-qps=50 --kube-api-burst=300 --storage-addr=:9090", |_| true),
        ("--leader-election-release-on-cancel --leader-election-lease-duration=35s", |_| true),
        ("--enable-leader-election", |c| {
            let terms = election::Terms::new(Duration::from_secs(35), Duration::from_secs(30)).unwrap();
            let lease = "source-watcher-leader-election".to_owned();
            c.election == Some(election::Settings { lease, terms, release: true })
        }),
        ("--enable-leader-election --leader-election-release-on-cancel=false", |c| {
            c.election.as_ref().is_some_and(|election| !election.release)
        }),
        ("--enable-leader-election --leader-election-retry-period=1h", |c| c.election.is_some()),
        ("--leader-election-lease-duration=1s", |c| c.election.is_none()),
        ("--events-addr=", |c| c.events.is_none()),
        ("--events-addr=http://a/ --events-addr=", |c| c.events.is_none()),
        ("--events-addr https://[::1]:8443/hook?a=b", |c| {
            c.events.as_ref().is_some_and(|url| url.as_str() == "https://[::1]:8443/hook?a=b")
        }),
        ("--artifact-server=http://127.0.0.1:9091", |c| c.artifact_server == "http://127.0.0.1:9091"),
    ];
    for (arguments, holds) in rows {
        assert!(holds(&config(arguments)), "{arguments}");
    }
}

#[test]
fn spaces_around_gates_and_in_selectors() {
    let arguments =
        ["weir-controller", "--feature-gates= DirectSourceFetch = true ", "--watch-label-selector", "a in (b, c)"];
    let CommandLine::Run(config) = read(arguments, &surroundings()) else { panic!("refused") };
    assert_eq!((config.direct_source_fetch, config.selector.as_str()), (Some(true), "a in (b, c)"));
}

#[test]
fn what_is_refused() {
    // (arguments, exit code, part of the text)
    let rows = [
        ("--nonsense", 2, "--nonsense"),
        ("--kubeconfig=/x", 2, "--kubeconfig"),
        ("--origin-revision=never", 2, "[possible values: content, always]"),
        ("--concurrent=ten", 2, "--concurrent"),
        ("--requeue-dependency=5", 2, "missing unit"),
        ("--no-cross-namespace-refs=maybe", 2, "use true or false"),
        ("--interval-jitter-percentage=256", 2, "--interval-jitter-percentage"),
        ("--interval-jitter-percentage=100", 1, "must be a non-negative value and less than 100"),
        ("--feature-gates=Other=true", 1, "feature-gate 'Other' not supported"),
        ("--feature-gates=DirectSourceFetch", 2, "use NAME=true or NAME=false"),
        ("--feature-gates=DirectSourceFetch=maybe", 2, "use true or false"),
        ("--no-cross-namespace-refs=", 2, "use true or false"),
        ("--concurrent", 2, "a value is required"),
        ("-concurrent=4", 2, "unexpected argument"),
        ("--events-addr=nowhere", 1, "--events-addr: \"nowhere\" is not a URL of http or https"),
        ("--events-addr=ftp://a/", 1, "--events-addr: \"ftp://a/\" is not a URL of http or https"),
        ("--events-addr=http://:80", 1, "use http://<host>/"),
        ("--events-addr=http://a:port/", 1, "use http://<host>/"),
        ("--watch-label-selector=a=b=c(", 1, "unable to configure watch label selector"),
        ("--artifact-digest-algo=md5", 1, "unsupported digest algorithm: md5; use sha256"),
        ("--health-addr=9440", 1, "--health-addr: \"9440\" is not an address"),
        (
            "--enable-leader-election --leader-election-lease-duration=30s",
            1,
            "--leader-election-lease-duration: must be longer than --leader-election-renew-deadline (30s)",
        ),
        (
            "--enable-leader-election --leader-election-renew-deadline=2s",
            1,
            "--leader-election-renew-deadline: must be longer than 2.4s",
        ),
        ("--artifact-server=https://a:1", 1, "--artifact-server: https:// needs --artifact-server-ca"),
        ("--leader-election-retry-period=-1s", 1, "--leader-election-retry-period: must not be negative"),
        ("--reconciliation-timeout=-1s", 1, "--reconciliation-timeout: must not be negative"),
    ];
    for (arguments, code, part) in rows {
        let (found, text) = match parse(arguments) {
            CommandLine::Usage(text) => (2, text),
            CommandLine::Refuse(text) => (1, text),
            other => panic!("{arguments}: {other:?}"),
        };
        assert_eq!((found, text.contains(part)), (code, true), "{arguments}: {text}");
        // §1: usage with what can not be read, one line for what can not be used.
        assert!(code == 2 && text.contains("Usage: weir-controller") || !text.contains('\n'), "{arguments}: {text}");
    }
    let nowhere = read(["weir-controller", "--watch-all-namespaces=false"], &Surroundings::default());
    assert!(matches!(nowhere, CommandLine::Refuse(text) if text.contains("RUNTIME_NAMESPACE")));
}

#[test]
fn help_is_the_one_that_was_reviewed() {
    let CommandLine::Print(help) = parse("--help") else { panic!("--help prints") };
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/args/help.txt");
    if std::env::var_os("WEIR_REGENERATE").is_some() {
        std::fs::write(&file, &help).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(help == known, "run this test once with WEIR_REGENERATE=1 and review {}:\n{help}", file.display());
}
