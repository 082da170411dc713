use super::*;

fn surroundings() -> Surroundings {
    Surroundings { hostname: Some("pod".to_owned()), temporary: "/tmp".into() }
}

fn config(arguments: &[&str]) -> Result<Config, String> {
    let all = std::iter::once("weir-artifact-server").chain(arguments.iter().copied());
    match read(all, &surroundings()) {
        CommandLine::Run(config) => Ok(*config),
        CommandLine::Print(text) | CommandLine::Refuse(text) => Err(text),
    }
}

#[test]
fn defaults_are_those_of_flux() {
    let config = config(&[]).unwrap();
    assert_eq!(config.storage_path, PathBuf::from("/data"));
    assert_eq!(config.storage_address.to_string(), ":9090");
    assert_eq!(config.advertised_address, "localhost:9090");
    assert_eq!(config.retention_ttl, Duration::from_secs(60));
    assert_eq!((config.retention_records, config.algorithm), (2, Algorithm::Sha256));
    assert_eq!(config.grpc, GrpcAddress::Unix("/run/weir/s/artifact.sock".into()));
    assert_eq!(config.upload_silence, Duration::from_secs(60));
    assert_eq!(config.serve, ServeMode::WhenLed);
    assert_eq!(config.metrics.unwrap().to_string(), ":8081");
    assert_eq!(config.health.unwrap().to_string(), ":9441");
    assert_eq!((config.sources.cache_bytes, config.sources.http_retry), (1 << 30, 9));
    assert_eq!((config.sources.max_bytes, config.artifact_max_bytes), (1 << 30, 1 << 30));
    let folder = config.sources.folder.to_str().unwrap();
    assert!(folder.starts_with("/tmp/weir-sources-"), "{folder}");
    assert_eq!((config.log_level, config.log_encoding), (Level::Info, Encoding::Json));
}

#[test]
fn the_last_of_a_repeated_flag_wins() {
    // Flux's shards append a second --storage-adv-addr to the arguments of the base.
    let config =
        config(&["--storage-adv-addr=first", "--serve", "always", "--storage-adv-addr=second", "--serve=when-led"]);
    let config = config.unwrap();
    assert_eq!((config.advertised_address.as_str(), config.serve), ("second", ServeMode::WhenLed));
}

const ASKED: &str = "WEIR_TEST_FLAGS";

/// The variables of Flux's artifact SDK, each set, empty and overridden. A process of its own has them: here they would be everybody's.
#[test]
fn variables_are_defaults() {
    if let Ok(flags) = std::env::var(ASKED) {
        let config = config(&flags.split_whitespace().collect::<Vec<_>>()).unwrap();
        let Config { storage_path, storage_address, advertised_address, .. } = config;
        println!("is: {} {storage_address} {advertised_address}.", storage_path.display());
        return;
    }
    let set = ["/v", "127.0.0.1:1", "v.test:2"];
    let rows = [
        (["", "", ""], "", "/data :9090 localhost:9090"),
        (set, "", "/v 127.0.0.1:1 v.test:2"),
        (["", set[1], ""], "", "/data 127.0.0.1:1 127.0.0.1:1"),
        (set, "--storage-path=/f", "/f 127.0.0.1:1 v.test:2"),
        (set, "--storage-addr=:3", "/v :3 v.test:2"),
        (set, "--storage-adv-addr=f.test", "/v 127.0.0.1:1 f.test"),
        (set, "--storage-path= --storage-addr= --storage-adv-addr=", "/data :9090 localhost:9090"),
    ];
    for (values, flags, expected) in rows {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "args::tests::variables_are_defaults", "--nocapture"]).env(ASKED, flags);
        let output =
            child.envs(["STORAGE_PATH", "STORAGE_ADDRESS", "STORAGE_ADV_ADDR"].into_iter().zip(values)).output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(said.contains(&format!("is: {expected}.")), "row {values:?} {flags}: {said}");
    }
}

#[test]
fn the_size_of_an_artifact_has_two_names() {
    for name in ["artifact-max-size", "max-artifact-size"] {
        assert_eq!(config(&[&format!("--{name}=2Mi")]).unwrap().artifact_max_bytes, 2 << 20, "{name}");
    }
}

#[test]
fn values_are_typed() {
    let flags = [
        "--artifact-retention-ttl=750ms",
        "--artifact-digest-algo=blake3",
        "--grpc-upload-silence=1.5s",
        "--source-cache-size=1.5Gi",
        "--grpc-addr=http://10.0.0.1:1",
        "--insecure-grpc",
        "--metrics-addr=0",
        "--health-addr=",
        "--storage-path=",
        "--log-level=nonsense",
    ];
    let config = config(&flags).unwrap();
    assert_eq!(config.retention_ttl, Duration::from_millis(750));
    assert_eq!((config.algorithm, config.upload_silence), (Algorithm::Blake3, Duration::from_millis(1500)));
    assert_eq!(config.sources.cache_bytes, 3 << 29);
    assert!(matches!(config.grpc, GrpcAddress::Tcp(_)));
    assert_eq!((config.metrics, config.health), (None, None));
    assert_eq!(config.storage_path, PathBuf::from("/data"), "empty counts as unset");
    assert_eq!(config.log_level, Level::Info, "an unknown level is info, as in Flux");
}

#[test]
fn bad_flags_get_one_line_that_says_what_to_do() {
    let rows: &[(&str, &[&str])] = &[
        ("--nonsense", &["unexpected argument '--nonsense'", "--help"]),
        ("--artifact-retention-ttl=1d", &["--artifact-retention-ttl", "unknown unit"]),
        ("--artifact-retention-ttl=-1s", &["--artifact-retention-ttl", "must not be negative"]),
        ("--grpc-upload-silence=0s", &["--grpc-upload-silence", "must be more than 0"]),
        ("--grpc-upload-silence=-1s", &["--grpc-upload-silence", "must be more than 0"]),
        ("--artifact-retention-records=-1", &["--artifact-retention-records", "is not in 0.."]),
        (
            "--artifact-digest-algo=md5",
            &[
                "--artifact-digest-algo",
                "unsupported digest algorithm: md5; use sha256, sha384, sha512, blake3 or sha1",
            ],
        ),
        ("--storage-addr=9090", &["--storage-addr", "host:port"]),
        ("--storage-adv-addr=a b", &["--storage-adv-addr", "spaces"]),
        ("--grpc-addr=http://10.0.0.1:1", &["--grpc-addr", "--insecure-grpc"]),
        ("--grpc-addr=https://a:1", &["--grpc-addr", "--grpc-tls-cert", "--grpc-client-ca"]),
        ("--grpc-tls-cert=/c", &["--grpc-addr", "no effect without https://"]),
        ("--source-hosts=a,http://b", &["--source-hosts", "\"http://b\" is not a host"]),
        ("--serve=never", &["--serve", "when-led, always"]),
        ("--source-cache-size=1GiB", &["--source-cache-size", "Gi"]),
        ("--source-cache-size=0", &["--source-cache-size", "more than 0"]),
        ("--source-cache-path=/data/cache", &["--source-cache-path", "must not contain each other"]),
        ("--source-cache-path=/data", &["--source-cache-path", "must not contain each other"]),
        ("--metrics-addr=x", &["--metrics-addr", "host:port"]),
        ("--log-encoding=xml", &["--log-encoding", "json"]),
        ("stray", &["unexpected argument 'stray'"]),
    ];
    for (flag, parts) in rows {
        let line = config(&[flag]).unwrap_err();
        assert_eq!(line.lines().count(), 1, "row {flag}: {line}");
        assert!(line.starts_with("error: "), "row {flag}: {line}");
        for part in *parts {
            assert!(line.contains(part), "row {flag}: {part:?} is not in {line:?}");
        }
    }
}

#[test]
fn each_volume_has_a_cache_of_its_own() {
    let folder = |path: &str| config(&["--source-cache-path=/var/tmp", path]).unwrap().sources.folder;
    assert_ne!(folder("--storage-path=/a"), folder("--storage-path=/b"));
    assert_eq!(folder("--storage-path=/a"), folder("--storage-path=/a"));
    assert!(folder("--storage-path=/a").starts_with("/var/tmp"));
}

#[test]
fn help_is_printed_and_is_no_error() {
    let help = read(["weir-artifact-server", "--help"], &surroundings());
    assert!(matches!(&help, CommandLine::Print(text) if text.contains("--storage-path")), "{help:?}");
}
