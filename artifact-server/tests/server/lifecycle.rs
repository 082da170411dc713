//! Start, restart, end.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

use rustix::process::Signal;
use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use weir_proto::{
    Failure, Reason,
    v1::{GetInfoRequest, RemoveRequest, StatRequest, Verdict, VerifyRequest, build_result::Outcome},
};

use crate::{
    builds::{artifact, build, build_new, header, published},
    downloads::{hurry, slow_download},
    process::{Place, Server, caller, get},
    sources::Sources,
};

async fn instance(server: &Server) -> String {
    server.storage().get_info(GetInfoRequest {}).await.unwrap().into_inner().instance
}

#[tokio::test]
async fn records_outlive_the_server_but_not_the_volume() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let stored = build_new(&server, &source, artifact(0, "web", "a")).await;
    let first = instance(&server).await;
    server.stop().await;
    let before = place.files();

    let server = place.start(&[]).await;
    assert_ne!(instance(&server).await, first, "each run has a name of its own");
    let again = vec![published(artifact(0, "web", "a"), &stored)];
    let (_, results) = build(&server, header(std::slice::from_ref(&source)), again.clone()).await.unwrap();
    assert_eq!(results[&0].outcome, Some(Outcome::Unchanged(stored.clone())));
    assert_eq!(place.lasting(), before);
    server.stop().await;

    std::fs::remove_dir_all(place.volume()).unwrap();
    std::fs::create_dir(place.volume()).unwrap();
    let server = place.start(&[]).await;
    let verify = VerifyRequest { path: stored.path.clone(), digest: stored.digest.clone() };
    let verdict = server.storage().verify(verify).await.unwrap().into_inner().verdict();
    assert_eq!(verdict, Verdict::Missing);
    let (_, results) = build(&server, header(&[source]), again).await.unwrap();
    let Some(Outcome::Built(rebuilt)) = &results[&0].outcome else { panic!("{results:?}") };
    assert_eq!((&rebuilt.url, &rebuilt.revision, &rebuilt.digest), (&stored.url, &stored.revision, &stored.digest));
}

#[tokio::test]
async fn what_a_crash_left_is_swept() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let source = sources.tarball("/1.tgz", &[("a", "1")]);
    let stored = build_new(&server, &source, artifact(0, "web", "a")).await;
    server.signal(Signal::KILL);
    server.ended().await;
    let folder = place.volume().join("externalartifact/apps/web");
    std::fs::write(folder.join(".tmp-1234"), "half").unwrap();
    assert!(place.socket().exists(), "a killed server leaves its socket");
    let server = place.start(&[]).await;
    assert!(!folder.join(".tmp-1234").exists());
    assert!(server.storage().stat(StatRequest { path: stored.path }).await.unwrap().into_inner().exists);
}

#[tokio::test]
async fn a_download_that_runs_finishes_when_the_server_ends() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let (mut download, stored) = slow_download(&server, &sources).await;
    let address = server.port("artifacts");
    server.signal(Signal::TERM);
    // New clients are refused while the old one reads on.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    hurry(&download);
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).await.unwrap();
    let head = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(i64::try_from(rest.len() - head).unwrap(), stored.size, "all of it");
    assert_eq!(server.ended().await, Some(0));
    assert!(!place.socket().exists(), "an orderly end leaves no socket");
}

#[tokio::test]
async fn an_ending_server_says_so_while_it_drains_and_ends_in_the_pods_time() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let (download, stored) = slow_download(&server, &sources).await;
    let mut health = HealthClient::new(server.channel());
    let request = |service: &str| HealthCheckRequest { service: service.into() };
    let mut watch = health.watch(request("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let told = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap(), None, "there is nothing more to say");

    for service in ["", "weir.artifact.v1.ArtifactStorage", "weir.artifact.v1.ArtifactBuilder"] {
        let answer = health.check(request(service)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::NotServing, "{service:?}");
        let mut late = health.watch(request(service)).await.unwrap().into_inner();
        assert_eq!(late.message().await.unwrap().unwrap().status(), ServingStatus::NotServing, "{service:?}");
        assert_eq!(late.message().await.unwrap(), None, "{service:?}");
    }
    for (path, status) in [("/readyz", 503), ("/healthz", 200)] {
        let answer = get(format!("http://{}{path}", server.port("health"))).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
    let remove = RemoveRequest { caller: caller(), path: stored.path.clone() };
    let refused = Failure::from_status(&server.storage().remove(remove).await.unwrap_err()).unwrap();
    assert_eq!(refused.reason, Reason::ShuttingDown, "nothing new is begun");
    let stat = server.storage().stat(StatRequest { path: stored.path }).await.unwrap();
    assert!(stat.into_inner().exists);

    // The client never reads on. The pod has ten seconds.
    assert_eq!(server.ended().await, Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    drop(download);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (place, sources) = (Place::new(), Sources::start().await);
    let server = place.start(&[]).await;
    let (mut download, stored) = slow_download(&server, &sources).await;
    server.signal(Signal::TERM);
    while TcpStream::connect(server.port("artifacts")).await.is_ok() {
        tokio::task::yield_now().await;
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(1));
    let mut rest = Vec::new();
    let _ = download.read_to_end(&mut rest).await;
    assert!(i64::try_from(rest.len()).unwrap() < stored.size, "cut off");
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group() {
    let place = Place::new();
    let _server = place.start(&[]).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&place.socket()), mode(place.socket().parent().unwrap())), (0o660, 0o2770));
    assert_eq!(std::fs::metadata(place.socket()).unwrap().uid(), rustix::process::geteuid().as_raw());
}

#[tokio::test]
async fn the_folder_of_the_source_cache_goes_with_the_server() {
    let (place, taken) = (Place::new(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let parent = place.path().join("cache");
    let cache = format!("--source-cache-path={}", parent.display());
    let folders = || std::fs::read_dir(&parent).unwrap().count();
    let server = place.start(&[&cache]).await;
    assert_eq!(folders(), 1);
    server.stop().await;
    assert_eq!(folders(), 0);
    let health = format!("--health-addr={}", taken.local_addr().unwrap());
    assert_eq!(place.run(&[&cache, &health]).0, Some(1));
    assert_eq!(folders(), 0, "also of one that did not start");
}

#[tokio::test]
async fn grpc_may_be_on_loopback() {
    let place = Place::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // The harness connects to the socket: a first server has it.
    let _server = place.start(&[]).await;
    let second = Place::new();
    let mut child = second.command(&[&format!("--grpc-addr=http://{free}")]).spawn().unwrap();
    let uri = format!("http://{free}");
    let info = async {
        loop {
            if let Ok(mut client) =
                weir_proto::v1::artifact_storage_client::ArtifactStorageClient::connect(uri.clone()).await
            {
                break client.get_info(GetInfoRequest {}).await.unwrap().into_inner();
            }
            tokio::task::yield_now().await;
        }
    };
    let info = tokio::time::timeout(crate::process::DEADLINE, info).await.unwrap();
    assert!(!info.instance.is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn starts_that_fail_say_in_one_line_what_to_do() {
    let place = Place::new();
    let running = place.start(&[]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = std::net::TcpListener::bind(taken).unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let other = Place::new();
    let (health, artifacts) = (format!("--health-addr={taken}"), format!("--storage-addr={taken}"));
    let under_file = format!("--storage-path={}", file.display());
    let live = format!("--grpc-addr=unix://{}", place.socket().display());
    let occupied = format!("--grpc-addr=unix://{}", file.display());
    let same_volume = format!("--storage-path={}", place.volume().display());
    let cache = format!("--source-cache-path={}", file.display());
    let grpc = format!("--grpc-addr=http://{taken}");
    let rows: [(&str, &[&str], i32, &[&str]); 13] = [
        ("unknown flag", &["--nonsense"], 2, &["--nonsense", "--help"]),
        ("bad duration", &["--artifact-retention-ttl=1d"], 2, &["--artifact-retention-ttl", "unit"]),
        ("bad algorithm", &["--artifact-digest-algo=md5"], 2, &["unsupported digest algorithm: md5"]),
        ("plain text on the net", &["--grpc-addr=http://10.0.0.1:1"], 2, &["--insecure-grpc"]),
        ("no volume", &["--storage-path=/does/not/exist"], 1, &["/does/not/exist", "--storage-path"]),
        ("a file for a volume", &[&under_file], 1, &["/file", "not a folder", "--storage-path"]),
        ("a volume in use", &[&same_volume], 1, &["another"]),
        ("health port taken", &[&health], 1, &["--health-addr"]),
        ("artifact port taken", &[&artifacts, "--serve=always"], 1, &["--storage-addr"]),
        ("gRPC port taken", &[&grpc], 1, &["the gRPC port 127.0.0.1:", "free the port"]),
        ("a live socket", &[&live], 1, &["another server answers"]),
        ("a file for a socket", &[&occupied], 1, &["not a socket"]),
        ("a file for a cache", &[&cache], 1, &["--source-cache-path"]),
    ];
    for (row, flags, code, parts) in rows {
        let (got, text) = other.run(flags);
        let errors: Vec<&str> = text.lines().filter(|line| !line.contains("\"level\":\"info\"")).collect();
        assert_eq!((got, errors.len()), (Some(code), 1), "row {row}: {text}");
        for part in parts {
            assert!(errors[0].contains(part), "row {row}: {part:?} is not in {text}");
        }
    }
    assert!(!running.lines.text().contains("\"level\":\"error\""));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "", "left alone");
}
